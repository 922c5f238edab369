"""A training step's forward pass: prompts in rows, the loss of what is to be said, and the states at signal tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygpt.attention import block_ids
from anygpt.config import ConfigError
from anygpt.packing import check_packable, pack
from anygpt.processor import IGNORE, MEDIUM, Prompt, Target

if TYPE_CHECKING:
    from anygpt.model import AnyGPT


@dataclass
class SignalStates:
    """What the LLM thought at one modality's signal tokens, for N targets of T signal tokens each.

    Attributes:
        hidden: (N, T, hidden), the last layer's states where the input is the signal token.
        embeddings: (N, T, hidden), the signal tokens' input embeddings.
        targets: the N targets, with caption and medium.
    """

    hidden: Tensor
    embeddings: Tensor
    targets: list[Target]


@dataclass
class Output:
    """A training step's forward pass over prompts in B rows, padded on the right to L slots.

    Attributes:
        loss: mean cross-entropy of the labelled tokens.
        logits: (B, L, LLM's vocabulary + signal tokens).
        hidden: (B, L, hidden), the last layer's states.
        labels: (B, L), the token at each slot where it counts, -100 elsewhere (not shifted).
        signals: for each output modality that the prompts have targets of.
    """

    loss: Tensor
    logits: Tensor
    hidden: Tensor
    labels: Tensor
    signals: dict[str, SignalStates]


def learn(model: AnyGPT, prompts: Sequence[Prompt], packing: bool) -> Output:
    """A training step's forward pass over prompts that `processor(…, training=True)` made.

    Args:
        packing: several short prompts in a row, none of which sees another, instead of a row padded for each. The
            loss is the same but for rounding.

    Raises:
        ConfigError: `packing` with an LLM that is not attention alone.
    """
    if model.senses is not None and any(m.modality not in model.adapters for p in prompts for m in p.media):
        raise ConfigError(
            "media that the LLM takes in with its own senses are not trained on here; leave them out"
        )
    adapted = iter(model.adapt([medium for prompt in prompts for medium in prompt.media]))
    media = [list(itertools.islice(adapted, len(prompt.media))) for prompt in prompts]
    slots = [model.embed(prompt.ids, own) for prompt, own in zip(prompts, media, strict=True)]
    sizes = [[len(slot) for slot in row] for row in slots]
    lengths = [sum(row) for row in sizes]
    if packing:
        check_packable(model.llm.config)
    rows = pack(lengths) if packing else [[index] for index in range(len(prompts))]
    labels = [_labels(prompt, row, model.device) for prompt, row in zip(prompts, sizes, strict=True)]

    def laid_out(values: Sequence[Tensor], padding: int = 0) -> Tensor:
        joined = [torch.cat([values[index] for index in row]) for row in rows]
        return nn.utils.rnn.pad_sequence(joined, batch_first=True, padding_value=padding)

    embeddings = laid_out([torch.cat(own) for own in slots])
    target = laid_out(labels, IGNORE)
    positions = laid_out([torch.arange(length, device=model.device) for length in lengths])
    blocks = nn.utils.rnn.pad_sequence(
        [
            block_ids(
                [size for index in row for size in sizes[index]],
                [token == MEDIUM for index in row for token in prompts[index].ids],
            )
            for row in rows
        ],
        batch_first=True,
        padding_value=-1,
    ).to(model.device)
    seen = [[medium for index in row for medium in media[index]] for row in rows]
    if packing:
        logits, hidden = model.think(embeddings, None, blocks, seen, position_ids=positions, use_cache=False)
    else:
        mask = laid_out([torch.ones(length, dtype=torch.long, device=model.device) for length in lengths])
        logits, hidden = model.think(embeddings, mask, blocks, seen, use_cache=False)
    loss = F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(),
        target[:, 1:].flatten(),
        ignore_index=IGNORE,
        reduction="sum",
    ) / (target[:, 1:] != IGNORE).sum().clamp(min=1)
    places = {
        index: (number, start)
        for number, row in enumerate(rows)
        for index, start in zip(row, itertools.accumulate((lengths[i] for i in row), initial=0))
    }
    states = _signal_states(model, prompts, sizes, hidden, places)
    return Output(loss, logits, hidden, target, states)


def _signal_states(
    model: AnyGPT,
    prompts: Sequence[Prompt],
    sizes: Sequence[list[int]],
    hidden: Tensor,
    places: dict[int, tuple[int, int]],
) -> dict[str, SignalStates]:
    """`places`: each prompt's row of `hidden`, and where it begins there."""
    found: dict[str, list[tuple[int, int, Target]]] = {}
    for index, (prompt, own) in enumerate(zip(prompts, sizes, strict=True)):
        row, begin = places[index]
        starts = list(itertools.accumulate(own, initial=begin))
        for target in prompt.targets:
            found.setdefault(target.modality, []).append((row, starts[target.start], target))
    states = {}
    for modality, entries in found.items():
        run = model.signals.run(modality)
        thought = torch.stack([hidden[row, start : start + len(run)] for row, start, _ in entries])
        embeddings = model.signal_embeddings(modality).expand(len(entries), -1, -1)
        states[modality] = SignalStates(thought, embeddings, [target for *_, target in entries])
    return states


def _labels(prompt: Prompt, sizes: Sequence[int], device: torch.device) -> Tensor:
    """The prompt's labels, one for each slot; nothing that comes before it leads to its first token."""
    labels = torch.tensor([IGNORE, *prompt.labels[1:]])
    return labels.repeat_interleave(torch.tensor(sizes)).to(device)
