"""Attention from one sequence to another, as the perceiver and the gated layers use it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

HEAD = 64  # width of a head, as in Flamingo


class Attention(nn.Module):
    """Multi-head attention of (B, L, dim) to (B, S, source_dim), without biases.

    Args:
        dim: width of what looks, and of the result.
        source_dim: width of what is looked at.
        heads: their number; each is `HEAD` wide.
    """

    def __init__(self, dim: int, source_dim: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, heads * HEAD, bias=False)
        self.key_value = nn.Linear(source_dim, 2 * heads * HEAD, bias=False)
        self.output = nn.Linear(heads * HEAD, dim, bias=False)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None = None) -> Tensor:
        """→ (B, L, dim).

        Args:
            mask: (B, L, S), True where a position may look; one that may look nowhere gets zeros.
        """
        query, key, value = (
            part.unflatten(-1, (-1, HEAD)).transpose(1, 2)
            for part in (self.query(x), *self.key_value(source).chunk(2, -1))
        )
        if mask is None:
            found = F.scaled_dot_product_attention(query, key, value)
        else:
            seeing = mask.any(-1, keepdim=True)  # a softmax over nothing would not be a number
            found = F.scaled_dot_product_attention(query, key, value, (mask | ~seeing)[:, None])
            found = found * seeing[:, None]
        return self.output(found.transpose(1, 2).flatten(2))


def feedforward(dim: int) -> nn.Sequential:
    """Flamingo's: a norm, four times the width, GELU, and back."""
    return nn.Sequential(
        nn.LayerNorm(dim),
        nn.Linear(dim, 4 * dim, bias=False),
        nn.GELU(),
        nn.Linear(4 * dim, dim, bias=False),
    )
