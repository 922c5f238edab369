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
from anygpt.toyworld.scenes import Scene, Thing, relation
from anygpt.toyworld.sounds import CONTOUR_OF_MOTION, PITCH_OF_SIZE, Tone

PICTURE = ("background", "colour", "shape", "size", "place")
FILM = (*PICTURE, "motion")
SOUND = ("pitch", "contour", "shape")
SHOWN = {"image": PICTURE, "audio": SOUND, "video": FILM}  # what a medium that the model makes tells

Checks = dict[str, bool]
Facts = dict[str, str]  # attribute: value


def check_picture(seen: SeenPicture, scene: Scene) -> Checks:
    """Each attribute of `PICTURE`, right where it is so for every thing; "count", of two things their "relation", "all"."""
    checks = {name: False for name in PICTURE}
    checks["count"] = len(seen.things) == len(scene.things)
    if len(scene.things) == 2:
        checks["relation"] = False
    if len(seen.things) >= len(scene.things):  # paired in the way that makes most right
        orders = list(permutations(seen.things[: len(scene.things)]))
        pairings = [
            [_check_thing(s, t) for s, t in zip(order, scene.things, strict=True)] for order in orders
        ]
        best = max(range(len(orders)), key=lambda i: sum(sum(pair.values()) for pair in pairings[i]))
        checks |= {name: all(pair[name] for pair in pairings[best]) for name in pairings[best][0]}
        if len(scene.things) == 2:
            # `relation` looks at the centres alone.
            checks["relation"] = relation(*orders[best]) == relation(*scene.things)  # type: ignore[arg-type]
    checks["background"] = seen.background == scene.background
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


def judge(modality: str, medium: Any, rate: float | None, truth: Scene | Tone | Facts) -> tuple[Checks, str]:
    """What is right in a medium, and what the judge made out in it, in words.

    Args:
        modality: image, audio or video.
        medium: PIL image; float samples (channels, n); uint8 frames (n, H, W, 3).
        rate: of a sound, Hz.
        truth: all that it must show; or some attributes of its one thing, among them "pitch" and "contour" for the size
            and the motion that one would hear.
    """
    if modality == "audio":
        heard = hear_sound(medium, rate or 0)
        checks = check_sound(heard, truth) if isinstance(truth, Tone) else _check_facts(vars(heard), truth)
        return checks, f"{heard.pitch} {heard.contour} {heard.shape}"
    if modality == "image":
        picture = see_picture(medium)
        words = (
            " and ".join(f"{t.size} {t.colour} {t.shape} at {t.place}" for t in picture.things) or "nothing"
        )
        if isinstance(truth, Scene):
            checks = check_picture(picture, truth)
        else:
            largest = vars(picture.things[0]) if picture.things else {}
            seen = {**largest, "background": picture.background, "count": str(len(picture.things))}
            checks = _check_facts(seen, {**truth, "count": "1"} if isinstance(truth, dict) else truth)
        return checks, f"{words} on {picture.background}"
    film = see_film(medium)
    checks = check_film(film, truth) if isinstance(truth, Scene) else _check_facts(vars(film), truth)
    return (
        checks,
        f"{film.size} {film.colour} {film.shape} {film.motion} at {film.place} on {film.background}",
    )


def _check_facts(seen: dict[str, Any], truth: Facts | Scene | Tone) -> Checks:
    assert isinstance(truth, dict), "a scene is seen and a tone is heard"
    as_heard = {
        "pitch": PITCH_OF_SIZE.get(seen.get("size") or ""),
        "contour": CONTOUR_OF_MOTION.get(seen.get("motion") or ""),
    }
    checks = {name: {**as_heard, **seen}.get(name) == value for name, value in truth.items()}
    return checks | {"all": all(checks.values())}


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

    def errors(self) -> dict[str, float]:
        """The standard error of each share."""
        return {
            name: float(np.sqrt(share * (1 - share) / self.right[name][1]))
            for name, share in self.shares().items()
        }

    def worst(self, most: int) -> list[dict[str, Any]]:
        """The cases in which most went wrong."""
        return sorted(self.wrong, key=lambda case: -len(case["wrong"]))[:most]

    def summary(self, worst: int = 20) -> dict[str, Any]:
        """Shares, standard errors, counts, and the worst cases."""
        return {
            "shares": {name: round(share, 4) for name, share in self.shares().items()},
            "errors": {name: round(error, 4) for name, error in self.errors().items()},
            "counts": {name: of for name, (_, of) in self.right.items()},
            "worst": self.worst(worst),
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
