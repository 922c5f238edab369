"""Gated cross-attention: the LLM's layers look at media, rather than read them as tokens.

Flamingo's way in (arXiv 2204.14198, section 2.2 and figure 4). In the text a medium takes one slot, a trained
tag; before every n-th layer the text's states look at the adapter's embeddings of the medium.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from anygpt.adapters.attention import Attention, feedforward
from anygpt.config import ConfigError, CrossAttentionConfig


class GatedLayer(nn.Module):
    """Attention to media and a feed-forward, each behind a gate that is shut at the start."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.attention = Attention(hidden, hidden, heads)
        self.attention_gate = nn.Parameter(torch.zeros(1))
        self.feedforward = feedforward(hidden)
        self.feedforward_gate = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor, media: Tensor, mask: Tensor) -> Tensor:
        """(B, L, hidden) → the same, having looked at media (B, S, hidden) where the mask (B, L, S) allows."""
        found = self.attention(self.norm(hidden), media, mask)
        hidden = hidden + self.attention_gate.tanh() * found
        return hidden + self.feedforward_gate.tanh() * self.feedforward(hidden)


class CrossAttention(nn.Module):
    """Gated layers before every n-th layer of a transformers decoder-only LLM, which stays as it is.

    Args:
        config: which layers, how many heads, and what text looks at.
        llm: the language model; hooks are put on its layers.
        hidden: its width.

    Raises:
        ConfigError: an LLM without a list of layers, or with fewer than `config.every`.
    """

    def __init__(self, config: CrossAttentionConfig, llm: nn.Module, hidden: int) -> None:
        super().__init__()
        self.looks_at = config.looks_at
        layers = decoder_layers(llm)
        chosen = layers[config.every - 1 :: config.every]
        if not chosen:
            raise ConfigError(
                f"cross_attention.every is {config.every}, and the LLM has {len(layers)} layers"
            )
        self.layers = nn.ModuleList(GatedLayer(hidden, config.num_heads) for _ in chosen)
        self.tag = nn.Parameter(torch.zeros(hidden))
        self._seen: tuple[Tensor, Tensor] | None = None
        for index, layer in enumerate(chosen):
            layer.register_forward_pre_hook(partial(self._before, index), with_kwargs=True)

    @torch.no_grad()
    def start_from(self, rows: Tensor) -> None:
        """The tag's first value: the mean of the LLM's input rows."""
        self.tag.copy_(rows.float().mean(0))

    @contextmanager
    def looking(
        self, media: Sequence[Sequence[Tensor]], blocks: Tensor, length: int, first: Tensor | None = None
    ) -> Iterator[None]:
        """Within the block, the LLM's last `length` slots look at `media`.

        Args:
            media: for each row its media's embeddings (tokens, hidden), in order.
            blocks: (B, all slots so far), the number of the medium whose tag a slot is, -1 for text.
            first: of packed rows, (B, length), the number of the first medium that a slot may look at.
        """
        width = max([1, *(sum(len(medium) for medium in row) for row in media)])
        source = self.tag.new_zeros(len(media), width, len(self.tag))
        owners = blocks.new_full((len(media), width), -1)
        for index, row in enumerate(media):
            if row:
                joined = torch.cat(list(row)).to(source.dtype)
                source[index, : len(joined)] = joined
                lengths = torch.tensor([len(medium) for medium in row], device=blocks.device)
                owners[index, : len(joined)] = torch.arange(len(row), device=blocks.device).repeat_interleave(
                    lengths
                )
        latest = blocks.cummax(1).values[:, -length:, None]
        owners = owners[:, None]
        seen = owners == latest if self.looks_at == "last" else owners <= latest
        self._seen = source, seen & (owners >= (0 if first is None else first[:, :, None]))
        try:
            yield
        finally:
            self._seen = None

    def _before(
        self, index: int, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Runs before a layer of the LLM, with what the layer is called with."""
        if self._seen is None:  # the LLM on its own
            return None
        if arguments:
            return (self.layers[index](arguments[0], *self._seen), *arguments[1:]), keywords
        return (), {**keywords, "hidden_states": self.layers[index](keywords["hidden_states"], *self._seen)}


def decoder_layers(llm: Any) -> list[nn.Module]:
    """The LLM's layers, whatever they are called: the first list of modules that is as long as it is deep."""
    depth = llm.config.get_text_config().num_hidden_layers
    for module in llm.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return list(module)
    raise ConfigError(f"cross_attention: found no list of {depth} layers in a {type(llm).__name__}")
