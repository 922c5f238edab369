"""MIMIC-IT's instructions, with others like them as examples in the context.

    {"meta": {…}, "data": {"LACR_INS_1": {"instruction": …, "answer": …, "image_ids": ["LA_IMG_1"], "rel_ins_ids": ["LACR_INS_2"]}}}

Pictures are files named by their ids, in any of the usual formats. The published pictures are base64 in a JSON or Parquet
file and must be written to such files once. A film is a list of frames; of a long one, `FRAMES` evenly chosen stay.
"""

from __future__ import annotations

from typing import Any

from anygpt.data.reader import TableReader, assistant, medium, text, user
from anygpt.messages import Conversation, Message

IN_CONTEXT = 3  # examples before the question
FRAMES = 8
ENDINGS = (".jpg", ".png", ".jpeg", ".webp")


class MimicIT(TableReader):
    """A row an instruction; those it names as related come before it, as earlier turns."""

    layout = "members"
    inside = "data"

    def conversation(self, record: Any, row: int) -> Conversation:
        _, entry = record
        related = [self.table.find(None, name) for name in (entry.get("rel_ins_ids") or [])[:IN_CONTEXT]]
        entries = [*(found[1] for found in related if found is not None), entry]
        return [message for turn in entries for message in _exchange(turn)]


def _exchange(entry: dict[str, Any]) -> list[Message]:
    ids = entry.get("image_ids") or []
    if len(ids) > FRAMES:
        ids = [ids[round(i * (len(ids) - 1) / (FRAMES - 1))] for i in range(FRAMES)]
    pictures = [medium("image", *(f"{text(name)}{end}" for end in ENDINGS)) for name in ids]
    return [user(*pictures, text(entry["instruction"])), assistant(text(entry["answer"]))]
