"""The ways in, compared: short runs of each on the shipped model's frozen parts."""

from pathlib import Path

import pytest
import torch

from anygpt.checkpoint import ASSETS
from anygpt.model import AnyGPT
from benchmarks.ways_in import WAYS, Bench, measured, table, trained

TOKENS = {
    "nextgpt-linear": 1,
    "nextgpt-mlp": 1,
    "llava-linear": 64,
    "llava-mlp": 64,
    "blip2": 8,
    "flamingo": 1,
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Two steps of four examples each."""
    settings = {
        "batch_size": 4,
        "examples": 8,
        "workers": 0,
        "validation_examples": 2,
        "measured_examples": 2,
    }
    return Bench(tmp_path, ASSETS / "anygpt-tiny", steps=2, settings=settings, questions=2)


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return AnyGPT.from_pretrained(folder).adapters.state_dict()


def test_a_way_is_trained_measured_and_not_repeated(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    way = WAYS["nextgpt-linear"]
    [folder] = trained(bench, way, 0)
    figures = measured(bench, folder)
    assert figures["thousand parameters"] == pytest.approx((160 * 160 + 160) / 1000)
    assert figures["tokens a picture"] == 1 and figures["s a step"] > 0 and 0 <= figures["VQA accuracy"] <= 1
    monkeypatch.setattr("benchmarks.ways_in.train", None)
    assert trained(bench, way, 0) == [folder] and measured(bench, folder) == figures
    lines = table({"nextgpt-linear": [figures, figures]}, "").splitlines()
    assert lines[-1].startswith("| nextgpt-linear | 26 | 1 | ") and lines[-1].endswith("± 0.000 | 2 |")


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
def test_each_way_starts_from_the_same_parts_and_trains_its_own(bench: Bench, name: str) -> None:
    folders = trained(bench, WAYS[name], 0)
    assert len(folders) == (2 if name == "blip2" else 1)
    figures = measured(bench, folders[-1])
    assert figures["tokens a picture"] == TOKENS[name]
    model = AnyGPT.from_pretrained(folders[-1])
    assert list(model.config.inputs) == ["image"] and not model.config.outputs and not model.has_lora
    assert model.config.inputs["image"].adapter.kind == (
        WAYS[name].adapter or model.config.inputs["image"].adapter.kind
    )
    again = AnyGPT.from_config(model.config, folders[-1])
    assert not all(
        torch.equal(a, b)
        for a, b in zip(adapter(folders[-1]).values(), again.adapters.state_dict().values(), strict=True)
    )
