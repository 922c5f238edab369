"""Things and scenes: the names and numbers of the toy world, and how to draw them at random.

The order of each table is part of the contract: the held-out split is made from these indices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "ring", "heart")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (230, 30, 30),
    "orange": (255, 140, 0),
    "yellow": (250, 220, 0),
    "green": (20, 170, 60),
    "cyan": (0, 200, 220),
    "blue": (30, 70, 230),
    "purple": (150, 40, 200),
    "pink": (255, 130, 190),
}
SIZES: dict[str, float] = {"small": 0.25, "large": 0.45}  # width as a share of the picture's side
PLACES = ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")
MOTIONS = ("still", "left", "right", "up", "down", "growing", "shrinking", "blinking")
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "black": (0, 0, 0),
}
RELATIONS = ("left of", "right of", "above", "below")

SIZE_JITTER = 0.10  # of the size
PLACE_JITTER = 0.03  # of the side


@dataclass(frozen=True)
class Thing:
    """One thing. `width` and `centre` are shares of the picture's side, x to the right, y down."""

    shape: str
    colour: str
    size: str
    place: str
    motion: str = "still"
    width: float = 0.25
    centre: tuple[float, float] = (0.5, 0.5)

    @property
    def held_out(self) -> bool:
        """Whether the training stages must never see this thing."""
        index = (
            SHAPES.index(self.shape) + 2 * list(COLOURS).index(self.colour) + 3 * list(SIZES).index(self.size)
        )
        return index % 5 == 0


@dataclass(frozen=True)
class Scene:
    """A background and one or two things; two things never overlap and are both small."""

    background: str
    things: tuple[Thing, ...]

    @property
    def held_out(self) -> bool:
        return any(thing.held_out for thing in self.things)


def place_centre(place: str) -> tuple[float, float]:
    """The cell's centre as shares of the side (x, y)."""
    row, column = divmod(PLACES.index(place), 3)
    return (0.2, 0.5, 0.8)[column], (0.2, 0.5, 0.8)[row]


def changed(thing: Thing, values: Mapping[str, str], rng: Generator) -> Thing:
    """The thing with other attributes, placed anew."""
    return position(replace(thing, **dict(values)), rng)  # type: ignore[arg-type]  # all attributes here are words


def position(thing: Thing, rng: Generator) -> Thing:
    """The thing with its exact width and centre drawn at random within the contract's tolerances."""
    width = SIZES[thing.size] * (1 + rng.uniform(-SIZE_JITTER, SIZE_JITTER))
    x, y = place_centre(thing.place)
    centre = np.clip(
        np.array([x, y]) + rng.uniform(-PLACE_JITTER, PLACE_JITTER, size=2), width / 2, 1 - width / 2
    )
    return Thing(
        thing.shape,
        thing.colour,
        thing.size,
        thing.place,
        thing.motion,
        float(width),
        (float(centre[0]), float(centre[1])),
    )


def random_thing(rng: Generator, **given: str) -> Thing:
    """A thing whose attributes are `given` or drawn evenly."""

    def pick(name: str, values: tuple[str, ...]) -> str:
        return given.get(name) or values[rng.integers(len(values))]

    return position(
        Thing(
            shape=pick("shape", SHAPES),
            colour=pick("colour", tuple(COLOURS)),
            size=pick("size", tuple(SIZES)),
            place=pick("place", PLACES),
            motion=pick("motion", ("still",)),
        ),
        rng,
    )


def overlap(first: Thing, second: Thing) -> bool:
    """Whether the two bounding squares come nearer than a fiftieth of the side."""
    gap = (first.width + second.width) / 2 + 0.02
    return all(abs(a - b) < gap for a, b in zip(first.centre, second.centre, strict=True))


def relation(first: Thing, second: Thing) -> str:
    """The relation of the first thing's centre to the second's, along the axis in which they differ more."""
    dx, dy = first.centre[0] - second.centre[0], first.centre[1] - second.centre[1]
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def from_top_left(scene: Scene) -> Scene:
    """The scene with its things in the order in which one reads a page, so that a picture has one description."""
    return Scene(scene.background, tuple(sorted(scene.things, key=lambda thing: PLACES.index(thing.place))))


def random_pair(rng: Generator) -> tuple[Thing, Thing]:
    """Two small things that differ in shape and colour, in two cells of one row or one column."""
    shapes = rng.choice(len(SHAPES), 2, replace=False)
    colours = rng.choice(len(COLOURS), 2, replace=False)
    row_or_column = rng.integers(3)
    cells = rng.choice(3, 2, replace=False)
    vertical = rng.random() < 0.5
    places = [PLACES[3 * c + row_or_column if vertical else 3 * row_or_column + c] for c in cells]
    while True:
        pair = [
            random_thing(
                rng,
                shape=SHAPES[shapes[i]],
                colour=list(COLOURS)[colours[i]],
                size="small",
                place=places[i],
                motion="still",
            )
            for i in range(2)
        ]
        if not overlap(*pair):
            return pair[0], pair[1]


def random_scene(
    rng: Generator,
    *,
    two_things: float = 0.0,
    moving: bool = False,
    accept: Callable[[Scene], bool] = lambda scene: True,
) -> Scene:
    """A scene: with probability `two_things` it has two; `moving` gives a single thing one of the eight motions."""
    while True:
        background = list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
        if rng.random() < two_things:
            scene = Scene(background, random_pair(rng))
        else:
            motion = MOTIONS[rng.integers(len(MOTIONS))] if moving else "still"
            scene = Scene(background, (random_thing(rng, motion=motion),))
        if accept(scene):
            return scene
