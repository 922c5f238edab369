"""Pictures, sounds and films through an Omni's own eyes and ears, against transformers' own model with the same weights.

The checkpoint is random and tiny, and has the layout of the published Qwen2.5-Omni: a thinker, a talker and its voice in one file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_model
import torch
from own_senses import assert_answers_alike, assert_joins_and_goes_on

from anygpt import AnyGPT
from anygpt.cli import main
from anygpt.config import ConfigError
from anygpt.frozen import load_llm
from anygpt.messages import normalise
from anygpt.options import Options
from anygpt.own_senses import OwnSenses
from anygpt.thinking import Batch
from encoders.media import Audio, Video

MARKS = (
    "<|vision_bos|>",
    "<|vision_eos|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
    "<|IMAGE|>",
    "<|VIDEO|>",
    "<|AUDIO|>",
)
PADS = dict(zip(("image", "video", "audio"), MARKS[4:], strict=True))
MEAN, SPREAD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)  # mean and spread of pixels
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0}
# transformers' own talker and voice at the smallest; nothing here looks at them, but they are in the file
TALKER = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
    "head_dim": 8, "embedding_size": 32,
}  # fmt: skip
VOICE = {
    "dit_config": {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8, "emb_dim": 8, "num_embeds": 32, "mel_dim": 8,
        "enc_emb_dim": 8, "enc_dim": 8, "enc_channels": [8, 8, 8, 8, 24], "enc_attention_channels": 8, "enc_res2net_scale": 2,
        "enc_se_channels": 8,
    },
    "bigvgan_config": {"mel_dim": 8, "upsample_initial_channel": 64},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("omni")
    tokenizer = tiny_model.tiny_tokenizer()
    tokenizer.add_tokens(list(MARKS), special_tokens=True)
    ids = dict(zip(MARKS, tokenizer.convert_tokens_to_ids(list(MARKS)), strict=True))
    thinker = {
        "text_config": {
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 1024, "initializer_range": 0.3, "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "rope_parameters": ROPE,
        },
        "vision_config": {
            "depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32, "patch_size": 4,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 16, "fullatt_block_indexes": [1],
            "initializer_range": 0.3,
        },
        "audio_config": {
            "num_mel_bins": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "d_model": 16,
            "output_dim": 32, "initializer_range": 0.3,
        },
        "image_token_index": ids["<|IMAGE|>"], "video_token_index": ids["<|VIDEO|>"], "audio_token_index": ids["<|AUDIO|>"],
        "vision_start_token_id": ids["<|vision_bos|>"], "vision_end_token_id": ids["<|vision_eos|>"],
        "audio_start_token_id": ids["<|audio_bos|>"], "audio_end_token_id": ids["<|audio_eos|>"], "initializer_range": 0.3,
    }  # fmt: skip
    config = Qwen2_5OmniConfig(thinker_config=thinker, talker_config=TALKER, token2wav_config=VOICE)
    torch.manual_seed(0)
    Qwen2_5OmniForConditionalGeneration(config).save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    settings = {  # one file for eyes and ears, as published
        "image_processor_type": "Qwen2VLImageProcessor", "patch_size": 4, "merge_size": 2, "temporal_patch_size": 2,
        "min_pixels": 64, "max_pixels": 4096, "image_mean": MEAN, "image_std": SPREAD, "processor_class": "Qwen2_5OmniProcessor",
        "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 16, "sampling_rate": 16_000, "hop_length": 160,
        "n_fft": 400, "chunk_length": 3, "padding_value": 0.0, "padding_side": "right", "return_attention_mask": True,
    }  # fmt: skip
    (folder / "llm" / "preprocessor_config.json").write_text(json.dumps(settings))
    tiny.save_pipeline("stable-diffusion", folder / "image-decoder")
    preset = {
        "llm": "llm",
        "inputs": {
            "image": {"way": "llm", "around": MARKS[:2]},
            "video": {"way": "llm", "around": MARKS[:2]},
            "audio": {"way": "llm", "around": MARKS[2:4]},
        },
        "outputs": {
            "image": {"decoder": "image-decoder", "way": "captions", "generation": {"num_inference_steps": 1}}
        },
    }
    (folder / "preset.yaml").write_text(json.dumps(preset))
    return folder


@pytest.fixture(scope="module", autouse=True)
def small_films() -> Any:
    """A film's frames are 100,000 pixels at least; here fewer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anygpt.own_senses.FILM_PIXELS", {"shortest_edge": 64, "longest_edge": 4096})
        yield


@pytest.fixture(scope="module")
def model(folder: Path) -> AnyGPT:
    return AnyGPT.from_pretrained(folder / "preset.yaml")


random = np.random.default_rng(0)
PICTURE = random.integers(0, 255, (24, 48, 3), np.uint8)
FILM = Video(random.integers(0, 255, (10, 32, 24, 3), np.uint8), 4.0)  # 2.5 s: five pictures, so three frames
SHORT = Video(FILM.frames[:1], 30.0)
SOUND = Audio(random.normal(0, 0.3, (2, 12_345)).astype(np.float32), 16_000)
CLICK = Audio(SOUND.samples[:1, :500], 16_000)


def asked(*media: tuple[str, Any], text: str = "what is this?") -> list[dict[str, Any]]:
    from PIL import Image

    parts = [{"type": kind, kind: Image.fromarray(one) if kind == "image" else one} for kind, one in media]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


TALKS: dict[str, list[dict[str, Any]]] = {
    "text": asked(text="hello"),
    "picture": asked(("image", PICTURE)),
    "sound": asked(("audio", SOUND)),
    "film": asked(("video", FILM)),
    "all": asked(("video", SHORT), ("audio", CLICK), ("image", PICTURE), ("audio", SOUND), ("video", FILM)),
    "later": [
        *asked(("video", FILM)),
        {"role": "assistant", "content": "one"},
        *asked(("audio", SOUND), ("image", PICTURE)),
    ],
}


def patches(pictures: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """(pictures, H, W, 3) as the tower reads them: frames of two pictures, blocks of 2x2 patches, and the grid."""
    values = torch.from_numpy((pictures / 255 - MEAN[0]) / SPREAD[0]).float().permute(0, 3, 1, 2)
    count, _, height, width = values.shape
    cut = values.reshape(count // 2, 2, 3, height // 8, 2, 4, width // 8, 2, 4)
    return cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(-1, 3 * 2 * 16), torch.tensor(
        [count // 2, height // 4, width // 4]
    )


def by_transformers(model: AnyGPT, messages: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What transformers' model takes for a conversation, made without what is tested here, and its logits of the next token."""
    from transformers import AutoFeatureExtractor

    prompt = model.processor(normalise(messages))
    ears = AutoFeatureExtractor.from_pretrained(str(model.root / "llm"))  # type: ignore[operator]
    given: dict[str, list[torch.Tensor]] = {}
    counts = []
    for part in (part for message in messages for part in message["content"] if isinstance(part, dict)):
        if part["type"] == "audio":
            wave = part["audio"].samples.mean(0)
            wave = np.pad(wave, (0, max(0, 640 - len(wave))))
            made = ears(
                wave,
                sampling_rate=16_000,
                padding="max_length",
                return_attention_mask=True,
                return_tensors="pt",
            )
            given.setdefault("input_features", []).append(made["input_features"])
            given.setdefault("feature_attention_mask", []).append(made["attention_mask"])
            counts.append(int((((made["attention_mask"].sum() - 1) // 2 + 1) - 2) // 2 + 1))
        elif part["type"] != "text":
            if part["type"] == "image":
                values, grid = patches(np.stack([np.asarray(part["image"])] * 2))
                names = ("pixel_values", "image_grid_thw")
            else:
                film = part["video"]
                every = round(film.fps / 2)
                pictures = film.frames[::every]
                values, grid = patches(
                    np.concatenate([pictures, pictures[-1:]])[: len(pictures) + len(pictures) % 2]
                )
                names = ("pixel_values_videos", "video_grid_thw")
                given.setdefault("video_second_per_grid", []).append(torch.ones(1))
            given.setdefault(names[0], []).append(values)
            given.setdefault(names[1], []).append(grid[None])
            counts.append(int(grid.prod()) // 4)
    ids, media = [], zip(prompt.media, counts, strict=True)
    for token in prompt.ids:
        if token < 0:
            medium, count = next(media)
            ids += [model.tokenizer.convert_tokens_to_ids(PADS[medium.modality])] * count
        else:
            ids.append(token)
    whole = {name: torch.cat(values) for name, values in given.items()}
    whole |= {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    model.llm.model.rope_deltas = None
    with torch.no_grad():
        return whole, model.llm(**whole).logits[0, -1]


@pytest.mark.parametrize("name", TALKS)
def test_the_prompt_is_read_as_transformers_reads_it(model: AnyGPT, name: str) -> None:
    _, wanted = by_transformers(model, TALKS[name])
    batch = Batch(model, [model.processor(normalise(TALKS[name]))], [Options()])
    assert wanted.std() > 0.1 and torch.allclose(batch.logits[0, : len(wanted)], wanted, atol=1e-4)


def test_answers_are_transformers_own_alone_and_in_a_batch(model: AnyGPT) -> None:
    assert_answers_alike(model, by_transformers, list(TALKS.values()), 8)


def test_rows_that_join_and_memories_that_go_on(model: AnyGPT) -> None:
    assert_joins_and_goes_on(model, by_transformers, TALKS["film"], TALKS["all"], TALKS["sound"], 4)


def test_a_chat_and_which_way_media_go(
    model: AnyGPT, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reply: Any = model.chat(TALKS["all"], modalities=["image"], max_new_tokens=4)
    assert len(reply.images) == 1
    model.save_pretrained(tmp_path / "saved")
    again: Any = AnyGPT.from_pretrained(tmp_path / "saved").chat(TALKS["all"], max_new_tokens=6)
    assert again.text == model.chat(TALKS["all"], max_new_tokens=6).text  # type: ignore[union-attr]
    capsys.readouterr()
    assert main(["info", str(tmp_path / "saved")]) == 0
    told = capsys.readouterr().out
    for modality, organs in (("image", "eyes"), ("video", "eyes"), ("audio", "ears")):
        assert f"{modality} comes in through the LLM's own {organs}" in told


def test_an_outline_and_missing_settings(folder: Path, tmp_path: Path) -> None:
    llm, _ = load_llm(str(folder / "llm"), torch.float32, outline=True)
    assert {parameter.device.type for parameter in llm.parameters()} == {"meta"}
    assert OwnSenses(llm, folder / "llm").modalities == ("image", "audio", "video")
    deaf = OwnSenses(llm, tmp_path)
    with pytest.raises(ConfigError, match="lacks its feature extractor"):
        deaf.preprocess("audio", SOUND)
    with pytest.raises(ConfigError, match="lacks its image processor"):
        deaf.preprocess("video", FILM)
