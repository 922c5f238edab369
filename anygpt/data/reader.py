"""What all readers of formats share: rows of a file → conversations in the form of `anygpt.messages`.

A format's module says where its rows are and what a row becomes. There, a medium's path is a tuple of names relative to
the source's media folder, of which the first that exists is taken.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from anygpt.data.errors import BadItem, DataError
from anygpt.data.media import find
from anygpt.data.source import Source
from anygpt.data.table import Layout, Table
from anygpt.messages import Conversation, Message, MessageError, Part, normalise

LONGEST = 50_000  # characters of a conversation's text
PLACEHOLDER = re.compile(r"[ \t]*<(image|video|audio)>[ \t]*\n?", re.IGNORECASE)

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}

# How people ask, one of them a row; {} is the caption.
DESCRIBE = {
    "image": ("Describe the picture.", "What does the picture show?", "What do you see in this picture?"),
    "audio": ("Describe the sound.", "What do you hear?", "What is to be heard in this recording?"),
    "video": ("Describe the film.", "What happens in this film?", "What does the film show?"),
}
MAKE = {
    "image": ("Draw {}", "Make a picture of this: {}", "I want to see this in a picture: {}"),
    "audio": ("Let me hear {}", "Make a sound of this: {}", "I want to hear this: {}"),
    "video": ("Make a film of {}", "Show me this in a film: {}", "I want a film of this: {}"),
}
MADE = {"image": "Here is the picture.", "audio": "Here is the sound.", "video": "Here is the film."}


class Reader(ABC):
    """The rows of one source as conversations.

    Args:
        source: where they are.
        task: what becomes of a medium with a caption, where the source does not say.

    Raises:
        DataError: files that are missing or not of the format.
    """

    def __init__(self, source: Source, task: str = "describe") -> None:
        self.source, self.task = source, source.task or task
        if not Path(source.path).exists():
            raise DataError(f"there is no file {source.path}")
        if not source.folder.is_dir():
            raise DataError(f"there is no media folder {source.folder}")

    @abstractmethod
    def rows(self) -> int:
        """How many rows the source has, whatever its limit."""

    @abstractmethod
    def read(self, row: int) -> Conversation:
        """A row as a conversation whose media are tuples of names; or a `BadItem`."""

    def __len__(self) -> int:
        return min(self.rows(), self.source.limit or self.rows())

    def example(self, row: int, *, outputs: bool = True) -> Conversation:
        """A row as a checked conversation that ends with an answer, its media as paths of files that exist.

        Args:
            outputs: whether the answers' media are wanted; otherwise those that have a caption go without their file.

        Raises:
            BadItem: the row or a path in it cannot be used.
        """
        try:
            conversation = self.read(row)
        except BadItem:
            raise
        except (
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            ValueError,
        ) as error:  # a row may be anything
            raise BadItem("malformed row", f"{type(error).__name__}: {error}") from error
        try:
            result = normalise([self._located(message, outputs) for message in conversation])
        except MessageError as error:
            raise BadItem("malformed row", str(error)) from error
        check(result)
        return result

    def _located(self, message: Message, outputs: bool) -> Message:
        return {
            **message,
            "content": [self._locate(part, message["role"], outputs) for part in message["content"]],
        }

    def _locate(self, part: str | Part, role: str, outputs: bool) -> str | Part:
        if isinstance(part, str) or "path" not in part:
            return part
        if role == "assistant" and part.get("caption") and not outputs:
            return {key: value for key, value in part.items() if key != "path"}
        return {**part, "path": self.find(part["path"])}

    def find(self, names: Sequence[str]) -> Path:
        """The first of these files that there is; or a `BadItem`."""
        return find(self.source.folder, names)


class TableReader(Reader):
    """A reader whose rows are those of one `Table`."""

    layout: Layout = "rows"
    inside: str | None = None

    def __init__(self, source: Source, task: str = "describe") -> None:
        super().__init__(source, task)
        self.table = Table(Path(source.path), self.layout, self.inside)

    def rows(self) -> int:
        return len(self.table)

    def read(self, row: int) -> Conversation:
        return self.conversation(self.table[row], row)

    @abstractmethod
    def conversation(self, record: Any, row: int) -> Conversation:
        """What a record of the table becomes; what it lacks may raise as it comes, a KeyError for instance."""


def check(conversation: Conversation) -> None:
    """Make sure that there is something to learn from a conversation, and not too much.

    Raises:
        BadItem: "malformed row" without an answer at the end, "empty", "too long" or "undecodable text".
    """
    if conversation[-1]["role"] != "assistant":
        raise BadItem("malformed row", "does not end with an answer")
    for message in conversation:
        if not any(part["type"] != "text" or part["text"].strip() for part in message["content"]):
            raise BadItem("empty", f"a message of the {message['role']} is empty")
    texts = [
        part["text"] if part["type"] == "text" else part.get("caption", "")
        for message in conversation
        for part in message["content"]
    ]
    if (length := sum(map(len, texts))) > LONGEST:
        raise BadItem("too long", f"has {length} characters of text; {LONGEST} is the most")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise BadItem("undecodable text", "has half a character (a lone surrogate)") from None
    if any("\0" in text or "\ufffd" in text for text in texts):
        raise BadItem("undecodable text", "holds characters that were lost before (U+FFFD or NUL)")


def text(content: Any) -> str:
    """A row's text, which must be there and be text; surrounding white space goes.

    Raises:
        BadItem: it is not.
    """
    if isinstance(content, int | float) and not isinstance(content, bool):
        return str(content)
    if not isinstance(content, str):
        raise BadItem("malformed row", f"has {content!r:.80} where text belongs")
    if not content.strip():
        raise BadItem("empty", "has no text")
    return content.strip()


def names(value: Any) -> list[str]:
    """One file name or a list of them, as a list."""
    values = value if isinstance(value, list) else [value]
    for name in values:
        if not isinstance(name, str) or not name:
            raise BadItem("malformed row", f"{name!r:.80} is not the name of a file")
    return values


def medium(modality: str, *candidates: str, caption: str | None = None) -> Part:
    """A medium in the first of the files that exists; with a caption, one that the assistant makes."""
    part: Part = {"type": modality}
    if candidates:
        part["path"] = candidates
    return part if caption is None else {**part, "caption": caption}


def user(*parts: str | Part) -> Message:
    return {"role": "user", "content": list(parts)}


def assistant(*parts: str | Part) -> Message:
    return {"role": "assistant", "content": list(parts)}


def pair(modality: str, candidates: Sequence[str], caption: Any, task: str, row: int) -> Conversation:
    """A medium with its caption as a question and its answer.

    Args:
        task: `describe`, `make`, or `both`: one of them, rows taking turns.
    """
    words = " ".join(text(caption).split())
    if task == "describe" or (task == "both" and row % 2 == 0):
        ask = DESCRIBE[modality][row // 2 % len(DESCRIBE[modality])]
        return [user(medium(modality, *candidates), ask), assistant(words)]
    ask = MAKE[modality][row // 2 % len(MAKE[modality])].format(words)
    return [user(ask), assistant(MADE[modality], medium(modality, *candidates, caption=words))]


def short_answer(candidates: Sequence[str], question: Any, answer: Any) -> Conversation:
    """A picture, a question, and an answer of a word or a few."""
    ask = f"{text(question)}\nAnswer with a word or a short phrase."
    return [user(medium("image", *candidates), ask), assistant(text(answer))]


def interleave(value: Any, media: dict[str, list[Part]], *, first: bool = False) -> list[str | Part]:
    """Text whose placeholders `<image>`, `<video>`, `<audio>` give way to media, which are taken from the lists.

    Args:
        first: all the media, where no text has a placeholder, stand before this one.

    Raises:
        BadItem: more placeholders than media.
    """
    if not isinstance(value, str):
        raise BadItem("malformed row", f"has {value!r:.80} where text belongs")
    parts: list[str | Part] = []
    if first:
        parts += [part for waiting in media.values() for part in waiting]
        media.clear()
    for index, piece in enumerate(PLACEHOLDER.split(value)):
        if index % 2:
            waiting = media.get(piece.lower(), [])
            if not waiting:
                raise BadItem("malformed row", f"has a placeholder <{piece}> and no {piece} for it")
            parts.append(waiting.pop(0))
        elif piece.strip():
            parts.append(piece.strip())
    return parts


def turns_of(turns: Any, media: dict[str, list[Part]]) -> Iterator[tuple[str, Any]]:
    """The turns of a LLaVA-like dialogue: (role, the user's content with its media, or another's text as it is).

    Raises:
        BadItem: media and placeholders of the user's turns do not fit.
    """
    questions = [turn["value"] for turn in turns if ROLES[turn["from"]] == "user"]
    placed = any(PLACEHOLDER.search(question) for question in questions)
    for turn in turns:
        role = ROLES[turn["from"]]
        if role == "user":
            yield role, interleave(turn["value"], media, first=not placed)
            placed = True
        else:
            yield role, turn["value"]
    if left := [name for name, parts in media.items() if parts]:
        raise BadItem("malformed row", f"has more {left[0]} files than placeholders")
