"""What holds of every LLM with senses of its own, against transformers' own model with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from anygpt import AnyGPT
from anygpt.messages import normalise
from anygpt.options import Options
from anygpt.thinking import Batch, Memory, think

# what transformers' model takes for a conversation, and its logits of the next token
ByTransformers = Callable[[AnyGPT, Any], tuple[dict[str, torch.Tensor], torch.Tensor]]


def assert_answers_alike(
    model: AnyGPT, by_transformers: ByTransformers, talks: list[Any], length: int
) -> None:
    """Greedy answers of `length` tokens, in a batch and alone."""
    prompts = [model.processor(normalise(talk)) for talk in talks]
    batch = Batch(model, prompts, [Options(max_new_tokens=length)] * len(prompts))
    rows = list(batch.rows)
    while batch.rows:
        list(batch.step())
    for row, talk, prompt in zip(rows, talks, prompts, strict=True):
        given, _ = by_transformers(model, talk)
        own = model.llm.generate(**given, max_new_tokens=length, do_sample=False)[0]
        model.llm.model.rope_deltas = None
        wanted = [token for token in own[given["input_ids"].shape[1] :].tolist() if token not in model.stops]
        assert [token for token in row.ids if token not in model.stops] == wanted
        alone = Batch(model, [prompt], [Options(max_new_tokens=length)])
        [one] = alone.rows
        while alone.rows:
            list(alone.step())
        assert one.ids == row.ids


def assert_joins_and_goes_on(
    model: AnyGPT, by_transformers: ByTransformers, first: Any, second: Any, last: Any, length: int
) -> None:
    """`second` joins `first` as if alone; and `last`, as a later turn of `first`, is read with what is remembered of it."""
    one, other = (model.processor(normalise(talk)) for talk in (first, second))
    alone = Batch(model, [other], [Options(max_new_tokens=length)])
    joined = Batch(model, [one], [Options(max_new_tokens=length)])
    joined.join(Batch(model, [other], [Options(max_new_tokens=length)]))
    for _ in range(length):
        assert torch.allclose(joined.logits[-1], alone.logits[0], atol=1e-4)
        list(joined.step())
        list(alone.step())
    memory = Memory(model)
    list(think(model, [one], Options(max_new_tokens=4), memory))
    fed = memory.fed
    later = [*first, {"role": "assistant", "content": "two"}, *last]
    going_on = Batch(model, [model.processor(normalise(later))], [Options()], memory)
    _, wanted = by_transformers(model, later)
    assert torch.allclose(going_on.logits[0, : len(wanted)], wanted, atol=1e-4)
    assert memory.fed - fed < fed
