"""What large data sets call a sample: some media, and texts or JSON under names, which here become a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anygpt.data.errors import BadItem
from anygpt.data.reader import assistant, medium, pair, turns_of, user
from anygpt.messages import Conversation, Message, Part

CAPTIONS = ("caption", "txt", "text", "sentence")
QUESTION, ANSWER = "question", "answer"


def conversation(
    values: Mapping[str, Any], media: Mapping[str, list[str]], task: str, row: int
) -> Conversation:
    """A sample's conversation: its `messages` or `conversations`, its `question` and `answer`, or its caption.

    Args:
        values: by name.
        media: file names by modality, in order. They go where messages have a medium, or conversations a placeholder; where they
            have none, before the first question.
    """
    waiting = {modality: [medium(modality, name) for name in names] for modality, names in media.items()}
    if values.get("messages") is not None:
        messages = [_filled(message, waiting) for message in values["messages"]]
        if left := [modality for modality, parts in waiting.items() if parts]:
            raise BadItem("malformed row", f"has more {left[0]} files than its messages have places")
        return messages
    if values.get("conversations") is not None:
        return [
            {"role": role, "content": content if role == "user" else [content.strip()]}
            for role, content in turns_of(values["conversations"], waiting)
        ]
    parts = [part for waiting_parts in waiting.values() for part in waiting_parts]
    if values.get(QUESTION) is not None:
        return [user(*parts, values[QUESTION]), assistant(values[ANSWER])]
    for name in CAPTIONS:
        if values.get(name) is not None:
            if len(parts) != 1:
                raise BadItem("malformed row", f"has a caption and {len(parts)} media, not one")
            return pair(parts[0]["type"], parts[0]["path"], values[name], task, row)
    raise BadItem(
        "malformed row", f"has neither a caption nor turns, but {', '.join(values)[:80] or 'nothing'}"
    )


def _filled(message: dict[str, Any], waiting: Mapping[str, list[Part]]) -> Message:
    """A message whose media without a caption of their own are the next that wait."""
    content = message["content"]
    parts: list[str | Part] = []
    for given in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        # tables have all keys in all rows
        part = {key: value for key, value in given.items() if value is not None}
        modality = part["type"]
        if waiting.get(modality):
            part["path"] = waiting[modality].pop(0)["path"]
        parts.append(part)
    known = {key: message[key] for key in ("role", "weight") if message.get(key) is not None}
    return {**known, "content": parts}
