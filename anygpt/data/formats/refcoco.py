"""RefCOCO, RefCOCO+, RefCOCOg: what is meant by a phrase, as a box in one of COCO's pictures.

The references are `refs(unc).p`, or the same rows as JSON:

    {"ref_id": 1, "ann_id": 7, "image_id": 42, "split": "train", "sentences": [{"sent": "the left boat", …}]}

and boxes and sizes are in `instances.json` beside it (or `annotations`): [x, y, width, height] in pixels. A box is
written as `anygpt.grounding` does, in fractions. The published file is a pickle; only plain values are read from it.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from anygpt.data.errors import BadItem, DataError
from anygpt.data.formats.coco import picture_names
from anygpt.data.reader import Reader, assistant, medium, text, user
from anygpt.data.source import Source
from anygpt.data.table import Table
from anygpt.grounding import Box, GroundingError, render
from anygpt.messages import Conversation


class RefCoco(Reader):
    """A row a thing; each phrase for it is a question of the dialogue."""

    def __init__(self, source: Source, task: str = "describe") -> None:
        super().__init__(source, task)
        path = Path(source.path)
        self.references: Any = _unpickle(path) if path.suffix == ".p" else Table(path)
        instances = Path(source.annotations or path.with_name("instances.json"))
        self.boxes, self.images = (Table(instances, "rows", key) for key in ("annotations", "images"))

    def rows(self) -> int:
        return len(self.references)

    def read(self, row: int) -> Conversation:
        record = self.references[row]
        found = self.boxes.find("id", record["ann_id"])
        image = self.images.find("id", record["image_id"])
        if found is None or image is None:
            raise BadItem(
                "malformed row", f"instances.json lacks the box or the picture of {record['ref_id']}"
            )
        x, y, width, height = found["bbox"]
        across, down = image["width"], image["height"]
        corners = (x / across, y / down, (x + width) / across, (y + height) / down)
        try:  # a box may end a rounding error beyond its picture
            box = render([Box(*(min(corner, 1.0) if corner < 1.001 else corner for corner in corners))])
        except GroundingError as error:
            raise BadItem("malformed row", str(error)) from error
        messages: Conversation = []
        for sentence in record["sentences"]:
            messages += [user(f"Where is this: {text(sentence['sent'])}?"), assistant(box)]
        messages[0]["content"].insert(0, medium("image", *picture_names(int(record["image_id"]))))
        return messages


class _Plain(pickle.Unpickler):
    """Lists, dictionaries, text and numbers; what would call anything is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it would call {module}.{name}")


def _unpickle(path: Path) -> list[Any]:
    try:
        with path.open("rb") as file:
            rows = _Plain(file, encoding="utf-8").load()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # a broken pickle raises anything
        raise DataError(f"{path} is no pickle of plain values ({error})") from error
    if not isinstance(rows, list):
        raise DataError(f"{path} holds no list")
    return rows
