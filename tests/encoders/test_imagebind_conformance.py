"""ImageBind against recordings of the reference implementation; sizes and cases come from the recordings."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from encoders import media
from encoders.imagebind import ImageBindConfig, ImageBindModel, ImageBindPreprocessor, ImageBindTokenizer
from encoders.imagebind.preprocessing import AUDIO_RATE, resized_size
from encoders.imagebind.tokenizer import clip_tokenizer
from encoders.resampling import resample

FLOAT32, FLOAT64 = 5e-6, 1e-12  # relative to the largest element of a recorded tensor


@cache
def recordings() -> Path:
    default = Path(__file__).parents[2].parent / "shared" / "conformance"
    return Path(os.environ.get("ANYGPT_CONFORMANCE", default)) / "imagebind"


@cache
def tensors(name: str) -> dict[str, Tensor]:
    path = recordings() / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"no recordings at {path}; set ANYGPT_CONFORMANCE to their folder")
    return load_file(path)


@cache
def facts(name: str) -> dict[str, Any]:
    path = recordings() / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no recordings at {path}; set ANYGPT_CONFORMANCE to their folder")
    return json.loads(path.read_text())


@cache
def reference(dtype: torch.dtype) -> ImageBindModel:
    model = ImageBindModel(ImageBindConfig.from_dict(facts("config")["constructor"]))
    model.load_state_dict(tensors("weights"))
    return model.to(dtype).eval()


def check(case: str, got: Tensor, recorded: Tensor, bound: float) -> None:
    assert got.shape == recorded.shape, case
    assert got.dtype == recorded.dtype, case
    difference = ((got - recorded).abs().max() / recorded.abs().max()).item()
    print(f"{case} {got.dtype}: {difference:.1e}")
    assert difference <= bound, f"{case}: {difference:.1e}"


@torch.no_grad()
def check_modality(modality: str, film: bool | None = None) -> None:
    """All recorded stages of a modality's cases; of vision, those with clips (films) or those without."""
    cases = {case: x for case, x in tensors("inputs").items() if case.startswith(f"{modality}.")}
    if film is not None:
        cases = {case: x for case, x in cases.items() if (x.ndim > 5) == film}
    assert cases, f"nothing recorded of {modality}"
    for dtype, bound, outputs in (
        (torch.float32, FLOAT32, "outputs"),
        (torch.float64, FLOAT64, "outputs_fp64"),
    ):
        model, recorded = reference(dtype), tensors(outputs)
        for case, x in cases.items():
            x = x.to(dtype) if x.is_floating_point() else x
            flat = x.flatten(0, 1) if x.ndim >= 5 else x
            tokens = model.tokens(modality, flat)
            trunk = model.trunk(modality, tokens)
            head = model.head(modality, model.select(modality, trunk, flat))
            stages = {
                "tokens": tokens,
                "trunk": trunk,
                "head": head,
                "embedding": model({modality: x})[modality],
            }
            compared = [stage for stage in stages if f"{case}/{stage}" in recorded]
            assert {"head", "embedding"} <= set(compared)
            for stage in compared:
                check(f"{case}/{stage}", stages[stage], recorded[f"{case}/{stage}"], bound)
            patches = tensors("patch_tokens").get(case)
            if patches is not None and patches.dtype == dtype:
                check(f"{case} patch tokens", model.patch_tokens(modality, x), patches, bound)
    if modality != "text":
        assert cases.keys() <= tensors("patch_tokens").keys()


def test_conformance_image() -> None:
    check_modality("vision", film=False)


def test_conformance_video() -> None:
    check_modality("vision", film=True)


def test_conformance_text() -> None:
    check_modality("text")


def test_conformance_audio() -> None:
    check_modality("audio")


def test_conformance_depth() -> None:
    check_modality("depth")


def test_conformance_thermal() -> None:
    check_modality("thermal")


def test_conformance_imu() -> None:
    check_modality("imu")


def test_conformance_huge_keys() -> None:
    with torch.device("meta"):
        model = ImageBindModel(ImageBindConfig.huge())
    assert {name: list(value.shape) for name, value in model.state_dict().items()} == facts("huge_keys")


def recorded_files(kind: str) -> list[tuple[str, Tensor]]:
    found = [(name.split("/", 1)[1], value) for name, value in tensors("preprocessed").items()]
    kinds = [name.split("/", 1)[0] for name in tensors("preprocessed")]
    chosen = [item for item, its_kind in zip(found, kinds, strict=True) if its_kind == kind]
    assert chosen, f"nothing recorded of {kind}"
    return chosen


def test_conformance_preprocessing_image() -> None:
    preprocessor = ImageBindPreprocessor()
    for name, recorded in recorded_files("vision"):
        got = preprocessor.image(media.read("image", recordings() / "media" / name))
        assert got.shape == recorded.shape
        assert (got - recorded.float()).abs().max() <= 1e-3, name  # recorded in float16
    for case in facts("preprocessing")["image_resize"]:
        assert list(resized_size(case["width"], case["height"], 224)) == case["resized_wh"]


def test_conformance_preprocessing_audio() -> None:
    preprocessor = ImageBindPreprocessor()
    for name, recorded in recorded_files("audio_16k"):
        sound = media.read("audio", recordings() / "media" / name)
        got = resample(torch.from_numpy(sound.samples), sound.rate, AUDIO_RATE)
        assert got.shape == recorded.shape
        assert (got - recorded).abs().max() <= 5e-6, name
    for name, recorded in recorded_files("audio"):
        got = preprocessor.audio(media.read("audio", recordings() / "media" / name))
        assert got.shape == recorded.shape
        difference = (got - recorded).abs()
        assert difference.max() <= 2e-3, name
        assert difference.mean() <= 1e-5, name
    for case in facts("preprocessing")["audio_clip_bounds"]:
        assert [list(clip) for clip in preprocessor.audio_clip_bounds(case["samples"])] == case["bounds"], (
            case
        )


def test_conformance_preprocessing_video() -> None:
    preprocessor = ImageBindPreprocessor()
    films = tensors("preprocessed")
    for name, frames in recorded_files("video_frames"):
        about = facts("preprocessing")["media"][f"video_{name}"]
        got = preprocessor.video(media.Video(frames.numpy(), about["fps"]))
        assert list(got.shape) == about["full_shape"]
        stride = about["stored_stride"]
        assert (got[..., ::stride, ::stride] - films[f"video/{name}"]).abs().max() <= 5e-6, name
    for case in facts("preprocessing")["video_frame_picks"]:
        assert preprocessor.video_frame_picks(case["frames"], case["fps"]) == case["picked"], case
    for case in facts("preprocessing")["video_crops"]:
        height, width = preprocessor.video_scaled_size(case["height"], case["width"])
        assert [height, width] == case["scaled"], case
        corners = preprocessor.video_crop_corners(height, width)
        assert [list(corner) for corner in corners] == case["crop_top_left"], case


def test_conformance_preprocessing_text() -> None:
    tokenizer = ImageBindTokenizer(clip_tokenizer())
    for name, recorded in recorded_files("text"):
        got = torch.stack([tokenizer(text) for text in facts("preprocessing")[name]])
        assert torch.equal(got, recorded), name
