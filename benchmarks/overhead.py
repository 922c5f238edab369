"""What the training loop costs over a bare one in PyTorch, and the loader over both.

    python -m benchmarks.overhead [MODEL] [--steps 40]

The bare loop is forward, backward, clipping and AdamW on batches that lie ready. The training loop has the same batches; it adds accelerate, the
count of the step's items, the log and the progress bar. Each batch is learned by one and then by the other, each with a model of its own, so
that what else the machine does hits both alike; the middle one of the steps' ratios counts. Seconds are of one core's work.
The loader's share is what the main process does to get a batch from one worker (in seconds of work; how long it waits depends on how many
cores there are for workers). What is done once, at the start, does not count.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from stages import training
from stages.config import TrainingConfig
from stages.data import TURN, batches
from stages.encoding_alignment import EncodingAlignment

BATCH = 32
WARM = TURN  # steps that are not counted: a turn of the loader
OVERHEAD, LOADER = 0.03, 0.05  # the most, as shares

Steps = list[list[Prompt]]


def drawn(stage: EncodingAlignment, model: AnyGPT) -> tuple[Steps, float]:
    """The steps' batches with their media's features, and the seconds of work that the main process had to get one."""
    steps: Steps = []
    begun: list[float] = []
    loader = batches(
        stage.examples("training"), model.processor, batch_size=BATCH, steps=stage.steps, workers=1
    )
    for [batch] in loader:
        begun.append(time.process_time())
        steps.append(batch)
    for batch in steps:
        model.encode([medium for prompt in batch for medium in prompt.media])
    return steps[WARM:], (begun[-1] - begun[WARM - 1]) / len(steps[WARM:])


def bare(model: AnyGPT) -> Callable[[list[Prompt]], None]:
    """A step of the shortest loop that learns the same."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    model.train()

    def step(batch: list[Prompt]) -> None:
        model(batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def both(stage: EncodingAlignment, model: AnyGPT, steps: Steps, output: Path) -> list[tuple[float, float]]:
    """Seconds of each step: of the bare loop, and of ours."""
    seconds: list[tuple[float, float]] = []
    step = bare(copy.deepcopy(model))

    def fed(*_: Any, **__: Any) -> Iterator[Steps]:
        for batch in steps:
            begun = time.process_time()
            step(batch)
            between = time.process_time()
            yield [batch]
            seconds.append((between - begun, time.process_time() - between))

    groups = stage.prepare(model)
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "name": name} for name, parameters in groups.items()], betas=(0.9, 0.98)
    )
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "skipped": 0, "skipped in a row": 0, "losses": {}}
    output.mkdir(exist_ok=True)
    saved = patch.object(training.checkpoints, "save", lambda *_, **__: None)
    with patch.object(training, "batches", fed), saved:
        accelerator = training.Accelerator(project_dir=output)
        training._loop(training._Step(stage, model), optimizer, trained, state, accelerator)
    return seconds[2:]


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", default="anygpt-tiny")
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        config = TrainingConfig(given.model, name, given.steps // TURN * TURN, batch_size=BATCH, workers=1)
        stage = EncodingAlignment(config)
        model = AnyGPT.from_pretrained(given.model)
        stage.prepare(model)
        steps, loading = drawn(stage, model)
        seconds = both(stage, model, steps, Path(name))
    plain, full = (1000 * statistics.median(column) for column in zip(*seconds, strict=True))
    more = statistics.median(ours / bare for bare, ours in seconds) - 1
    share = statistics.median(loading / (ours + loading) for _, ours in seconds)
    print("| stage 1, features known | ms a step | share of a step |\n| --- | ---: | ---: |")
    print(f"| bare loop | {plain:.1f} | |")
    print(f"| training loop | {full:.1f} | {more:+.1%} (at most {OVERHEAD:.0%}) |")
    print(f"| loader, in the main process | {1000 * loading:.1f} | {share:.1%} (at most {LOADER:.0%}) |")


if __name__ == "__main__":
    main()
