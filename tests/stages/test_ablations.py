"""Small runs of the recipe with one thing changed, on a tiny model's frozen parts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import set_seed

from anygpt.model import AnyGPT
from benchmarks.ablations import (
    VARIANTS,
    Bench,
    Variant,
    measured,
    preset_of,
    tables,
    told,
    trained,
    words_of,
)
from stages.assembly import open_model

SIZES: dict[str, dict[str, Any]] = {"image": {}, "audio": {"seconds": 0.5}, "video": {"num_frames": 4}}


@pytest.fixture
def bench(checkpoint: Path, tmp_path: Path) -> Bench:
    """Two steps a stage of four examples each."""
    inputs = ("image", "audio", "video", "depth", "thermal", "imu")
    projection = {
        "kind": "transformer",
        "hidden_size": 16,
        "num_layers": 1,
        "num_heads": 2,
        "feedforward": 32,
    }
    preset = {
        "llm": "llm",
        "inputs": {m: {"encoder": "imagebind", "adapter": {"kind": "linear"}} for m in inputs},
        "outputs": {
            modality: {
                "decoder": f"{modality}-decoder",
                "signal_tokens": 3,
                "projection": projection,
                "generation": {"num_inference_steps": 1, **size}
                | ({} if modality == "audio" else {"height": 32, "width": 32}),
            }
            for modality, size in SIZES.items()
        },
    }
    few = {"validation_examples": 2, "measured_examples": 2}
    settings = {"steps": 2, "batch_size": 4, "workers": 0, **few}
    return Bench(tmp_path / "runs", checkpoint, preset, settings, examples=4, requests=2)


def test_a_finished_run_is_not_repeated(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trained(bench, Variant(tokens=2), 0)
    figures = measured(bench, folder)
    names = {f"{made} {what}" for made in SIZES for what in ("caption", "right")}
    assert figures.keys() == names | {"right media"} and all(value >= 0 for value in figures.values())
    assert figures["image caption"] > 0
    assert AnyGPT.from_pretrained(folder).config.outputs["audio"].signal_tokens == 2
    assert not (folder / "checkpoints").exists()

    files = {path: path.stat().st_mtime_ns for path in bench.output.rglob("*")}
    assert trained(bench, Variant(tokens=2), 0) == folder and measured(bench, folder) == figures
    assert {path: path.stat().st_mtime_ns for path in bench.output.rglob("*")} == files
    # what a run depends on makes it another
    longer = replace(bench, settings={**bench.settings, "steps": 3})
    others = [trained(bench, Variant(tokens=2), 1), trained(longer, Variant(tokens=2), 0)]
    assert len({folder, *others}) == 3


@pytest.mark.slow
def test_stages_in_another_order_share_the_first(bench: Bench) -> None:
    """After 1-3-2 the LoRA matrices are still stage 3's: the stage 2 that follows trains what it always trains."""
    usual, other = (trained(bench, VARIANTS["order of the stages"][name], 0) for name in ("1-2-3", "1-3-2"))
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


def test_a_loss_that_is_left_out_teaches_nothing(bench: Bench) -> None:
    """The signal tokens' output rows learn from the text alone: without its loss they stay as they began."""
    whole = trained(bench, Variant(), 0)
    without = trained(bench, VARIANTS["losses of stage 2"]["without text"], 0)
    set_seed(0)
    fresh = open_model(str(without / "preset.yaml"), str(bench.parts)).signals.head
    assert torch.equal(AnyGPT.from_pretrained(without).signals.head, fresh)
    assert not torch.equal(AnyGPT.from_pretrained(whole).signals.head, fresh)


def test_presets_of_variants(bench: Bench) -> None:
    bench.preset["outputs"]["image"]["signal_words"] = "The background is"
    changed = preset_of(Variant(tokens=4, projection="linear"), bench.preset)["outputs"]
    assert changed["image"]["signal_words"] == "The background is the"
    assert {entry["signal_tokens"] for entry in changed.values()} == {4}
    assert {entry["projection"]["kind"] for entry in changed.values()} == {"linear"}
    assert bench.preset["outputs"]["image"]["projection"]["kind"] == "transformer"
    assert words_of("a b c", 2) == "a b"


def test_tables() -> None:
    assert told([0.5, 0.7]) == "0.600 ± 0.141" and told([0.5]) == "0.500"
    found = {("projection", "linear"): [{"x": 1.0}, {"x": 3.0}], ("projection", "transformer"): [{"x": 2.0}]}
    text = tables(found, "about")
    assert "## Projection" in text and "## Signal" not in text
    assert "| linear | 2.000 ± 1.414 | 2 |" in text and "| transformer | 2.000 | 1 |" in text
