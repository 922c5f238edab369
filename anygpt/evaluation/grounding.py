"""Boxes: where a thing is said to be against where it is, and what is said to be in a box.

Boxes are fractions of the picture's sides, as `anygpt.grounding` writes them, and those of the things' exact squares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator

from anygpt.evaluation.metrics.boxes import intersection_over_union
from anygpt.evaluation.requests import Case, given_part, new_scene, user
from anygpt.evaluation.running import Record
from anygpt.evaluation.scoring import Checks, Tally
from anygpt.evaluation.wordings import finish, pick
from anygpt.grounding import Box, form_of, parse, render
from anygpt.toyworld.boxes import box_of
from anygpt.toyworld.scenes import Scene, Thing

SUITE = "grounding"

WHERE = (
    "can you give me a box for {x}?", "i need the bounding box of {x}", "where can i see {x}? answer with a box", "please locate {x} for me",
    "would you put {x} in a box?", "the coordinates of {x}, please", "tell me the box that {x} fills", "could you find {x} and say its coordinates?",
    "where does {x} lie? i want its box", "report the box of {x}", "in what box does {x} lie?",
)  # fmt: skip
WHAT = (
    "can you say what is at {x}?", "what can be seen at {x}?", "please name the thing at {x}", "i want to know what is in {x}",
    "what have you got in the box {x}?", "what would i find at {x}?", "tell me about the thing in {x}", "look into {x}, what is there?",
    "which thing do you see in the box {x}?", "could you describe what is in {x}?", "what occupies {x}?",
)  # fmt: skip


def where_case(rng: Generator, held_out: bool, things: int, size: str | None = None) -> Case:
    """A picture of one thing or two, and a question for the box of one of them."""
    scene = _scene(rng, held_out, things, size)
    thing = _one_of(rng, scene)
    name = pick(rng, (f"the {thing.shape}", f"the {thing.colour} {thing.shape}", f"the {thing.colour} thing"))
    text = finish(rng, pick(rng, WHERE).format(x=name))
    box = box_of(thing)
    return Case(
        user(text, given_part(rng, "image", scene)),
        wanted=f"{text} ({render([box])})",
        judge=partial(_box_checks, box),
        reference=[{"type": "text", "text": render([box])}],
    )


def what_case(rng: Generator, held_out: bool, things: int) -> Case:
    """A picture of one thing or two, and a question about the box of one of them."""
    scene = _scene(rng, held_out, things)
    thing = _one_of(rng, scene)
    box = box_of(thing)
    text = finish(rng, pick(rng, WHAT).format(x=render([replace(box, label="")])))
    return Case(
        user(text, given_part(rng, "image", scene)),
        said={"shape": thing.shape, "colour": thing.colour},
        wanted=f"{text} ({box.label})",
        reference=[{"type": "text", "text": f"It is {box.label}."}],
    )


CELLS: dict[str, Callable[[Generator, bool], Case]] = {
    "where, a small thing": partial(where_case, things=1, size="small"),
    "where, a large thing": partial(where_case, things=1, size="large"),
    "where, one of two": partial(where_case, things=2),
    "what, one thing": partial(what_case, things=1),
    "what, one of two": partial(what_case, things=2),
}


def _scene(rng: Generator, held_out: bool, things: int, size: str | None = None) -> Scene:
    while True:
        scene = new_scene(rng, held_out, two_things=things - 1.0)
        if size is None or scene.things[0].size == size:
            return scene


def _one_of(rng: Generator, scene: Scene) -> Thing:
    return scene.things[int(rng.integers(len(scene.things)))]


def overlap(text: str, wanted: Box) -> float:
    """The IoU of the first box in a text with the one wanted; 0 where there is none."""
    boxes = parse(text, form_of(text)).boxes
    return intersection_over_union(boxes[0].corners, wanted.corners) if boxes else 0.0


def _box_checks(wanted: Box, text: str) -> Checks:
    """Whether there is one box and nothing malformed, where it should be, under its name."""
    found = parse(text, form_of(text))
    return {
        "one box": len(found.boxes) == 1 and not found.problems,
        "IoU > 0.5": overlap(text, wanted) > 0.5,
        "label": bool(found.boxes) and found.boxes[0].label == wanted.label,
    }


def summarise_grounding(cells: dict[str, list[Record]]) -> dict[str, Any]:
    """Figures over `CELLS`, each record with its "id" and its one turn's keys.

    Returns:
        "cells": cell → "attributes" (what was right) and, of where things are, "IoU" and its standard "error", in all as
        "where" and "what"; "worst" cases.
    """
    figures: dict[str, Any] = {}
    everything = Tally()
    for kind in ("where", "what"):
        members = {name: records for name, records in cells.items() if name.startswith(kind)}
        together = [record for records in members.values() for record in records]
        for name, records in {kind: together, **members}.items():
            tally, ious = Tally(), []
            for record in records:
                checks = {key: good for key, good in record["checks"].items() if key not in ("media", "all")}
                tally.add(checks)
                if name != kind:
                    everything.add(checks, id=record["id"], wanted=record["wanted"], seen=record["text"])
                if kind == "where":  # the right box stands at the end of what was wanted
                    ious.append(overlap(record["text"], parse(record["wanted"]).boxes[-1]))
            figures[name] = {"attributes": tally.summary(0)}
            if ious:
                figures[name] |= {
                    "IoU": round(float(np.mean(ious)), 4),
                    "error": round(float(np.std(ious) / np.sqrt(len(ious))), 4),
                }
    return {"cells": figures, "worst": everything.worst(20)}
