"""What a run tells on its way: a progress bar, log.jsonl, and any trackers of accelerate."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from tqdm import tqdm

from anygpt.config import ConfigError, unknown

LOG = "log.jsonl"
SMOOTH = 0.95  # of a loss that is told, the part that was told before


class Journal:
    """The main process's account of the steps from `state["step"]` on; the other processes' says nothing.

    Args:
        state: of the run; its "losses", which are told smoothed, are kept there, so that a run that goes on tells the same.
        every: a line in log.jsonl, and to the trackers, every so many steps.
    """

    def __init__(
        self,
        name: str,
        output: Path,
        steps: int,
        every: int,
        state: dict[str, Any],
        accelerator: Accelerator,
    ) -> None:
        self.path, self.steps, self.every, self.state = output / LOG, steps, every, state
        self.accelerator = accelerator
        self._start, self._begun, self._before = state["step"], time.monotonic(), state["seconds"]
        if accelerator.is_main_process:
            _cut(self.path, state["step"])
        self._bar = tqdm(
            total=steps,
            initial=state["step"],
            desc=name,
            disable=not accelerator.is_main_process,
            mininterval=1,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def step(self, losses: dict[str, float], gradient: float, rate: float) -> None:
        """Tell of the step that `state` has counted last.

        Args:
            losses: of all processes together.
            gradient: its norm, before it was cut.
            rate: the common learning rate.
        """
        state, smooth = self.state, self.state["losses"]
        done = state["step"] - self._start
        spent = time.monotonic() - self._begun
        state["seconds"] = self._before + spent
        for name, value in losses.items():
            if math.isfinite(value):
                smooth[name] = SMOOTH * smooth.get(name, value) + (1 - SMOOTH) * value
        memory = peak_memory(self.accelerator.device) / 2**30
        self._bar.set_postfix_str(f"{told(smooth)}, {memory:.1f} GiB", refresh=False)
        self._bar.update()
        if not self.accelerator.is_main_process or state["step"] % self.every:
            return
        line = {
            "step": state["step"],
            **{name: round(value, 5) for name, value in smooth.items()},
            "gradient": round(gradient, 5) if math.isfinite(gradient) else None,
            "rate": rate,
            "skipped": state["skipped"],
            "seconds": round(state["seconds"], 1),
            "seconds left": round(spent / done * (self.steps - state["step"]), 1),
            "memory": round(memory, 3),  # GiB, the most until now
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        values = {name: value for name, value in line.items() if name != "step" and value is not None}
        self.accelerator.log(values, step=state["step"])  # to the trackers, where there are any


def check_tracker(name: str) -> None:
    """Raises ConfigError for a tracker that accelerate does not know, or that is not installed."""
    known = [str(kind) for kind in LOGGER_TYPE_TO_CLASS]
    if name not in known:
        raise ConfigError(f"log_with: {unknown('tracker', name, known)}")
    if name not in [str(kind) for kind in get_available_trackers()]:
        raise ConfigError(f"log_with: {name} is not installed; pip install {name.replace('_', '-')}")


def peak_memory(device: torch.device) -> int:
    """The most bytes that tensors took on a GPU, or the process in RAM, until now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def told(figures: dict[str, float]) -> str:
    """Figures in a line, for a person."""
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())


def _cut(path: Path, step: int) -> None:
    """Take from the log what was told after `step`: a run that was killed goes on from before there."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:  # half a line
            continue
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("".join(kept), encoding="utf-8")
    os.replace(temporary, path)
