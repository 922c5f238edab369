"""From conditioning to media: decoders as a config names them, with or without the model around them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anygpt.checkpoint import find_part
from anygpt.config import ConfigError, OutputConfig
from anygpt.fitting import Fitting

if TYPE_CHECKING:
    from decoders.diffusion import Decoder


def load_decoder(
    modality: str,
    entry: OutputConfig,
    root: Path | None,
    *,
    device: torch.device,
    dtype: torch.dtype,
    fitting: Fitting,
) -> Decoder:
    """The frozen decoder of an output modality, with the config's settings.

    Args:
        root: the folder that relative names in the config start from.

    Raises:
        ConfigError: it takes another conditioning than the config says.
        DecoderError: it cannot be loaded, or does not go with the scheduler that the config names.
    """
    from decoders.diffusion import Decoder

    with torch.device("cpu"):
        decoder = Decoder.from_pretrained(
            find_part(entry.decoder, root),
            modality=modality,
            dtype=dtype,
            **fitting.pipeline_arguments(device, dtype),
        )
    if entry.conditioning not in (None, tuple(decoder.conditioning_shape)):
        raise ConfigError(
            f"the decoder {entry.decoder!r} takes conditioning {tuple(decoder.conditioning_shape)}, "
            f"and the projection was made for {entry.conditioning}"
        )
    decoder.defaults.update(entry.generation)
    if entry.scheduler is not None:
        decoder.set_scheduler(entry.scheduler)
    fitting.place_decoder(decoder, device)
    return decoder


@torch.no_grad()
def decode(decoder: Decoder, conditioning: Tensor, seeds: list[int], **settings: Any) -> list[Any]:
    """Conditioning (N, tokens, dim) → N media as `encoders.media` has them; see `AnyGPT.decode`."""
    from encoders.media import Audio, Video

    media = decoder(conditioning, seeds=seeds, **settings)
    if decoder.modality == "audio":
        return [Audio(samples, int(decoder.rate or 0)) for samples in media]
    if decoder.modality == "video":
        return [Video(frames, float(decoder.rate or 0)) for frames in media]
    return media
