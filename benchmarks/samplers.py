"""Fewer steps by other samplers: what of the toy world's attributes stays right, and what a medium takes.

    python -m benchmarks.samplers [MODEL] [--cell "text to image of two"] [--count 60]

Requests, noise and the LLM's states are the same for all rows: those of a cell of `anygpt evaluate`'s matrix. `away` is how far
pixels lie on average from the first row's, of 255. Seconds are of one core's work.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from anygpt.evaluation.matrix import share_right
from anygpt.evaluation.running import make_record
from anygpt.evaluation.suites import plan
from anygpt.generation import MEDIA_BATCH, conditioning, written
from anygpt.model import AnyGPT
from anygpt.options import Options
from encoders.media import Audio, Video

SAMPLERS = {
    "own": (20, 10, 6, 4, 3),
    "DPMSolverMultistepScheduler": (10, 6, 4, 3),
    "UniPCMultistepScheduler": (6, 4, 3),
}


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", default="anygpt-tiny")
    parser.add_argument("--cell", default="text to image of two", help="of the toy world's matrix")
    parser.add_argument("--count", type=int, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = AnyGPT.from_pretrained(given.model)
    items = plan("toyworld", model.config, given.count, 0, None)[given.cell]
    cases = [item.turns()[0] for item in items]
    (modality,) = {medium for case in cases for medium in case.media}
    replies, wanted = written(model, [case.messages for case in cases], Options())
    jobs, decoder = wanted[modality], model.decoder(modality)
    own = type(decoder.pipeline.scheduler).__name__
    batches = [jobs[first : first + MEDIA_BATCH] for first in range(0, len(jobs), MEDIA_BATCH)]
    first_row: list[np.ndarray] = []
    rows = [(name, steps) for name, numbers in SAMPLERS.items() for steps in numbers]
    print(
        "| sampler | steps | attributes right | all right | away | seconds each |\n| --- | --- | --- | --- | --- | --- |"
    )
    for name, steps in tqdm(rows, unit="row"):
        decoder.set_scheduler(own if name == "own" else name)
        started = time.process_time()
        for batch in batches:
            states = conditioning(model, modality, [job.item for job in batch])
            media = model.decode(modality, states, [job.seed for job in batch], num_inference_steps=steps)
            for job, medium in zip(batch, media, strict=True):
                job.part[modality] = medium
        seconds = (time.process_time() - started) / len(jobs)
        made = [_pixels(job.part[modality]) for job in jobs]
        first_row = first_row or made
        away = np.mean([np.abs(one - other).mean() for one, other in zip(made, first_row, strict=True)])
        checks = [make_record(case, reply)["checks"] for case, reply in zip(cases, replies, strict=True)]
        right = np.array([share_right(one) for one in checks])
        error, whole = right.std() / len(right) ** 0.5, np.mean([one["all"] for one in checks])
        told = own if name == "own" else name
        tqdm.write(
            f"| {told} | {steps} | {right.mean():.3f} ± {error:.3f} | {whole:.2f} | {away:.2f} | {seconds:.3f} |"
        )


def _pixels(medium: Any) -> np.ndarray:
    """A picture's or a film's numbers, 0 to 255; a sound has none."""
    if isinstance(medium, Audio):
        return np.zeros(1)
    return np.asarray(medium.frames if isinstance(medium, Video) else medium, dtype=float)


if __name__ == "__main__":
    main()
