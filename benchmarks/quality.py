"""Whether a model is as good as the project promises: a report's figures against their bars.

    anygpt evaluate anygpt-tiny --count 300 --report report
    python benchmarks/quality.py report

Exit code 1 if a figure is short of its bar, or missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from anygpt.evaluation.requests import CARRIED
from anygpt.evaluation.scoring import SHOWN
from anygpt.evaluation.suites import RESULTS

# Cell of the matrix → attribute → the least share right.
BARS: dict[str, dict[str, float]] = {
    "text to image": {
        "colour": 0.99,
        "background": 0.99,
        "size": 0.99,
        "shape": 0.97,
        "place": 0.98,
        "all": 0.93,
    },
    "text to image of two": {"all": 0.85},
    "text to audio": {"pitch": 0.99, "contour": 0.98, "shape": 0.90},
    "text to video": {"motion": 0.97, "colour": 0.99, "shape": 0.93},
    **{f"{given} to text": dict.fromkeys(attributes, 0.97) for given, attributes in CARRIED.items()},
    "image of two to text": {"count": 0.95, "relation": 0.95},
}
HELD_OUT_PICTURE = 0.89  # all of a picture of a held-out thing
LOST_IN_BETWEEN = 0.03  # from medium to medium, below the product of the two halves
LOST_HELD_OUT = 0.05  # held-out below seen
RIGHT_MEDIA, FIVE_TURNS, HONEST, NEEDLESS = 0.995, 0.95, 0.98, 0.005

Row = tuple[
    str, float | None, float, bool
]  # what, its figure, its bar, whether the bar is the most rather than the least


def rows(suites: dict[str, Any]) -> list[Row]:
    """Every figure with its bar."""
    cells = suites.get("toyworld", {}).get("cells", {})
    found: list[Row] = []
    for cell, bars in BARS.items():
        shares = cells.get(cell, {}).get("attributes", {}).get("all", {}).get("shares", {})
        found += [(f"{cell}: {name}", shares.get(name), bar, False) for name, bar in bars.items()]
    held_out = cells.get("text to image", {}).get("attributes", {}).get("held-out", {}).get("shares", {})
    found.append(("text to image: all, held-out", held_out.get("all"), HELD_OUT_PICTURE, False))
    for given in CARRIED:
        for made in SHOWN:
            cell = cells.get(f"{given} to {made}", {})
            if cell.get("right") is not None or not cell:
                bar = (cell.get("halves") or 1.0) - LOST_IN_BETWEEN
                found.append((f"{given} to {made}", cell.get("right"), bar, False))
    for name, cell in cells.items():
        if cell["seen"] is not None and cell["held-out"] is not None:
            found.append((f"{name}: held-out", cell["held-out"], cell["seen"] - LOST_HELD_OUT, False))
    switching = suites.get("switching", {})
    refusals = switching.get("refusals", {})
    for what, figures, bar, most in (
        ("the right set of media", switching.get("right"), RIGHT_MEDIA, False),
        ("dialogues of 5 turns", switching.get("dialogues", {}).get("5 turns"), FIVE_TURNS, False),
        ("honest refusals outside", refusals.get("outside"), HONEST, False),
        ("needless refusals inside", refusals.get("inside"), NEEDLESS, True),
    ):
        found.append((what, figures["share"] if figures else None, bar, most))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, help="the folder that `anygpt evaluate` wrote")
    arguments = parser.parse_args()
    path = arguments.report / RESULTS
    if not path.is_file():
        parser.error(f"{path} does not exist; make it with: anygpt evaluate --report {arguments.report}")
    good = True
    for what, figure, bar, most in rows(json.loads(path.read_bytes())["suites"]):
        fine = figure is not None and (figure <= bar if most else figure >= bar)
        good &= fine
        told = "missing" if figure is None else f"{figure:.3f}"
        print(f"{what:32} {told:8} at {'most ' if most else 'least'} {bar:.3f}  {'ok' if fine else 'SHORT'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
