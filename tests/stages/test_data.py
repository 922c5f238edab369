"""Batches of prompts: complete, the same after an interruption, and kept for a second time."""

from collections import Counter
from typing import Any

import pytest
import torch

from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from anygpt.toyworld.source import ToyWorld
from stages.data import BUCKET, batches, questions_of


def told(batch: list[Prompt]) -> list[tuple[int, ...]]:
    return sorted(tuple(prompt.ids) for prompt in batch)


def drawn(model: AnyGPT, examples: ToyWorld, **settings: Any) -> list[list[tuple[int, ...]]]:
    return [told(batch) for batch in batches(examples, model.processor, batch_size=3, **settings)]


def test_every_example_comes_once_before_any_comes_again(model: AnyGPT) -> None:
    examples = ToyWorld(3 * 2 * BUCKET, starts={"plain": 1.0, "request_picture": 1.0})
    wanted = Counter(tuple(model.processor(examples[i], training=True).ids) for i in range(len(examples)))
    rows = drawn(model, examples, steps=4 * BUCKET)
    assert [len(batch) for batch in rows] == [3] * 4 * BUCKET
    for half in (rows[: 2 * BUCKET], rows[2 * BUCKET :]):
        assert Counter(row for batch in half for row in batch) == wanted


@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_run_draws_on_as_if_it_had_not_been(model: AnyGPT, workers: int) -> None:
    examples = ToyWorld(3 * 2 * BUCKET, starts={"request_sound": 1.0})
    whole = drawn(model, examples, steps=11, seed=5)
    for start in (0, 3, 4, 9):
        assert drawn(model, examples, steps=11, start=start, seed=5, workers=workers) == whole[start:]
    assert drawn(model, examples, steps=11, seed=6) != whole


def test_processes_share_the_examples(model: AnyGPT) -> None:
    examples = ToyWorld(3 * 2 * BUCKET, starts={"request_film": 1.0})
    first, second = (drawn(model, examples, steps=BUCKET, process=p, processes=2) for p in (0, 1))
    together = Counter(row for batch in first + second for row in batch)
    assert together == Counter(row for batch in drawn(model, examples, steps=2 * BUCKET) for row in batch)


def test_what_comes_again_keeps_its_features_and_not_its_media(model: AnyGPT) -> None:
    examples = ToyWorld(2 * BUCKET, starts={"given_imu": 1.0})
    rows = batches(examples, model.processor, batch_size=2, steps=2 * BUCKET)
    first: dict[int, torch.Tensor | None] = {}
    for _ in range(BUCKET):
        for prompt in next(rows):
            model.encode(prompt.media)
            first[id(prompt)] = prompt.media[0].features
    for batch in rows:
        for prompt in batch:
            assert prompt.media[0].features is first[id(prompt)]
            assert prompt.media[0].tensor.numel() == 0


def test_questions_are_the_examples_without_their_last_answer(model: AnyGPT) -> None:
    examples = ToyWorld(3, starts={"request_picture": 1.0, "plain": 1.0}, turns=(2,))
    for (prompt, conversation), index in zip(questions_of(examples, model.processor), range(3), strict=True):
        whole = model.processor(examples[index], training=True)
        assert conversation[-1]["role"] == "assistant"
        assert whole.ids[: len(prompt.ids)] == prompt.ids and len(whole.ids) > len(prompt.ids)
