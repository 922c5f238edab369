"""Which slots of the LLM belong to which medium, and masks by which a medium's slots see each other both ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anygpt.config import ConfigError

MASKABLE = ("sdpa", "eager")


def block_ids(sizes: Sequence[int], media: Sequence[bool], first: int = 0) -> Tensor:
    """The number of the medium that each slot belongs to, -1 for text: (total slots,).

    Args:
        sizes: how many slots each token (1) and medium has.
        media: which of them are media, as many.
        first: the number of the first medium.
    """
    medium = torch.tensor(media, dtype=torch.bool)
    numbers = torch.where(medium, first - 1 + medium.cumsum(0), -1)
    return numbers.repeat_interleave(torch.tensor(sizes))


def check_maskable(config: Any) -> None:
    """Raises ConfigError where the LLM's attention takes no mask of our own, as flash attention's kernels."""
    if config._attn_implementation not in MASKABLE:
        raise ConfigError(
            f"media_attention: bidirectional works with {', '.join(MASKABLE)}, "
            f"and this LLM runs {config._attn_implementation!r}"
        )


def media_mask(
    config: Any,
    embeddings: Tensor,
    mask: Tensor | None,
    blocks: Tensor,
    cache: Any | None,
    positions: Tensor | None,
) -> Any:
    """What the LLM takes as its attention mask, so that slots of one medium see each other and all else is causal.

    In the form that the LLM's implementation of attention and its kinds of layers want.

    Args:
        config: the LLM's.
        embeddings: (B, L, hidden), what it reads next.
        mask: (B, slots in the cache + L), 0 at padding; None for packed rows.
        blocks: (B, slots in the cache + L), the number of the medium that a slot belongs to, -1 for text.
        cache: what it has read, or None.
        positions: (B, L), of packed rows; elsewhere they make no difference.
    """
    from transformers.masking_utils import create_masks_for_generate

    if not (blocks[:, -embeddings.shape[1] :] >= 0).any():
        return mask  # text sees all before it as it is
    return create_masks_for_generate(
        config=config,
        inputs_embeds=embeddings,
        attention_mask=mask,
        cache=cache,
        position_ids=positions,
        block_sequence_ids=blocks,
    )
