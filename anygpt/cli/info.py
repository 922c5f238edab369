"""`anygpt info`: what a model is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from anygpt.cli.loading import be_quiet, find_model


def info(model: str, json_output: bool) -> None:
    """Print the model's parts: class, parameters, bytes, frozen or trained."""
    folder, _ = find_model(model)
    be_quiet()
    from anygpt.model import AnyGPT

    tree = AnyGPT.from_pretrained(folder).info()
    if json_output:
        print(json.dumps(tree, ensure_ascii=False))
        return
    rows = [("part", "class", "parameters", "bytes", ""), *_rows(tree)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for part, kind, parameters, size, state in rows:
        left = f"{part:<{widths[0]}}  {kind:<{widths[1]}}"
        print(f"{left}  {parameters:>{widths[2]}}  {size:>{widths[3]}}  {state}".rstrip())
    tell_ways_in({modality: entry["way"] for modality, entry in tree["inputs"].items()})


def tell_ways_in(ways: Mapping[str, str]) -> None:
    """Print how each input modality comes in, by the `way` that a config gives it."""
    for modality, way in ways.items():
        own = "the LLM's own ears" if modality == "audio" else "the LLM's own eyes"
        print(f"{modality} comes in through {own if way == 'llm' else 'an encoder and an adapter'}")


def _rows(tree: dict[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    parts = list(_parts(tree))
    for name, part in parts:
        state = "frozen" if part["frozen"] else "trained"
        yield _row(name, part["class"], part, f"{state}, by {part['way']}" if "way" in part else state)
    for state, frozen in (("frozen", True), ("trained", False)):
        group = [part for _, part in parts if part["frozen"] == frozen]
        total = {key: sum(part[key] for part in group) for key in ("parameters", "bytes")}
        yield _row("all", "", total, state)


def _row(name: str, kind: str | None, part: dict[str, Any], state: str) -> tuple[str, str, str, str, str]:
    return name, kind or "", f"{part['parameters']:,}", f"{part['bytes']:,}", state


def _parts(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in tree.items():
        if "frozen" in part:
            yield f"{above}{name}", part
        elif name != "inputs":
            yield from _parts(part, f"{above}{name}/")
