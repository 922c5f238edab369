"""Talk about boxes: what is in one, and which one holds a thing. "where" here always asks for numbers.

    what is at [0.100, 0.200, 0.400, 0.500]?     →  It is a red star.
    give me the box of the star                  →  a red star: [0.100, 0.200, 0.400, 0.500]
    the same of two things                       →  The star is red, a red star: [0.100, 0.200, 0.400, 0.500]

A box is the square that a thing fills, by its exact centre and width; answers give it in hundredths, which are finer than
a picture's pixels. Where a picture has two things, both may be asked about, one turn after the other, and no answer can
be taken from an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from anygpt.grounding import Box, render
from anygpt.toyworld.phrases import COLOUR_WORDS, SHAPE_WORDS, article, pick
from anygpt.toyworld.scenes import Scene, Thing, random_scene

WHERE_ASKS = (
    "where is {x}? give its box", "where is {x}, as a box?", "give me the box of {x}", "give the box of {x}", "what is the box of {x}?",
    "locate {x}", "locate {x} in the picture", "find {x} and give its box", "the bounding box of {x}", "what is the bounding box of {x}?",
    "give the bounding box of {x}", "where exactly is {x}, in numbers?", "what are the coordinates of {x}?", "give the coordinates of {x}",
    "tell me the coordinates of {x}", "the box around {x}", "put a box around {x}", "mark {x} with a box",
    "which box holds {x}?", "in which box is {x}?", "box {x}", "detect {x}", "point out {x} with a box", "show me the box of {x}",
    "name the corners of {x}", "which coordinates does {x} have?", "outline {x} with a box", "frame {x}", "say in numbers where {x} is",
)  # fmt: skip
WHAT_ASKS = (
    "what is at {x}?", "what is in {x}?", "what is in the box {x}?", "what does the box {x} hold?", "which thing is at {x}?",
    "what do you see at {x}?", "what do you see in {x}?", "describe what is at {x}", "name the thing in {x}", "which shape is at {x}?",
    "what is inside {x}?", "tell me what is in {x}", "what thing lies in {x}?", "what is there at {x}?", "look at {x}: what is it?",
    "{x}: what is this?", "what is this: {x}", "identify what is in {x}", "caption the box {x}", "what is shown in the region {x}?",
    "describe the region {x}", "what fills the box {x}?", "name what is at {x}", "which object is in the box {x}?",
)  # fmt: skip
STARTS = ("", "", "", "", "please ", "now ", "hi, ", "ok, ", "for me, ")
SLACK = 0.015  # of the side: by how much a corner that a person gives may be off


def box_of(thing: Thing) -> Box:
    """The square that a thing fills, with its name."""
    (x, y), half = thing.centre, thing.width / 2
    left, top, right, bottom = np.clip((x - half, y - half, x + half, y + half), 0, 1).tolist()
    return Box(left, top, right, bottom, article(f"{thing.colour} {thing.shape}"))


def talk(rng: Generator, accept: Callable[[Scene], bool]) -> list[dict]:
    """A picture and a question about a box, of two things one or two: a conversation as `dialogues.conversation` has it."""
    scene = random_scene(rng, two_things=0.7, accept=accept)  # which of two is what is hard
    order = rng.permutation(len(scene.things))[: rng.integers(1, len(scene.things) + 1)]
    messages: list[dict] = []
    for number, index in enumerate(order):
        question, reply = (where if rng.random() < 0.65 else what)(rng, scene, scene.things[index])
        media = [] if number else [{"type": "image", "scene": scene}]
        text = pick(rng, STARTS) + question
        text = text[:1].upper() + text[1:] if rng.random() < 0.3 else text
        messages += [
            {"role": "user", "content": [*media, {"type": "text", "text": text}]},
            {"role": "assistant", "content": [{"type": "text", "text": reply}]},
        ]
    return messages


def where(rng: Generator, scene: Scene, thing: Thing) -> tuple[str, str]:
    """A question for a thing's box, and the answer."""
    shape = pick(rng, [word for word in SHAPE_WORDS[thing.shape] if word != "box"])
    colour = pick(rng, COLOUR_WORDS[thing.colour])
    names = [f"the {shape}", f"the {colour} {shape}", f"the {colour} thing", f"the {shape}"]
    if len(scene.things) == 1:
        names += ["it", "the thing", f"the {thing.size} {shape}", f"the {thing.size} {colour} {shape}"]
    exact = box_of(thing)
    left, top, right, bottom = (round(corner, 2) for corner in exact.corners)
    box = Box(left, top, right, bottom, exact.label)
    name = pick(rng, names)
    # Which of two it is, a small LLM finds behind the name that was asked for.
    first = (
        f"The {thing.shape} is {thing.colour}, " if len(scene.things) == 2 and name == f"the {shape}" else ""
    )
    return pick(rng, WHERE_ASKS).format(x=name), first + render([box])


def what(rng: Generator, scene: Scene, thing: Thing) -> tuple[str, str]:
    """A question about a thing's box, half of the time not quite its own, and the answer."""
    box = box_of(thing)
    slack = rng.uniform(-SLACK, SLACK, 4) * (rng.random() < 0.5)
    given = Box(*np.clip(np.add(box.corners, slack), 0, 1).tolist())
    return pick(rng, WHAT_ASKS).format(x=render([given])), f"It is {box.label}."
