"""GQA: {"02930152": {"imageId": "2354786", "question": "Is the sky dark?", "answer": "yes", …}, …}."""

from __future__ import annotations

from typing import Any

from anygpt.data.reader import TableReader, short_answer, text
from anygpt.messages import Conversation


class GQA(TableReader):
    """A row a question."""

    layout = "members"

    def conversation(self, record: Any, row: int) -> Conversation:
        _, entry = record
        return short_answer([f"{text(entry['imageId'])}.jpg"], entry["question"], entry["answer"])
