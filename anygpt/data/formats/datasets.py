"""The library `datasets`: a folder of `save_to_disk`, or a name on the hub (`owner/name`, `owner/name:validation`).

Columns of pictures, sounds and films are the media, in their order; texts are `messages`, `conversations`, `question` and `answer`, or
`caption` (`text`, `sentence`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from anygpt.data.containers import data_set, data_set_path, data_set_row, leads_inside
from anygpt.data.errors import BadItem
from anygpt.data.formats.samples import conversation
from anygpt.data.reader import Reader
from anygpt.data.source import Source
from anygpt.messages import Conversation

KINDS = {"Image": "image", "Audio": "audio", "Video": "video"}


class DataSet(Reader):
    """One split. Media lie in it; those that are only named are looked for in the source's folder."""

    def __init__(self, source: Source, task: str = "describe") -> None:
        # a name on the hub is no file, as a reader's path is otherwise
        self.source, self.task = source, source.task or task
        features = data_set(source.path).features
        kinds = {column: type(getattr(kind, "feature", kind)).__name__ for column, kind in features.items()}
        self.media = {column: KINDS[kind] for column, kind in kinds.items() if kind in KINDS}

    def rows(self) -> int:
        return len(data_set(self.source.path))

    def read(self, row: int) -> Conversation:
        values = data_set_row(self.source.path, row)
        media: dict[str, list[str]] = {}
        for column, modality in self.media.items():
            media.setdefault(modality, []).extend(_names(values.pop(column), row, column))
        return conversation(values, media, self.task, row)

    def find(self, names: Sequence[str]) -> Path:
        inside = Path(self.source.path, names[0])
        return inside if leads_inside(inside) else super().find(names)


def _names(value: Any, row: int, column: str) -> Iterator[str]:
    """Of each medium in a cell, the path into the data set, or of a file beside it."""
    for number, medium in enumerate(value if isinstance(value, list) else [value]):
        if medium is None:
            raise BadItem("missing", f"has no {column}")
        name = medium.get("path") or ""
        yield name if medium.get("bytes") is None else data_set_path(row, column, number, Path(name).suffix)
