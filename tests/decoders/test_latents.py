"""The shapes of latents, against what real pipelines hand to their VAE."""

from typing import Any

import pytest
import torch

from decoders import Decoder
from decoders.latents import latents_shape
from tests.tiny import PIPELINES

CHANGES: dict[str, dict[str, Any]] = {
    "stable-diffusion": {"height": 24, "width": 32},
    "audio-ldm": {"seconds": 0.1},
    "text-to-video": {"num_frames": 3, "height": 24},
    "wan": {"height": 32, "width": 16, "num_frames": 9},
    "ltx-video": {"height": 32, "width": 64, "num_frames": 17},
}


@pytest.mark.parametrize("decoder", [name for name in PIPELINES if name != "dit"], indirect=True)
def test_the_vae_gets_what_is_foretold(decoder: Decoder, request: pytest.FixtureRequest) -> None:
    for changes in ({}, CHANGES.get(request.node.callspec.params["decoder"], {})):
        given: list[torch.Size] = []
        vae = decoder.pipeline.vae
        decode = vae.decode
        vae.decode = lambda latents, *args, seen=given, run=decode, **more: (
            seen.append(latents.shape) or run(latents, *args, **more)
        )
        settings = {**decoder.defaults, **changes}
        decoder(decoder.encode_text(["square"]), seeds=[1], num_inference_steps=2, **changes)
        del vae.decode
        assert given == [latents_shape(decoder.pipeline, decoder.modality, settings)]
