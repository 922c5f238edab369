"""The model as a whole: forward, gradients, what is frozen, save and load."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch.nn import functional as F

from anygpt.config import ConfigError
from anygpt.messages import normalise
from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from decoders.errors import DecoderError

PICTURE = Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3))
DEPTH = np.linspace(0.5, 4, 32 * 32, dtype=np.float32).reshape(32, 32)
EXAMPLES = [
    [
        {
            "role": "user",
            "content": [
                {"type": "depth", "depth": DEPTH},
                {"type": "image", "image": PICTURE},
                {"type": "text", "text": "draw it"},
            ],
        },
        {"role": "assistant", "content": ["Here ", {"type": "image", "caption": "a"}, {"type": "video"}]},
    ],
    [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "image", "caption": "b"}, "one"]},
    ],
]


def prompts(model: AnyGPT) -> list[Prompt]:
    return [model.processor(normalise(example), training=True) for example in EXAMPLES]


def test_forward_gives_one_row_a_prompt_and_the_states_at_the_signals(shared_model: AnyGPT) -> None:
    model = shared_model
    batch = prompts(model)
    slots = [len(p.ids) + sum(len(a) - 1 for a in model.adapt(p.media)) for p in batch]
    output = model(batch)
    assert output.logits.shape == (2, max(slots), model.signals.base + 8)
    assert output.hidden.shape == (2, max(slots), 32)
    image, video = output.signals["image"], output.signals["video"]
    assert image.hidden.shape == image.embeddings.shape == (2, 3, 32) and video.hidden.shape == (1, 4, 32)
    assert [target.caption for target in image.targets] == ["a", "b"]
    # the states are those at the positions whose input is the signal token
    run = model.signals.ids["image"]
    for row in range(2):
        start = int((output.labels[row] == run.start).nonzero()[0])
        assert torch.equal(image.hidden[row], output.hidden[row, start : start + 3])
    assert torch.equal(image.embeddings[0], model.signals.embedding[:3])
    assert model.project("image", image.hidden, image.embeddings).shape == (2, 16, 32)


def test_the_loss_is_cross_entropy_of_the_labelled_tokens(shared_model: AnyGPT) -> None:
    output = shared_model(prompts(shared_model))
    log_shares = F.log_softmax(output.logits[:, :-1], -1)
    wanted = output.labels[:, 1:]
    each = [
        -log_shares[row, place, int(wanted[row, place])]
        for row in range(2)
        for place in range(wanted.shape[1])
        if wanted[row, place] >= 0
    ]
    assert torch.allclose(output.loss, torch.stack(each).mean(), atol=1e-5)


def test_a_prompt_reads_the_same_alone_and_in_a_batch(shared_model: AnyGPT) -> None:
    batch = prompts(shared_model)
    together = shared_model(batch)
    for row, prompt in enumerate(batch):
        alone = shared_model([prompt])
        length = alone.logits.shape[1]
        assert torch.allclose(together.logits[row, :length], alone.logits[0], atol=1e-4)


def test_gradients_reach_the_trained_parts_and_no_other(model: AnyGPT) -> None:
    before = model.frozen_fingerprint()
    model.train()
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    output = model(prompts(model))
    states = output.signals
    losses = [model.project(m, s.hidden, s.embeddings).square().mean() for m, s in states.items()]
    (output.loss + sum(losses)).backward()
    for name, parameter in model.named_parameters():
        trained = name.startswith(("adapters.", "projections.", "signals."))
        assert parameter.requires_grad == trained, name
        assert trained or parameter.grad is None, name
    for modality in ("image", "depth"):  # no sound was given
        assert all(p.grad.any() for p in model.adapters[modality].parameters())
    for modality in ("image", "video"):
        assert all(p.grad.any() for p in model.projections[modality].parameters())
    assert model.signals.embedding.grad.any() and model.signals.head.grad.any()
    optimiser.step()
    assert model.frozen_fingerprint() == before


def test_frozen_parts_stay_in_evaluation_mode(model: AnyGPT) -> None:
    model.add_lora(r=2, alpha=4, target_modules=["q_proj"], dropout=0.5)
    model.train()
    assert model.adapters.training and model.projections.training
    modes = {name: module.training for name, module in model.llm.named_modules() if name}
    assert not any(on for name, on in modes.items() if "lora_" not in name)
    assert any(on for name, on in modes.items() if "lora_dropout" in name)
    assert not model.encoder("image").training
    assert not model.eval().adapters.training


def test_a_changed_frozen_weight_is_noticed(model: AnyGPT) -> None:
    before = model.frozen_fingerprint()
    assert set(before) == {
        "llm",
        "encoder imagebind",
        "decoder image-decoder",
        "decoder audio-decoder",
        "decoder video-decoder",
    }
    model.add_lora(r=2, alpha=4, target_modules=["q_proj"])
    assert model.frozen_fingerprint() == before  # LoRA is not the LLM's own
    with torch.no_grad():
        next(model.encoder("image").parameters()).view(-1)[0] += 1
    after = model.frozen_fingerprint()
    assert {name for name in before if before[name] != after[name]} == {"encoder imagebind"}


def test_save_and_load_give_equal_outputs(model: AnyGPT, tmp_path: Path) -> None:
    torch.manual_seed(5)
    with torch.no_grad():
        for part in model.trainable_parts().values():
            for parameter in part.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "copy")
    again = AnyGPT.from_pretrained(tmp_path / "copy")
    first, second = model(prompts(model)), again(prompts(again))
    assert torch.equal(first.logits, second.logits)
    states = first.signals["image"]
    projected = [m.project("image", states.hidden, states.embeddings) for m in (model, again)]
    assert torch.equal(*projected)
    with safe_open(tmp_path / "copy" / "model.safetensors", "pt") as file:
        assert {key.split(".")[0] for key in file.keys()} == {"adapters", "projections", "signals"}  # noqa: SIM118
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["config.json", "model.safetensors"]


def test_lora_is_saved_and_loaded(model: AnyGPT, tmp_path: Path) -> None:
    plain = model(prompts(model)).logits
    model.add_lora(r=2, alpha=8, target_modules=["q_proj", "down_proj"])
    assert set(model.trainable_parts()) == {"adapters", "signals", "signal_head", "projections", "lora"}
    assert torch.equal(model(prompts(model)).logits, plain)  # as LoRA starts at nothing
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.trainable_parts()["lora"].parameters():
            parameter.copy_(torch.randn_like(parameter))
    tuned = model(prompts(model)).logits
    assert not torch.allclose(tuned, plain, atol=1e-3)
    model.save_pretrained(tmp_path / "tuned")
    again = AnyGPT.from_pretrained(tmp_path / "tuned")
    assert torch.equal(again(prompts(again)).logits, tuned)
    assert str(tmp_path) not in (tmp_path / "tuned/lora/adapter_config.json").read_text()
    with pytest.raises(ConfigError, match="already"):
        again.add_lora()


def test_a_whole_checkpoint_stands_alone_and_half_precision_is_read_as_float32(
    model: AnyGPT, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "a" / "whole", dtype=torch.float16, frozen=True)
    (tmp_path / "a").rename(tmp_path / "b")
    again = AnyGPT.from_pretrained(tmp_path / "b" / "whole")
    assert again.config == model.config
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    halves = model.signals.head.half().float()
    assert torch.equal(again.signals.head, halves)
    assert again.frozen_fingerprint() == model.frozen_fingerprint()


def test_weights_that_do_not_fit_are_refused(model: AnyGPT, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"signal_tokens": 3', '"signal_tokens": 5'))
    with pytest.raises(ConfigError, match=r"signals\.(embedding|head) is \(8, 32\).*\(10, 32\)"):
        AnyGPT.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config.replace('"kind": "mlp"', '"kind": "linear"'))
    with pytest.raises(ConfigError, match=r"lacks adapters\.image\.map\.(bias|weight)"):
        AnyGPT.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"has no model.safetensors"):
        AnyGPT.from_pretrained(tmp_path)


def test_signal_words_are_where_a_run_starts(model: AnyGPT) -> None:
    words = model.tokenizer.decode([260, 270, 280])
    with_words = replace(model.config.outputs["image"], signal_words=words)
    outputs = {**model.config.outputs, "image": with_words}
    new = AnyGPT.from_config(replace(model.config, outputs=outputs), model.root)
    ids = model.tokenizer(words, add_special_tokens=False)["input_ids"]
    rows = new.signals.embed(torch.tensor(list(new.signals.ids["image"])))
    assert torch.equal(rows, new.llm.get_input_embeddings().weight[ids])

    too_many = replace(with_words, signal_words=words * 2)
    with pytest.raises(ConfigError, match=r"outputs\.image\.signal_words is \d tokens .* signal_tokens, 3"):
        AnyGPT.from_config(replace(model.config, outputs={**outputs, "image": too_many}), model.root)


def test_info_counts_every_part(shared_model: AnyGPT) -> None:
    tree = shared_model.info()
    assert tree["llm"]["parameters"] == sum(p.numel() for p in shared_model.llm.parameters())
    assert tree["llm"]["class"] == "LlamaForCausalLM" and tree["llm"]["frozen"]
    assert tree["encoders"]["imagebind"]["frozen"]
    assert tree["decoders"]["image"]["class"] == "StableDiffusionPipeline"
    projection = tree["projections"]["image"]
    assert not projection["frozen"]
    assert projection["bytes"] == 4 * sum(p.numel() for p in shared_model.projections["image"].parameters())
    assert tree["signals"]["tokens"] == {"image": 3, "audio": 1, "video": 4}


def test_a_config_says_who_samples(checkpoint: Path) -> None:
    config = AnyGPT.from_pretrained(checkpoint).config
    names = []
    for scheduler in (None, "DPMSolverMultistepScheduler"):
        image = replace(config.outputs["image"], scheduler=scheduler)
        outputs = {**config.outputs, "image": image}
        model = AnyGPT.from_config(replace(config, outputs=outputs), checkpoint)
        names.append(type(model.decoder("image").pipeline.scheduler).__name__)
    assert names == ["DDIMScheduler", "DPMSolverMultistepScheduler"]
    image = replace(config.outputs["image"], scheduler="FlowMatchEulerDiscreteScheduler")
    model = AnyGPT.from_config(replace(config, outputs={**config.outputs, "image": image}), checkpoint)
    with pytest.raises(DecoderError, match="another kind of noise schedule"):
        model.decoder("image")
