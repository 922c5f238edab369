"""What the training loop costs over a bare one in PyTorch, and the loader over both.

    python -m benchmarks.overhead [MODEL] [--steps 20]

The bare loop is forward, backward, clipping and AdamW on batches that lie ready. The training loop has the same batches; it adds accelerate, the
count of the step's items, the log and the progress bar. Both take turns, so that what else the machine does hits both alike; the
medians of the turns count. Seconds are of one core's work. The loader's share is what the main process does to get a
batch from one worker (in seconds of work; how long it waits depends on how many cores there are for workers). What is done once, at the
start, does not count.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from stages import training
from stages.config import TrainingConfig
from stages.data import batches
from stages.encoding_alignment import EncodingAlignment

BATCH = 32
TURNS = 3
WARM = 8  # steps that are not counted: a turn of the loader
OVERHEAD, LOADER = 0.03, 0.05  # the most, as shares


class Timed:
    """Batches, each noting when it is asked for: what lies between is a step."""

    def __init__(self, steps: list[list[Prompt]]) -> None:
        self.steps, self.begun = steps, list[float]()

    def __iter__(self) -> Iterator[list[Prompt]]:
        for batch in self.steps:
            self.begun.append(time.process_time())
            yield batch
        self.begun.append(time.process_time())

    @property
    def milliseconds(self) -> float:
        """Of a step, in the middle of all."""
        return 1000 * statistics.median(after - before for before, after in pairwise(self.begun[2:]))


def bare(model: AnyGPT, steps: list[list[Prompt]]) -> float:
    """Milliseconds a step of the shortest loop that learns the same."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    model.train()
    timed = Timed(steps)
    for batch in timed:
        model(batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return timed.milliseconds


def ours(stage: EncodingAlignment, model: AnyGPT, steps: list[list[Prompt]], output: Path) -> float:
    """Milliseconds a step of the training loop, on batches that lie ready."""
    groups = stage.prepare(model)
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "name": name} for name, parameters in groups.items()], betas=(0.9, 0.98)
    )
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "skipped": 0, "skipped in a row": 0, "losses": {}}
    output.mkdir(exist_ok=True)
    timed = Timed(steps)
    with (
        patch.object(training, "batches", lambda *_, **__: ([batch] for batch in timed)),
        patch.object(training.checkpoints, "save", lambda *_, **__: None),
    ):
        step = training._Step(stage, model)
        training._loop(step, optimizer, trained, state, training.Accelerator(project_dir=output))
    return timed.milliseconds


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", default="anygpt-tiny")
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = TrainingConfig(given.model, str(folder / "run"), given.steps, batch_size=BATCH, workers=1)
        stage = EncodingAlignment(config)
        model = AnyGPT.from_pretrained(given.model)
        stage.prepare(model)
        steps: list[list[Prompt]] = []
        begun: list[float] = []
        drawn = batches(
            stage.examples("training"), model.processor, batch_size=BATCH, steps=given.steps, workers=1
        )
        for [batch] in drawn:
            begun.append(time.process_time())
            steps.append(batch)
        loading = 1000 * (begun[-1] - begun[WARM - 1]) / (len(begun) - WARM)
        for batch in steps:
            model.encode([medium for prompt in batch for medium in prompt.media])
        steps = steps[WARM:]
        bare(model, steps[:3])
        times = [(bare(model, steps), ours(stage, model, steps, folder)) for _ in range(TURNS)]
    plain, full = (statistics.median(column) for column in zip(*times, strict=True))
    print("| stage 1, features known | ms a step | share of a step |\n| --- | ---: | ---: |")
    print(f"| bare loop | {plain:.1f} | |")
    print(f"| training loop | {full:.1f} | {full / plain - 1:+.1%} (at most {OVERHEAD:.0%}) |")
    print(f"| loader, in the main process | {loading:.1f} | {loading / full:.1%} (at most {LOADER:.0%}) |")


if __name__ == "__main__":
    main()
