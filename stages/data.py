"""From conversations to batches of prompts, drawn ahead by worker processes.

The toy world's conversations are all good. A mixture's may be bad: another is taken then, and the main process is told.
"""

from __future__ import annotations

import pickle
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from anygpt.data.errors import BadItem, DataError
from anygpt.data.mixture import Mixture
from anygpt.data.skipped import Skip, Skipped
from anygpt.messages import Conversation, normalise
from anygpt.processor import Processor, Prompt

Result = TypeVar("Result")
Bucket = tuple[
    list[list[Prompt]], int, list[Skip]
]  # its batches, and of how many items read which were left out

BUCKET = 4  # batches that are sorted by length together: neighbours are about as long, so little is padding


class Buckets(Dataset[bytes]):
    """`BUCKET` batches at a time, each a pickled `Bucket` (or `DataError`); what is in the i-th depends on i alone.

    A tensor that a worker sends by itself costs a file handle; pickled bytes cost none.
    """

    def __init__(
        self,
        examples: Dataset[Conversation],
        processor: Processor,
        batch_size: int,
        longest: int | None = None,
    ) -> None:
        self.examples, self.processor, self.batch_size = examples, processor, batch_size
        self.longest = longest

    def __len__(self) -> int:
        return -(-_length(self.examples) // (BUCKET * self.batch_size))

    def __getitem__(self, index: int) -> bytes:
        first = index * BUCKET * self.batch_size
        indices = [i % _length(self.examples) for i in range(first, first + BUCKET * self.batch_size)]
        try:
            prompts, read, skips = usable(self.examples, indices, prompt_maker(self.processor, self.longest))
        except DataError as error:  # raised again in the main process, without a worker's traceback
            return pickle.dumps(error)
        prompts.sort(key=lambda prompt: (len(prompt.ids), len(prompt.media)))
        batches = [prompts[i : i + self.batch_size] for i in range(0, len(prompts), self.batch_size)]
        bucket: Bucket = batches, read, skips
        return pickle.dumps(bucket)


def batches(
    examples: Dataset[Conversation],
    processor: Processor,
    *,
    batch_size: int,
    steps: int,
    start: int = 0,
    seed: int = 0,
    workers: int = 1,
    process: int = 0,
    processes: int = 1,
    longest: int | None = None,
    skipped: Skipped | None = None,
) -> Iterator[list[Prompt]]:
    """One process's batches for the steps from `start` to `steps`: the same ones whether or not it was interrupted.

    Examples are taken in their order, and from the first again when they are used up. Then they are not drawn again:
    the prompts are kept with what the encoders made of their media, and without the media.

    Args:
        longest: tokens of an example that the LLM can read; of a mixture, longer ones are left out.
        skipped: is told what was left out; needed with a mixture.

    Raises:
        DataError: more was left out than may be.
    """
    buckets = Buckets(examples, processor, batch_size, longest)
    order = [
        (turn * processes + process) % len(buckets) for turn in range(start // BUCKET, -(-steps // BUCKET))
    ]
    again = {bucket for bucket, times in Counter(order).items() if times > 1}
    kept: dict[int, list[list[Prompt]]] = {}
    loader = DataLoader(
        buckets,
        batch_size=None,
        sampler=list(dict.fromkeys(order)),
        num_workers=workers,
        worker_init_fn=_start_worker,
        prefetch_factor=2 if workers else None,
    )
    fresh = iter(loader)
    for turn, bucket in enumerate(order, start // BUCKET):
        if bucket in kept:
            group = kept[bucket]
        else:
            group, read, skips = _unpickled(next(fresh))
            # an interrupted run has counted what it read before
            first_time = turn * processes + process < len(buckets) and turn * BUCKET >= start
            if skipped is not None and first_time:
                skipped.add(read, skips)
        for place, number in enumerate(np.random.default_rng([seed, turn]).permutation(BUCKET)):
            if start <= turn * BUCKET + place < steps:
                yield group[number]
        if bucket in again:
            kept[bucket] = group
            _drop_media(group)


def _unpickled(data: bytes) -> Bucket:
    bucket = pickle.loads(data)
    if isinstance(bucket, DataError):
        raise bucket
    return bucket


def _drop_media(group: list[list[Prompt]]) -> None:
    """Free the tensors of media whose features are known; an interrupted group has some without."""
    for medium in (medium for batch in group for prompt in batch for medium in prompt.media):
        if medium.features is not None:
            medium.tensor = medium.tensor.new_empty(0)


def usable(
    examples: Dataset[Conversation], indices: Iterable[int], use: Callable[[Conversation], Result]
) -> tuple[list[Result], int, list[Skip]]:
    """What `use` makes of the examples, each normalised: of a mixture's, of those that can be used or stand in for them.

    Returns:
        The results, how many items were read, and those of them that were left out.
    """
    if not isinstance(examples, Mixture):
        results = [use(normalise(examples[index])) for index in indices]
        return results, len(results), []
    results, total, left_out = [], 0, []
    for index in indices:
        result, read, skips = examples.usable(index, use)
        total += read
        left_out += skips
        if result is not None:
            results.append(result)
    return results, total, left_out


def prompt_maker(processor: Processor, longest: int | None = None) -> Callable[[Conversation], Prompt]:
    """The processor on an example to learn from; a `BadItem` where it has more than `longest` tokens."""

    def make(conversation: Conversation) -> Prompt:
        prompt = processor(conversation, training=True)
        if longest is not None and len(prompt.ids) > longest:
            raise BadItem("too long", f"has {len(prompt.ids)} tokens; this LLM reads {longest}")
        return prompt

    return make


def prompts_of(
    examples: Dataset[Conversation],
    processor: Processor,
    batch_size: int,
    longest: int | None = None,
    skipped: Skipped | None = None,
) -> list[list[Prompt]]:
    """All examples in batches of about equally long ones, for the loss before and after.

    Raises:
        DataError: none can be used.
    """
    make = prompt_maker(processor, longest)
    prompts, _, skips = usable(examples, range(_length(examples)), make)
    if skipped is not None:
        skipped.note(skips)
    if not prompts:
        raise DataError(
            f"none of the {len(skips)} examples kept for validation can be used; one of them: {skips[0].source}, "
            f"row {skips[0].row}: {skips[0].reason}, {skips[0].detail}"
        )
    prompts.sort(key=lambda prompt: len(prompt.ids))
    return [prompts[i : i + batch_size] for i in range(0, len(prompts), batch_size)]


def questions_of(
    examples: Dataset[Conversation], processor: Processor, skipped: Skipped | None = None
) -> list[tuple[Prompt, Conversation]]:
    """Each example without its last answer as a prompt, and the example whole."""

    def make(conversation: Conversation) -> tuple[Prompt, Conversation]:
        return processor(conversation[:-1]), conversation

    questions, _, skips = usable(examples, range(_length(examples)), make)
    if skipped is not None:
        skipped.note(skips)
    return questions


def _length(examples: Dataset[Conversation]) -> int:
    return len(examples)  # type: ignore[arg-type]  # a map-style dataset has a length


def _start_worker(worker: int) -> None:
    """Signals are for the main process, which ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
