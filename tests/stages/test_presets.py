"""The presets of published systems: they parse, and build at their real sizes without any weights."""

from pathlib import Path
from typing import Any

import pytest
import tiny_model
import torch
from torch import nn

from anygpt.adapters.pretraining import QFormerPretraining
from anygpt.model import AnyGPT
from stages.assembly import read_preset

PRESETS = Path(__file__).parents[2] / "assets" / "presets"
LLMS: dict[str, tuple[str, dict[str, Any]]] = {
    "lmsys/vicuna-7b-v1.5": (
        "Llama",
        {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000},
    ),
    "facebook/opt-2.7b": (
        "OPT",
        {"hidden_size": 2560, "word_embed_proj_dim": 2560, "ffn_dim": 10240, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 50272},
    ),
    "mosaicml/mpt-7b": ("Mpt", {"d_model": 4096, "n_layers": 32, "n_heads": 32, "vocab_size": 50432}),
}  # fmt: skip


def build(name: str) -> AnyGPT:
    """The preset at its real size, on the meta device: shapes, and no numbers."""
    import transformers

    config = read_preset(PRESETS / f"{name}.yaml")
    kind, sizes = LLMS[config.llm]
    with torch.device("meta"):
        llm = getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**sizes))
        return AnyGPT(config, llm, tiny_model.tiny_tokenizer())


def size(module: nn.Module | None) -> int:
    assert module is not None
    return sum(parameter.numel() for parameter in module.parameters())


def tokens(model: AnyGPT, patches: int, modality: str = "image") -> tuple[int, ...]:
    """The shape of what the adapter makes of one medium."""
    features = torch.zeros(1, patches, model.config.inputs[modality].dim, device="meta")
    return tuple(model.adapters[modality](features).shape[1:])


def test_llava() -> None:
    model = build("llava")
    assert tokens(model, 576) == (576, 4096)
    assert size(model.adapters) == 1024 * 4096 + 4096 + 4096 * 4096 + 4096


def test_blip2() -> None:
    model = build("blip2")
    assert tokens(model, 256) == (32, 2560)
    with torch.device("meta"):
        stage = QFormerPretraining(model.adapters["image"].map[0], vocabulary=30522, longest=512)
    assert size(stage) == pytest.approx(188e6, rel=0.01)  # the paper: 188 million


def test_flamingo() -> None:
    model = build("flamingo")
    assert tokens(model, 256) == tokens(model, 8 * 256, "video") == (64, 4096)
    assert model.cross_attention is not None and len(model.cross_attention.layers) == 8
    # OpenFlamingo-9B: 8 gated layers of a feed-forward four times the LLM's width
    assert 8 * 8 * 4096**2 < size(model.cross_attention) < 1.2e9


def test_nextgpt() -> None:
    model = build("nextgpt")
    assert all(tokens(model, 1, modality) == (1, 4096) for modality in ("image", "audio", "video"))
    assert size(model.adapters["image"]) == 4_198_400
    assert [len(model.signals.ids[modality]) for modality in ("image", "audio", "video")] == [4, 8, 24]
    # as in the published weights
    sizes = {modality: size(part) for modality, part in model.projections.items()}
    assert sizes == {"image": 31_958_784, "audio": 31_788_544, "video": 32_090_112}


@pytest.mark.parametrize("name", ["llava", "blip2", "flamingo", "nextgpt"])
def test_a_preset_survives_its_config_json(name: str) -> None:
    config = read_preset(PRESETS / f"{name}.yaml")
    assert type(config).from_dict(config.to_dict()) == config
