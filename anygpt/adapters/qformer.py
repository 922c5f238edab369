"""BLIP-2's querying transformer: learned queries that read an encoder's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anygpt.config import AdapterConfig, ConfigError


class QFormer(nn.Module):
    """The queries' part of BLIP-2's Q-Former (arXiv 2301.12597, section 3.1); the text's is only for its
    first stage (see `anygpt.adapters.pretraining`). The features come through a norm that trains with it, as in the reference
    implementation (LAVIS, `ln_vision`): ImageBind's are of length 1, and next to them the queries would hear themselves alone.

    Args:
        config: `queries` (32), `hidden_size` (768), `num_layers` (12), `num_heads` (12), `feedforward`
            (3072); every second layer looks at the features, from the first on.
        dim: width of the features.

    Raises:
        ConfigError: heads that do not divide the width.
    """

    def __init__(self, config: AdapterConfig, dim: int) -> None:
        super().__init__()
        from transformers import Blip2QFormerConfig, Blip2QFormerModel

        self.width = config.hidden_size or 768
        heads = config.num_heads or 12
        if self.width % heads:
            raise ConfigError(
                f"a q-former's hidden_size ({self.width}) must be a multiple of its num_heads ({heads})"
            )
        self.model = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=self.width,
                num_hidden_layers=config.num_layers or 12,
                num_attention_heads=heads,
                intermediate_size=config.feedforward or 3072,
                encoder_hidden_size=dim,
                # of its own kind, 0.02, a narrow one attends to all alike, and stays so for long
                initializer_range=self.width**-0.5,
            )
        )
        self.norm = nn.LayerNorm(dim)
        self.queries = nn.Parameter(0.02 * torch.randn(config.queries or 32, self.width))

    def forward(self, features: Tensor) -> Tensor:
        """(B, tokens, dim) → (B, queries, width)."""
        queries = self.queries.expand(len(features), -1, -1)
        return self.model(query_embeds=queries, encoder_hidden_states=self.norm(features)).last_hidden_state
