"""The published ImageBind's names, and its file at reduced width."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from anygpt.conversion.files import ConversionError
from anygpt.conversion.imagebind import convert_imagebind
from encoders import load_encoder
from encoders.imagebind import ImageBindConfig, ImageBindModel

DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "conformance"
HUGE = Path(os.environ.get("ANYGPT_CONFORMANCE", DEFAULT)) / "imagebind" / "huge_keys.json"
PARTS = ("vision", "text", "audio", "depth", "thermal", "imu")
SMALL = ImageBindConfig(
    **{f"{part}_{what}": value for part in PARTS for what, value in (("num_blocks", 1), ("embed_dim", 16), ("num_heads", 2))},
    out_embed_dim=16, kernel_size=(2, 8, 8), image_size=32, vocab_size=300,
)  # fmt: skip


@pytest.mark.skipif(
    not HUGE.is_file(), reason="no key list: set ANYGPT_CONFORMANCE to the folder of the recordings"
)
def test_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        model = ImageBindModel(ImageBindConfig.huge())
    assert {name: list(value.shape) for name, value in model.state_dict().items()} == json.loads(
        HUGE.read_text()
    )


@pytest.fixture
def weights() -> dict[str, Any]:
    torch.manual_seed(0)
    return ImageBindModel(SMALL).state_dict()


def test_the_file_becomes_a_folder(weights: dict[str, Any], tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "imagebind_huge.pth")
    convert_imagebind(tmp_path / "imagebind_huge.pth", tmp_path / "imagebind", "even", SMALL)
    encoder: Any = load_encoder(tmp_path / "imagebind")
    assert encoder.preprocessor.clip_spacing == "even"
    own = encoder.model.state_dict()
    assert own.keys() == weights.keys() and all(torch.equal(own[name], weights[name]) for name in own)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("missing", "lacks modality_heads.imu.3.weight, which imagebind_huge has"),
        ("unknown", "has modality_heads.smell.weight, which imagebind_huge has not"),
        ("shape", r"modality_heads.imu.3.weight is \(2, 2\), and imagebind_huge has \(16, 16\)"),
    ],
)
def test_another_file_is_refused(weights: dict[str, Any], tmp_path: Path, change: str, told: str) -> None:
    if change == "missing":
        del weights["modality_heads.imu.3.weight"]
    elif change == "unknown":
        weights["modality_heads.smell.weight"] = torch.zeros(1)
    else:
        weights["modality_heads.imu.3.weight"] = torch.zeros(2, 2)
    torch.save(weights, tmp_path / "imagebind_huge.pth")
    with pytest.raises(ConversionError, match=told):
        convert_imagebind(tmp_path / "imagebind_huge.pth", tmp_path / "imagebind", config=SMALL)
    assert not (tmp_path / "imagebind").exists()
