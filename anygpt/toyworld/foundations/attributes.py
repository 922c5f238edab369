"""Attribute heads: an auxiliary loss that makes an embedding tell what a scene holds.

Contrastive learning alone would find the same, with a hundred times the pictures. The heads are thrown away.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from anygpt.toyworld.scenes import BACKGROUNDS, COLOURS, MOTIONS, PLACES, SHAPES, SIZES, Scene
from anygpt.toyworld.sounds import CONTOURS, PITCHES, Tone

VALUES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "place": PLACES,
    "background": tuple(BACKGROUNDS),
    "motion": MOTIONS,
    "pitch": tuple(PITCHES),
    "contour": CONTOURS,
}
# What stands in each of the nine cells, and in which colour; the last class is "nothing".
CELLS = {"cell_shape": SHAPES, "cell_colour": tuple(COLOURS)}
UNSAID = -100
STILL_PICTURE = ("shape", "colour", "size", "place", "background", "cell_shape", "cell_colour")


def scene_targets(
    scene: Scene, names: tuple[str, ...], said: frozenset[str] | None = None
) -> dict[str, np.ndarray]:
    """Class indices of the attributes in `names`; what a caption leaves unsaid is `UNSAID`."""
    single = len(scene.things) == 1
    thing = scene.things[0]
    targets = {}
    for name in names:
        if name in CELLS:
            values = CELLS[name]
            cells = np.full(9, len(values))
            for one in scene.things:
                cells[PLACES.index(one.place)] = values.index(getattr(one, name.removeprefix("cell_")))
            known = said is None or {"place", name.removeprefix("cell_")} <= said
            targets[name] = cells if known else np.full(9, UNSAID)
            continue
        value = scene.background if name == "background" else getattr(thing, name)
        known = (said is None or name in said) and (single or name in ("background", "size"))
        targets[name] = np.array(VALUES[name].index(value) if known else UNSAID)
    return targets


def tone_targets(tone: Tone) -> dict[str, np.ndarray]:
    return {name: np.array(VALUES[name].index(getattr(tone, name))) for name in ("shape", "pitch", "contour")}


class AttributeHeads(nn.Module):
    """An MLP from an embedding (B, dim) to the classes of each attribute in `names`.

    Args:
        linear: read them off by a linear map as well: a shape that is told in one way in all colours is told in those, too,
            that an adapter never sees.
    """

    def __init__(self, dim: int, names: tuple[str, ...], *, linear: bool = False) -> None:
        super().__init__()
        classes = {n: 9 * (len(CELLS[n]) + 1) if n in CELLS else len(VALUES[n]) for n in names}
        self.hidden = nn.Sequential(nn.Linear(dim, 256), nn.GELU())
        self.heads = nn.ModuleDict({name: nn.Linear(256, count) for name, count in classes.items()})
        self.linear = nn.ModuleDict(
            {name: nn.Linear(dim, count) for name, count in classes.items()} if linear else {}
        )

    def forward(
        self, embedding: torch.Tensor, targets: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The mean cross-entropy over attributes, and the share right of each."""
        hidden = self.hidden(embedding)
        losses, right = [], {}
        for name, head in self.heads.items():
            target = targets[name]
            logits = head(hidden).unflatten(-1, (9, -1)) if name in CELLS else head(hidden)
            logits, target = logits.flatten(0, -2), target.flatten()
            known = target != UNSAID
            if not known.any():
                continue
            # Nine cells, most of them empty, count as four attributes.
            loss = nn.functional.cross_entropy(logits[known], target[known])
            if name in self.linear:
                read = self.linear[name](embedding).view_as(logits)
                loss = loss + nn.functional.cross_entropy(read[known], target[known])
            losses.append(loss * (4 if name in CELLS else 1))
            right[name] = (logits[known].argmax(-1) == target[known]).float().mean().item()
        return torch.stack(losses).mean(), right


def collate(rows: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])).long() for name in rows[0]}
