"""A look at data before training: every file opened, what is there and how long, what cannot be used, and a gallery."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from anygpt.data.errors import BadItem
from anygpt.data.media import open_all
from anygpt.data.reader import Reader
from anygpt.data.skipped import SKIPPED, Skip, Skipped
from anygpt.evaluation.gallery import DRAWN, as_picture
from anygpt.messages import Conversation, Part

REPORT, GALLERY = "report.md", "gallery"
SHOWN = 24  # examples in the gallery
SHOWN_WORDS = 300  # characters of a message there
PERCENTILES = (0, 50, 90, 99, 100)
MEASURES: dict[str, tuple[str, Callable[[Any], float]]] = {
    "image": ("shorter side in pixels", lambda image: min(image.size)),
    "audio": ("seconds", lambda audio: audio.samples.shape[1] / audio.rate),
    "video": ("seconds", lambda video: len(video.frames) / video.fps),
    "imu": ("seconds", lambda imu: imu.samples.shape[1] / imu.rate),
}


@dataclass
class Findings:
    """What `check` found.

    Attributes:
        rows, usable: how many.
        reasons: how often which reason made a row unusable.
        media: how many of each modality are given by users and made by the assistant.
        lengths: of all usable rows, numbers by what they measure.
    """

    rows: int = 0
    usable: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    media: Counter[str] = field(default_factory=Counter)
    lengths: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def check(reader: Reader, report: Path) -> Findings:
    """Open every row's files, and write `report.md`, a gallery and `skipped.jsonl` to the folder `report`.

    Whatever is wrong with rows is in the report, never raised.
    """
    (report / SKIPPED).unlink(missing_ok=True)
    skipped = Skipped(report / SKIPPED, 1.0, len(reader))
    findings = Findings(rows=len(reader))
    shown = set(np.linspace(0, len(reader) - 1, min(SHOWN, len(reader))).round().astype(int).tolist())
    gallery: list[str] = []
    for row in tqdm(range(len(reader)), desc="checking", unit=" rows", delay=2, disable=None):
        try:
            conversation = open_all(reader.example(row))
        except BadItem as error:
            findings.reasons[error.reason] += 1
            skipped.note([Skip(reader.source.path, row, error.reason, str(error))])
            continue
        findings.usable += 1
        _measure(conversation, findings)
        if row in shown:
            gallery.append(_show(conversation, row, report))
    _write(report / REPORT, reader, findings, gallery)
    return findings


def _measure(conversation: Conversation, findings: Findings) -> None:
    characters = 0
    for message in conversation:
        for part in message["content"]:
            kind = part["type"]
            if kind == "text":
                characters += len(part["text"])
                continue
            findings.media[f"{kind} {'made' if message['role'] == 'assistant' else 'given'}"] += 1
            if kind in MEASURES and kind in part:
                what, measure = MEASURES[kind]
                findings.lengths[f"{kind}, {what}"].append(measure(part[kind]))
    findings.lengths["text, characters"].append(characters)
    findings.lengths["messages"].append(len(conversation))


def _show(conversation: Conversation, row: int, report: Path) -> str:
    """An example in Markdown, with its media as pictures."""
    lines = [f"### Row {row}"]
    number = 0
    for message in conversation:
        words = []
        for part in message["content"]:
            if part["type"] == "text":
                words.append(part["text"][:SHOWN_WORDS].replace("\n", " "))
            elif part["type"] in part and part["type"] in DRAWN:
                name = f"{GALLERY}/{row}-{number}.png"
                number += 1
                _save(part, report / name)
                words.append(f"![{part['type']}]({name})")
            else:
                words.append(f"[{part['type']}{': ' + part['caption'] if 'caption' in part else ''}]")
        lines.append(f"**{message['role']}**: {' '.join(words)}")
    return "\n\n".join(lines)


def _save(part: Part, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    as_picture(part["type"], part[part["type"]]).save(path, format="PNG")


def _write(path: Path, reader: Reader, findings: Findings, gallery: list[str]) -> None:
    source = reader.source
    unusable = findings.rows - findings.usable
    lines = [
        f"# The data in `{source.path}`",
        f"Format {source.format}, media in `{source.folder}`. {findings.rows} rows, {findings.usable} usable, {unusable} not"
        + (f" (`{SKIPPED}` names them)." if unusable else "."),
        _table(["reason", "rows"], [[reason, str(n)] for reason, n in findings.reasons.most_common()]),
        "## What is in it",
        _table(["media", "number"], [[name, str(n)] for name, n in sorted(findings.media.items())]),
        _table(
            ["length", *(f"{percentile} %" for percentile in PERCENTILES)],
            [
                [name, *(f"{value:.4g}" for value in np.percentile(values, PERCENTILES))]
                for name, values in sorted(findings.lengths.items())
            ],
        ),
        "## Examples",
        *gallery,
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text("\n\n".join(line for line in lines if line) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _table(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
