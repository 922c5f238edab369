"""The one place where data's media are found and opened; whatever goes wrong there is a `BadItem` with a named reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from anygpt.data import containers
from anygpt.data.errors import BadItem
from anygpt.messages import Conversation, Part
from encoders import media
from encoders.media import MediaError

TAIL = 2**16  # bytes in which a picture's end mark must be


def find(folder: Path, names: Sequence[str]) -> Path:
    """The first of `names` that is a file in `folder`.

    Raises:
        BadItem: "missing"; "outside the folder" for a name that leads out of it, by `..` or by a link; "malformed row"
            for one that no file can have.
    """
    root = _resolved(folder)
    for name in names:
        if not isinstance(name, str) or not name or "\0" in name:
            raise BadItem("malformed row", f"{name!r} is not the name of a file")
        path = folder / name
        try:
            # by its name alone first: what lies outside is not even looked at
            if Path(os.path.normpath(path.absolute())).is_relative_to(folder.absolute()):
                inside = real_path(path).is_relative_to(root)
            else:
                inside = False
            if not inside:
                raise BadItem("outside the folder", f"{name} leads out of {folder}")
            if path.exists() or (containers.leads_inside(path) and containers.container(path).exists()):
                return path
        except OSError as error:
            raise BadItem(
                "malformed row", f"{name[:80]!r} cannot be a file's name ({error.strerror})"
            ) from None
    raise BadItem("missing", f"{names[0]} does not exist in {folder}")


def real_path(path: Path) -> Path:
    """`path.resolve()`, which asks about each folder of the way, for many files of a few folders."""
    real = _resolved(path.parent) / path.name
    return path.resolve() if path.name == ".." or real.is_symlink() else real


@lru_cache(maxsize=4096)
def _resolved(folder: Path) -> Path:
    return folder.resolve()


def open_medium(modality: str, path: Path) -> Any:
    """The medium in a file, as `encoders.media.read` returns it, if it is all there.

    Raises:
        BadItem: "missing", "empty", "truncated", "wrong type", "wrong size" or "damaged".
    """
    if containers.leads_inside(path):
        with containers.as_file(path) as file:
            try:
                return open_medium(modality, file)
            except BadItem as error:
                raise BadItem(error.reason, str(error).replace(str(file), str(path))) from error
    try:
        if path.is_file() and (problem := _cut_short(path)):
            raise BadItem("truncated", f"{path.name} {problem}")
        return media.read(modality, path)
    except MediaError as error:
        raise BadItem(error.reason, " ".join(str(error).split())) from error
    except OSError as error:
        raise BadItem("damaged", f"{path.name} cannot be read ({error.strerror})") from error


def open_all(
    conversation: Conversation, known: Callable[[str, Path, bool], Any | None] | None = None
) -> Conversation:
    """The conversation with every file opened, an object in place of each path.

    Args:
        known: what was computed before of a modality's file, or None: the features of one that is given by the user (True), the
            latents of one that the assistant makes (False). Such a file is not opened; they stand as "features" or "latents".
    """

    def opened(part: Part, given: bool) -> Part:
        if "path" not in part:
            return part
        kept = {key: value for key, value in part.items() if key != "path"}
        computed = known(part["type"], part["path"], given) if known is not None else None
        if computed is not None:
            return {**kept, "features" if given else "latents": computed}
        return {**kept, part["type"]: open_medium(part["type"], part["path"])}

    return [
        {**message, "content": [opened(part, message["role"] == "user") for part in message["content"]]}
        for message in conversation
    ]


def _cut_short(path: Path) -> str | None:
    """What a file lacks that was not written or copied to its end, as far as its container tells; or None.

    Decoders take such files and give what is there: half a sound does not match its caption.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        if head[:4] == b"RIFF" and len(head) >= 8:  # WAV, AVI, WebP
            told = int.from_bytes(head[4:8], "little") + 8
            if told not in (8, 2**32 + 7) and size < told - 1:  # streams do not know their size
                return f"has {size} of {told} bytes"
        elif head[:8] == b"\x89PNG\r\n\x1a\n":
            return None if b"IEND" in _tail(file, size) else "has no end mark"
        elif head[:3] == b"\xff\xd8\xff":
            return None if b"\xff\xd9" in _tail(file, size) else "has no end mark"
        elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _cut_film(file, size)
    return None


def _tail(file: BinaryIO, size: int) -> bytes:
    file.seek(max(size - TAIL, 0))
    return file.read()


def _cut_film(file: BinaryIO, size: int) -> str | None:
    """An MP4 or MOV file is boxes, each with its length (ISO/IEC 14496-12, section 4.2)."""
    place, index = 0, False
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:
            length = size - place  # to the end
        index |= kind == b"moov"
        if length < 8:
            return None  # not boxes after all: the decoder will tell
        place += length
    if place > size:
        return f"has {size} of {place} bytes"
    return None if index else "has no index of its frames"
