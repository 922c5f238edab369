"""Where the rows of a large file begin and end, found in one pass over its bytes without reading them as values.

All take the whole file as a buffer (a memory map does) and yield (start, end) in bytes. A file that ends in the middle of
a row yields what there is of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from mmap import mmap

from anygpt.data.errors import DataError

Span = tuple[int, int]
BOM = b"\xef\xbb\xbf"
QUOTED_LINES = 20  # lines of one CSV row, at most
# An object without others inside, a string, or a mark. Possessive (++): a broken file is not searched twice.
TOKEN = re.compile(
    rb'\{(?:[^{}\[\]"]++|"(?:[^"\\]++|\\.)*+")*+\}|"(?:[^"\\]++|\\.)*+"|[{}\[\],]',
    re.DOTALL,
)
SPACE = b" \t\r\n"
OPEN, CLOSE, COMMA, QUOTE, OBJECT = b"[{", b"]}", ord(","), ord('"'), ord("{")


def first_mark(buffer: mmap) -> int:
    """The place of the first byte that is no white space, after a byte order mark."""
    place = len(BOM) if buffer[: len(BOM)] == BOM else 0
    while place < len(buffer) and buffer[place] in SPACE:
        place += 1
    return place


def lines(buffer: mmap) -> Iterator[Span]:
    """Lines that are not blank, without their line breaks."""
    start = len(BOM) if buffer[: len(BOM)] == BOM else 0
    while start < len(buffer):
        end = buffer.find(b"\n", start)
        end = len(buffer) if end < 0 else end
        if buffer[start:end].strip():
            yield start, end
        start = end + 1


def csv_rows(buffer: mmap) -> Iterator[Span]:
    """Rows of a CSV file, whose quoted fields may hold line breaks; a quote that nobody closes spoils its own line alone."""
    place = len(BOM) if buffer[: len(BOM)] == BOM else 0
    while place < len(buffer):
        end = _line_end(buffer, place)
        if _opens_quote(buffer[place:end]):
            far = end
            for _ in range(QUOTED_LINES):
                if far >= len(buffer):
                    break
                begin, far = far + 1, _line_end(buffer, far + 1)
                if _opens_quote(buffer[begin:far]):  # and here the quote is closed
                    end = far
                    break
        if buffer[place:end].strip():
            yield place, end
        place = end + 1


def _line_end(buffer: mmap, place: int) -> int:
    end = buffer.find(b"\n", place)
    return len(buffer) if end < 0 else end


def _opens_quote(line: bytes) -> bool:
    return line.count(b'"') % 2 == 1


def json_elements(buffer: mmap, inside: str | None = None) -> Iterator[Span]:
    """Elements of a JSON array, or `"key": value` members of an object, at the root or under the root's key `inside`.

    Raises:
        DataError: there is no such array or object.
    """
    start = _container(buffer, inside)
    depth = 0
    for match in TOKEN.finditer(buffer, start):
        mark, place = buffer[match.start()], match.start()
        if mark == QUOTE or (mark == OBJECT and match.end() > place + 1):
            continue
        if mark == COMMA:
            if depth == 0:
                yield start, place
                start = place + 1
        elif mark in OPEN:
            depth += 1
        elif depth:
            depth -= 1
        else:
            if buffer[start:place].strip():
                yield start, place
            return
    if buffer[start : len(buffer)].strip():
        yield start, len(buffer)  # the file was cut off


def _container(buffer: mmap, inside: str | None) -> int:
    """Where the elements begin."""
    root = first_mark(buffer)
    if root == len(buffer) or buffer[root] not in OPEN:
        raise DataError("is not JSON: it begins with neither [ nor {")
    if inside is None:
        return root + 1
    depth, last = 1, b""
    for match in TOKEN.finditer(buffer, root + 1):
        mark = buffer[match.start()]
        if mark == QUOTE:
            last = match[0]
        elif mark in OPEN:
            if depth == 1 and last == b'"%s"' % inside.encode():
                return match.start() + 1
            depth += match.end() == match.start() + 1  # an object that is whole ends where it begins
        elif mark in CLOSE:
            depth -= 1
    raise DataError(f"has no list under {inside!r}")
