"""WebDataset: tar shards whose samples are members with a name in common, as img2dataset and video2dataset write them.

000001.jpg  000001.txt  000001.json          a medium and its caption, which may also be in the JSON
000002.wav  000002.json                      {"messages": […]} or {"conversations": […]}; media in the order of their endings
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from anygpt.data import archive
from anygpt.data.containers import archive_path
from anygpt.data.errors import BadItem, DataError
from anygpt.data.formats.samples import conversation
from anygpt.data.reader import Reader
from anygpt.data.source import Source
from anygpt.messages import Conversation

ENDINGS = {
    "image": ("jpg", "jpeg", "png", "webp"),
    "audio": ("wav", "flac", "mp3", "ogg"),
    "video": ("mp4", "mov", "avi", "mkv", "webm"),
}
OPEN = 64  # shards whose indexes are kept at hand


class WebDataset(Reader):
    """A shard, or a folder of them in the order of their names."""

    def __init__(self, source: Source, task: str = "describe") -> None:
        super().__init__(source, task)
        path = Path(source.path)
        self.shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
        if source.folder.resolve() != (path if path.is_dir() else path.parent).resolve():
            raise DataError(f"{path}: shards hold their media; leave 'media' out")
        if not self.shards:
            raise DataError(f"{path} holds no shards (.tar)")
        shards = tqdm(self.shards, desc=f"opening {path.name}", unit=" shards", delay=2, disable=None)
        self.ends = np.cumsum([len(archive.spans(shard)) for shard in shards])
        if not self.ends[-1]:
            raise DataError(f"{path} holds no samples: it is no tar archive, or an empty one")

    def rows(self) -> int:
        return int(self.ends[-1])

    def read(self, row: int) -> Conversation:
        number = int(np.searchsorted(self.ends, row, "right"))
        shard = self.shards[number]
        try:
            spans = _spans(shard, shard.stat().st_mtime_ns)
        except OSError as error:
            raise BadItem("missing", f"{shard} cannot be read ({error.strerror})") from error
        span = spans[row - (int(self.ends[number - 1]) if number else 0)]
        values: dict[str, Any] = {}
        media: dict[str, list[str]] = {}
        for member in sorted(archive.members(shard, span), key=lambda member: member.ending):
            modality = next(
                (m for m, endings in ENDINGS.items() if member.ending.split(".")[-1] in endings), None
            )
            if modality is not None:
                media.setdefault(modality, []).append(archive_path(shard.name, member))
            elif member.ending in ("txt", "json", "caption"):
                text = _text(shard, member)
                # the text beside it is the caption, whatever else the JSON tells
                values = (
                    {**_values(text), **values} if member.ending == "json" else {**values, "caption": text}
                )
        return conversation(values, media, self.task, row)


@lru_cache(maxsize=OPEN)
def _spans(shard: Path, changed: int) -> np.ndarray:
    return archive.spans(shard)


def _text(shard: Path, member: archive.Member) -> str:
    try:
        return archive.contents(shard, member.start, member.size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadItem("undecodable text", f"{member.name} is not UTF-8 ({error.reason})") from None


def _values(text: str) -> dict[str, Any]:
    values = json.loads(text, strict=False)
    if not isinstance(values, dict):
        raise BadItem("malformed row", f"its JSON is no object but {values!r:.40}")
    return values
