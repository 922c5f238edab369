"""Decoders: frozen diffusers pipelines that make pictures, sounds and films from a conditioning tensor."""

from decoders.diffusion import Decoder
from decoders.errors import DecoderError

__all__ = ["Decoder", "DecoderError"]
