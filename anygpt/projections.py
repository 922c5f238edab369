"""Output projections: the hidden states of a run of signal tokens → the decoder's conditioning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from anygpt.config import ConfigError, ProjectionConfig, unknown


class TransformerProjection(nn.Module):
    """NExT-GPT's output projection, with the keys of its published weights.

    A small encoder-decoder transformer: it reads the run's hidden states plus its input embeddings, and
    learned queries become the conditioning. Pre-norm, ReLU, no dropout, no masks and no positions, as there.
    Source: NExT-GPT (arXiv 2309.05519), `TextFcLayer` in its "transformer" mode.

    Args:
        config: sizes; the defaults are NExT-GPT's.
        in_dim: width of the LLM.
        queries, out_dim: the conditioning's shape, e.g. (77, 768) for Stable Diffusion 1.5.
    """

    def __init__(self, config: ProjectionConfig, in_dim: int, queries: int, out_dim: int) -> None:
        super().__init__()
        width, heads, layers = config.hidden_size, config.num_heads, config.num_layers
        settings: dict[str, Any] = {"dropout": 0.0, "norm_first": True, "batch_first": True}
        self.fc = nn.Linear(in_dim, width)
        encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(width, heads, config.feedforward, **settings),
            layers,
            nn.LayerNorm(width),
            enable_nested_tensor=False,  # has no use here, and warns
        )
        self.tfm = nn.Transformer(
            width,
            heads,
            num_decoder_layers=layers,
            dim_feedforward=config.feedforward,
            custom_encoder=encoder,
            **settings,
        )
        self.model = nn.Linear(config.hidden_size, out_dim)
        self.query_embs = nn.Parameter(torch.randn(1, queries, config.hidden_size))

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """(B, signal tokens, in_dim) twice → (B, queries, out_dim)."""
        source = self.fc(hidden + embeddings)
        return self.model(self.tfm(source, self.query_embs.expand(len(hidden), -1, -1)))


class LinearProjection(nn.Module):
    """One linear map from the mean over the run to all of the conditioning."""

    def __init__(self, config: ProjectionConfig, in_dim: int, queries: int, out_dim: int) -> None:
        super().__init__()
        self.shape = (queries, out_dim)
        self.fc = nn.Linear(in_dim, queries * out_dim)

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """(B, signal tokens, in_dim) twice → (B, queries, out_dim)."""
        return self.fc((hidden + embeddings).mean(1)).unflatten(-1, self.shape)


PROJECTIONS: dict[str, type[TransformerProjection] | type[LinearProjection]] = {
    "transformer": TransformerProjection,
    "linear": LinearProjection,
}


def build_projection(config: ProjectionConfig, in_dim: int, conditioning: tuple[int, int]) -> nn.Module:
    """The projection that `config` names, from an LLM of width `in_dim` to a `conditioning` of (tokens, dim).

    Raises:
        ConfigError: `config.kind` is not a key of `PROJECTIONS`, or its heads do not divide its width.
    """
    if config.kind not in PROJECTIONS:
        raise ConfigError(unknown("projection", config.kind, PROJECTIONS))
    if config.hidden_size % config.num_heads:
        raise ConfigError(
            f"a projection's hidden_size ({config.hidden_size}) must be a multiple "
            f"of its num_heads ({config.num_heads})"
        )
    return PROJECTIONS[config.kind](config, in_dim, *conditioning)
