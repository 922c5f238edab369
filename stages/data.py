"""From conversations to batches of prompts, drawn ahead by worker processes.

The toy world's conversations are all good. A mixture's may be bad: another is taken then, and the main process is told.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from anygpt.data.errors import BadItem, DataError
from anygpt.data.mixture import Mixture
from anygpt.data.skipped import Skip, Skipped
from anygpt.messages import Conversation, normalise
from anygpt.processor import Processor, Prompt

Result = TypeVar("Result")
Group = tuple[
    list[list[Prompt]], int, list[Skip]
]  # its prompts for each step, and of how many items read which were left out

TURN = (
    8  # steps whose batches are sorted by length together: neighbours are about as long, so little is padding
)
WIDTH = (
    4  # examples of a group in each of these steps, so that sorting is the same for any number of processes
)


class Groups(Dataset[bytes]):
    """`width` examples for each step of a turn, as a pickled `Group` (or `DataError`); the i-th depends on i alone.

    A tensor that a worker sends by itself costs a file handle; pickled bytes cost none.
    """

    def __init__(
        self,
        examples: Dataset[Conversation],
        processor: Processor,
        width: int,
        longest: int | None = None,
        packing: bool = False,
    ) -> None:
        self.examples, self.processor, self.width = examples, processor, width
        self.longest, self.packing = longest, packing

    def __getitem__(self, index: int) -> bytes:
        first = index * TURN * self.width
        indices = [i % _length(self.examples) for i in range(first, first + TURN * self.width)]
        try:
            prompts, read, skips = usable(self.examples, indices, prompt_maker(self.processor, self.longest))
        except DataError as error:  # raised again in the main process, without a worker's traceback
            return packed(error)
        if not self.packing:
            prompts.sort(key=_length_of)
        group: Group = (
            [prompts[i : i + self.width] for i in range(0, len(prompts), self.width)],
            read,
            skips,
        )
        return packed(group)


class _Pickler(pickle.Pickler):
    """Writes tensors as plain bytes. torch writes an archive for each, which for small ones costs more than reading the data."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim:
            return _tensor, (value.detach().contiguous().view(torch.uint8).numpy(), value.dtype)
        return NotImplemented


def _tensor(data: np.ndarray, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(data).view(dtype)


def packed(value: Any) -> bytes:
    """A value as bytes, for `pickle.loads` in another process."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def batches(
    examples: Dataset[Conversation],
    processor: Processor,
    *,
    batch_size: int,
    steps: int,
    accumulation: int = 1,
    start: int = 0,
    seed: int = 0,
    workers: int = 1,
    process: int = 0,
    processes: int = 1,
    longest: int | None = None,
    packing: bool = False,
    skipped: Skipped | None = None,
) -> Iterator[list[list[Prompt]]]:
    """One process's batches, `accumulation` a step, for the steps from `start` to `steps`.

    They are the same ones whether or not the run was interrupted; and the examples of a step are the same for any
    processes × batches × batch size (a multiple of `WIDTH`) that make as many.

    Examples are taken in their order, and from the first again when they are used up. Then they are not drawn again:
    the prompts are kept with what the encoders made of their media, and without the media.

    Args:
        longest: tokens of an example that the LLM can read; of a mixture, longer ones are left out.
        packing: a batch's examples are to be packed, for which long and short ones together do best; otherwise a step has
            such as are about as long.
        skipped: is told what was left out; needed with a mixture.

    Raises:
        DataError: more was left out than may be.
    """
    width = math.gcd(batch_size, WIDTH)
    mine = batch_size * accumulation // width  # groups of this process
    all_groups = mine * processes
    turns = -(-_length(examples) // (TURN * width * all_groups))  # until the examples are used up
    order = [
        [turn % turns * all_groups + process * mine + number for number in range(mine)]
        for turn in range(start // TURN, -(-steps // TURN))
    ]
    times = Counter(number for numbers in order for number in numbers)
    kept: dict[int, list[list[Prompt]]] = {}
    loader = DataLoader(
        Groups(examples, processor, width, longest, packing),
        batch_size=None,
        sampler=list(times),
        num_workers=workers,
        worker_init_fn=start_worker,
        prefetch_factor=2 if workers else None,
    )
    fresh = iter(loader)
    for turn, numbers in enumerate(order, start // TURN):
        groups = []
        for number in numbers:
            if number not in kept:
                group, read, skips = _unpickled(next(fresh))
                # an interrupted run has counted what it read before
                if skipped is not None and turn < turns and turn * TURN >= start:
                    skipped.add(read, skips)
                if times[number] > 1:
                    kept[number] = group
            else:
                group = kept[number]
            groups.append(group)
        for place, rank in enumerate(np.random.default_rng([seed, turn]).permutation(TURN)):
            if start <= turn * TURN + place < steps:
                prompts = [prompt for group in groups for prompt in group[rank]]
                if not packing:
                    prompts.sort(key=_length_of)
                yield [prompts[i : i + batch_size] for i in range(0, len(prompts), batch_size)]
        for number in numbers:
            if number in kept:
                _drop_media(kept[number])


def _length_of(prompt: Prompt) -> tuple[int, int]:
    return len(prompt.ids), len(prompt.media)


def _unpickled(data: bytes) -> Group:
    group = pickle.loads(data)
    if isinstance(group, DataError):
        raise group
    return group


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


def start_worker(worker: int) -> None:
    """Signals are for the main process, which ends its workers itself; where it was killed, they end by themselves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """torch's own check ends a worker only once it has got rid of its results, which nobody takes any more."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
