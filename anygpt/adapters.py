"""Input adapters: an encoder's features → embeddings that the LLM reads in place of words."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from anygpt.config import AdapterConfig, ConfigError, unknown


def linear(dim: int, hidden: int, out: int) -> nn.Module:
    """One linear map, as NExT-GPT's and the first LLaVA's."""
    return nn.Linear(dim, out)


def mlp(dim: int, hidden: int, out: int) -> nn.Module:
    """Two linear maps with a GELU between them, as LLaVA 1.5's: as wide in the middle as the LLM."""
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, out))


ADAPTERS: dict[str, Callable[[int, int, int], nn.Module]] = {"linear": linear, "mlp": mlp}


class Adapter(nn.Module):
    """Features (B, tokens, dim) → LLM embeddings (B, tokens · config.tokens, hidden).

    Args:
        config: which kind, and how many embeddings each feature token becomes.
        dim: width of the features.
        hidden: width of the LLM.

    Raises:
        ConfigError: `config.kind` is not a key of `ADAPTERS`.
    """

    def __init__(self, config: AdapterConfig, dim: int, hidden: int) -> None:
        super().__init__()
        if config.kind not in ADAPTERS:
            raise ConfigError(unknown("adapter", config.kind, ADAPTERS))
        self.hidden = hidden
        self.map = ADAPTERS[config.kind](dim, hidden, config.tokens * hidden)

    def forward(self, features: Tensor) -> Tensor:
        return self.map(features).reshape(len(features), -1, self.hidden)
