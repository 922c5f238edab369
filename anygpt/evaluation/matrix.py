"""The any-to-any matrix in figures: each cell's attributes, beside chance, the frozen parts' ceiling and its two halves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anygpt.evaluation.requests import CARRIED, HEARD_AS
from anygpt.evaluation.running import Record
from anygpt.evaluation.scoring import SHOWN, Checks, Tally
from anygpt.toyworld.drawing import TEMPERATURES
from anygpt.toyworld.scenes import BACKGROUNDS, COLOURS, MOTIONS, PLACES, RELATIONS, SHAPES, SIZES
from anygpt.toyworld.sounds import CONTOURS, PITCHES

SPLITS = ("seen", "held-out")
# Attribute → how many values there are to guess among.
VALUES = {
    "shape": len(SHAPES),
    "colour": len(COLOURS),
    "size": len(SIZES),
    "place": len(PLACES),
    "background": len(BACKGROUNDS),
    "motion": len(MOTIONS),
    "pitch": len(PITCHES),
    "contour": len(CONTOURS),
    "relation": len(RELATIONS),
    "degrees": len(TEMPERATURES),
}
Cells = Mapping[str, Sequence[Record]]  # cell: its records, one turn each
Ceilings = dict[str, dict[str, float]]  # "to image", "image to": attribute: share


def summarise_matrix(cells: Cells, ceilings: Ceilings) -> dict[str, Any]:
    """Figures of every cell.

    Returns:
        For each cell the shares, errors, counts and worst cases of "all", "seen" and "held-out"; and the means over its
        attributes: what is "right" with its "error", by "chance", at the "ceiling", and what the cell's two "halves" let
        expect. Where nothing is known it is None.
    """
    tallies = {name: _tallies(records) for name, records in cells.items()}
    halves = _halves({name: tally["all"].shares() for name, tally in tallies.items()})
    figures = {}
    for name, records in cells.items():
        attributes = [attribute for attribute in tallies[name]["all"].right if attribute in VALUES]
        right, error = _mean_right(records, attributes)
        figures[name] = {
            "right": right,
            "error": error,
            **{split: _mean_right(_of(records, split), attributes)[0] for split in SPLITS},
            "chance": _mean([1 / VALUES[attribute] for attribute in attributes]),
            "ceiling": _mean([_product(name, attribute, ceilings) for attribute in attributes]),
            "halves": _mean([_product(name, attribute, halves) for attribute in attributes])
            if "text" not in name.split()
            else None,
            "attributes": {split: tally.summary(5) for split, tally in tallies[name].items()},
        }
    return {"cells": figures, "ceilings": ceilings}


def share_right(checks: Checks) -> float:
    """Of one answer's attributes, the share that is right."""
    return float(np.mean([good for name, good in checks.items() if name in VALUES]))


def _tallies(records: Sequence[Record]) -> dict[str, Tally]:
    tallies = {split: Tally() for split in ("all", *SPLITS)}
    for record in records:
        for split in ("all", record["split"]):
            tallies[split].add(
                record["checks"], id=record["id"], wanted=record["wanted"], seen=record["seen"]
            )
    return tallies


def _of(records: Sequence[Record], split: str) -> list[Record]:
    return [record for record in records if record["split"] == split]


def _mean_right(records: Sequence[Record], names: Sequence[str]) -> tuple[float | None, float | None]:
    """The mean share of attributes right, first within each case; with its standard error."""
    rows = [[record["checks"][name] for name in names if name in record["checks"]] for record in records]
    means = [float(np.mean(row)) for row in rows if row]
    if not means:
        return None, None
    return round(float(np.mean(means)), 4), round(float(np.std(means) / np.sqrt(len(means))), 4)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known and len(known) == len(values) else None


def _halves(shares: Mapping[str, Mapping[str, float]]) -> Ceilings:
    """What the model itself makes of either half: "image to" from its answers in text, "to image" from requests in text."""
    halves = {f"{given} to": dict(shares.get(f"{given} to text", {})) for given in CARRIED}
    return halves | {f"to {made}": dict(shares.get(f"text to {made}", {})) for made in SHOWN}


def _product(cell: str, attribute: str, halves: Ceilings) -> float | None:
    """The attribute's share if it gets lost in either half by itself; None where a half is unknown."""
    given, made = cell.split(" to ")
    shares = []
    if given in CARRIED and (
        name := _named(attribute, CARRIED[given])
    ):  # what it does not carry was said in words
        shares.append(halves.get(f"{given} to", {}).get(name))
    if made in SHOWN and (name := _named(attribute, SHOWN[made])):
        shares.append(halves.get(f"to {made}", {}).get(name))
    known = [share for share in shares if share is not None]
    return float(np.prod(known)) if known and len(known) == len(shares) else None


def _named(attribute: str, names: tuple[str, ...]) -> str | None:
    """The attribute as a modality has it: a sound has a pitch where a picture has a size."""
    aliases = [a if b == attribute else b for a, b in HEARD_AS.items() if attribute in (a, b)]
    return next((name for name in (attribute, *aliases) if name in names), None)
