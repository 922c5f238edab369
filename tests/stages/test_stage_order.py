"""The recipe's stages in two orders, in runs of two steps on a tiny model's frozen parts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from anygpt.config import OUTPUT_MODALITIES
from anygpt.model import AnyGPT
from benchmarks.runs import tables, told
from benchmarks.stage_order import ORDERS, Bench, measured, trained


@pytest.fixture
def bench(checkpoint: Path, preset: dict[str, Any], tmp_path: Path) -> Bench:
    """Two steps a stage of four examples each."""
    few = {"validation_examples": 2, "measured_examples": 2}
    settings = {"steps": 2, "batch_size": 4, "workers": 0, **few}
    return Bench(
        tmp_path / "runs",
        checkpoint,
        preset,
        settings,
        {"2": {"denoising_weight": 0}},
        examples=4,
        requests=2,
    )


def test_a_finished_run_is_not_repeated(bench: Bench) -> None:
    folder = trained(bench, "1", 0)
    figures = measured(bench, folder)
    names = {f"{made} {what}" for made in OUTPUT_MODALITIES for what in ("caption", "right")}
    assert figures.keys() == names | {"right media"} and all(value >= 0 for value in figures.values())
    assert figures["image caption"] > 0
    assert not (folder / "checkpoints").exists()

    files = {path: path.stat().st_mtime_ns for path in bench.output.rglob("*")}
    assert trained(bench, "1", 0) == folder and measured(bench, folder) == figures
    assert {path: path.stat().st_mtime_ns for path in bench.output.rglob("*")} == files
    # what a run depends on makes it another
    longer = replace(bench, settings={**bench.settings, "steps": 3})
    others = [trained(bench, "1", 1), trained(longer, "1", 0)]
    assert len({folder, *others}) == 3


@pytest.mark.slow
def test_stages_in_another_order_share_the_first(bench: Bench) -> None:
    """After 1-3-2 the LoRA matrices are still stage 3's: the stage 2 that follows trains what it always trains."""
    usual, other = (trained(bench, order, 0) for order in ORDERS)
    assert usual.name.startswith("stage-3") and other.name.startswith("stage-2")
    assert len(list(bench.output.glob("stage-1-*"))) == 1
    [between] = [folder for folder in bench.output.glob("stage-3-*") if folder != usual]
    before, after = (AnyGPT.from_pretrained(folder) for folder in (between, other))
    for name, same in (("lora", True), ("projections", False)):
        pairs = zip(
            before.trainable_parts()[name].parameters(),
            after.trainable_parts()[name].parameters(),
            strict=True,
        )
        assert all(torch.equal(one, two) for one, two in pairs) == same


def test_tables() -> None:
    assert told([0.5, 0.7]) == "0.600 ± 0.141" and told([0.5]) == "0.500"
    found = {("projection", "linear"): [{"x": 1.0}, {"x": 3.0}], ("projection", "transformer"): [{"x": 2.0}]}
    text = tables("Trials", found, "about")
    assert text.startswith("# Trials") and "## Projection" in text
    assert "| linear | 2.000 ± 1.414 | 2 |" in text and "| transformer | 2.000 | 1 |" in text
