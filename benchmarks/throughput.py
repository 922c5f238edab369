"""How many examples a second stage 1 learns from, with the encoders' features computed before, and on the fly.

    python -m benchmarks.throughput [MODEL] [--steps 40]

Seconds are of one core's work, so that other processes do not count: all is done in one process, files are opened there as well. Both
runs are on the same files (pictures, sounds and films of the toy world as PNG, WAV and MP4), each of which comes
once: what a second pass costs is another matter. The first steps are not counted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anygpt.data import Source
from anygpt.media import write
from anygpt.messages import normalise
from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from anygpt.toyworld.source import ToyWorld
from stages.config import TrainingConfig
from stages.encoding_alignment import EncodingAlignment
from stages.precompute import encoder_features
from stages.training import train

BATCH = 16
WARM = 8  # steps that are not counted
KINDS = {"given_image": ".png", "given_audio": ".wav", "given_video": ".mp4"}
WANTED = 3.0  # times as fast


def corpus(folder: Path, rows: int) -> Path:
    """Dialogues about `rows` files, in our own schema."""
    world = ToyWorld(rows, 7, starts=dict.fromkeys(KINDS, 1.0))
    path = folder / "corpus.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for row in range(rows):
            messages = normalise(world[row])
            for number, part in enumerate(part for message in messages for part in message["content"]):
                kind = part["type"]
                if kind != "text" and (medium := part.pop(kind, None)) is not None:
                    name = f"{row}-{number}{KINDS[f'given_{kind}']}"
                    write(kind, medium, folder / name)
                    part["path"] = name
            file.write(json.dumps({"id": str(row), "messages": messages}) + "\n")
    return path


class Timed(EncodingAlignment):
    """Notes when each step begins."""

    def __init__(self, settings: TrainingConfig) -> None:
        super().__init__(settings)
        self.begun: list[float] = []

    def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
        if torch.is_grad_enabled():
            self.begun.append(time.process_time())
        return super().losses(model, batch, step)


def speed(model: str, output: Path, data: Path, steps: int, precomputed: Path | None) -> float:
    """Examples a second of one core."""
    stage = Timed(config(model, output, data, steps, precomputed))
    train(stage)
    first, last = stage.begun[WARM], stage.begun[-1]
    return BATCH * (steps - 1 - WARM) / (last - first)


def config(model: str, output: Path, data: Path, steps: int, precomputed: Path | None) -> TrainingConfig:
    """Stage 1 on the corpus."""
    settings: dict[str, Any] = {"validation_examples": 8, "measured_examples": 1, "workers": 0}
    return TrainingConfig(
        model,
        str(output),
        steps,
        data=(Source("messages", str(data)),),
        precomputed=str(precomputed) if precomputed else None,
        batch_size=BATCH,
        **settings,
    )


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", default="anygpt-tiny")
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = corpus(folder, BATCH * given.steps + 32)
        kept = folder / "kept"
        begun = time.monotonic()
        encoder_features(EncodingAlignment(config(given.model, folder / "run", data, given.steps, kept)))
        once = time.monotonic() - begun
        fly = speed(given.model, folder / "fly", data, given.steps, None)
        before = speed(given.model, folder / "before", data, given.steps, kept)
    print("| stage 1 | examples a second |\n| --- | ---: |")
    print(f"| encoders on the fly | {fly:.1f} |\n| features computed before | {before:.1f} |")
    print(f"| times as fast (at least {WANTED}) | {before / fly:.2f} |")
    print(f"\nComputing them took {once:.1f} s, with loading the model.")


if __name__ == "__main__":
    main()
