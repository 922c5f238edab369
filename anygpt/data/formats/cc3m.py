"""Conceptual Captions (CC3M): the published TSV, "caption⇥url", or a folder of pictures with a text beside each.

The TSV names no files. img2dataset numbers them: row 1,312,382 is `00131/001312382.jpg`, whatever else failed. A third
column, if there is one, is the file's name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from anygpt.data.errors import BadItem, DataError
from anygpt.data.reader import Reader, pair
from anygpt.data.source import Source
from anygpt.data.table import Table
from anygpt.messages import Conversation

SHARD = 10_000  # pictures of one of img2dataset's folders
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


class CC3M(Reader):
    """A caption for each picture."""

    def __init__(self, source: Source, task: str = "describe") -> None:
        super().__init__(source, task)
        self.table: Table | None = None
        self.pictures: list[str] = []
        if (path := Path(source.path)).is_dir():
            self.pictures = sorted(tqdm(_pictures(path), desc=f"listing {path}", delay=2, disable=None))
            if not self.pictures:
                raise DataError(f"{path} holds no pictures ({', '.join(ENDINGS)})")
        else:
            self.table = Table(path, "tsv")
            self.header = False
            with suppress(
                BadItem, IndexError
            ):  # img2dataset wants a first line with names; Google's file has none
                self.header = self.table[0][:2] == ["caption", "url"]

    def rows(self) -> int:
        return len(self.pictures) if self.table is None else len(self.table) - self.header

    def read(self, row: int) -> Conversation:
        if self.table is None:
            picture = Path(self.source.path, self.pictures[row])
            try:
                caption = picture.with_suffix(".txt").read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise BadItem(
                    "undecodable text", f"{picture.stem}.txt is not UTF-8 ({error.reason})"
                ) from None
            except OSError as error:
                raise BadItem("missing", f"{picture.stem}.txt: {error.strerror}") from None
            return pair("image", [self.pictures[row]], caption, self.task, row)
        cells = self.table[row + self.header]
        if len(cells) not in (2, 3):
            raise BadItem("malformed row", f"has {len(cells)} cells, not 2 or 3")
        name = f"{row // SHARD:05d}{row % SHARD:04d}"
        numbered = [f"{folder}{name}{end}" for folder in (f"{row // SHARD:05d}/", "") for end in ENDINGS]
        return pair("image", cells[2:] or numbered, cells[0], self.task, row)


def _pictures(folder: Path) -> Iterator[str]:
    for place, _, files in os.walk(folder):
        for name in files:
            if name.lower().endswith(ENDINGS) and not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder)
