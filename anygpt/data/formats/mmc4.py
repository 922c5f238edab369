"""MMC4, an object a line: sentences and pictures, each matched to a sentence.

    {"text_list": ["…", "…"], "image_info": [{"image_name": "b9.jpg", "matched_text_index": 1, "matched_sim": 0.28}],
     "similarity_matrix": [[0.24, 0.28]]}

A picture stands before its sentence. Where `matched_text_index` is missing, it is found in the matrix (pictures × sentences)
as the data's authors do: each sentence has one picture at most, such that similar ones come together (greedily here).
In the dialogue, a picture is the user's and the sentences up to the next one are the answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from anygpt.data.errors import BadItem
from anygpt.data.reader import TableReader, assistant, medium, text, user
from anygpt.messages import Conversation, Part


class MMC4(TableReader):
    """A row a document."""

    def conversation(self, record: Any, row: int) -> Conversation:
        sentences = [text(sentence) for sentence in record["text_list"]]
        images = record["image_info"]
        if not sentences or not images:
            raise BadItem("empty", "has no sentences" if not sentences else "has no pictures")
        before: dict[int, list[str | Part]] = {}
        for image, place in zip(images, _places(record, len(sentences)), strict=True):
            if not 0 <= place < len(sentences):
                raise BadItem("malformed row", f"a picture belongs to sentence {place} of {len(sentences)}")
            before.setdefault(place, []).append(medium("image", text(image["image_name"])))
        starts = sorted(before)
        messages: Conversation = []
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(sentences)])):
            opening: list[str | Part] = [" ".join(sentences[:start])] if number == 0 and start else []
            messages += [user(*opening, *before[start]), assistant(" ".join(sentences[start:end]))]
        return messages


def _places(record: dict[str, Any], sentences: int) -> list[int]:
    """For each picture, the number of its sentence."""
    images = record["image_info"]
    told = [image.get("matched_text_index") for image in images]
    if all(isinstance(place, int) for place in told):
        return told
    matrix = np.array(record["similarity_matrix"], dtype=float)
    if matrix.shape != (len(images), sentences):
        raise BadItem("malformed row", f"its matrix is {matrix.shape}, not {(len(images), sentences)}")
    if len(images) > sentences:
        raise BadItem("malformed row", f"has {len(images)} pictures for {sentences} sentences")
    places = [0] * len(images)
    for _ in images:
        image, place = np.unravel_index(int(matrix.argmax()), matrix.shape)
        places[int(image)] = int(place)
        matrix[image], matrix[:, place] = -np.inf, -np.inf
    return places
