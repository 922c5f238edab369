"""LLaVA 1.5 and BLIP-2 of transformers' own classes, tiny: what their parts make of a picture stays what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_model
import torch
import transformers as hf
from PIL import Image

from anygpt.conversion.files import ConversionError
from anygpt.conversion.vision_language import convert_vision_language
from anygpt.messages import normalise
from anygpt.model import AnyGPT

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
SIGHT = {**SIZES, "image_size": 32, "patch_size": 8}
PIXELS = {"size": {"height": 32, "width": 32}, "crop_size": {"height": 32, "width": 32}}
PICTURE = Image.linear_gradient("L").convert("RGB").resize((40, 32))


def save(folder: Path, model: Any, vocabulary: int) -> Path:
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    tokenizer = tiny_model.tiny_tokenizer()
    assert len(tokenizer) <= vocabulary
    tokenizer.save_pretrained(folder)
    hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=PIXELS["crop_size"]).save_pretrained(folder)
    return folder


def llava(**changes: Any) -> Any:
    torch.manual_seed(0)
    text = hf.LlamaConfig(**SIZES, vocab_size=320, initializer_range=0.2)
    return hf.LlavaForConditionalGeneration(
        hf.LlavaConfig(vision_config=hf.CLIPVisionConfig(**SIGHT), text_config=text, **changes)
    )


def blip2() -> Any:
    torch.manual_seed(0)
    config = hf.Blip2Config(
        vision_config=SIGHT,
        qformer_config={**SIZES, "encoder_hidden_size": 32, "num_hidden_layers": 2},
        text_config={
            "model_type": "opt", "hidden_size": 24, "word_embed_proj_dim": 24, "ffn_dim": 48, "num_hidden_layers": 1,
            "num_attention_heads": 2, "vocab_size": 320, "max_position_embeddings": 64,
        },
        num_query_tokens=5,
    )  # fmt: skip
    return hf.Blip2ForConditionalGeneration(config)


def read(folder: Path) -> tuple[AnyGPT, Any, torch.Tensor]:
    """The converted model, a prompt with a picture, and what the LLM reads of it."""
    model = AnyGPT.from_pretrained(folder)
    prompt = model.processor(
        normalise([{"role": "user", "content": [{"type": "image", "image": PICTURE}, "hello"]}])
    )
    with torch.no_grad():
        return model, prompt, model.adapt(prompt.media)[0]


@torch.no_grad()
def test_llava(tmp_path: Path) -> None:
    source = llava().eval()
    save(tmp_path / "llava", source, 320)
    convert_vision_language(str(tmp_path / "llava"), tmp_path / "out")
    model, prompt, seen = read(tmp_path / "out")
    wanted = source.model.get_image_features(
        pixel_values=prompt.media[0].tensor[None],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    wanted = getattr(wanted, "pooler_output", wanted)[0]
    assert seen.shape == (16, 32) and torch.allclose(seen, wanted, atol=1e-5)
    ids = torch.tensor([[3, 7, 9]])
    assert torch.allclose(model.llm(input_ids=ids).logits, source(input_ids=ids).logits, atol=1e-5)


@torch.no_grad()
def test_blip2(tmp_path: Path) -> None:
    source = blip2().eval()
    save(tmp_path / "blip2", source, 320)
    convert_vision_language(str(tmp_path / "blip2"), tmp_path / "out")
    model, prompt, seen = read(tmp_path / "out")
    states = source.vision_model(prompt.media[0].tensor[None]).last_hidden_state[:, 1:]
    norm = source.vision_model.post_layernorm
    assert torch.allclose(prompt.media[0].features * norm.weight + norm.bias, states[0], atol=1e-5)
    queries = source.qformer(query_embeds=source.query_tokens, encoder_hidden_states=states).last_hidden_state
    assert seen.shape == (5, 24) and torch.allclose(seen, source.language_projection(queries)[0], atol=1e-5)
    ids = torch.tensor([[3, 7, 9]])
    assert torch.allclose(
        model.llm(input_ids=ids).logits, source.language_model(input_ids=ids).logits, atol=1e-5
    )


def test_others_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "odd", llava(vision_feature_layer=[-2, -3]), 320)
    with pytest.raises(ConversionError, match=r"no LLaVA 1.5: .* vision_feature_layer is \[-2, -3\]"):
        convert_vision_language(str(tmp_path / "odd"), tmp_path / "out")
    tiny_model.build_llm(tmp_path / "llm")
    with pytest.raises(ConversionError, match="is a 'llama' model; llava and blip-2 can be converted"):
        convert_vision_language(str(tmp_path / "llm"), tmp_path / "out")
    with pytest.raises(ConversionError, match="cannot be loaded"):
        convert_vision_language(str(tmp_path / "nothing"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
