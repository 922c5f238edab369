"""The eight outlines, and how much of each pixel one covers: what the judge compares a thing with.

Outlines are polygons, and coverage is exact area by a summed-area table; `anygpt.toyworld.drawing` tests points
of implicit shapes instead, so that a mistake there is not repeated here.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw

FINE = 512  # pixels a side of the finely drawn outline
CELLS = 64  # a side of its table of areas
NOTCH = 0.42  # inner radius of the star
HOLE = 0.55  # inner radius of the ring
ARM = 0.34  # half width of the cross's arms

Points = list[tuple[float, float]]
Box = tuple[float, float, float]  # centre x, centre y, side; in pixels


def _star() -> np.ndarray:
    angles = np.arange(10) * np.pi / 5
    return np.where(np.arange(10) % 2, NOTCH, 1.0) * np.stack([np.sin(angles), -np.cos(angles)])


def _heart() -> np.ndarray:
    """(r² - 1)³ = r⁵ cos²θ sin³θ has one r for each θ; it is found by halving."""
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    pull = np.cbrt(np.cos(angles) ** 2 * np.sin(angles) ** 3)
    low, high = np.zeros_like(angles), np.full_like(angles, 2.0)
    for _ in range(40):
        middle = (low + high) / 2
        outside = middle**2 - 1 > middle ** (5 / 3) * pull
        low, high = np.where(outside, low, middle), np.where(outside, middle, high)
    return low * np.stack([np.cos(angles), -np.sin(angles)])


def _filling_box(points: np.ndarray) -> Points:
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    return [(float(x), float(y)) for x, y in ((points - low) / (high - low) * FINE).T]


def _draw(shape: str, pen: ImageDraw.ImageDraw) -> None:
    last, middle = FINE - 1, FINE / 2
    arm = (middle * (1 - ARM), middle * (1 + ARM) - 1)
    hole = (middle * (1 - HOLE), middle * (1 + HOLE) - 1)
    match shape:
        case "circle":
            pen.ellipse((0, 0, last, last), fill=1)
        case "square":
            pen.rectangle((0, 0, last, last), fill=1)
        case "triangle":
            pen.polygon([(middle, 0), (last, last), (0, last)], fill=1)
        case "diamond":
            pen.polygon([(middle, 0), (last, middle), (middle, last), (0, middle)], fill=1)
        case "star":
            pen.polygon(_filling_box(_star()), fill=1)
        case "cross":
            pen.rectangle((0, arm[0], last, arm[1]), fill=1)
            pen.rectangle((arm[0], 0, arm[1], last), fill=1)
        case "ring":
            pen.ellipse((0, 0, last, last), fill=1)
            pen.ellipse((hole[0], hole[0], hole[1], hole[1]), fill=0)
        case "heart":
            pen.polygon(_filling_box(_heart()), fill=1)


@cache
def _area_table(shape: str) -> np.ndarray:
    """Filled area above and left of each corner of the cells, (CELLS + 1, CELLS + 1), in cells."""
    fine = Image.new("L", (FINE, FINE))
    _draw(shape, ImageDraw.Draw(fine))
    table = np.zeros((FINE + 1, FINE + 1))
    table[1:, 1:] = np.asarray(fine, float).cumsum(axis=0).cumsum(axis=1)
    every = FINE // CELLS
    return table[::every, ::every] / every**2


def _at(table: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The table's rows at fractional positions."""
    below = np.minimum(positions.astype(int), CELLS - 1)
    part = (positions - below)[:, None]
    return table[below] * (1 - part) + table[below + 1] * part


def coverage(shape: str, box: Box, height: int, width: int) -> np.ndarray:
    """How much of each pixel the shape in `box` covers, (height, width) in [0, 1]."""
    x, y, side = box
    scale = CELLS / side
    rows = np.clip((np.arange(height + 1) - (y - side / 2)) * scale, 0, CELLS)
    columns = np.clip((np.arange(width + 1) - (x - side / 2)) * scale, 0, CELLS)
    areas = _at(_at(_area_table(shape), rows).T, columns).T
    return np.diff(np.diff(areas, axis=0), axis=1) / scale**2


@cache
def _blurring(length: int, pixels: float) -> np.ndarray:
    """The matrix that blurs a column of that length by a Gaussian; beyond its ends it goes on as it ends."""
    reach = int(np.ceil(2.5 * pixels))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / pixels) ** 2)
    matrix = np.zeros((length, length))
    for row in range(length):
        np.add.at(matrix[row], np.clip(np.arange(row - reach, row + reach + 1), 0, length - 1), weights)
    return matrix / weights.sum()


def agreement(shape: str, box: Box, blur: float, mask: np.ndarray) -> float:
    """Cosine of the angle between the shape in `box` and a soft mask: 1 where they differ by a factor alone."""
    drawn = coverage(shape, box, *mask.shape)
    if blur:
        height, width = mask.shape
        drawn = _blurring(height, blur) @ drawn @ _blurring(width, blur)
    lengths = np.linalg.norm(drawn) * np.linalg.norm(mask)
    return float((drawn * mask).sum() / lengths) if lengths else 0.0


def fit(
    shape: str, box: Box, blur: float, mask: np.ndarray, steps: tuple[float, ...] = (0.1, 0.04, 0.015)
) -> tuple[float, Box]:
    """The box near `box` in which the shape agrees best with the soft mask, and how well: (agreement, box).

    Args:
        steps: how far to move or stretch at a time, in shares of the side; one after another, while it helps.
    """
    best = agreement(shape, box, blur, mask)
    for step in steps:
        better = True
        while better:
            better = False
            x, y, side = box
            move = max(step * side, 0.1)
            for tried in (
                (x + move, y, side),
                (x - move, y, side),
                (x, y + move, side),
                (x, y - move, side),
                (x, y, side + move),
                (x, y, max(side - move, 2.0)),
            ):
                score = agreement(shape, tried, blur, mask)
                if score > best + 1e-4:
                    best, box, better = score, tried, True
    return best, box
