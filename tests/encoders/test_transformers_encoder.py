"""Tiny random models of transformers' own classes, saved as on the hub, behind the interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_encoders import PIXELS, SIGHT, TEXT, clap, clip_vision_alone

from encoders import load_encoder
from encoders.encoder import Encoder
from encoders.media import Audio, MediaError, Video
from encoders.transformers_encoder import TransformersEncoder


def clip(folder: Path) -> None:
    config = hf.CLIPConfig(text_config=TEXT, vision_config=SIGHT, projection_dim=16)
    hf.CLIPModel(config).save_pretrained(folder)
    hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=PIXELS["crop_size"]).save_pretrained(folder)


def siglip(folder: Path) -> None:
    hf.SiglipModel(hf.SiglipConfig(text_config=TEXT, vision_config=SIGHT)).save_pretrained(folder)
    hf.SiglipImageProcessor(size=PIXELS["size"]).save_pretrained(folder)


def dinov2(folder: Path) -> None:
    config = {key: value for key, value in SIGHT.items() if key != "intermediate_size"}
    hf.Dinov2Model(hf.Dinov2Config(**config)).save_pretrained(folder)
    hf.BitImageProcessor(size={"shortest_edge": 36}, crop_size=PIXELS["crop_size"]).save_pretrained(folder)


def dinov2_with_registers(folder: Path) -> None:
    config = {key: value for key, value in SIGHT.items() if key != "intermediate_size"}
    model = hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**config, num_register_tokens=3))
    model.save_pretrained(folder)
    hf.BitImageProcessor(size={"shortest_edge": 36}, crop_size=PIXELS["crop_size"]).save_pretrained(folder)


def resnet(folder: Path) -> None:
    hf.ResNetModel(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 32], depths=[1, 1])).save_pretrained(
        folder
    )
    hf.BitImageProcessor(size={"shortest_edge": 32}, crop_size=PIXELS["crop_size"]).save_pretrained(folder)


def whisper(folder: Path) -> None:
    config = hf.WhisperConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        num_mel_bins=16,
        max_source_positions=100,
        vocab_size=99,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    hf.WhisperForConditionalGeneration(config).save_pretrained(folder)
    hf.WhisperFeatureExtractor(feature_size=16, chunk_length=2).save_pretrained(folder)


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 56, 3), dtype=np.uint8))


def sound(seconds: float = 1.0) -> Audio:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (2, int(seconds * 22_050)))
    return Audio(samples, 22_050)


def load(make: Callable[[Path], None], folder: Path) -> Encoder:
    torch.manual_seed(0)
    make(folder)
    encoder = load_encoder(folder)
    assert isinstance(encoder, TransformersEncoder)
    assert not encoder.training
    return encoder


@torch.no_grad()
@pytest.mark.parametrize(
    ("make", "patches"),
    [
        (clip, 16),
        (clip_vision_alone, 16),
        (siglip, 16),
        (dinov2, 16),
        (dinov2_with_registers, 16),
        (resnet, 16),
    ],
)
def test_vision_models(tmp_path: Path, make: Callable[[Path], None], patches: int) -> None:
    encoder = load(make, tmp_path)
    assert encoder.modalities == ("image", "video")
    batch = torch.stack([encoder.preprocess("image", picture(seed)) for seed in (0, 1)])
    assert batch.shape == (2, 3, 32, 32)
    features, pooled = encoder.features("image", batch), encoder.pooled("image", batch)
    assert features.shape == (2, patches, encoder.dim("image"))
    assert pooled.shape == (2, 1, encoder.dim("image"))
    torch.testing.assert_close(encoder.features("image", batch[:1]), features[:1], rtol=1e-4, atol=1e-5)

    frames = np.stack([np.asarray(picture(seed)) for seed in range(12)])
    film = torch.stack([encoder.preprocess("video", Video(frames, 8.0))] * 2)
    assert encoder.features("video", film).shape == (2, 8 * patches, encoder.dim("video"))
    pooled_film = encoder.pooled("video", film)
    assert pooled_film.shape == (2, 8, encoder.dim("video"))
    first = encoder.preprocess("image", Image.fromarray(frames[0]))[None]  # a film is a row of pictures
    torch.testing.assert_close(pooled_film[0, :1], encoder.pooled("image", first)[0], rtol=1e-4, atol=1e-5)

    both = encoder.both("video", film).unflatten(1, (8, 1 + patches))  # frame by frame
    torch.testing.assert_close(both[:, :, 0], pooled_film)
    torch.testing.assert_close(both[:, :, 1:].flatten(1, 2), encoder.features("video", film))


@torch.no_grad()
def test_patches_are_the_hidden_states_after_the_class_token(tmp_path: Path) -> None:
    encoder = load(clip, tmp_path)
    batch = encoder.preprocess("image", picture())[None]
    output = hf.CLIPModel.from_pretrained(tmp_path).vision_model(batch)
    torch.testing.assert_close(encoder.features("image", batch), output.last_hidden_state[:, 1:])
    torch.testing.assert_close(encoder.pooled("image", batch)[:, 0], output.pooler_output)


@torch.no_grad()
@pytest.mark.parametrize(("make", "tokens"), [(whisper, 100), (clap, 16)])
def test_audio_models(tmp_path: Path, make: Callable[[Path], None], tokens: int) -> None:
    encoder = load(make, tmp_path)
    assert encoder.modalities == ("audio",)
    batch = torch.stack([encoder.preprocess("audio", sound(seconds)) for seconds in (1.0, 5.0)])
    assert torch.equal(batch[1], encoder.preprocess("audio", sound(5.0)))
    assert encoder.features("audio", batch).shape == (2, tokens, encoder.dim("audio"))
    assert encoder.pooled("audio", batch).shape == (2, 1, encoder.dim("audio"))
    with pytest.raises(ValueError, match="takes audio, not 'image'"):
        encoder.preprocess("image", picture())


@torch.no_grad()
def test_sounds_are_heard_by_the_published_weights(tmp_path: Path) -> None:
    encoder = load(clap, tmp_path)
    batch = encoder.preprocess("audio", sound())[None]
    output = hf.ClapModel.from_pretrained(tmp_path).audio_model(batch)
    torch.testing.assert_close(encoder.pooled("audio", batch)[:, 0], output.pooler_output)
    hidden = output.last_hidden_state.flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder.features("audio", batch), hidden)


@torch.no_grad()
def test_a_classifier_without_pooler_is_pooled_by_the_mean(tmp_path: Path) -> None:
    def vit(folder: Path) -> None:
        hf.ViTForImageClassification(hf.ViTConfig(**SIGHT)).save_pretrained(folder)
        hf.ViTImageProcessor(size=PIXELS["size"]).save_pretrained(folder)

    encoder = load(vit, tmp_path)
    batch = encoder.preprocess("image", picture())[None]
    hidden = hf.ViTForImageClassification.from_pretrained(tmp_path).vit(batch).last_hidden_state
    torch.testing.assert_close(encoder.features("image", batch), hidden[:, 1:])
    torch.testing.assert_close(encoder.pooled("image", batch)[:, 0], hidden.mean(dim=1))


def test_missing_weights_are_told(tmp_path: Path) -> None:
    clip_vision_alone(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {key: value for key, value in weights.items() if "layers.1" not in key},
        tmp_path / "model.safetensors",
    )
    with pytest.raises(ValueError, match=r"the weights lack encoder\.layers\.1"):
        load_encoder(tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("make", [clip, siglip, dinov2, whisper, clap])
def test_saved_and_loaded_encoders_agree(tmp_path: Path, make: Callable[[Path], None]) -> None:
    encoder = load(make, tmp_path / "first")
    encoder.save_pretrained(tmp_path / "second")
    loaded = load_encoder(tmp_path / "second")
    modality = encoder.modalities[0]
    thing = picture() if modality == "image" else sound()
    batch = encoder.preprocess(modality, thing)[None]
    assert torch.equal(loaded.preprocess(modality, thing)[None], batch)
    assert torch.equal(loaded.features(modality, batch), encoder.features(modality, batch))
    assert torch.equal(loaded.pooled(modality, batch), encoder.pooled(modality, batch))


def test_gradients_reach_a_vision_model(tmp_path: Path) -> None:
    encoder = load(siglip, tmp_path)
    encoder.pooled("image", encoder.preprocess("image", picture())[None]).sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_other_models_are_refused(tmp_path: Path) -> None:
    hf.BertModel(hf.BertConfig(**TEXT)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no vision or audio encoder: a bert model takes input_ids"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(ValueError, match=r"holds no vision or audio encoder: .*nonsense"):
        load_encoder(tmp_path)


def test_bad_media_are_media_errors(tmp_path: Path) -> None:
    encoder = load(clip_vision_alone, tmp_path)
    with pytest.raises(MediaError, match="does not exist"):
        encoder.preprocess("image", tmp_path / "missing.png")
