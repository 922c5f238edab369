"""From conversations to batches of prompts, drawn ahead by worker processes."""

from __future__ import annotations

import pickle
import signal
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from anygpt.messages import Conversation, normalise
from anygpt.processor import Processor, Prompt

BUCKET = 4  # batches that are sorted by length together: neighbours are about as long, so little is padding


class Buckets(Dataset[bytes]):
    """`BUCKET` batches at a time, pickled; what is in the i-th depends on i alone.

    A tensor that a worker sends by itself costs a file handle; pickled bytes cost none.
    """

    def __init__(self, examples: Dataset[Conversation], processor: Processor, batch_size: int) -> None:
        self.examples, self.processor, self.batch_size = examples, processor, batch_size

    def __len__(self) -> int:
        return -(-_length(self.examples) // (BUCKET * self.batch_size))

    def __getitem__(self, index: int) -> bytes:
        first = index * BUCKET * self.batch_size
        indices = [i % _length(self.examples) for i in range(first, first + BUCKET * self.batch_size)]
        prompts = [self.processor(normalise(self.examples[i]), training=True) for i in indices]
        prompts.sort(key=lambda prompt: (len(prompt.ids), len(prompt.media)))
        return pickle.dumps(
            [prompts[i : i + self.batch_size] for i in range(0, len(prompts), self.batch_size)]
        )


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
) -> Iterator[list[Prompt]]:
    """One process's batches for the steps from `start` to `steps`: the same ones whether or not it was interrupted.

    Examples are taken in their order, and from the first again when they are used up. Then they are not drawn again:
    the prompts are kept with what the encoders made of their media, and without the media.
    """
    buckets = Buckets(examples, processor, batch_size)
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
        group = kept[bucket] if bucket in kept else pickle.loads(next(fresh))
        for place, number in enumerate(np.random.default_rng([seed, turn]).permutation(BUCKET)):
            if start <= turn * BUCKET + place < steps:
                yield group[number]
        if bucket in again:
            kept[bucket] = group
            _drop_media(group)


def _drop_media(group: list[list[Prompt]]) -> None:
    """Free the tensors of media whose features are known; an interrupted group has some without."""
    for medium in (medium for batch in group for prompt in batch for medium in prompt.media):
        if medium.features is not None:
            medium.tensor = medium.tensor.new_empty(0)


def prompts_of(examples: Dataset[Conversation], processor: Processor, batch_size: int) -> list[list[Prompt]]:
    """All examples in batches of about equally long ones, for the loss before and after."""
    prompts = [processor(normalise(examples[i]), training=True) for i in range(_length(examples))]
    prompts.sort(key=lambda prompt: len(prompt.ids))
    return [prompts[i : i + batch_size] for i in range(0, len(prompts), batch_size)]


def questions_of(examples: Dataset[Conversation], processor: Processor) -> list[tuple[Prompt, Conversation]]:
    """Each example without its last answer as a prompt, and the example whole."""
    conversations = [normalise(examples[i]) for i in range(_length(examples))]
    return [(processor(conversation[:-1]), conversation) for conversation in conversations]


def _length(examples: Dataset[Conversation]) -> int:
    return len(examples)  # type: ignore[arg-type]  # a map-style dataset has a length


def _start_worker(worker: int) -> None:
    """Signals are for the main process, which ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
