"""Input adapters: an encoder's features → embeddings that the LLM reads in place of words, or looks at."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from anygpt.adapters.perceiver import Perceiver
from anygpt.adapters.qformer import QFormer
from anygpt.config import AdapterConfig, ConfigError, unknown


def linear(config: AdapterConfig, dim: int, hidden: int, out: int) -> nn.Module:
    """One linear map, as NExT-GPT's and the first LLaVA's."""
    return nn.Linear(dim, out)


def mlp(config: AdapterConfig, dim: int, hidden: int, out: int) -> nn.Module:
    """Two linear maps with a GELU between them, as LLaVA 1.5's: as wide in the middle as the LLM."""
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, out))


def q_former(config: AdapterConfig, dim: int, hidden: int, out: int) -> nn.Module:
    """BLIP-2's: learned queries read the features, and a linear map takes them to the LLM."""
    return nn.Sequential(qformer := QFormer(config, dim), nn.Linear(qformer.width, out))


def perceiver(config: AdapterConfig, dim: int, hidden: int, out: int) -> nn.Module:
    """Flamingo's resampler, and a linear map to the LLM."""
    return nn.Sequential(Perceiver(config, dim), nn.Linear(dim, out))


ADAPTERS: dict[str, Callable[[AdapterConfig, int, int, int], nn.Module]] = {
    "linear": linear,
    "mlp": mlp,
    "q-former": q_former,
    "perceiver": perceiver,
}


class Adapter(nn.Module):
    """Features (B, frames · tokens, dim), frame by frame → LLM embeddings (B, tokens' · config.tokens, hidden).

    tokens' are the features' own tokens with `linear` and `mlp`, which read what a place has in all of
    `config.frames` together, and `config.queries` with `q-former` and `perceiver`.

    Args:
        config: which kind, its sizes, and how many embeddings each of those tokens becomes.
        dim: width of the features.
        hidden: width of the LLM.

    Raises:
        ConfigError: `config.kind` is not a key of `ADAPTERS`, or its sizes do not fit each other.
    """

    def __init__(self, config: AdapterConfig, dim: int, hidden: int) -> None:
        super().__init__()
        if config.kind not in ADAPTERS:
            raise ConfigError(unknown("adapter", config.kind, ADAPTERS))
        self.hidden, self.frames = hidden, config.frames
        # A map has one place to look at, while queries look at all of them.
        self.joined = config.frames if config.kind in ("linear", "mlp") else 1
        self.map = ADAPTERS[config.kind](config, dim * self.joined, hidden, config.tokens * hidden)

    def forward(self, features: Tensor) -> Tensor:
        if features.shape[1] % self.frames:
            raise ValueError(
                f"the adapter was made for {self.frames} frames, and {features.shape[1]} features do not divide into them"
            )
        if self.joined > 1:  # (B, frames · tokens, dim) → (B, tokens, frames · dim)
            features = features.unflatten(1, (self.joined, -1)).transpose(1, 2).flatten(2)
        return self.map(features).reshape(len(features), -1, self.hidden)
