"""Learning from examples in context: the toy world's lessons with more and more shots before the question.

A case is the same lesson at every number of shots: with fewer of them, only the last ones are shown.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator

from anygpt.evaluation.requests import Case, given_part, split_of
from anygpt.evaluation.running import Item, Record
from anygpt.evaluation.scoring import Checks, Tally
from anygpt.toyworld.lessons import Lesson, answer_style, made_up_word, names_word
from anygpt.toyworld.scenes import Scene

SUITE = "in-context"
SHOTS = (0, 1, 2, 4, 8)
MOST_SHOTS = 32
CHANCE = {"made-up word": {"word": 0.5}, "answer style": {}}


def plan_lessons(count: int, seed: int, shots: Sequence[int]) -> dict[str, list[Item]]:
    """`count` lessons of each task at each number of shots, as cells "task, n shots"."""
    return {
        f"{task}, {number} shots": [
            Item(f"{SUITE}/{task}, {number} shots/{i}", partial(_make, task, number, i, seed))
            for i in range(count)
        ]
        for task in TASKS
        for number in shots
    }


def _make(task: str, shots: int, index: int, seed: int) -> tuple[Case]:
    """Odd lessons are about held-out things."""
    held_out = index % 2 == 1
    rng = np.random.default_rng([seed, zlib.crc32(f"{SUITE}/{task}".encode()), index])
    teach, checks = TASKS[task]
    lesson = teach(rng, MOST_SHOTS, lambda scene: scene.held_out == held_out)
    exchanges = [*lesson.shots[len(lesson.shots) - shots :], lesson.last[:1]]
    messages = [_drawn(rng, message) for exchange in exchanges for message in exchange]
    question = lesson.last[0]["content"][-1]["text"]
    wanted = lesson.last[1]["content"][0]["text"]
    text = f"{question} ({wanted})"
    return (Case(messages, wanted=text, split=split_of(held_out), judge=partial(checks, lesson)),)


def _drawn(rng: Generator, message: dict[str, Any]) -> dict[str, Any]:
    content = [
        part if part["type"] == "text" else given_part(rng, "image", part["scene"])
        for part in message["content"]
    ]
    return {**message, "content": content}


def _word_checks(lesson: Lesson, text: str) -> Checks:
    return {"word": names_word(text, lesson.answers[0]) and not names_word(text, lesson.wrong)}


def _style_checks(lesson: Lesson, text: str) -> Checks:
    """The form with whichever value, and with the right one."""
    said = text.strip()
    return {"style": said in lesson.answers, "style and value": said == lesson.answers[0]}


TASKS: dict[
    str, tuple[Callable[[Generator, int, Callable[[Scene], bool]], Lesson], Callable[[Lesson, str], Checks]]
] = {
    "made-up word": (partial(made_up_word, kept=True), _word_checks),
    "answer style": (answer_style, _style_checks),
}


def summarise_lessons(cells: dict[str, list[Record]]) -> dict[str, Any]:
    """Figures over the cells of `plan_lessons`, each record with its "id" and its one turn's keys.

    Returns:
        "tasks": task → number of shots → summary of what was right; "chance": what guessing gives; "worst" cases.
    """
    tasks: dict[str, dict[str, Any]] = {}
    everything = Tally()
    for cell, records in cells.items():
        task, number = re.fullmatch(r"(.*), (\d+) shots", cell).groups()  # type: ignore[union-attr]
        tally = Tally()
        for record in records:
            checks = {name: good for name, good in record["checks"].items() if name != "media"}
            tally.add(checks)
            everything.add(checks, id=record["id"], wanted=record["wanted"], seen=record["text"])
        tasks.setdefault(task, {})[number] = tally.summary(0)
    return {"tasks": tasks, "chance": CHANCE, "worst": everything.worst(20)}
