"""Encoders of transformers' own classes at toy sizes with random weights, saved as on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers as hf

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
SIGHT: dict[str, Any] = {**SIZES, "image_size": 32, "patch_size": 8}
TEXT: dict[str, Any] = {**SIZES, "vocab_size": 99, "max_position_embeddings": 16}
PIXELS: dict[str, Any] = {"size": {"height": 32, "width": 32}, "crop_size": {"height": 32, "width": 32}}


def clip_vision_alone(folder: Path) -> None:
    hf.CLIPVisionModel(hf.CLIPVisionConfig(**SIGHT)).save_pretrained(folder)
    hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=PIXELS["crop_size"]).save_pretrained(folder)


def blip2_vision(folder: Path) -> None:
    hf.Blip2VisionModel(hf.Blip2VisionConfig(**SIGHT)).save_pretrained(folder)
    hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=PIXELS["crop_size"]).save_pretrained(folder)


def clap(folder: Path) -> None:
    audio: dict[str, Any] = {
        "spec_size": 64,
        "num_mel_bins": 16,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "window_size": 4,
        "patch_embeds_hidden_size": 8,
        "hidden_size": 32,
        "depths": [1, 1, 1],
        "num_attention_heads": [1, 2, 2],
        "projection_dim": 16,
    }
    hf.ClapModel(hf.ClapConfig(audio_config=audio, text_config=TEXT, projection_dim=16)).save_pretrained(
        folder
    )
    extractor = hf.ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=16_000,
        hop_length=160,
        max_length_s=2,
        frequency_max=8_000,
        truncation="rand_trunc",
    )
    extractor.save_pretrained(folder)
