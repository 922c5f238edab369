"""Pictures through the LLM's own eyes, against transformers' own way with the same weights and processor."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_model
import torch
from own_senses import assert_answers_alike, assert_joins_and_goes_on
from PIL import Image
from servers import serving

from anygpt import AnyGPT
from anygpt.cli import main
from anygpt.config import AnyGPTConfig, ConfigError
from anygpt.messages import normalise
from anygpt.options import Options
from anygpt.thinking import Batch

MARKS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
TOWER = {
    "depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32, "patch_size": 4,
    "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 16, "fullatt_block_indexes": [1],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset beside a random Qwen2.5-VL of two layers, as transformers saves one, and a decoder by captions."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("eyes")
    tokenizer = tiny_model.tiny_tokenizer()
    tokenizer.add_tokens(MARKS, special_tokens=True)
    start, end, image, video = tokenizer.convert_tokens_to_ids(MARKS)
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 1024, "initializer_range": 0.3, "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0},
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config={**TOWER, "initializer_range": 0.3}, image_token_id=image, video_token_id=video,
        vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    processor = Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, temporal_patch_size=2, size={"shortest_edge": 64, "longest_edge": 4096}
    )
    processor.save_pretrained(folder / "llm")
    tiny.save_pipeline("stable-diffusion", folder / "image-decoder")
    preset = {
        "llm": "llm",
        "inputs": {"image": {"way": "llm", "around": MARKS[:2]}},
        "outputs": {
            "image": {"decoder": "image-decoder", "way": "captions", "generation": {"num_inference_steps": 1}}
        },
    }
    (folder / "preset.yaml").write_text(json.dumps(preset))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> AnyGPT:
    return AnyGPT.from_pretrained(folder / "preset.yaml")


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8))


def asked(*pictures: Image.Image, text: str = "what is this?") -> list[dict[str, Any]]:
    parts = [{"type": "image", "image": one} for one in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def by_transformers(model: AnyGPT, messages: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What transformers' model takes for a conversation, and its logits of the next token."""
    prompt = model.processor(normalise(messages))
    assert model.senses is not None
    pad = model.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    ids: list[int] = []
    pictures = iter(prompt.media)
    for token in prompt.ids:
        ids += [pad] * model.senses.places("image", next(pictures).tensor).shape[1] if token < 0 else [token]
    tensors = [medium.tensor for medium in prompt.media]
    given = {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        "mm_token_type_ids": (torch.tensor([ids]) == pad).int(),
    }
    if tensors:
        given["pixel_values"] = torch.cat([t.reshape(-1, t.shape[-1]) for t in tensors])
        given["image_grid_thw"] = torch.tensor([t.shape[:3] for t in tensors])
    model.llm.model.rope_deltas = None
    with torch.no_grad():
        return given, model.llm(**given).logits[0, -1]


TALKS = {
    "text": asked(text="hello"),
    "one": asked(picture(48, 24)),
    "two": asked(picture(32, 64), picture(24, 24, seed=1)),
    "later": [
        *asked(picture(40, 40)),
        {"role": "assistant", "content": "one"},
        *asked(picture(64, 24, seed=2)),
    ],
}


@pytest.mark.parametrize("name", TALKS)
def test_the_prompt_is_read_as_transformers_reads_it(model: AnyGPT, name: str) -> None:
    _, wanted = by_transformers(model, TALKS[name])
    batch = Batch(model, [model.processor(normalise(TALKS[name]))], [Options()])
    assert torch.allclose(batch.logits[0, : len(wanted)], wanted, atol=1e-4)


def test_answers_are_transformers_own_alone_and_in_a_batch(model: AnyGPT) -> None:
    assert_answers_alike(model, by_transformers, list(TALKS.values()), 12)


def test_rows_that_join_and_memories_that_go_on(model: AnyGPT) -> None:
    assert_joins_and_goes_on(model, by_transformers, TALKS["one"], TALKS["two"], TALKS["text"], 6)


def test_chat_saves_and_says_which_way(
    model: AnyGPT, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reply: Any = model.chat(TALKS["one"], modalities=["image"], max_new_tokens=4)
    assert len(reply.images) == 1 and reply.content[-1]["caption"] == "what is this?"
    model.save_pretrained(tmp_path / "saved")
    again: Any = AnyGPT.from_pretrained(tmp_path / "saved").chat(TALKS["one"], max_new_tokens=6)
    assert again.text == model.chat(TALKS["one"], max_new_tokens=6).text  # type: ignore[union-attr]
    capsys.readouterr()
    assert main(["info", str(tmp_path / "saved")]) == 0
    assert "image comes in through the LLM's own eyes" in capsys.readouterr().out


def test_the_server_shows_it_pictures(model: AnyGPT) -> None:
    shown, file = picture(24, 16, seed=1), io.BytesIO()
    shown.save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what is this?"}]
    body = {
        "messages": [{"role": "user", "content": parts}],
        "seed": 0,
        "max_tokens": 20,
        "modalities": ["text"],
    }
    with serving(model) as server:
        status, _, answer = server.ask("POST", "/v1/chat/completions", body)
    assert status == 200, answer
    expected = model.chat(asked(shown), max_new_tokens=20, modalities=[]).text
    assert json.loads(answer)["choices"][0]["message"]["content"] == expected


def test_what_does_not_go_is_told(folder: Path, model: AnyGPT) -> None:
    with pytest.raises(ConfigError, match="have no encoder beside them"):
        AnyGPTConfig.from_dict({"llm": "x", "inputs": {"image": {"way": "llm", "encoder": "clip"}}})
    with pytest.raises(ConfigError, match="the key 'encoder' is missing"):
        AnyGPTConfig.from_dict({"llm": "x", "inputs": {"image": {}}})
    with pytest.raises(ConfigError, match="did you mean 'llm'"):
        AnyGPTConfig.from_dict({"llm": "x", "inputs": {"image": {"way": "lmm"}}})
    tiny_model.build_llm(folder / "blind")
    config = AnyGPTConfig.from_dict({"llm": "blind", "inputs": {"image": {"way": "llm"}}})
    with pytest.raises(ConfigError, match=r"this LLM \(llama\) has no eyes or ears that are known here"):
        AnyGPT.from_config(config, folder)
    with pytest.raises(ConfigError, match="own senses are image"):
        heard = AnyGPTConfig.from_dict({"llm": "llm", "inputs": {"audio": {"way": "llm"}}})
        AnyGPT.from_config(heard, folder).reader("audio")
    prompt = model.processor(
        normalise([*TALKS["one"], {"role": "assistant", "content": "one"}]), training=True
    )
    with pytest.raises(ConfigError, match="not trained on here"):
        model([prompt])
