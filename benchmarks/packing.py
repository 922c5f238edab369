"""How many short dialogues a second stage 3 learns from: padded, padded and grouped by length, and packed.

    python -m benchmarks.packing [MODEL] [--steps 8]

The dialogues are the toy world's, of 1 to 5 turns. All three ways have the same ones, and know the media's features and the captions'
embeddings already: what is compared is the LLM's forward and backward pass. Seconds are of one core's work.
"""

from __future__ import annotations

import argparse
import time

import torch

from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from stages.data import batches
from stages.modality_switching import ModalitySwitching, ModalitySwitchingConfig

BATCH = 32
WARM = 2  # steps that are not counted
WANTED = 1.5  # times as fast

Batches = list[list[Prompt]]


def drawn(stage: ModalitySwitching, model: AnyGPT, *, packing: bool) -> Batches:
    """The steps' batches: of mixed lengths for packing, or else grouped by length."""
    steps = batches(
        stage.examples("training"),
        model.processor,
        batch_size=BATCH,
        steps=stage.steps,
        workers=0,
        packing=packing,
    )
    return [batch for [batch] in steps]


def speed(stage: ModalitySwitching, model: AnyGPT, steps: Batches) -> float:
    """Examples a second of one core."""
    begun = 0.0
    for number, batch in enumerate(steps):
        if number == WARM:
            begun = time.process_time()
        stage.loss(model, batch, number)[0].backward()
        model.zero_grad()
    return BATCH * (len(steps) - WARM) / (time.process_time() - begun)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", default="anygpt-tiny")
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = AnyGPT.from_pretrained(given.model)
    steps = WARM + given.steps
    padded, packed = (
        ModalitySwitching(
            ModalitySwitchingConfig(
                given.model, "unused", steps, batch_size=BATCH, packing=packing, workers=0
            )
        )
        for packing in (False, True)
    )
    padded.prepare(model)
    model.train()
    mixed, grouped = (drawn(packed, model, packing=packing) for packing in (True, False))
    with torch.no_grad():
        for stage, them in ((padded, grouped), (packed, mixed), (padded, mixed)):
            for batch in them:
                stage.loss(model, batch, 0)
    told = {
        "padded, in random order": speed(padded, model, mixed),
        "padded, grouped by length (the default)": speed(padded, model, grouped),
        "packed (`packing: true`)": speed(packed, model, mixed),
    }
    print("| stage 3, short dialogues | examples a second | packed is faster by |\n| --- | ---: | ---: |")
    for name, value in told.items():
        print(f"| {name} | {value:.1f} | {list(told.values())[-1] / value:.2f} |")
    print(f"\nWanted of the first: at least {WANTED}.")


if __name__ == "__main__":
    main()
