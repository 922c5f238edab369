"""Marks: how an instruct LLM says *make a picture here* while no signal tokens have been trained.

    Here you are: <image>a red bicycle leaning on a white wall</image>

The LLM writes what to make between two tags, and the decoder's own text encoder reads it. A person sees neither
tags nor caption, but the medium.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

# what each modality is called in the instruction, and a caption to learn from
EXAMPLES = {
    "image": ("a picture", "a red bicycle leaning on a white wall, soft morning light"),
    "audio": ("a sound", "rain falling on a tin roof, distant thunder"),
    "video": ("a film", "a small boat drifts across a calm lake at sunset"),
}
EMPTY_LINE = re.compile(r"(?<=\S)[^\S\n]*\n[^\S\n]*\n")


@dataclass(frozen=True)
class Caption:
    """What the LLM wants made where this stands in its answer; one line of text."""

    modality: str
    text: str


def mark(modality: str, caption: str) -> str:
    """A medium of an answer as the LLM writes it, and reads it in the turns after."""
    return f"<{modality}>{caption}</{modality}>"


def instruction(modalities: Collection[str]) -> str:
    """What an instruct LLM is told, so that it marks media of these modalities."""
    examples = "\n".join(f"{mark(m, EXAMPLES[m][1])} becomes {EXAMPLES[m][0]}" for m in modalities)
    return (
        "Your answers can contain more than text. Where the person asks for one of these, write a description "
        "of it between tags, and it is made and shown in that place:\n"
        f"{examples}\n"
        "A description is one full English sentence or phrase that says all there is to see or hear: nothing else "
        "of the conversation is known to what makes it. Close every tag. The person does not see the description, so do "
        "not talk about it or about tags. Where text is enough, answer in text alone."
    )


class Marks:
    """Finds the marks in an answer as it grows; how the text is cut into pieces makes no difference.

    A caption ends at its closing tag. LLMs forget that one, so it also ends at any other tag, at an empty line and at
    the answer's end. A closing tag by itself, and a caption without words, are left out.

    Args:
        modalities: those that are marked; the tags of others are text.
    """

    def __init__(self, modalities: Collection[str]) -> None:
        self.tags = [
            form.format(name) for name in modalities for form in ("<{}>", "</{}>", "<{}/>")
        ]  # lower case, no spaces
        names = "|".join(modalities) or "(?!)"
        self.pattern = re.compile(rf"<\s*(/?)\s*({names})\s*(/?)\s*>", re.IGNORECASE)
        self.held = ""  # what may yet become a tag
        self.open: str | None = None  # the modality of the caption under way
        self.caption = ""

    def push(self, text: str) -> Iterator[str | Caption]:
        """More of the answer → text to be shown and captions, in order."""
        text = self.held + text
        place = 0
        for tag in self.pattern.finditer(text):
            yield from self._take(text[place : tag.start()])
            yield from self._close()
            if not (tag[1] or tag[3]):
                self.open = tag[2].lower()
            place = tag.end()
        rest = text[place:]
        end = rest.rfind("<")
        if end < 0 or not self._begins_tag(rest[end:]):
            end = len(rest)
        self.held = rest[end:]
        yield from self._take(rest[:end])

    def end(self) -> Iterator[str | Caption]:
        """The answer ends here, or something else than text comes; what is half a tag is left out."""
        held, self.held = self.held, ""
        if not any(letter.isalpha() for letter in held):  # less-than signs are text
            yield from self._take(held)
        yield from self._close()

    def _begins_tag(self, text: str) -> bool:
        bare = "".join(text.split()).lower()
        return any(tag.startswith(bare) for tag in self.tags)

    def _take(self, text: str) -> Iterator[str | Caption]:
        if self.open is not None:
            self.caption += text
            line = EMPTY_LINE.search(self.caption)
            if line is None:
                return
            text, self.caption = self.caption[line.start() :], self.caption[: line.start()]
            yield from self._close()
        if text:
            yield text

    def _close(self) -> Iterator[Caption]:
        words = " ".join(self.caption.split())
        if self.open is not None and words:
            yield Caption(self.open, words)
        self.open, self.caption = None, ""
