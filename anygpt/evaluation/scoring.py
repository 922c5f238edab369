"""Right or wrong, attribute by attribute, and the shares that come of it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from anygpt.evaluation.hearing import HeardSound, hear_sound
from anygpt.evaluation.judge import SeenFilm, SeenPicture, SeenThing, see_film, see_picture
from anygpt.toyworld.scenes import Scene, Thing
from anygpt.toyworld.sounds import Tone

PICTURE = ("background", "colour", "shape", "size", "place")
FILM = ("background", "colour", "shape", "size", "place", "motion")
SOUND = ("pitch", "contour", "shape")

Checks = dict[str, bool]


def check_picture(seen: SeenPicture, scene: Scene) -> Checks:
    """Each attribute of `PICTURE`, right where it is so for every thing; "count", and "all" of it."""
    things = seen.things[: len(scene.things)]
    checks = {name: False for name in PICTURE}
    if len(things) == len(scene.things):  # paired in the way that makes most right
        pairings = [
            [_check_thing(s, t) for s, t in zip(things, order, strict=True)]
            for order in permutations(scene.things)
        ]
        best = max(pairings, key=lambda pairs: sum(sum(pair.values()) for pair in pairs))
        checks = {name: all(pair[name] for pair in best) for name in best[0]}
    checks |= {
        "background": seen.background == scene.background,
        "count": len(seen.things) == len(scene.things),
    }
    return checks | {"all": all(checks.values())}


def _check_thing(seen: SeenThing, thing: Thing) -> Checks:
    return {name: getattr(seen, name) == getattr(thing, name) for name in PICTURE if name != "background"}


def check_film(seen: SeenFilm, scene: Scene) -> Checks:
    checks = {
        name: getattr(seen, name) == getattr(scene.things[0], name) for name in FILM if name != "background"
    }
    checks["background"] = seen.background == scene.background
    return checks | {"all": all(checks.values())}


def check_sound(heard: HeardSound, tone: Tone) -> Checks:
    checks = {name: getattr(heard, name) == getattr(tone, name) for name in SOUND}
    return checks | {"all": all(checks.values())}


def judge(modality: str, medium: Any, rate: float | None, truth: Scene | Tone) -> tuple[Checks, str]:
    """What is right in a medium, and what the judge made out in it, in words.

    Args:
        modality: image, audio or video.
        medium: PIL image; float samples (channels, n); uint8 frames (n, H, W, 3).
        rate: of a sound, Hz.
    """
    if isinstance(truth, Tone):
        heard = hear_sound(medium, rate or 0)
        return check_sound(heard, truth), f"{heard.pitch} {heard.contour} {heard.shape}"
    if modality == "image":
        picture = see_picture(medium)
        things = [f"{t.size} {t.colour} {t.shape} at {t.place}" for t in picture.things]
        return check_picture(picture, truth), f"{' and '.join(things) or 'nothing'} on {picture.background}"
    film = see_film(medium)
    words = f"{film.size} {film.colour} {film.shape} {film.motion} at {film.place} on {film.background}"
    return check_film(film, truth), words


@dataclass
class Tally:
    """How often each attribute was right, and what went wrong."""

    right: dict[str, list[int]] = field(default_factory=dict)  # name: [right, of]
    wrong: list[dict[str, Any]] = field(default_factory=list)

    def add(self, checks: Checks, **case: Any) -> None:
        """Count one case; `case` says what it was, and is kept if anything in it is wrong."""
        for name, good in checks.items():
            counts = self.right.setdefault(name, [0, 0])
            counts[0] += good
            counts[1] += 1
        missed = [name for name, good in checks.items() if not good and name != "all"]
        if missed:
            self.wrong.append({**case, "wrong": missed})

    def shares(self) -> dict[str, float]:
        return {name: right / of for name, (right, of) in self.right.items()}

    def summary(self, worst: int = 20) -> dict[str, Any]:
        """Shares, counts, and the cases in which most went wrong."""
        cases = sorted(self.wrong, key=lambda case: -len(case["wrong"]))[:worst]
        return {
            "shares": {name: round(share, 4) for name, share in self.shares().items()},
            "counts": {name: of for name, (_, of) in self.right.items()},
            "worst": cases,
        }


def table(rows: dict[str, dict[str, float]]) -> str:
    """Shares as Markdown: a row a measurement, a column an attribute."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for title, row in rows.items():
        cells = [f"{row[name]:.3f}" if name in row and not np.isnan(row[name]) else "" for name in names]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
