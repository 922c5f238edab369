"""WebVid's CSV: videoid, contentUrl, duration, page_dir, name; the name is the caption.

A film is `PAGE_DIR/VIDEOID.mp4`, as the authors' script lays them out, or `VIDEOID.mp4`.
"""

from __future__ import annotations

from typing import Any

from anygpt.data.reader import TableReader, pair, text
from anygpt.messages import Conversation


class WebVid(TableReader):
    """A caption for each film."""

    layout = "csv"

    def conversation(self, record: Any, row: int) -> Conversation:
        number, folder = text(record["videoid"]), (record.get("page_dir") or "").strip()
        candidates = [f"{folder}/{number}.mp4"] if folder else []
        return pair("video", [*candidates, f"{number}.mp4"], record["name"], self.task, row)
