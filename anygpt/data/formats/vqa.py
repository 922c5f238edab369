"""VQAv2 and OK-VQA: a file of questions and, as `annotations`, one of answers.

    {"questions": [{"image_id": 42, "question": "What is it?", "question_id": 420}]}
    {"annotations": [{"question_id": 420, "image_id": 42, "multiple_choice_answer": "a boat", "answers": [{"answer": "a boat"}, …]}]}

The answer is the one that most of the ten people gave, the first of them where several are as frequent; OK-VQA has only those.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from anygpt.data.errors import BadItem, DataError
from anygpt.data.formats.coco import picture_names
from anygpt.data.reader import TableReader, short_answer
from anygpt.data.source import Source
from anygpt.data.table import Table
from anygpt.messages import Conversation


class VQA(TableReader):
    """A row a question about one of COCO's pictures."""

    inside = "questions"

    def __init__(self, source: Source, task: str = "describe") -> None:
        super().__init__(source, task)
        if source.annotations is None:
            raise DataError(f"{source.path}: 'annotations' must name the file of answers")
        self.answers = Table(Path(source.annotations), "rows", "annotations")

    def conversation(self, record: Any, row: int) -> Conversation:
        found = self.answers.find("question_id", record["question_id"])
        if found is None:
            raise BadItem("malformed row", f"the question {record['question_id']} has no answer")
        answer = found.get("multiple_choice_answer")
        if answer is None:
            [(answer, _)] = Counter(entry["answer"] for entry in found["answers"]).most_common(1)
        return short_answer(picture_names(int(record["image_id"])), record["question"], answer)
