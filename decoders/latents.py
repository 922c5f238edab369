"""How large the latents are that a pipeline's VAE turns into one medium: what its memory at work depends on."""

import math
from collections.abc import Callable
from inspect import signature
from typing import Any

Settings = dict[str, Any]
Shape = tuple[int, ...]


def latents_shape(pipeline: Any, modality: str, settings: Settings) -> Shape:
    """The shape of what `vae.decode` gets for one medium; a film's frames may be a batch.

    Args:
        settings: height, width, num_frames, seconds; where one is missing, the pipeline's own.
    """
    return LATENTS[type(pipeline.vae).__name__, modality](pipeline, settings)


def _setting(pipeline: Any, settings: Settings, name: str) -> Any:
    return settings.get(name) or signature(type(pipeline).__call__).parameters[name].default


def _plane(pipeline: Any, settings: Settings) -> tuple[int, int]:
    """Rows and columns of a picture's latents."""
    scale = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    denoiser = getattr(pipeline, "unet", None) or pipeline.transformer
    own = getattr(denoiser.config, "sample_size", None) or pipeline.default_sample_size
    height, width = own if isinstance(own, (tuple, list)) else (own, own)
    given = settings.get("height"), settings.get("width")
    return (given[0] // scale if given[0] else height), (given[1] // scale if given[1] else width)


def _picture(pipeline: Any, settings: Settings) -> Shape:
    return 1, pipeline.vae.config.latent_channels, *_plane(pipeline, settings)


def _frames(pipeline: Any, settings: Settings) -> Shape:
    """A VAE of pictures: a film is a batch of them."""
    count = _setting(pipeline, settings, "num_frames")
    return count, pipeline.vae.config.latent_channels, *_plane(pipeline, settings)


def _spectrogram(pipeline: Any, settings: Settings) -> Shape:
    config, scale = pipeline.vocoder.config, 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    own = pipeline.unet.config.sample_size * scale * math.prod(config.upsample_rates) / config.sampling_rate
    frames = (settings.get("seconds") or own) * config.sampling_rate / math.prod(config.upsample_rates)
    return 1, pipeline.vae.config.latent_channels, math.ceil(frames / scale), config.model_in_dim // scale


def _waveform(pipeline: Any, settings: Settings) -> Shape:
    """Stable Audio always makes its whole length, and cuts."""
    return 1, pipeline.vae.config.decoder_input_channels, pipeline.transformer.config.sample_size


def _film(channels: str, time: str, space: str) -> Callable[[Any, Settings], Shape]:
    """A VAE of films, by the names of its channels in the config and of the pipeline's compressions."""

    def shape(pipeline: Any, settings: Settings) -> Shape:
        frames, height, width = (
            _setting(pipeline, settings, name) for name in ("num_frames", "height", "width")
        )
        scale = getattr(pipeline, space)
        rows = (frames - 1) // getattr(pipeline, time) + 1
        return 1, getattr(pipeline.vae.config, channels), rows, height // scale, width // scale

    return shape


LATENTS: dict[tuple[str, str], Callable[[Any, Settings], Shape]] = {
    ("AutoencoderKL", "image"): _picture,
    ("AutoencoderKL", "audio"): _spectrogram,
    ("AutoencoderKL", "video"): _frames,
    ("AutoencoderOobleck", "audio"): _waveform,
    ("AutoencoderKLWan", "video"): _film("z_dim", "vae_scale_factor_temporal", "vae_scale_factor_spatial"),
    ("AutoencoderKLLTXVideo", "video"): _film(
        "latent_channels", "vae_temporal_compression_ratio", "vae_spatial_compression_ratio"
    ),
}
