"""Several conversations in a row: none sees another, and all that is learned is as with a row for each."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
import torch
from PIL import Image

from anygpt.config import AdapterConfig, AnyGPTConfig, ConfigError, CrossAttentionConfig, InputConfig
from anygpt.messages import normalise
from anygpt.model import AnyGPT
from anygpt.packing import check_packable, first_media, pack
from anygpt.processor import Prompt

PERCEIVER = AdapterConfig("perceiver", queries=4, num_layers=1, num_heads=1)
WAYS: dict[str, tuple[AdapterConfig, dict[str, Any]]] = {
    "causal": (AdapterConfig("linear"), {}),
    "bidirectional": (AdapterConfig("mlp"), {"media_attention": "bidirectional"}),
    "cross-attention to the last": (PERCEIVER, {"cross_attention": CrossAttentionConfig(1, "last", 1)}),
    "cross-attention to all": (PERCEIVER, {"cross_attention": CrossAttentionConfig(1, "all", 1)}),
}
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
PICTURES = [{"type": "image", "image": Image.fromarray(pixels)} for pixels in PIXELS]


def talk(*given: Any, answer: Any) -> list[dict[str, Any]]:
    return normalise([{"role": "user", "content": list(given)}, {"role": "assistant", "content": answer}])


TALKS = [
    talk("two: ", PICTURES[1], PICTURES[2], " which is a red circle, please? " * 3, answer="the second one"),
    talk(PICTURES[0], "what is this?", answer="a red circle"),
    talk("hello", answer="hello to you"),  # text alone, behind a conversation that has pictures
    talk("one ", PICTURES[3], " or ", PICTURES[0], "?", answer="one"),
    talk("hi", answer="two"),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    tiny_model.build_llm(folder / "llm")
    tiny_model.build_imagebind(folder / "imagebind")
    return folder


def build(folder: Path, way: str) -> AnyGPT:
    adapter, settings = WAYS[way]
    config = AnyGPTConfig("llm", {"image": InputConfig("imagebind", "patches", adapter)}, **settings)
    torch.manual_seed(0)
    model = AnyGPT.from_config(config, folder)
    with torch.no_grad():  # opens gates
        for parameter in model.trainable_parts()["adapters"].parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def prompts(model: AnyGPT, talks: list[Any] = TALKS) -> list[Prompt]:
    return [model.processor(talk, training=True) for talk in talks]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("way", WAYS)
def test_losses_and_gradients_are_as_with_padding(parts: Path, way: str, attention: str) -> None:
    model = build(parts, way)
    model.llm.set_attn_implementation(attention)
    trained = list(model.trainable_parts()["adapters"].requires_grad_(True).parameters())
    padded, packed = (model(prompts(model), packing=packing) for packing in (False, True))
    assert len(packed.logits) < len(padded.logits) and packed.logits.shape[1] == padded.logits.shape[1]
    assert packed.loss.item() == pytest.approx(padded.loss.item(), rel=1e-5)
    for one, other in zip(
        *(torch.autograd.grad(output.loss, trained, allow_unused=True) for output in (padded, packed))
    ):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, atol=1e-5, rtol=1e-3)
    counted = [int((output.labels[:, 1:] != -100).sum()) for output in (padded, packed)]
    assert counted[0] == counted[1] > 0


@pytest.mark.parametrize("way", WAYS)
def test_what_one_conversation_says_reaches_no_other(parts: Path, way: str) -> None:
    """Each conversation's states depend on its own pictures and words alone: seen in the gradient with respect to all inputs."""
    model = build(parts, way)
    given = prompts(model)
    lengths = [sum(map(len, model.embed(p.ids, model.adapt(p.media)))) for p in given]
    rows = pack(lengths)
    places = {
        i: (n, sum(lengths[j] for j in row[:k])) for n, row in enumerate(rows) for k, i in enumerate(row)
    }
    assert max(len(row) for row in rows) > 1
    model.encode([medium for p in given for medium in p.media])
    for index, prompt in enumerate(given):
        for medium in prompt.media:
            medium.features = medium.features.detach().requires_grad_(True)
        row, start = places[index]
        hidden = model(given, packing=True).hidden[row, start : start + lengths[index]]
        alone = model([prompt]).hidden[0]
        assert torch.allclose(hidden, alone, atol=1e-4), index
    for index in range(len(given)):
        row, start = places[index]
        own = model(given, packing=True).hidden[row, start : start + lengths[index]].square().sum()
        features = [(number, m.features) for number, p in enumerate(given) for m in p.media]
        grads = torch.autograd.grad(own, [f for _, f in features], allow_unused=True)
        touched = {n for (n, _), g in zip(features, grads) if g is not None and g.abs().max() > 0}
        assert touched == ({index} if given[index].media else set())


def test_signal_tokens_are_found_in_packed_rows(shared_model: AnyGPT) -> None:
    talks = [
        talk("draw a red circle", answer=["Here it is:", {"type": "image", "caption": "a red circle"}]),
        talk("hello " * 20, answer="hello"),
        talk("play its sound", answer=[{"type": "audio", "caption": "a sound"}, "please"]),
        talk("both", answer=[{"type": "audio", "caption": "b"}, {"type": "image", "caption": "c"}]),
    ]
    given = prompts(shared_model, talks)
    with torch.no_grad():
        padded, packed = (shared_model(given, packing=packing) for packing in (False, True))
    assert len(packed.logits) == 2 and padded.signals.keys() == packed.signals.keys() == {"image", "audio"}
    for modality, states in padded.signals.items():
        assert [t.caption for t in packed.signals[modality].targets] == [t.caption for t in states.targets]
        assert torch.allclose(packed.signals[modality].hidden, states.hidden, atol=1e-4)


def test_rows_are_filled_and_never_longer_than_the_longest() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        lengths = rng.integers(1, 60, rng.integers(1, 40)).tolist()
        rows = pack(lengths)
        assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
        filled = sorted(sum(lengths[index] for index in row) for row in rows)
        assert filled[-1] <= max(lengths)
        assert len(rows) == 1 or filled[0] + filled[1] > max(lengths)  # no two rows would fit in one
    assert pack([]) == []


def test_a_slot_may_look_at_its_own_conversations_media() -> None:
    blocks = torch.tensor([[-1, 0, -1, -1, -1, 1, 2, -1]])
    positions = torch.tensor([[0, 1, 2, 0, 0, 1, 2, 0]])
    assert first_media(blocks, positions).tolist() == [[0, 0, 0, 1, 1, 1, 1, 3]]


def test_an_llm_that_carries_a_state_is_refused() -> None:
    from transformers import LlamaConfig

    config = LlamaConfig(layer_types=["full_attention", "sliding_attention"], num_hidden_layers=2)
    check_packable(config)
    config.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(ConfigError, match="layers of linear_attention"):
        check_packable(config)
