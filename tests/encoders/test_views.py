"""The window of a picture that an encoder sees, and boxes that stay right through it."""

import random
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import tiny_model
import torch
from PIL import Image, ImageOps
from torch import Tensor

from anygpt.grounding import Box, GroundingError, in_view, parse
from encoders import media
from encoders.encoder import Encoder
from encoders.views import seen_window


class Padding(Encoder):
    """Pads a picture to a square with grey, brings it to 64 pixels, and normalises: LLaVA's way."""

    modalities = ("image",)

    def preprocess(self, modality: str, media: Any) -> Tensor:
        square = ImageOps.pad(media, (64, 64), color=(122, 116, 104))
        mean, std = torch.tensor([0.5, 0.4, 0.3])[:, None, None], torch.tensor([0.2, 0.3, 0.4])[:, None, None]
        return (torch.from_numpy(np.array(square)).permute(2, 0, 1) / 255 - mean) / std

    def features(self, modality: str, batch: Tensor) -> Tensor:
        return batch.flatten(1)[:, None]

    pooled = features

    def dim(self, modality: str) -> int:
        return 3 * 64 * 64

    @classmethod
    def from_pretrained(cls, path_or_id: str | Path) -> Self:
        raise ValueError("there are no weights")

    def save_pretrained(self, folder: str | Path) -> None: ...


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel, ViTImageProcessor

    from encoders import load_encoder
    from encoders.transformers_encoder import TransformersEncoder

    folder = tmp_path_factory.mktemp("encoders") / "imagebind"
    tiny_model.build_imagebind(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = CLIPVisionModel(CLIPVisionConfig(image_size=32, patch_size=8, **sizes))
    crop = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    squash = ViTImageProcessor(size={"height": 32, "width": 32})
    return {
        "imagebind": load_encoder(folder),
        "crop": TransformersEncoder(model, crop),
        "squash": TransformersEncoder(model, squash),
        "pad": Padding(),
    }


def window(kind: str, width: int, height: int) -> tuple[float, ...]:
    """What each way of preprocessing is meant to see."""
    if kind == "squash":
        return (0, 0, 1, 1)
    side = max(width, height) if kind == "pad" else min(width, height)
    x, y = (1 - side / width) / 2, (1 - side / height) / 2
    return (x, y, 1 - x, 1 - y)


@pytest.mark.parametrize("size", [(64, 64), (300, 300), (320, 200), (200, 333), (96, 48), (4000, 3000)])
@pytest.mark.parametrize("kind", ["imagebind", "crop", "squash", "pad"])
def test_the_window_is_read_off_the_preprocessing(
    encoders: dict[str, Encoder], kind: str, size: tuple[int, int]
) -> None:
    seen = seen_window(encoders[kind], *size)
    assert seen == pytest.approx(window(kind, *size), abs=0.02)  # whole pixels of 32
    if size[0] == size[1] or kind == "squash":
        assert seen == (0, 0, 1, 1)


@pytest.mark.parametrize("kind", ["imagebind", "crop", "squash", "pad"])
def test_a_thing_stays_in_its_box(encoders: dict[str, Encoder], kind: str) -> None:
    """What is found in the preprocessed picture is, back in the picture, where the thing was drawn."""
    chance = random.Random(0)
    for width, height in ((240, 160), (160, 240), (200, 200)):
        seen = seen_window(encoders[kind], width, height)
        for _ in range(5):
            x, y = (
                chance.randint(width * 3 // 10, width * 5 // 10),
                chance.randint(height * 3 // 10, height * 5 // 10),
            )
            picture = np.zeros((height, width, 3), np.uint8)
            picture[y : y + 30, x : x + 40] = 255
            pixels = encoders[kind].preprocess("image", media.load("image", Image.fromarray(picture)))
            pixels = pixels.reshape(pixels.shape[-3:])[0]
            if kind == "pad":  # its grey is no thing
                pixels = (pixels > 0.5 * (pixels.max() + 0)).float()
            rows, columns = np.nonzero((pixels > (pixels.min() + pixels.max()) / 2).numpy())
            high, wide = pixels.shape
            found = Box(
                columns.min() / wide, rows.min() / high, (columns.max() + 1) / wide, (rows.max() + 1) / high
            )
            back = found.of_view(seen)
            true = (x / width, y / height, (x + 40) / width, (y + 30) / height)
            assert back.corners == pytest.approx(true, abs=0.035)  # a pixel of 32


def test_ten_thousand_boxes_go_through_windows_and_back() -> None:
    chance = random.Random(1)
    outside = 0
    for _ in range(10_000):
        x1, x2 = sorted((chance.random(), chance.random()))
        y1, y2 = sorted((chance.random(), chance.random()))
        box = Box(x1, y1, x2, y2, "star")
        far = chance.uniform(0, 0.4)
        seen = chance.choice(
            [(far, 0, 1 - far, 1), (0, far, 1, 1 - far), (-far, 0, 1 + far, 1), (0, 0, 1, 1)]
        )
        try:
            view = box.in_view(seen)
        except GroundingError:
            outside += 1
            assert x2 < seen[0] or x1 > seen[2] or y2 < seen[1] or y1 > seen[3]
            continue
        assert 0 <= view.x1 <= view.x2 <= 1 and 0 <= view.y1 <= view.y2 <= 1 and view.label == "star"
        kept = (max(x1, seen[0]), max(y1, seen[1]), min(x2, seen[2]), min(y2, seen[3]))
        assert view.of_view(seen).corners == pytest.approx(kept, abs=1e-9)
    assert 100 < outside < 3000


def test_boxes_in_a_text_become_those_of_the_view() -> None:
    seen = (0.25, 0, 0.75, 1)
    text = "what is at [0.25, 0.0, 0.5, 1.0], not [see] or [0.1, 2]?"
    assert in_view(text, seen) == "what is at [0.000, 0.000, 0.500, 1.000], not [see] or [0.1, 2]?"
    assert in_view("at [250, 0, 500, 1000]", seen) == "at [0, 0, 500, 1000]"
    assert in_view(text, (0, 0, 1, 1)) == text and in_view("hello", seen) == "hello"
    assert parse(in_view("a star: [0.5, 0.5, 1.0, 1.0]", seen)).boxes == [Box(0.5, 0.5, 1, 1, "a star")]
    with pytest.raises(GroundingError, match="outside the picture that is seen"):
        in_view("at [0.0, 0.0, 0.2, 1.0]", seen)
    with pytest.raises(GroundingError, match="outside"):
        Box(0.8, 0, 0.9, 1).of_view((0, 0, 2, 1))
