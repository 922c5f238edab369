"""A tiny ImageBind: shapes, gradients, checkpoints, and preprocessing from files and arrays."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

from encoders import load_encoder
from encoders.imagebind import (
    ImageBindConfig,
    ImageBindEncoder,
    ImageBindModel,
    ImageBindPreprocessor,
    ImageBindTokenizer,
)
from encoders.media import Audio, Imu, MediaError, Video

CONFIG = ImageBindConfig(
    kernel_size=(2, 16, 16),
    image_size=32,
    out_embed_dim=20,
    **{f"{m}_embed_dim": 16 for m in ("vision", "text", "audio", "depth", "thermal", "imu")},
    **{f"{m}_num_blocks": 2 for m in ("vision", "text", "audio", "depth", "thermal", "imu")},
    **{f"{m}_num_heads": 2 for m in ("vision", "text", "audio", "depth", "thermal", "imu")},
    imu_length=200,
    vocab_size=12,
    context_length=9,
)
WORDS = [
    "a",
    "red",
    "blue",
    "circle",
    "square",
    "on",
    "white",
    "black",
    "grey",
    "!",
    "<|startoftext|>",
    "<|endoftext|>",
]
PATCHES = {"image": 4, "video": 4, "text": 1, "audio": 228, "depth": 4, "thermal": 4, "imu": 25}


def tiny_encoder(**settings: Any) -> ImageBindEncoder:
    torch.manual_seed(0)
    vocabulary = models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="!")
    tokenizer = Tokenizer(vocabulary)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    defaults = ImageBindPreprocessor.for_model(CONFIG).to_dict()
    preprocessor = ImageBindPreprocessor.from_dict(
        defaults | {"video_num_clips": 2, "video_crops": 1} | settings
    )
    return ImageBindEncoder(ImageBindModel(CONFIG), preprocessor, ImageBindTokenizer(tokenizer, 9)).eval()


def media_objects() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "image": Image.fromarray(random.integers(0, 255, (40, 52, 3), dtype=np.uint8)),
        "video": Video(random.integers(0, 255, (8, 32, 48, 3), dtype=np.uint8), 8.0),
        "text": "A red  circle",
        "audio": Audio(random.uniform(-0.5, 0.5, (2, 30_000)), 22_050),
        "depth": random.uniform(0.5, 4, (40, 60)),
        "thermal": random.uniform(5, 60, (60, 40)),
        "imu": Imu(random.normal(size=(6, 800)), 200.0),
    }


def batches(encoder: ImageBindEncoder) -> dict[str, Tensor]:
    return {
        modality: torch.stack([encoder.preprocess(modality, thing)] * 2)
        for modality, thing in media_objects().items()
    }


@torch.no_grad()
def test_shapes() -> None:
    encoder = tiny_encoder()
    given = batches(encoder)
    assert {modality: tuple(batch.shape[1:]) for modality, batch in given.items()} == {
        "image": (3, 32, 32),
        "video": (2, 3, 2, 32, 32),
        "text": (9,),
        "audio": (3, 1, 128, 204),
        "depth": (1, 32, 32),
        "thermal": (1, 32, 32),
        "imu": (6, 200),
    }
    assert given.keys() == set(encoder.modalities)
    for modality, batch in given.items():
        assert encoder.dim(modality) == 20
        assert encoder.pooled(modality, batch).shape == (2, 1, 20)
        assert encoder.features(modality, batch).shape == (2, PATCHES[modality], 20)
    keeping = tiny_encoder(video_clips="keep")
    assert keeping.pooled("video", given["video"]).shape == (2, 2, 20)
    assert keeping.features("video", given["video"]).shape == (2, 2 * 4, 20)
    torch.testing.assert_close(
        keeping.pooled("video", given["video"]).mean(1, keepdim=True), encoder.pooled("video", given["video"])
    )
    both = keeping.both("video", given["video"]).unflatten(1, (2, 1 + 4))  # clip by clip
    torch.testing.assert_close(both[:, :, 0], keeping.pooled("video", given["video"]))
    torch.testing.assert_close(both[:, :, 1:].flatten(1, 2), keeping.features("video", given["video"]))


@torch.no_grad()
def test_a_batch_is_its_items() -> None:
    encoder = tiny_encoder()
    for modality, batch in batches(encoder).items():
        other = batch[1:] if modality == "text" else batch[1:] * 0.5
        both = encoder.pooled(modality, torch.cat([batch[:1], other]))
        torch.testing.assert_close(both[:1], encoder.pooled(modality, batch[:1]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(both[1:], encoder.pooled(modality, other), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["pooled", "features"])
def test_gradients_reach_every_parameter(form: str) -> None:
    encoder = tiny_encoder().train()
    given = batches(encoder)
    # Drop path leaves blocks out at random; without it, each must take part.
    for module in encoder.modules():
        if hasattr(module, "drop_path"):
            module.drop_path = 0.0  # type: ignore[assignment]
    outputs = [getattr(encoder, form)(modality, batch) for modality, batch in given.items()]
    torch.stack([torch.randn_like(output).mul(output).sum() for output in outputs]).sum().backward()
    unused = {name for name, parameter in encoder.named_parameters() if parameter.grad is None}
    assert unused == set()
    still = {name for name, parameter in encoder.named_parameters() if not parameter.grad.abs().sum() > 0}  # type: ignore[union-attr]
    assert still == set()


def test_drop_path_acts_in_training_only() -> None:
    encoder = tiny_encoder()
    batch = batches(encoder)["imu"]
    assert torch.equal(encoder.pooled("imu", batch), encoder.pooled("imu", batch))
    encoder.train()
    torch.manual_seed(0)
    assert not torch.equal(encoder.pooled("imu", batch), encoder.pooled("imu", batch))


@torch.no_grad()
def test_saved_and_loaded_encoders_agree(tmp_path: Path) -> None:
    encoder = tiny_encoder(depth_scale=1.0, video_clips="keep")
    encoder.save_pretrained(tmp_path)
    names = ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    loaded = load_encoder(tmp_path)
    assert isinstance(loaded, ImageBindEncoder)
    assert not loaded.training
    assert loaded.model.config == CONFIG
    assert loaded.preprocessor == encoder.preprocessor
    for modality, batch in batches(encoder).items():
        assert torch.equal(loaded.preprocess(modality, media_objects()[modality]), batch[0])
        assert torch.equal(loaded.pooled(modality, batch), encoder.pooled(modality, batch))
        assert torch.equal(loaded.features(modality, batch), encoder.features(modality, batch))


@torch.no_grad()
def test_half_precision_weights_load_as_float32(tmp_path: Path) -> None:
    encoder = tiny_encoder()
    given = batches(encoder)
    expected = {modality: encoder.pooled(modality, batch) for modality, batch in given.items()}
    encoder.save_pretrained(tmp_path / "whole")
    encoder.half().save_pretrained(tmp_path / "half")
    whole, half = (tmp_path / name / "model.safetensors" for name in ("whole", "half"))
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    loaded = load_encoder(tmp_path / "half")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    for modality, batch in given.items():
        size = expected[modality].abs().max()
        assert (loaded.pooled(modality, batch) - expected[modality]).abs().max() < 0.02 * size


def test_official_weights_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny_encoder()
    torch.save(encoder.model.state_dict(), tmp_path / "imagebind_huge.pth")
    monkeypatch.setattr(ImageBindConfig, "huge", classmethod(lambda cls: CONFIG))  # the real one takes 4.8 GB
    batch = batches(encoder)["image"]
    for path in (tmp_path, tmp_path / "imagebind_huge.pth"):
        assert torch.equal(load_encoder(path).pooled("image", batch), encoder.pooled("image", batch))


def test_broken_checkpoints_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        load_encoder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        load_encoder(tmp_path)
    tiny_encoder().save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"vision_embed_dim": 16', '"vision_embed_dim": 32'))
    with pytest.raises(ValueError, match="do not fit"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text(config.replace("vision_embed_dim", "vision_width"))
    with pytest.raises(ValueError, match="unknown ImageBind settings: vision_width"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"neither model\.safetensors nor imagebind_huge\.pth"):
        load_encoder(tmp_path)


def test_wrong_inputs_say_what_is_wrong() -> None:
    model = tiny_encoder().model
    with pytest.raises(ValueError, match="no modality 'smell'"):
        model({"smell": torch.zeros(1, 3)})
    with pytest.raises(ValueError, match="9 token ids"):
        model({"text": torch.zeros(1, 77, dtype=torch.long)})
    with pytest.raises(ValueError, match="200 samples"):
        model({"imu": torch.zeros(1, 6, 2000)})
    with pytest.raises(ValueError, match="wrong input size"):
        model({"depth": torch.zeros(1, 1, 64, 64)})
    with pytest.raises(ValueError, match="takes image, video"):
        tiny_encoder().pooled("smell", torch.zeros(1, 3))
    with pytest.raises(ValueError, match="not a multiple"):
        ImageBindConfig(vision_embed_dim=30)
    with pytest.raises(ValueError, match="video_crops"):
        ImageBindPreprocessor(video_crops=2)  # type: ignore[arg-type]


# Preprocessing.


def test_files_and_objects_give_the_same(tmp_path: Path) -> None:
    encoder = tiny_encoder()
    things = media_objects()
    things["image"].save(tmp_path / "image.png")
    soundfile.write(tmp_path / "audio.wav", things["audio"].samples.T, 22_050, subtype="FLOAT")
    np.save(tmp_path / "depth.npy", things["depth"])
    np.save(tmp_path / "thermal.npy", things["thermal"])
    for file in tmp_path.iterdir():
        assert torch.equal(
            encoder.preprocess(file.stem, file), encoder.preprocess(file.stem, things[file.stem])
        )
    with pytest.raises(MediaError, match=r"audio\.wav is|is a WAV sound"):
        encoder.preprocess("image", tmp_path / "audio.wav")


def test_short_film_gives_the_pairs_of_its_motion() -> None:
    settings: dict[str, Any] = {"video_num_clips": 4, "video_clip_duration": 0.625, "video_crops": 1}
    frames = np.zeros((8, 32, 32, 3), np.uint8)
    frames += (np.arange(8, dtype=np.uint8) * 30)[:, None, None, None]
    clips = tiny_encoder(**settings, image_mean=[0.0] * 3, image_std=[1.0] * 3).preprocess(
        "video", Video(frames, 8.0)
    )
    assert clips.shape == (4, 3, 2, 32, 32)
    shades = (clips[:, 0, :, 0, 0] * 255 / 30).round().int().tolist()
    assert shades == [[0, 4], [1, 5], [2, 6], [3, 7]]


@pytest.mark.parametrize(("frames", "fps"), [(1, 25.0), (3, 0.5), (2, 1000.0), (900, 60.0)])
def test_any_film_has_all_its_clips(frames: int, fps: float) -> None:
    picks = ImageBindPreprocessor().video_frame_picks(frames, fps)
    assert len(picks) == 5
    assert all(0 <= first <= last < frames for first, last in picks)


def test_even_spacing_of_clips() -> None:
    even = ImageBindPreprocessor(clip_spacing="even")
    assert [start for start, _ in even.audio_clip_bounds(80_000)] == [0, 16_000, 32_000]


def test_extreme_pictures_stay_small() -> None:
    for size in ((8, 40_000), (40_000, 8), (8, 8)):
        assert tiny_encoder().preprocess("image", Image.new("RGB", size)).shape == (3, 32, 32)


@pytest.mark.parametrize("rate", [8_000, 44_100, 44_101, 48_000])
def test_sounds_of_any_rate_show_the_same_pitch(rate: int) -> None:
    preprocessor = ImageBindPreprocessor()

    def loudest_band(rate: int, channels: int) -> int:
        wave = 0.3 * np.sin(2 * np.pi * 880 * np.arange(2 * rate) / rate)
        return int(
            preprocessor.audio(Audio(np.stack([wave] * channels), rate))[0, 0, :, :198].mean(dim=1).argmax()
        )

    assert loudest_band(rate, 2) == loudest_band(16_000, 1)


def test_shortest_sound_is_padded() -> None:
    mel = ImageBindPreprocessor().audio(Audio(np.full((1, 400), 0.1), 16_000))
    assert mel.shape == (3, 1, 128, 204)
    torch.testing.assert_close(mel[..., 1:], torch.full_like(mel[..., 1:], 4.268 / 9.138))


def test_depth_is_disparity() -> None:
    encoder = tiny_encoder(depth_scale=1.0, depth_mean=0.5, depth_std=0.25, depth_range=(0.5, 10.0))
    depth = np.repeat([0.0, 1.0, 2.0, 4.0], 32 * 8).reshape(
        32, 32
    )  # four bands; no reading counts as nearest
    rows = encoder.preprocess("depth", depth)[0, [4, 12, 20, 28], 16]
    torch.testing.assert_close(rows, torch.tensor([6.0, 2.0, 0.0, -1.0]), atol=1e-5, rtol=0)


def test_thermal_range_is_mapped_to_one() -> None:
    encoder = tiny_encoder(thermal_range=(0.0, 50.0))
    celsius = np.repeat([-10.0, 0.0, 25.0, 80.0], 32 * 8).reshape(32, 32)
    rows = encoder.preprocess("thermal", celsius)[0, [4, 12, 20, 28], 16]
    torch.testing.assert_close(rows, torch.tensor([0.0, 0.0, 0.5, 1.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rate", [40.0, 100.0, 400.0])
def test_motion_of_any_rate_is_the_same_signal(rate: float) -> None:
    encoder = tiny_encoder(imu_scale=(0.5, 1.0))  # 200 samples in 5 s
    times = np.arange(int(5 * rate)) / rate
    wave = np.sin(2 * np.pi * times / 5)
    signal = encoder.preprocess("imu", Imu(np.stack([2 * wave] * 3 + [wave] * 3), rate))
    expected = torch.from_numpy(np.sin(2 * np.pi * np.arange(200) / 40 / 5)).float()
    torch.testing.assert_close(signal, expected.expand(6, -1), atol=0.02, rtol=0)


def test_motion_at_the_models_rate_is_left_alone_and_padded() -> None:
    samples = np.random.default_rng(0).normal(size=(6, 150)).astype(np.float32)
    signal = tiny_encoder().preprocess("imu", Imu(samples, 40.0))
    np.testing.assert_allclose(signal[:, :150], samples, rtol=1e-5, atol=1e-6)
    assert signal[:, 150:].abs().max() == 0


def test_texts_end_with_the_end_token() -> None:
    encoder = tiny_encoder()
    assert encoder.preprocess("text", " A&nbsp;RED circle ").tolist() == [10, 0, 1, 3, 11, 0, 0, 0, 0]
    assert encoder.preprocess("text", "red " * 50).tolist() == [10, *[1] * 7, 11]
    assert encoder.preprocess("text", "").tolist() == [10, 11, *[0] * 7]


def test_film_from_a_file(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for shade in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), shade * 30, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    clips = tiny_encoder().preprocess("video", str(tmp_path / "a.mp4"))
    assert clips.shape == (2, 3, 2, 32, 32)
    assert (clips[:, :, 1] > clips[:, :, 0]).all()
