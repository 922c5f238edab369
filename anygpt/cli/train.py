"""`anygpt train --preset NAME --stage N`: a stage of a system, by the table that lies beside its preset."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from anygpt.checkpoint import ASSETS
from anygpt.cli.errors import CommandError
from anygpt.config import unknown

STAGES = {
    "query-pretraining": "BLIP-2's first stage: a Q-Former learns from pictures and captions, without the LLM.",
    "encoding-alignment": "Stage 1: adapters learn to show the LLM what the encoders see.",
    "decoder-alignment": "Stage 2: signal tokens and projections learn to drive the decoders.",
    "modality-switching": "Stage 3: LoRA, adapters and projections learn dialogues of mixed media.",
    "visual-instruction": "LLaVA's second stage: adapters and the LLM itself learn talk about pictures.",
}


def run_stage(name: str, arguments: list[str]) -> int:
    """Hand `arguments` to a stage; its exit code."""
    return int(import_module(f"stages.{name.replace('-', '_')}").main(arguments) or 0)


def train_preset(preset: str | None, number: int | None, changes: list[str], flags: list[str]) -> int:
    """Run stage `number` of a preset, with settings in place of its table's; the exit code.

    Args:
        flags: as the stage's own command takes them.

    Raises:
        CommandError: no such preset or stage; what there is, is told.
    """
    tables = find_tables()
    if preset is None or number is None:
        raise CommandError("--preset and --stage go together: anygpt train --preset llava --stage 1")
    if preset not in tables:
        raise CommandError(unknown("preset", preset, tables))
    if number not in tables[preset]:
        known = ", ".join(map(str, tables[preset]))
        raise CommandError(f"the preset {preset!r} has no stage {number}; it has {known}")
    table = tables[preset][number]
    arguments = ["--config", str(table), *(word for change in changes for word in ("--set", change))]
    return run_stage(stage_of(table), [*arguments, *flags])


def stage_of(table: Path) -> str:
    """The stage that a table's settings are for."""
    name = re.search(r"^stage: *(\S+) *$", table.read_text(encoding="utf-8"), re.MULTILINE)
    assert name and name[1] in STAGES, f"{table} names no stage"
    return name[1]


def find_tables() -> dict[str, dict[int, Path]]:
    """Preset → number of a stage → the file with its settings."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted((ASSETS / "presets").glob("*/stage-[0-9].yaml")):
        found.setdefault(path.parent.name, {})[int(path.stem.removeprefix("stage-"))] = path
    return found
