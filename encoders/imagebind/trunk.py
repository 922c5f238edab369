"""ImageBind's transformer trunks: pre-norm blocks with the published parameter names, attention by SDPA."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.imagebind.configuration import ImageBindConfig


class Attention(nn.Module):
    """Multi-head self-attention; with `bias_kv`, every query also sees one learned key and value."""

    def __init__(self, width: int, heads: int, bias_kv: bool) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.bias_k = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, 1, width))) if bias_kv else None
        self.bias_v = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, 1, width))) if bias_kv else None
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch = len(x)
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)  # (B, L, D) each
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(batch, -1, -1)], dim=1)
            v = torch.cat([v, self.bias_v.expand(batch, -1, -1)], dim=1)
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v)
        )  # (B, heads, L, D / heads)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, bias_kv: bool, drop_path: float) -> None:
        super().__init__()
        self.attn = Attention(width, heads, bias_kv)
        self.norm_1 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)
        self.norm_2 = nn.LayerNorm(width, eps=1e-6)
        self.drop_path = drop_path

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self._drop(self.attn(self.norm_1(x), mask))
        return x + self._drop(self.mlp(self.norm_2(x)))

    def _drop(self, branch: Tensor) -> Tensor:
        """In training, leaves the branch out for a random part of the batch and scales up the rest."""
        if not self.training or self.drop_path == 0.0:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path
        return branch * kept / (1 - self.drop_path)


class Trunk(nn.Module):
    """Blocks of one modality, (B, tokens, width) → the same shape. Only vision norms its tokens first."""

    def __init__(self, config: ImageBindConfig, modality: str) -> None:
        super().__init__()
        width, heads, count = (
            config.embed_dim(modality),
            config.num_heads(modality),
            config.num_blocks(modality),
        )
        rate = config.drop_path(modality) / max(
            count - 1, 1
        )  # grows from 0 at the first block to the whole at the last
        bias_kv = modality not in ("vision", "text")
        self.pre_transformer_layer = nn.Sequential(
            nn.LayerNorm(width, eps=1e-6) if modality == "vision" else nn.Identity()
        )
        self.blocks = nn.ModuleList(Block(width, heads, bias_kv, rate * i) for i in range(count))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.pre_transformer_layer(x)
        for block in self.blocks:
            x = block(x, mask)
        return x
