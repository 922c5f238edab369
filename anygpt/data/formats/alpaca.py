"""Alpaca's JSON: {"instruction": …, "input": …, "output": …}; the input may be empty."""

from __future__ import annotations

from typing import Any

from anygpt.data.reader import TableReader, assistant, text, user
from anygpt.messages import Conversation


class Alpaca(TableReader):
    """An instruction and its answer, in text alone."""

    def conversation(self, record: Any, row: int) -> Conversation:
        given = (record.get("input") or "").strip()
        ask = text(record["instruction"])
        return [user(f"{ask}\n\n{given}" if given else ask), assistant(text(record["output"]))]
