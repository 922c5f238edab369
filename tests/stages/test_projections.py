"""Projections trained alone on what the LLM thinks at the signal tokens, on a tiny model's frozen parts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from anygpt.toyworld.source import seen
from benchmarks.projections import (
    STARTS,
    VARIANTS,
    Bench,
    Variant,
    held_out,
    preset_of,
    requests_for,
    told_apart,
    words_of,
)


@pytest.fixture
def bench(checkpoint: Path, preset: dict[str, Any], tmp_path: Path) -> Bench:
    (tmp_path / "runs").mkdir()
    return Bench(preset, checkpoint, tmp_path / "runs", steps=25, requests=1, training=12, measured=8)


def test_figures_of_a_variant(bench: Bench) -> None:
    """Every variant has the same figures, the same seed gives the same, and training brings a projection to its captions."""
    figures = bench.figures(Variant(tokens=2), 0)
    assert figures.keys() == {
        *(f"{made} {what}" for made in STARTS for what in ("caption", "right")),
        *(f"{made} told apart" for made in ("image", "video")),
    }
    assert all(0 <= figures[f"{made} right"] <= 1 for made in STARTS)
    assert bench.figures(Variant(tokens=2), 0) == figures
    bench.steps = 1
    assert bench.figures(Variant(tokens=2), 0)["image caption"] > figures["image caption"]


@pytest.mark.parametrize("name", VARIANTS["losses"])
def test_every_mixture_of_losses_trains(bench: Bench, name: str) -> None:
    bench.steps = 2
    variant = replace(VARIANTS["losses"][name], tokens=1)
    model, _ = bench.read(1)
    bench.figures(variant, 0)
    trained = {made: model.projections[made].state_dict() for made in STARTS}
    bench.steps = 1
    bench.figures(variant, 0)
    if name == "without caption":  # sounds have no near ones
        del trained["audio"]
    for made, before in trained.items():
        after = model.projections[made].state_dict()
        assert any(not torch.equal(after[key], before[key]) for key in before), made


def test_measured_requests_are_half_of_held_out_things(bench: Bench) -> None:
    model, read = bench.read(None)
    training, measured = read["image"]
    assert all(seen(part["scene"]) for part in training.parts)
    assert [held_out(part["scene"]) for part in measured.parts] == [False] * 4 + [True] * 4
    assert measured.states.hidden.shape[:2] == (8, 3)
    again = requests_for(model, "image", 4, 2, seen)
    assert [target.caption for target in again.states.targets] == [
        part["caption"] for part in measured.parts[:4]
    ]


def test_presets_of_variants(bench: Bench) -> None:
    bench.preset["outputs"]["image"]["signal_words"] = "The background is"
    changed = preset_of(Variant(tokens=4, projection="linear"), bench.preset)["outputs"]
    assert changed["image"]["signal_words"] == "The background is the"
    assert {entry["signal_tokens"] for entry in changed.values()} == {4}
    assert {entry["projection"]["kind"] for entry in changed.values()} == {"linear"}
    assert bench.preset["outputs"]["image"]["projection"]["kind"] == "transformer"
    assert words_of("a b c", 2) == "a b"


def test_told_apart() -> None:
    wanted = torch.tensor([[[1.0]], [[3.0]]])
    assert told_apart(wanted, torch.tensor([[1.4]])) and not told_apart(wanted, torch.tensor([[2.4]]))
