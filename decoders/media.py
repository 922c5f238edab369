"""Media in and out of a pipeline, by modality: VAE latents of given media, and media from a pipeline's output."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from decoders.errors import DecoderError

Settings = dict[
    str, Any
]  # height, width, num_frames, seconds, …: what the caller set; the pipeline's own otherwise


@dataclass(frozen=True)
class Medium:
    """One modality's way in and out.

    Attributes:
        latents: (pipeline, denoiser, media, settings, generator) → scaled VAE latents, batch first.
        results: the pipeline's output → list of media, one an item.
        arguments: arguments of the pipeline's call that choose the form of its output.
        settings: names of settings that only the results need.
        rate: (pipeline, settings) → Hz, frames a second, or None.
    """

    latents: Callable[[Any, Any, list[Any], Settings, torch.Generator | None], Tensor]
    results: Callable[[Any], list[Any]]
    arguments: dict[str, Any]
    settings: tuple[str, ...]
    rate: Callable[[Any, Settings], float | None]


def _vae_latents(pipeline: Any, inputs: Tensor, generator: torch.Generator | None) -> Tensor:
    """(N, channels, height, width) → latents of about unit variance, sampled from the VAE's posterior."""
    vae = pipeline.vae
    with torch.no_grad():
        posterior = vae.encode(inputs.to(pipeline.device, vae.dtype)).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
        latents = posterior.mean + posterior.std * noise
        return (latents - (getattr(vae.config, "shift_factor", None) or 0.0)) * vae.config.scaling_factor


def _vae_scale(pipeline: Any) -> int:
    return 2 ** (len(pipeline.vae.config.block_out_channels) - 1)


def _frame_size(pipeline: Any, denoiser: Any, settings: Settings) -> tuple[int, int]:
    """(height, width) in pixels: as set, otherwise what the denoiser was made for."""
    size = denoiser.config.sample_size
    rows, columns = (size, size) if isinstance(size, int) else size
    scale = _vae_scale(pipeline)
    return settings.get("height") or rows * scale, settings.get("width") or columns * scale


def _pixels(frames: np.ndarray, size: tuple[int, int]) -> Tensor:
    """uint8 (N, H, W, 3) → (N, 3, height, width) in [-1, 1]."""
    pixels = torch.tensor(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    if tuple(pixels.shape[-2:]) != size:
        pixels = functional.interpolate(pixels, size, mode="bilinear", antialias=True)
    return pixels


def _image_latents(
    pipeline: Any, denoiser: Any, media: list[Any], settings: Settings, generator: torch.Generator | None
) -> Tensor:
    for image in media:
        if not isinstance(image, Image.Image):
            raise DecoderError(f"an image decoder learns from PIL images; got {type(image).__name__}")
    size = _frame_size(pipeline, denoiser, settings)
    pixels = [_pixels(np.asarray(image.convert("RGB"))[None], size) for image in media]
    return _vae_latents(pipeline, torch.cat(pixels), generator)


def _image_results(output: Any) -> list[Image.Image]:
    return [image.convert("RGB") for image in output.images]


def _video_latents(
    pipeline: Any, denoiser: Any, media: list[Any], settings: Settings, generator: torch.Generator | None
) -> Tensor:
    """Latents (B, channels, frames, height, width); frames are picked evenly over the whole film."""
    count = settings.get("num_frames") or signature(type(pipeline).__call__).parameters["num_frames"].default
    size = _frame_size(pipeline, denoiser, settings)
    films = []
    for frames in media:
        if (
            not isinstance(frames, np.ndarray)
            or frames.dtype != np.uint8
            or frames.ndim != 4
            or not len(frames)
        ):
            raise DecoderError("a video decoder learns from uint8 arrays of shape (frames, height, width, 3)")
        picked = np.linspace(0, len(frames) - 1, count).round().astype(int)
        films.append(_pixels(frames[picked], size))
    latents = _vae_latents(pipeline, torch.cat(films), generator)
    return latents.unflatten(0, (len(media), count)).transpose(1, 2)


def _video_results(output: Any) -> list[np.ndarray]:
    """uint8 (frames, H, W, 3) each."""
    return [(np.clip(film, 0, 1) * 255).round().astype(np.uint8) for film in output.frames]


def _audio_latents(
    pipeline: Any, denoiser: Any, media: list[Any], settings: Settings, generator: torch.Generator | None
) -> Tensor:
    """Latents (B, channels, time, mel bands) of waveforms (channels, samples) at the vocoder's rate."""
    config, scale = pipeline.vocoder.config, _vae_scale(pipeline)
    hop = math.prod(config.upsample_rates)
    seconds = settings.get("seconds") or denoiser.config.sample_size * scale * hop / config.sampling_rate
    frames = math.ceil(round(seconds * config.sampling_rate / hop / scale, 3)) * scale
    waves = torch.zeros(len(media), frames * hop)
    for wave, samples in zip(waves, media, strict=True):
        if not isinstance(samples, np.ndarray) or samples.ndim != 2 or not samples.size:
            raise DecoderError("an audio decoder learns from float arrays of shape (channels, samples)")
        mono = torch.from_numpy(samples.mean(0).astype(np.float32))[: len(wave)]
        wave[: len(mono)] = mono
    # a vocoder that defines its own spectrogram is asked for it; HiFi-GANs do not
    mel = getattr(pipeline.vocoder, "mel", None) or (lambda waveform: hifigan_mel(waveform, config))
    return _vae_latents(pipeline, mel(waves.to(pipeline.device))[:, None, :frames], generator)


def _audio_results(output: Any) -> list[np.ndarray]:
    """float32 (channels, samples) in [-1, 1] each; the pipeline has already cut them to the length asked for."""
    return [
        np.clip(wave, -1, 1).astype(np.float32).reshape(-1, wave.shape[-1]) for wave in output.audios
    ]  # mono may come without channels


def _audio_rate(pipeline: Any, settings: Settings) -> float:
    """Hz, of what writes the waveform: the vocoder, or the VAE where there is none."""
    writer = getattr(pipeline, "vocoder", None) or pipeline.vae
    return float(writer.config.sampling_rate)


def hifigan_mel(waveform: Tensor, config: Any) -> Tensor:
    """The log-mel that AudioLDM's vocoder was trained on: (B, samples) → (B, T, n_mels), T = samples // hop + 1.

    Peak set to 0.5; magnitudes of a 1024-point transform; Slaney's mel bands from 0 to 8000 Hz; natural logarithm.

    Args:
        config: of a `SpeechT5HifiGan`: `model_in_dim`, `sampling_rate` and `upsample_rates`, whose product is the hop.
    """
    n_fft = 1024
    waveform = waveform - waveform.mean(-1, keepdim=True)
    waveform = 0.5 * waveform / (waveform.abs().amax(-1, keepdim=True) + 1e-8)
    window = torch.hann_window(n_fft, device=waveform.device)
    hop = math.prod(config.upsample_rates)
    magnitude = torch.stft(waveform, n_fft, hop, window=window, return_complex=True).abs()
    filters = _slaney_filters(n_fft // 2 + 1, config.model_in_dim, config.sampling_rate).to(waveform.device)
    return (magnitude.mT @ filters).clamp(min=1e-5).log()


@lru_cache(maxsize=4)
def _slaney_filters(bins: int, bands: int, rate: int) -> Tensor:
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(bins, 0.0, min(8000.0, rate / 2), bands, rate, norm="slaney", mel_scale="slaney")


MEDIA: dict[str, Medium] = {
    "image": Medium(
        latents=_image_latents,
        results=_image_results,
        arguments={"output_type": "pil"},
        settings=(),
        rate=lambda pipeline, settings: None,
    ),
    "audio": Medium(
        latents=_audio_latents,
        results=_audio_results,
        arguments={"output_type": "np"},
        settings=(),
        rate=_audio_rate,
    ),
    "video": Medium(
        latents=_video_latents,
        results=_video_results,
        arguments={"output_type": "np"},
        settings=("fps",),
        rate=lambda pipeline, settings: float(settings.get("fps") or 8),
    ),
}
