"""The perceiver resampler: any number of features → a fixed number of latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anygpt.adapters.attention import Attention, feedforward
from anygpt.config import AdapterConfig


class PerceiverLayer(nn.Module):
    """Latents look at the features and at themselves, then a feed-forward, both added to them."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm_features = nn.LayerNorm(dim)
        self.norm_latents = nn.LayerNorm(dim)
        self.attention = Attention(dim, dim, heads)
        self.feedforward = feedforward(dim)

    def forward(self, latents: Tensor, features: Tensor) -> Tensor:
        """(B, latents, dim) and (B, tokens, dim) → (B, latents, dim)."""
        query = self.norm_latents(latents)
        latents = latents + self.attention(query, torch.cat([self.norm_features(features), query], 1))
        return latents + self.feedforward(latents)


class Perceiver(nn.Module):
    """Flamingo's resampler (arXiv 2204.14198, section 2.1 and figure 5), as wide as the features.

    The features of a film's frames get the frame's learned time embedding; places within a frame are the
    encoder's business.

    Args:
        config: `queries` latents (64), `num_layers` (6), `num_heads` (8), `frames`.
        dim: width of the features, and of the latents.
    """

    def __init__(self, config: AdapterConfig, dim: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(config.queries or 64, dim))
        self.time = nn.Parameter(torch.randn(config.frames, dim)) if config.frames > 1 else None
        heads = config.num_heads or 8
        self.layers = nn.ModuleList(PerceiverLayer(dim, heads) for _ in range(config.num_layers or 6))
        self.norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor) -> Tensor:
        """(B, frames · tokens, dim), frame by frame → (B, latents, dim)."""
        if self.time is not None:
            features = features + self.time.repeat_interleave(features.shape[1] // len(self.time), 0)
        latents = self.latents.expand(len(features), -1, -1)
        for layer in self.layers:
            latents = layer(latents, features)
        return self.norm(latents)
