"""Short sequences in one row of a batch instead of padding behind each: which of them, and where the others' media end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anygpt.config import ConfigError

ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}


def pack(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of `lengths` in rows that are as long as the longest one at most, by first fit, longest first.

    No row is longer than padding would make all of them, so attention, whose cost grows with the square of a row, costs
    no more either. Neither the order of the rows nor that within one means anything.
    """
    most = max(lengths, default=0)
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        row = next((row for row, left in enumerate(room) if left >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(most)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def first_media(blocks: Tensor, positions: Tensor) -> Tensor:
    """For each slot the number of the first medium that its own conversation may have, (B, L).

    Args:
        blocks: (B, L), the number of the medium that a slot belongs to, counted from 0 in each row, -1 for text.
        positions: (B, L), of each slot in its conversation: 0 is where one begins.
    """
    begun = blocks.cummax(1).values + 1
    before = torch.nn.functional.pad(begun, (1, -1))
    return torch.where(positions == 0, before, 0).cummax(1).values


def check_packable(config: Any) -> None:
    """Raises ConfigError for an LLM with layers that carry a state from slot to slot, which would reach the next conversation."""
    others = set(getattr(config.get_text_config(), "layer_types", None) or ()) - ATTENTION
    if others:
        raise ConfigError(
            f"packing works with attention alone, and this LLM has layers of {', '.join(sorted(others))}"
        )
