"""Memory found out without numbers, against sums by hand."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from anygpt.checkpoint import ASSETS, read_preset
from anygpt.cli import main
from anygpt.footprint import _measure, chat_peak, count, training_peak
from anygpt.outline import outline

TINY = ASSETS / "anygpt-tiny"


def test_what_lives_at_a_time_is_counted() -> None:
    with torch.device("meta"):
        layers = nn.Sequential(
            nn.Linear(10, 1000, bias=False), nn.Linear(1000, 20, bias=False), nn.Linear(20, 5, bias=False)
        )
        layers.requires_grad_(False)
        read = torch.zeros(4, 10)
    assert (
        _measure(lambda: layers(read), layers) == 4 * 1000 + 4 * 20
    )  # the third result comes when the first is gone
    kept: list[torch.Tensor] = []
    assert _measure(lambda: kept.extend([layers[0](read), layers[0](read)]), layers) == 2 * 4 * 1000


def test_attention_has_no_matrix_of_weights() -> None:
    query = torch.zeros(1, 2, 512, 8, device="meta")
    attend = nn.functional.scaled_dot_product_attention
    assert _measure(lambda: attend(query, query, query), nn.Module()) < 3 * query.numel() < 2 * 512 * 512


def test_peaks_add_up() -> None:
    config = read_preset(ASSETS / "presets" / "anygpt-tiny.yaml")
    whole = outline(config, TINY)
    model = whole.model
    networks = [part for decoder in whole.decoders.values() for part in decoder.modules.values()]
    chat = chat_peak(whole)
    assert chat.rest == count([model, *networks], buffers=True)
    assert chat.encoders == count(whole.encoders.values(), buffers=True) > 0
    vocabulary = model.signals.base + len(model.signals.embedding)
    assert chat.work > 1024 * vocabulary
    assert chat.bytes("float32") == 4 * (chat.rest + chat.work + chat.encoders)
    assert chat.bytes("bfloat16") == 2 * (chat.rest + chat.work) + 4 * chat.encoders

    model.requires_grad_(False)
    trained = list(model.adapters.requires_grad_(True).parameters())
    stage = training_peak(whole, trained, encoders=True, decoders=False)
    assert stage.rest == count([model], buffers=True) + 3 * sum(
        p.numel() for p in trained
    )  # gradient, two moments
    assert stage.work > 512 * vocabulary
    model.requires_grad_(False)
    model.add_lora(4, 8)
    lora = [p for name, p in model.llm.named_parameters() if "lora_" in name]
    numbers = sum(p.numel() for p in lora)
    more = training_peak(whole, lora, encoders=False, decoders=True)
    assert (
        more.rest == count([model, *networks], buffers=True) + 2 * numbers
    )  # the gradient is part of the work
    assert more.encoders == 0 and more.work > stage.work


def test_info_of_a_preset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["info", "--preset", "anygpt-tiny", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ways"] == dict.fromkeys(("image", "audio", "video"), "signals")
    assert list(told["peaks"]) == [
        "chat",
        "stage 1, encoding-alignment",
        "stage 2, decoder-alignment",
        "stage 3, modality-switching",
    ]
    assert told["parts"]["llm llm"]["parameters"] == 1_742_560
    assert told["parts"]["llm llm"]["float32"] >= 4 * 1_742_560 and told["devices"]["CPU"] > 0
    assert main(["info", "--preset", str(ASSETS / "presets" / "blip2" / "stage-1.yaml")]) == 2
    assert main(["info", "--preset", "anygpt-tinny"]) == 2
    assert "did you mean 'anygpt-tiny'" in capsys.readouterr().err
    assert main(["info", "anygpt-tiny", "--preset", "anygpt-tiny"]) == 2


def test_info_of_a_preset_that_makes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--preset", "llava"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("stage 2, visual-instruction") for line in lines)
    assert any(line.startswith("peak") and "fits CPU" in line for line in lines)
