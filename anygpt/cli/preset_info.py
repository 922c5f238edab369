"""`anygpt info --preset`: how large a system is, and what of it fits on this machine, without any of its weights."""

from __future__ import annotations

import json
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anygpt.checkpoint import ASSETS, find_preset, read_preset
from anygpt.cli.errors import CommandError
from anygpt.cli.info import tell_ways_in
from anygpt.cli.loading import be_quiet
from anygpt.cli.train import find_tables, stage_of
from anygpt.config import unknown

if TYPE_CHECKING:
    from anygpt.footprint import Peak
    from anygpt.outline import Outline

# what a stage has loaded besides the LLM; a preset without tables of its own has the first three stages
LOADED = {
    "encoding-alignment": ("encoders",),
    "decoder-alignment": ("decoders",),
    "modality-switching": ("encoders", "decoders"),
    "visual-instruction": ("encoders",),
}
FULL = "frozen, float32"  # what encoders are, whatever the model's number format
STANDARD = dict(enumerate(list(LOADED)[:3], start=1))


def preset_info(name: str, json_output: bool) -> None:
    """Print a preset's parts, bytes by number format, peaks of a chat and of each stage, and where these fit."""
    path = find_preset(name)
    if path is None:
        known = sorted(path.stem for path in (ASSETS / "presets").glob("*.yaml"))
        raise CommandError(f"{unknown('preset', name, known)}, or a YAML file")
    config = read_preset(path)
    be_quiet()
    from anygpt.footprint import CHAT_TOKENS, DTYPES, TRAINING_TOKENS
    from anygpt.outline import outline

    # relative names of parts start at the packaged model of the preset's name, or beside the preset
    whole = outline(config, ASSETS / path.stem if (ASSETS / path.stem).is_dir() else path.parent)
    parts = _parts(whole)
    peaks = {
        work: {dtype: peak.bytes(dtype) for dtype in DTYPES}
        for work, peak in _peaks(path.stem, whole).items()
    }
    devices = _devices()
    inputs = {m: entry.way for m, entry in config.inputs.items()}
    if json_output:
        ways = {m: output.way for m, output in config.outputs.items()}
        print(
            json.dumps(
                {"parts": parts, "ways": ways, "inputs": inputs, "peaks": peaks, "devices": devices},
                ensure_ascii=False,
            )
        )
        return
    _print(
        [("part", "class", "parameters", *DTYPES, "")]
        + [
            (
                part,
                values["class"],
                f"{values['parameters']:,}",
                *(_size(values[dtype]) for dtype in DTYPES),
                values["state"],
            )
            for part, values in parts.items()
        ]
    )
    tell_ways_in(inputs)
    print(f"\nAt work: {CHAT_TOKENS:,} tokens of talk; in training one example of {TRAINING_TOKENS}.")
    _print(
        [("peak", *DTYPES, *(f"fits {device}, {_size(size)}" for device, size in devices.items()))]
        + [
            (work, *map(_size, sizes.values()), *(_fitting(sizes, size) for size in devices.values()))
            for work, sizes in peaks.items()
        ]
    )


def _parts(whole: Outline) -> dict[str, dict[str, Any]]:
    """Every part by its name: class, parameters, bytes in each number format, and its state."""
    from anygpt.footprint import DTYPES, count

    model = whole.model
    found: dict[str, tuple[Any, list[Any], str]] = {
        f"llm {model.config.llm}": (model.llm, [model.llm], "frozen"),
        **{f"encoder {name}": (part, [part], FULL) for name, part in whole.encoders.items()},
        "adapters": (model.adapters, [model.adapters], "trained"),
        "signals": (model.signals, [model.signals], "trained"),
        "projections": (model.projections, [model.projections], "trained"),
    }
    if model.cross_attention is not None:
        found["cross-attention"] = model.cross_attention, [model.cross_attention], "trained"
    for modality, decoder in whole.decoders.items():
        output = model.config.outputs[modality]
        networks = list(decoder.modules.values())
        found[f"{modality} {output.decoder}"] = decoder.pipeline, networks, f"frozen, by {output.way}"
    return {
        name: {
            "class": type(part).__name__,
            "parameters": count(networks),
            **{
                dtype: count(networks, buffers=True) * (4 if state == FULL else kind.itemsize)
                for dtype, kind in DTYPES.items()
            },
            "state": state,
        }
        for name, (part, networks, state) in found.items()
    }


def _peaks(preset: str, whole: Outline) -> dict[str, Peak]:
    from anygpt.footprint import chat_peak, training_peak

    peaks = {"chat": chat_peak(whole)}
    tables = find_tables().get(preset, {})
    stages = {number: stage_of(table) for number, table in tables.items()} or STANDARD
    for number, name in stages.items():
        if name not in LOADED:  # it trains without the LLM
            continue
        module = import_module(f"stages.{name.replace('-', '_')}")
        kind: Any = next(
            k for k in vars(module).values() if isinstance(k, type) and vars(k).get("name") == name
        )
        stage = kind(kind.settings(model=preset, output="", steps=1))
        trained = [p for group in stage.prepare(whole.model).values() for p in group]
        loaded = {part: part in LOADED[name] for part in ("encoders", "decoders")}
        peaks[f"stage {number}, {name}"] = training_peak(whole, trained, **loaded)
    return peaks


def _devices() -> dict[str, int]:
    """What could hold a model here, and its bytes."""
    import torch

    devices = {"CPU": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices[f"GPU {index} {properties.name}"] = properties.total_memory
    return devices


def _fitting(sizes: dict[str, int], room: int) -> str:
    return ", ".join(dtype for dtype, size in sizes.items() if size <= room) or "no"


def _size(size: float) -> str:
    """Bytes for people: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _print(rows: list[tuple[str, ...]]) -> None:
    """A table; columns of numbers, by their first one, are set to the right."""
    numeric = [rows[-1][column][:1].isdigit() for column in range(len(rows[0]))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        print("  ".join(cells).rstrip())
