"""The three stages: what each changes, learns and measures."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image
from short_runs import STAGES, stage_on
from torch import Tensor

from anygpt.config import ConfigError
from anygpt.learning import SignalStates
from anygpt.messages import normalise
from anygpt.model import AnyGPT
from anygpt.processor import Prompt, Target
from decoders import Decoder
from stages.encoding_alignment import EncodingAlignment
from stages.losses import Captions, denoising_losses, distance
from stages.training import TrainingError, train

CHANGES = {
    "encoding-alignment": ("adapters.",),
    "decoder-alignment": ("signals.", "signal_head.", "projections."),
    "modality-switching": ("adapters.", "signals.", "signal_head.", "projections.", "lora."),
}


def weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a loaded checkpoint, LoRA under `lora.`, decoders and encoders too."""
    model = AnyGPT.from_pretrained(folder)
    parts: dict[str, Any] = {"llm": model.llm, **model.trainable_parts()}
    parts |= {f"encoder {m}": model.encoder(m) for m in model.config.inputs}
    for modality in model.config.outputs:
        parts |= {
            f"decoder {modality} {name}": part for name, part in model.decoder(modality).modules.items()
        }
    return {
        f"{part}.{name.removeprefix('base_model.model.').replace('.base_layer', '')}": value
        for part, module in parts.items()
        for name, value in module.state_dict().items()
        if part != "llm" or "lora_" not in name
    }


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_changes_its_parts_and_nothing_else(name: str, checkpoint: Path, tmp_path: Path) -> None:
    # so many dialogues that every modality occurs
    stage = stage_on(STAGES[name], checkpoint, tmp_path / "run", batch_size=8, steps=16)
    report = train(stage)
    before, after = weights(checkpoint), weights(tmp_path / "run")
    changed = {key for key in after if key not in before or not torch.equal(before[key], after[key])}
    may = {key for key in after if key.startswith(CHANGES[name])}
    assert changed == may and before.keys() == {key for key in after if not key.startswith("lora.")}
    assert report["trained"].keys() == set(stage.trains)
    assert report["before"].keys() == report["after"].keys() >= {"loss"}
    assert report["steps"] == 16 and report["skipped"] == 0


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_learns_a_batch(name: str, model: AnyGPT, tmp_path: Path) -> None:
    stage = stage_on(STAGES[name], Path("unused"), tmp_path)
    torch.manual_seed(0)
    groups = stage.prepare(model)
    examples = stage.examples("training")
    batch = [model.processor(normalise(examples[i]), training=True) for i in range(4)]
    optimizer = torch.optim.AdamW([p for group in groups.values() for p in group], lr=1e-2)
    losses = []
    for _ in range(20):
        torch.manual_seed(0)  # the same noise
        loss, _ = stage.loss(model, batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_decoder_alignment_has_three_losses(model: AnyGPT, tmp_path: Path) -> None:
    stage = stage_on(
        STAGES["decoder-alignment"], Path("unused"), tmp_path, text_weight=2.0, denoising_steps=3, examples=16
    )
    stage.prepare(model)
    examples = stage.examples("training")
    batch = [model.processor(normalise(examples[i]), training=True) for i in range(16)]
    torch.manual_seed(0)
    loss, parts = stage.loss(model, batch, 3)
    caption = [value for key, value in parts.items() if key.endswith("caption")]
    denoising = [value for key, value in parts.items() if key.endswith("denoising")]
    assert len(caption) == 3 and denoising
    total = 2.0 * parts["text"] + torch.stack(caption).mean() + 0.1 * torch.stack(denoising).mean()
    assert torch.allclose(loss, total)
    _, without = stage.loss(model, batch, 4)
    assert not any(key.endswith("denoising") for key in without)


def test_stage_2_switches_from_captions_to_signal_tokens(checkpoint: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    shutil.copytree(checkpoint, start)
    config = json.loads((start / "config.json").read_text())
    for output in config["outputs"].values():
        output["way"] = "captions"
    (start / "config.json").write_text(json.dumps(config))
    train(stage_on(STAGES["decoder-alignment"], start, tmp_path / "run"))
    ways = [
        output["way"]
        for output in json.loads((tmp_path / "run" / "config.json").read_text())["outputs"].values()
    ]
    assert ways == ["signals"] * 3


def test_a_decoder_without_a_denoising_loss_is_left_out_of_it(model: AnyGPT, tmp_path: Path) -> None:
    model._decoders["image"] = Decoder.from_pretrained(tiny.save_pipeline("flux", tmp_path / "flux"))
    target = Target("image", 0, "red circle", Image.new("RGB", (16, 16)))
    states = SignalStates(torch.zeros(1, 3, 32), torch.zeros(1, 3, 32), [target])
    conditioning = torch.zeros(1, *model.decoder("image").conditioning_shape)
    assert denoising_losses(model, {"image": states}, {"image": conditioning}, 1) == {}


def test_distances_are_zero_at_the_aim_and_as_documented() -> None:
    torch.manual_seed(0)
    wanted = torch.randn(3, 4, 8)
    moved = wanted + 2.0 * torch.nn.functional.normalize(torch.randn(3, 4, 8), dim=-1)
    assert float(distance(wanted, wanted, "norm")) == float(distance(wanted, wanted, "squared")) == 0.0
    assert torch.allclose(distance(moved, wanted, "norm"), torch.tensor(2.0))
    ratio = distance(moved, wanted, "squared")
    assert torch.allclose(ratio, distance(10 * moved, 10 * wanted, "squared"))
    assert torch.allclose(ratio, (4.0 / wanted.square().sum(-1).mean(1)).mean())


def test_caption_embeddings_are_the_decoders_own_and_are_kept(model: AnyGPT) -> None:
    captions = Captions()
    decoder = model.decoder("image")
    names = ["a red circle", "a small blue square", "a red circle"]
    first = captions(model, "image", names)
    assert torch.allclose(first, decoder.encode_text(names), atol=1e-6)
    with torch.no_grad():
        next(decoder.modules["text_encoder"].parameters()).zero_()
    assert torch.equal(captions(model, "image", names[::-1]), first.flip(0))  # nothing is encoded again


class Careless(EncodingAlignment):
    """Changes the LLM on the way."""

    def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
        with torch.no_grad():
            next(model.llm.parameters()).add_(1e-3)
        return super().losses(model, batch, step)


def test_a_frozen_part_that_changes_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="frozen parts changed in training: llm"):
        train(stage_on(Careless, checkpoint, tmp_path / "run"))
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_rate_for_a_part_that_does_not_train_is_refused(model: AnyGPT, tmp_path: Path) -> None:
    stage = stage_on(EncodingAlignment, Path("unused"), tmp_path, learning_rates={"signal": 0.1})
    with pytest.raises(ConfigError, match="learning_rates: unknown part 'signal'; accepted: 'adapters'"):
        stage.prepare(model)
