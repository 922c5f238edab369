"""The judge: what a picture, a film or a sound shows, read from its pixels and samples alone.

It knows the contract's tables and nothing of the model. What it cannot read it reports as None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

from anygpt.evaluation.errors import EvaluationError
from anygpt.evaluation.silhouettes import Box, agreement, fit
from anygpt.toyworld.scenes import BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES

SMALLEST, LARGEST = 32, 64  # pixels a side that a picture is looked at in
BACKGROUND_REACH = 100.0  # how far from its name's colour a background may lie, in RGB levels
COLOUR_REACH = 90.0
CONTRAST = 40.0  # the least distance of a thing's pixels from the background
LEAST_AREA = 0.006  # of the picture; the smallest thing, a small star, has 0.016
LEAST_AGREEMENT = 0.8
BLURS = (0.0, 0.6, 1.0, 1.5)  # pixels
WIDTHS = (0.12, 0.7)  # of the side; beyond, a thing is neither small nor large

# Films: changes over the whole length. What lies between still and moving is not named.
MOVES, STAYS = 0.2, 0.1  # of the side
GROWS, KEEPS = 0.58, 0.26  # in octaves of the width: 1.5 times, 1.2 times
HIDDEN = 0.15  # of the largest visible area


@dataclass(frozen=True)
class SeenThing:
    """One thing; `width` and `centre` are shares of the picture's side, x to the right, y down."""

    shape: str | None
    colour: str | None
    size: str | None
    place: str | None
    width: float
    centre: tuple[float, float]


@dataclass(frozen=True)
class SeenPicture:
    """The background, and the things from the largest area to the smallest."""

    background: str | None
    things: tuple[SeenThing, ...]


@dataclass(frozen=True)
class SeenFilm:
    """A film of one thing; size and place are those of halfway."""

    background: str | None
    shape: str | None
    colour: str | None
    size: str | None
    place: str | None
    motion: str | None


@dataclass(frozen=True)
class _Patch:
    """A thing in a picture of `side` pixels.

    Attributes:
        mask: how strongly each pixel around the thing has its colour, 0 for none; its corner lies at `corner`.
        colour: RGB levels.
        box: the bounding square, in pixels of the mask.
    """

    side: int
    mask: np.ndarray
    corner: tuple[int, int]  # x, y
    colour: np.ndarray
    box: Box

    @property
    def centre(self) -> np.ndarray:
        """The box's centre (x, y) in shares of the side."""
        return (np.array(self.corner) + self.box[:2]) / self.side


def see_picture(picture: Image.Image | np.ndarray) -> SeenPicture:
    """What a picture shows: a PIL image, or uint8 (H, W, 3), 32 pixels a side or more; taken to be square."""
    pixels = _pixels(picture)
    name, background = _background(_border(pixels))
    return SeenPicture(name, tuple(_thing([patch]) for patch in _patches(pixels, background)))


def see_film(frames: np.ndarray) -> SeenFilm:
    """What a film shows: uint8 (n, H, W, 3), n at least 4."""
    film = [_pixels(frame) for frame in frames]
    name, background = _background(np.concatenate([_border(frame) for frame in film]))
    found = [next(iter(_patches(frame, background)), None) for frame in film]
    # A hidden thing may leave a faint trace: measure every frame against the strongest one.
    areas = [
        0.0 if patch is None else patch.mask.sum() * np.linalg.norm(patch.colour - background)
        for patch in found
    ]
    visible = [i for i, area in enumerate(areas) if area > HIDDEN * max(areas)]
    patches = {i: patch for i in visible if (patch := found[i]) is not None}
    if not patches:
        return SeenFilm(name, None, None, None, None, None)
    middle = (len(film) - 1) / 2
    nearest = min(abs(i - middle) for i in patches)
    halfway = [patch for i, patch in patches.items() if abs(i - middle) <= nearest]
    thing = _thing(halfway)
    colour = nearest_colour(np.median([patch.colour for patch in patches.values()], axis=0))
    return SeenFilm(name, thing.shape, colour, thing.size, thing.place, _motion(patches, len(film)))


def nearest_colour(colour: np.ndarray) -> str | None:
    return _nearest(colour, COLOURS, COLOUR_REACH)


def _nearest(colour: np.ndarray, table: Mapping[str, Iterable[int]], reach: float) -> str | None:
    distances = {
        name: float(np.linalg.norm(colour - np.array(value, float))) for name, value in table.items()
    }
    name = min(distances, key=distances.__getitem__)
    return name if distances[name] <= reach else None


def _pixels(picture: Any) -> np.ndarray:
    """RGB levels as floats, (side, side, 3), with a side from SMALLEST to LARGEST."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(np.asarray(picture))
    if min(image.size) < SMALLEST:
        raise EvaluationError(
            f"a picture of {image.width}x{image.height} pixels is too small to judge; {SMALLEST} a side is the least"
        )
    side = min(*image.size, LARGEST)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BOX)
    return np.asarray(image.convert("RGB"), float)


def _border(pixels: np.ndarray) -> np.ndarray:
    """The outermost pixels, (n, 3)."""
    rim = np.ones(pixels.shape[:2], bool)
    width = max(len(pixels) // 32, 1)
    rim[width:-width, width:-width] = False
    return pixels[rim]


def _background(border: np.ndarray) -> tuple[str | None, np.ndarray]:
    """The name of the background, and its real colour: that of most of the border."""
    levels = np.array(list(BACKGROUNDS.values()), float)
    votes = np.linalg.norm(border[:, None] - levels, axis=-1).argmin(axis=1)
    most = np.bincount(votes, minlength=len(levels)).argmax()
    colour = np.median(border[votes == most], axis=0)
    return _nearest(colour, BACKGROUNDS, BACKGROUND_REACH), colour


def _patches(pixels: np.ndarray, background: np.ndarray) -> list[_Patch]:
    """The things, from the largest area to the smallest."""
    offset = pixels - background
    distance = np.linalg.norm(offset, axis=-1)
    labels = _label(distance > max(CONTRAST, 0.35 * distance.max()))
    regions = [labels == number for number in range(1, labels.max() + 1)]
    regions = _join([region for region in regions if region.sum() >= LEAST_AREA * region.size / 4])
    patches = []
    for region in sorted(regions, key=np.sum, reverse=True):
        if region.sum() < LEAST_AREA * region.size:
            continue
        colour = _core_colour(pixels, region, distance)
        towards = colour - background
        mask = np.maximum(offset @ towards / (towards @ towards), 0)
        for other in regions:
            if other is not region:
                mask[_grow(other)] = 0
        top, bottom, left, right = _bounds(region)
        size = max(right - left, bottom - top)
        margin = 2 + size // 4  # for the soft edge, and for the fit to move in
        x, y = max(left - margin, 0), max(top - margin, 0)
        mask = mask[y : bottom + margin, x : right + margin]
        box = ((left + right) / 2 - x, (top + bottom) / 2 - y, float(size))
        patches.append(_Patch(len(pixels), mask, (x, y), colour, box))
    return patches


def _label(inside: np.ndarray) -> np.ndarray:
    """Connected regions numbered from 1, int (H, W); pixels that touch at a corner belong together."""
    labels = np.zeros(inside.shape, int)
    todo = {(int(y), int(x)) for y, x in np.argwhere(inside)}
    number = 0
    while todo:
        number += 1
        front = [todo.pop()]
        while front:
            y, x = front.pop()
            labels[y, x] = number
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & todo
            todo -= around
            front += around
    return labels


def _bounds(region: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left, right; bottom and right are past the last pixel."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _join(regions: list[np.ndarray]) -> list[np.ndarray]:
    """Regions whose boxes overlap are pieces of one thing, for two things never overlap."""
    joined: list[np.ndarray] = []
    for region in regions:
        while (other := next((one for one in joined if _boxes_overlap(one, region)), None)) is not None:
            joined = [one for one in joined if one is not other]
            region = region | other
        joined.append(region)
    return joined


def _boxes_overlap(first: np.ndarray, second: np.ndarray) -> bool:
    (top, bottom, left, right), (above, below, west, east) = _bounds(first), _bounds(second)
    return top < below and above < bottom and left < east and west < right


def _grow(region: np.ndarray) -> np.ndarray:
    padded = np.pad(region, 1)
    height, width = region.shape
    return np.any([padded[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)], axis=0)


def _core_colour(pixels: np.ndarray, region: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The colour of the region's inside, without the mixed pixels of its edge."""
    core = region & ~_grow(~region)
    if core.sum() < 5:  # too thin to have an inside
        core = region & (distance >= np.quantile(distance[region], 0.7))
    return np.median(pixels[core], axis=0)


def _thing(patches: list[_Patch]) -> SeenThing:
    """One thing, seen in one patch or in several moments around halfway."""
    rough = {shape: sum(agreement(shape, patch.box, 0, patch.mask) for patch in patches) for shape in SHAPES}
    likely = sorted(SHAPES, key=rough.__getitem__)[-4:]
    boxes = {shape: [patch.box for patch in patches] for shape in likely}
    scores, boxes = _fits(patches, boxes, 0)
    best = max(likely, key=scores.__getitem__)
    blur = max(
        BLURS,
        key=lambda blur: sum(
            agreement(best, box, blur, p.mask) for p, box in zip(patches, boxes[best], strict=True)
        ),
    )
    if blur:
        scores, boxes = _fits(patches, boxes, blur)
        best = max(likely, key=scores.__getitem__)
    x, y = (
        np.mean([np.array(p.corner) + box[:2] for p, box in zip(patches, boxes[best], strict=True)], axis=0)
        / patches[0].side
    )
    width = np.mean([box[2] for box in boxes[best]]) / patches[0].side
    return SeenThing(
        shape=best if scores[best] >= LEAST_AGREEMENT else None,
        colour=nearest_colour(np.median([patch.colour for patch in patches], axis=0)),
        size=min(SIZES, key=lambda name: abs(np.log(width / SIZES[name])))
        if WIDTHS[0] < width < WIDTHS[1]
        else None,
        place=PLACES[3 * _third(y) + _third(x)],
        width=float(width),
        centre=(float(x), float(y)),
    )


def _fits(
    patches: list[_Patch], boxes: dict[str, list[Box]], blur: float
) -> tuple[dict[str, float], dict[str, list[Box]]]:
    """Each shape fitted to all patches from the boxes given: its mean agreement, and the boxes found."""
    scores, found = {}, {}
    for shape, starts in boxes.items():
        fits = [fit(shape, box, blur, patch.mask) for patch, box in zip(patches, starts, strict=True)]
        scores[shape] = float(np.mean([score for score, _ in fits]))
        found[shape] = [box for _, box in fits]
    return scores, found


def _third(share: float) -> int:
    return int(np.abs(np.array([0.2, 0.5, 0.8]) - share).argmin())


def _motion(patches: dict[int, _Patch], count: int) -> str | None:
    """The motion, from the frames in which the thing is visible."""
    shown = [i in patches for i in range(count)]
    changes = sum(before != now for before, now in pairwise(shown))
    if changes >= 3:
        return "blinking"
    if len(patches) < 3:
        return None
    times = np.array(list(patches)) / (count - 1)
    # The longest row or column of a thing keeps its length when an edge of the frame cuts the other.
    extents = [max(patch.mask.sum(axis=0).max(), patch.mask.sum(axis=1).max()) for patch in patches.values()]
    x, y = np.array([patch.centre for patch in patches.values()]).T
    dx, dy = _change(times, x), _change(times, y)
    growth = _change(times, np.log2(extents))
    moved = max(abs(dx), abs(dy))
    if moved >= MOVES and moved / MOVES >= abs(growth) / GROWS:
        if abs(dx) > abs(dy):
            return "right" if dx > 0 else "left"
        return "down" if dy > 0 else "up"
    if abs(growth) >= GROWS:
        return "growing" if growth > 0 else "shrinking"
    return "still" if moved <= STAYS and abs(growth) <= KEEPS else None


def _change(times: np.ndarray, values: np.ndarray) -> float:
    """How much the straight line through the values changes from time 0 to 1."""
    return float(np.polyfit(times, values, 1)[0])
