"""Batches of prompts: complete, the same after an interruption, and kept for a second time."""

from collections import Counter
from typing import Any

import pytest
import torch

from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from anygpt.toyworld.source import ToyWorld
from stages.data import TURN, batches, questions_of


def told(batch: list[Prompt]) -> list[tuple[int, ...]]:
    return sorted(tuple(prompt.ids) for prompt in batch)


def drawn(
    model: AnyGPT, examples: ToyWorld, batch_size: int = 3, **settings: Any
) -> list[list[tuple[int, ...]]]:
    """The rows of each step, all its batches together."""
    steps = batches(examples, model.processor, batch_size=batch_size, **settings)
    return [told([prompt for batch in step for prompt in batch]) for step in steps]


def test_every_example_comes_once_before_any_comes_again(model: AnyGPT) -> None:
    examples = ToyWorld(3 * 2 * TURN, starts={"plain": 1.0, "request_picture": 1.0})
    wanted = Counter(tuple(model.processor(examples[i], training=True).ids) for i in range(len(examples)))
    rows = drawn(model, examples, steps=4 * TURN)
    assert [len(batch) for batch in rows] == [3] * 4 * TURN
    for half in (rows[: 2 * TURN], rows[2 * TURN :]):
        assert Counter(row for batch in half for row in batch) == wanted


@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_run_draws_on_as_if_it_had_not_been(model: AnyGPT, workers: int) -> None:
    examples = ToyWorld(3 * 2 * TURN, starts={"request_sound": 1.0})
    whole = drawn(model, examples, steps=19, seed=5)
    for start in (0, 3, 8, 17):
        assert drawn(model, examples, steps=19, start=start, seed=5, workers=workers) == whole[start:]
    assert drawn(model, examples, steps=19, seed=6) != whole


def test_a_step_has_the_same_examples_however_they_are_shared_out(model: AnyGPT) -> None:
    examples = ToyWorld(8 * 2 * TURN, starts={"request_film": 1.0, "plain": 1.0})
    steps = 3 * TURN  # the last eight for the second time
    whole = drawn(model, examples, 8, steps=steps)
    halves = [drawn(model, examples, 4, steps=steps, process=p, processes=2) for p in (0, 1)]
    assert [sorted(one + other) for one, other in zip(*halves, strict=True)] == whole
    assert drawn(model, examples, 4, steps=steps, accumulation=2) == whole
    together = next(batches(examples, model.processor, batch_size=4, steps=1, accumulation=2))
    packed = {"steps": steps, "packing": True}
    halves = [drawn(model, examples, 4, process=p, processes=2, **packed) for p in (0, 1)]
    mixed = drawn(model, examples, 8, **packed)
    assert [sorted(one + other) for one, other in zip(*halves, strict=True)] == mixed != whole
    assert [len(batch) for batch in together] == [4, 4]
    assert max(len(p.ids) for p in together[0]) <= min(len(p.ids) for p in together[1])


def test_what_comes_again_keeps_its_features_and_not_its_media(model: AnyGPT) -> None:
    examples = ToyWorld(2 * TURN, starts={"given_imu": 1.0})
    rows = batches(examples, model.processor, batch_size=2, steps=2 * TURN)
    first: dict[int, torch.Tensor | None] = {}
    for _ in range(TURN):
        for prompt in next(rows)[0]:
            model.encode(prompt.media)
            first[id(prompt)] = prompt.media[0].features
    for [batch] in rows:
        for prompt in batch:
            assert prompt.media[0].features is first[id(prompt)]
            assert prompt.media[0].tensor.numel() == 0


def test_questions_are_the_examples_without_their_last_answer(model: AnyGPT) -> None:
    examples = ToyWorld(3, starts={"request_picture": 1.0, "plain": 1.0}, turns=(2,))
    for (prompt, conversation), index in zip(questions_of(examples, model.processor), range(3), strict=True):
        whole = model.processor(examples[index], training=True)
        assert conversation[-1]["role"] == "assistant"
        assert whole.ids[: len(prompt.ids)] == prompt.ids and len(whole.ids) > len(prompt.ids)
