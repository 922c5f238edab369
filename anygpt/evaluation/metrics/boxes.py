"""Boxes for grounding: where a thing is said to be against where it is."""

from __future__ import annotations

from collections.abc import Sequence

Box = Sequence[float]  # left, top, right, bottom; in any unit, x to the right, y down


def intersection_over_union(box: Box, other: Box) -> float:
    """Shared area over covered area, in [0, 1]; boxes without area share nothing."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    covered = _area(box) + _area(other) - shared
    return shared / covered if covered > 0 else 0.0


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
