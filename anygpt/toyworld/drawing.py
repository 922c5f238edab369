"""Pictures, films, depth and thermal maps of a scene.

A shape is a test on local coordinates in [-1, 1]², y up, filling its bounding square. Coverage is measured on a
grid of 4×4 points a pixel, which gives the anti-aliased edges.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from anygpt.toyworld.scenes import BACKGROUNDS, COLOURS, Scene, Thing

SUPERSAMPLING = 4
FRAME_RATE = 8.0
TEMPERATURES = {  # °C
    "blue": 5.0,
    "cyan": 10.0,
    "purple": 15.0,
    "green": 25.0,
    "pink": 30.0,
    "yellow": 35.0,
    "orange": 45.0,
    "red": 60.0,
}
BACKGROUND_TEMPERATURE = 20.0
DISTANCES = {"large": 1.0, "small": 2.5}  # metres
BACKGROUND_DISTANCE = 4.0
TRAVEL = 0.38  # of the side; the contract asks for at least a third

Grid = np.ndarray


def _star(x: Grid, y: Grid) -> Grid:
    # The five-pointed star of outer radius 1 spans ±sin 72° and -cos 36°…1: stretch its box to the unit square.
    x = x * np.sin(np.radians(72))
    low = -np.cos(np.radians(36))
    y = low + (y + 1) / 2 * (1 - low)
    # Fold into one half point: the angle from the nearest tip, then the edge from tip (1, 0°) to notch (0.42, 36°).
    angle = np.abs((np.arctan2(x, y) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    radius = np.hypot(x, y)
    notch_x, notch_y = 0.42 * np.cos(np.pi / 5), 0.42 * np.sin(np.pi / 5)
    along, across = radius * np.cos(angle), radius * np.sin(angle)
    return (along - 1) * notch_y + across * (1 - notch_x) <= 0


def _heart(x: Grid, y: Grid) -> Grid:
    # The implicit heart (x² + y² - 1)³ = x² y³ spans ±1.139 and -1…1.228.
    x, y = 1.139 * x, -1 + (y + 1) / 2 * 2.228
    return (x**2 + y**2 - 1) ** 3 <= x**2 * y**3


INSIDE: dict[str, Callable[[Grid, Grid], Grid]] = {
    "circle": lambda x, y: x**2 + y**2 <= 1,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) <= 1,
    "triangle": lambda x, y: (np.abs(x) <= (1 - y) / 2) & (y >= -1),
    "diamond": lambda x, y: np.abs(x) + np.abs(y) <= 1,
    "star": _star,
    "cross": lambda x, y: (
        (np.minimum(np.abs(x), np.abs(y)) <= 0.34) & (np.maximum(np.abs(x), np.abs(y)) <= 1)
    ),
    "ring": lambda x, y: (x**2 + y**2 <= 1) & (x**2 + y**2 >= 0.55**2),
    "heart": _heart,
}


def coverage(thing: Thing, side: int) -> tuple[np.ndarray, tuple[slice, slice]]:
    """How much of each pixel the thing covers, float32 in [0, 1], and the window (rows, columns) it stands for."""
    cx, cy = thing.centre[0] * side, thing.centre[1] * side
    half = thing.width * side / 2
    left, right = max(int(np.floor(cx - half)), 0), min(int(np.ceil(cx + half)), side)
    top, bottom = max(int(np.floor(cy - half)), 0), min(int(np.ceil(cy + half)), side)
    if right <= left or bottom <= top:
        return np.zeros((0, 0), np.float32), (slice(0, 0), slice(0, 0))
    step = 1 / SUPERSAMPLING
    xs = (np.arange((right - left) * SUPERSAMPLING) + 0.5) * step + left
    ys = (np.arange((bottom - top) * SUPERSAMPLING) + 0.5) * step + top
    x, y = np.meshgrid((xs - cx) / half, -(ys - cy) / half)
    inside = INSIDE[thing.shape](x, y).astype(np.float32)
    rows, columns = bottom - top, right - left
    mask = inside.reshape(rows, SUPERSAMPLING, columns, SUPERSAMPLING).mean(axis=(1, 3))
    return mask, (slice(top, bottom), slice(left, right))


def _paint(values: list[np.ndarray], things: tuple[Thing, ...], canvas: np.ndarray) -> np.ndarray:
    for value, thing in zip(values, things, strict=True):
        mask, window = coverage(thing, canvas.shape[0])
        canvas[window] += mask[..., None] * (value - canvas[window])
    return canvas


def draw_picture(scene: Scene, side: int = 64) -> np.ndarray:
    """The scene as RGB, uint8 (side, side, 3)."""
    canvas = np.empty((side, side, 3), np.float32)
    canvas[:] = BACKGROUNDS[scene.background]
    colours = [np.array(COLOURS[thing.colour], np.float32) for thing in scene.things]
    return np.round(_paint(colours, scene.things, canvas)).astype(np.uint8)


def at_time(thing: Thing, time: float) -> Thing | None:
    """The thing at `time` in [0, 1] of its film, or None while it is hidden. Halfway it is at its place, at its size."""
    (x, y), width = thing.centre, thing.width
    shift = TRAVEL * (time - 0.5)
    match thing.motion:
        case "left":
            x -= shift
        case "right":
            x += shift
        case "up":
            y -= shift
        case "down":
            y += shift
        case "growing":
            width *= 2 / 3 * (1 + time)
        case "shrinking":
            width *= 2 / 3 * (2 - time)
        case "blinking" if int(time * 4 * 0.9999) % 2:
            return None
    return Thing(thing.shape, thing.colour, thing.size, thing.place, thing.motion, width, (x, y))


def draw_film(scene: Scene, frames: int = 8, side: int = 32) -> np.ndarray:
    """The scene in motion at `FRAME_RATE`, uint8 (frames, side, side, 3)."""
    film = []
    for index in range(frames):
        # Blinking is counted in quarters of the film, so time runs over [0, 1] with both ends shown.
        things = tuple(
            now for thing in scene.things if (now := at_time(thing, index / (frames - 1))) is not None
        )
        film.append(draw_picture(Scene(scene.background, things), side))
    return np.stack(film)


def draw_depth(scene: Scene, rng: Generator, side: int = 64) -> np.ndarray:
    """Distances in metres, float32 (side, side): near is large."""
    canvas = np.full((side, side, 1), BACKGROUND_DISTANCE, np.float32)
    near = [np.asarray(DISTANCES[thing.size] * rng.uniform(0.95, 1.05)) for thing in scene.things]
    return _paint(near, scene.things, canvas)[..., 0]


def draw_thermal(scene: Scene, rng: Generator, side: int = 64) -> np.ndarray:
    """Temperatures in °C, float32 (side, side)."""
    canvas = np.full((side, side, 1), BACKGROUND_TEMPERATURE, np.float32)
    warm = [np.asarray(TEMPERATURES[thing.colour] + rng.uniform(-1, 1)) for thing in scene.things]
    return _paint(warm, scene.things, canvas)[..., 0]


def noisy(pixels: np.ndarray, rng: Generator) -> np.ndarray:
    """Faint noise, as compression leaves it, on half of the pictures (uint8, of any shape)."""
    if rng.random() < 0.5:
        return pixels
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * rng.uniform(1, 6)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)
