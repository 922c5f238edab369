"""Shards in the form of WebDataset: tar archives in which the members of a sample stand together and share a name up to the first dot.

    000001.jpg  000001.txt  000001.json  000002.jpg  …

Where samples begin and end is kept in an index beside the shard (see `anygpt.data.index`); a sample's own headers are read when it
is asked for.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from anygpt.data.errors import BadItem, DataError
from anygpt.data.index import indexed, progress
from anygpt.data.scanning import Span

TOLD_EVERY = 1000  # samples, to the progress bar


@dataclass(frozen=True)
class Member:
    """A file in an archive: its name there without folders, and where its bytes are."""

    name: str
    start: int
    size: int

    @property
    def ending(self) -> str:
        """What the sample's members differ in: `jpg`, `txt`, `seg.png`."""
        return self.name.partition(".")[2].lower()


def spans(path: Path) -> np.ndarray:
    """Of each sample of a shard, the bytes from its first header to its end, (n, 2).

    Bytes that are no members where some should be are samples of their own, which cannot be read.

    Raises:
        DataError: a file that is missing or no archive.
    """
    try:
        return indexed(path, "samples", lambda: _scan(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def members(path: Path, span: Span) -> list[Member]:
    """The members of a sample.

    Raises:
        BadItem: "damaged" or "truncated": there are none.
    """
    start, end = (int(place) for place in span)
    found = []
    try:
        with path.open("rb") as file:
            file.seek(start)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                while (member := archive.next()) is not None and member.offset < end:
                    found.append(Member(Path(member.name).name, member.offset_data, member.size))
    except tarfile.TarError:
        pass  # after the last member of a shard that was cut off, or where there is none
    except OSError as error:
        raise BadItem("damaged", f"{path.name} cannot be read ({error.strerror})") from error
    if not found:
        reason = "truncated" if end == path.stat().st_size else "damaged"
        raise BadItem(reason, f"bytes {start} to {end} of {path.name} are no members of an archive")
    return found


def contents(path: Path, start: int, size: int) -> bytes:
    """A member's bytes.

    Raises:
        BadItem: "truncated": the archive ends before the member does.
    """
    with path.open("rb") as file:
        if (end := os.fstat(file.fileno()).st_size) < start + size:
            raise BadItem("truncated", f"{path.name} ends at {end}, and a member of it at {start + size}")
        file.seek(start)
        return file.read(size)


def _scan(path: Path) -> np.ndarray:
    found: list[Span] = []
    size = path.stat().st_size
    with path.open("rb") as file, progress(path, size, "B") as bar:
        for span in _samples(file, size):
            found.append(span)
            if len(found) % TOLD_EVERY == 0:
                bar.update(span[1] - bar.n)
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _samples(file: BinaryIO, size: int) -> Iterator[Span]:
    begun, end, key = None, 0, ""
    for member in _files(file):
        if damaged := _written(file, end, member.offset):
            if begun is not None:
                yield begun, end
            yield damaged
            begun = None
        if begun is None or _key(member.name) != key:
            if begun is not None:
                yield begun, end
            begun, key = member.offset, _key(member.name)
        end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    if begun is not None:
        yield begun, min(end, size)
    if end and (damaged := _written(file, end, size)):
        yield damaged


def _files(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The archive's files in order; what is no member is passed over."""
    try:
        with tarfile.open(fileobj=file, mode="r:", ignore_zeros=True) as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # a list of all that it has seen
                yield member
    except tarfile.TarError:  # it was cut off, or is no archive
        return


def _written(file: BinaryIO, start: int, end: int) -> Span | None:
    """The bytes from `start` to `end`, if there is anything but zeros among them."""
    place = file.tell()
    file.seek(start)
    left = max(end - start, 0)
    while left and (data := file.read(min(left, 2**20))):
        if data.strip(b"\0"):
            file.seek(place)
            return start, end
        left -= len(data)
    file.seek(place)
    return None


def _key(name: str) -> str:
    folder, base = os.path.split(name)
    return f"{folder}/{base.partition('.')[0]}"
