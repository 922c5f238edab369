"""Media that lie inside larger files, under paths that lead into them:

    shards/00000.tar/@1536+20480/000001.jpg      of an archive, 20,480 bytes from its 1,536th on
    my-data-set/@12/image.0.png                  of a data set of the library `datasets`, the 12th row's column `image`, its first

Such a path is made by a reader and goes wherever other paths go; here it is opened.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from anygpt.data import archive
from anygpt.data.errors import BadItem, DataError

INSIDE = re.compile(r"@(\d+)(?:\+(\d+))?")
# a column, which of its media, and the ending that the file had
CELL = re.compile(r"(.+)\.(\d+)(?:\.[^.]*)?")


def leads_inside(path: Path) -> bool:
    """Whether it is a path into a file, and no file itself."""
    return INSIDE.fullmatch(path.parent.name) is not None and not path.exists()


def container(path: Path) -> Path:
    """What a path leads into."""
    return path.parents[1]


def archive_path(shard: str, member: archive.Member) -> str:
    """The path of a member, relative to the shard's folder."""
    return f"{shard}/@{member.start}+{member.size}/{member.name}"


def data_set_path(row: int, column: str, number: int, ending: str) -> str:
    """The path of a medium in a row, relative to the data set."""
    return f"@{row}/{column}.{number}{ending}"


@contextmanager
def as_file(path: Path) -> Iterator[Path]:
    """A file with what the path leads to; it is gone afterwards. (Decoders of films and sounds want files.)

    Raises:
        BadItem: it leads to nothing, or to something that was cut off.
    """
    data = contents(path)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, path.name)
        file.write_bytes(data)
        yield file


def contents(path: Path) -> bytes:
    """The bytes that the path leads to.

    Raises:
        BadItem: as for `as_file`.
    """
    found = INSIDE.fullmatch(path.parent.name)
    assert found
    if found[2] is not None:
        try:
            return archive.contents(container(path), int(found[1]), int(found[2]))
        except OSError as error:
            raise BadItem("missing", f"{container(path)} cannot be read ({error.strerror})") from error
    column, number = _cell(path)
    try:
        value = data_set_row(str(container(path)), int(found[1]))[column]
        return bytes((value if isinstance(value, list) else [value])[number]["bytes"])
    except (DataError, LookupError, TypeError):
        raise BadItem("missing", f"{path} leads to no medium of a data set") from None


def _cell(path: Path) -> tuple[str, int]:
    """Which column, and which of its media."""
    found = CELL.fullmatch(path.name)
    if found is None:
        raise BadItem("missing", f"{path} names no column and number")
    return found[1], int(found[2])


def data_set_row(name: str, row: int) -> dict[str, Any]:
    """A row of a data set by its columns; media are dictionaries of "bytes" and "path"."""
    return dict(data_set(name)[row].to_pylist()[0])


def identity(path: Path) -> tuple[str, str, str]:
    """What tells it from all others, and from what it was before."""
    within = container(path)
    if within.is_file():
        status = within.stat()
        return str(within.resolve() / path.parent.name), str(status.st_size), str(status.st_mtime_ns)
    return str(within), str(Path(path.parent.name, path.name)), data_set(str(within))._fingerprint


@lru_cache(maxsize=16)
def data_set(name: str) -> Any:
    """A data set of the library `datasets`.

    Args:
        name: the folder of `save_to_disk`, or a name on the hub, with `:SPLIT` behind it unless it is `train`.

    Raises:
        DataError: there is none, or it is several splits.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "the format 'datasets' needs the library of that name: pip install 'anygpt[datasets]'"
        ) from error
    try:
        if Path(name).exists():
            found = datasets.load_from_disk(name)
        else:
            place, _, split = name.partition(":")
            found = datasets.load_dataset(place, split=split or "train")
    except Exception as error:  # the library's and the hub's own, of all kinds
        raise DataError(f"cannot open the data set {name}: {' '.join(str(error).split())[:300]}") from error
    if isinstance(found, datasets.DatasetDict):
        raise DataError(
            f"{name} holds the splits {', '.join(found)}; name one of its folders, such as {Path(name, next(iter(found)))}"
        )
    return found.with_format("arrow")  # as it is stored: media stay files, whatever column they are in
