"""NLVR2, an object a line: whether a sentence is true of two pictures.

    {"identifier": "train-10171-0-0", "directory": 57, "sentence": "One picture shows a dog.", "label": "True"}

The pictures are train-10171-0-img0.png and -img1.png; the training split's are in a folder named `directory`.
"""

from __future__ import annotations

from typing import Any

from anygpt.data.errors import BadItem
from anygpt.data.reader import TableReader, assistant, medium, text, user
from anygpt.messages import Conversation

ANSWERS = {"true": "yes", "false": "no"}


class NLVR2(TableReader):
    """A row a sentence about two pictures."""

    def conversation(self, record: Any, row: int) -> Conversation:
        stem, _, _ = text(record["identifier"]).rpartition("-")
        folders = [
            "",
            *(
                [f"{record['directory']}/", f"images/train/{record['directory']}/"]
                if "directory" in record
                else []
            ),
        ]
        answer = ANSWERS.get(str(record["label"]).lower())
        if answer is None:
            raise BadItem("malformed row", f"its label is neither True nor False but {record['label']!r:.40}")
        pictures = [
            medium("image", *(f"{folder}{stem}-img{side}.png" for folder in folders)) for side in (0, 1)
        ]
        ask = f"Is this true of the two pictures? {text(record['sentence'])}\nAnswer yes or no."
        return [user(*pictures, ask), assistant(answer)]
