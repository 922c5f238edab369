"""The rows of a large file by number. Where they begin is kept in an index beside the file (see `anygpt.data.index`).

Files are read with `os.pread`, so that worker processes may share one.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anygpt.data import scanning
from anygpt.data.errors import BadItem, DataError
from anygpt.data.index import indexed, progress

Layout = Literal["rows", "members", "csv", "tsv"]
TOLD_EVERY = 10_000  # rows, to the progress bar
SHOWN = 80  # characters of a row that cannot be read


class Table:
    """A file of rows.

    Args:
        layout: `rows`: a JSON array, or an object a line (JSON Lines); `members`: a JSON object, whose rows are
            (key, value); `csv`: with names in the first line, rows are dictionaries; `tsv`: lines cut at tabs, rows are lists.
        inside: of `rows` and `members`, the key of the root object that holds them.

    Raises:
        DataError: a file that is missing, empty, or not of the layout.
    """

    def __init__(self, path: Path, layout: Layout = "rows", inside: str | None = None) -> None:
        self.path, self.layout, self.inside = path, layout, inside
        try:
            self._file = os.open(path, os.O_RDONLY)
            self._size = os.fstat(self._file).st_size
            if path.is_dir():
                raise DataError(f"{path} is a folder, not a file of rows")
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
        if not self._size:
            raise DataError(f"{path} is empty")
        self._keyed: dict[str | None, np.ndarray] = {}
        self._spans = indexed(path, self._index("rows"), self._scan)
        self._header: list[str] = []
        if layout == "csv":
            if not len(self._spans):
                raise DataError(f"{path} has no line with the names of its columns")
            try:
                self._header = self._cells(self._bytes(0).decode("utf-8", "replace"))
            except BadItem as error:
                raise DataError(f"{path}: the line with the names of its columns {error}") from error

    def __reduce__(self) -> Any:
        return Table, (self.path, self.layout, self.inside)

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self._file)

    def __len__(self) -> int:
        return len(self._spans) - bool(self._header)

    def __getitem__(self, row: int) -> Any:
        """The row as the layout says.

        Raises:
            BadItem: it cannot be read.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        raw = self._bytes(row + bool(self._header))
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadItem("undecodable text", f"is not UTF-8 ({error.reason})") from None
        if self.layout == "tsv":
            return text.rstrip("\r").split("\t")
        if self.layout == "csv":
            cells = self._cells(text)
            if len(cells) != len(self._header):
                raise BadItem("malformed row", f"has {len(cells)} cells, not {len(self._header)}")
            return dict(zip(self._header, cells, strict=True))
        try:
            if self.layout == "members":
                [member] = json.loads("{" + text + "}", strict=False).items()
                return member
            return json.loads(text, strict=False)
        except (ValueError, RecursionError) as error:
            last = self._spans[row][1] == self._size  # where the array or line should end, the file does
            shown = text.strip()[:SHOWN]
            raise BadItem(
                "truncated" if last else "malformed row", f"is not JSON ({error}): {shown}"
            ) from None

    def find(self, field: str | None, value: Any) -> Any:
        """The first row whose `field` (of `members`: None, the key) is `value`, or None. Values compare as text."""
        if field not in self._keyed:
            self._keyed[field] = indexed(self.path, self._index(f"keys-{field}"), lambda: self._keys(field))
        keys = self._keyed[field]
        wanted = _digest(value)
        place = int(np.searchsorted(keys[:, 0], wanted))
        while place < len(keys) and keys[place, 0] == wanted:
            row = self[int(keys[place, 1])]
            if str(row[0] if field is None else row[field]) == str(value):
                return row
            place += 1
        return None

    def _bytes(self, place: int) -> bytes:
        start, end = (int(value) for value in self._spans[place])
        return os.pread(self._file, end - start, start)

    @staticmethod
    def _cells(text: str) -> list[str]:
        try:
            return next(csv.reader([text.rstrip("\r")], strict=True))
        except (csv.Error, StopIteration) as error:
            raise BadItem("malformed row", f"is not CSV ({error}): {text[:SHOWN]}") from None

    def _scan(self) -> np.ndarray:
        parts: list[np.ndarray] = []
        spans: list[scanning.Span] = []
        with mmap(self._file, 0, access=ACCESS_READ) as buffer, progress(self.path, self._size, "B") as bar:
            try:
                for span in self._scanned(buffer):
                    spans.append(span)
                    if len(spans) == TOLD_EVERY:
                        parts.append(np.array(spans, dtype=np.int64))
                        spans.clear()
                        bar.update(span[1] - bar.n)
            except DataError as error:
                raise DataError(f"{self.path} {error}") from error
        return np.concatenate([*parts, np.array(spans, dtype=np.int64).reshape(-1, 2)])

    def _scanned(self, buffer: mmap) -> Iterator[scanning.Span]:
        if self.layout == "csv":
            return scanning.csv_rows(buffer)
        if self.layout == "tsv" or (self.layout == "rows" and self._is_json_lines(buffer)):
            return scanning.lines(buffer)
        return scanning.json_elements(buffer, self.inside)

    def _is_json_lines(self, buffer: mmap) -> bool:
        start = scanning.first_mark(buffer)
        if self.inside is not None:
            return False
        return buffer[start : start + 1] == b"{" or self.path.suffix == ".jsonl"

    def _keys(self, field: str | None) -> np.ndarray:
        """(digest, row), sorted; rows that cannot be read or lack the field are left out."""
        pairs = np.empty((len(self), 2), dtype=np.int64)
        count = 0
        with progress(self.path, len(self), " rows") as bar:
            for row in range(len(self)):
                with suppress(BadItem, KeyError, TypeError):
                    record = self[row]
                    pairs[count] = _digest(record[0] if field is None else record[field]), row
                    count += 1
                if row % TOLD_EVERY == 0:
                    bar.update(row - bar.n)
        pairs = pairs[:count]
        return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]

    def _index(self, name: str) -> str:
        return ".".join([self.layout, *([self.inside] if self.inside else []), name])


def _digest(value: Any) -> int:
    return int.from_bytes(hashlib.blake2b(str(value).encode(), digest_size=8).digest(), "big", signed=True)
