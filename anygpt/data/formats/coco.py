"""COCO captions: {"images": [{"id", "file_name", …}], "annotations": [{"image_id", "id", "caption"}]}; five to a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anygpt.data.errors import BadItem
from anygpt.data.reader import TableReader, pair
from anygpt.data.source import Source
from anygpt.data.table import Table
from anygpt.messages import Conversation

SPLITS = ("train2014", "val2014", "train2017", "val2017", "test2015")


class CocoCaptions(TableReader):
    """A row a caption."""

    inside = "annotations"

    def __init__(self, source: Source, task: str = "describe") -> None:
        super().__init__(source, task)
        self.images = Table(Path(source.path), "rows", "images")

    def conversation(self, record: Any, row: int) -> Conversation:
        image = self.images.find("id", record["image_id"])
        if image is None:
            raise BadItem("malformed row", f"the file lists no picture {record['image_id']}")
        name = image["file_name"]
        return pair(
            "image", [name, *(f"{split}/{name}" for split in SPLITS)], record["caption"], self.task, row
        )


def picture_names(number: int) -> list[str]:
    """The names that COCO's picture of a number may have: those of 2014 say their split, those of 2017 do not."""
    old = [f"COCO_{split}_{number:012d}.jpg" for split in SPLITS if not split.endswith("2017")]
    flat = [*old, f"{number:012d}.jpg"]
    return [
        *flat,
        *(f"{split}/{name}" for name in flat for split in SPLITS if split in name or name == flat[-1]),
    ]
