"""What a turn with text, a picture and a sound takes, against its parts one after the other.

    python -m benchmarks.turn [MODEL] [--device cpu] [--turns 5]

The parts are the LLM's answer, the picture and the sound, each made by itself from the same states. On a GPU the media are made
while the text goes on, and seconds are those on the clock; on a CPU one comes after the other, and seconds are of one core's work, so
that other processes hardly count. Turns and parts alternate; the median of their ratios counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch

from anygpt.generation import conditioning, medium_seed
from anygpt.messages import normalise
from anygpt.model import AnyGPT
from anygpt.options import Options
from anygpt.thinking import Run, think

REQUEST = "draw a large red circle and play its sound"
MEDIA = ("image", "audio")
MOST = {"cpu": 1.02, "cuda": 0.85}


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", default="anygpt-tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    on_cpu = given.device == "cpu"
    if on_cpu:
        torch.set_num_threads(1)
    clock = time.process_time if on_cpu else time.perf_counter
    model = AnyGPT.from_pretrained(given.model, device=given.device)
    options: dict[str, Any] = {"modalities": list(MEDIA)}

    def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
        if not on_cpu:
            torch.cuda.synchronize()
        started = clock()
        result = run()
        if not on_cpu:
            torch.cuda.synchronize()
        return clock() - started, result

    def answer() -> list[Any]:
        read = Options.read(options, model.config.outputs)
        return [item for _, item in think(model, [model.processor(normalise(REQUEST))], read)]

    def medium(run: Any, place: int) -> Any:
        return model.decode(run.modality, conditioning(model, run.modality, [run]), [medium_seed(0, place)])

    rows = []
    for _ in range(given.turns + 1):
        text, items = seconds(answer)
        media = [item for item in items if isinstance(item, Run)]
        parts = [seconds(partial(medium, run, place))[0] for place, run in enumerate(media)]
        whole, reply = seconds(lambda: model.chat(REQUEST, **options))
        assert [part["type"] for part in reply.content if part["type"] != "text"] == [
            m.modality for m in media
        ]
        rows.append((text, sum(parts), whole, whole / (text + sum(parts))))
    # the first one loads
    text, parts_, whole, ratio = (median(column) for column in zip(*rows[1:], strict=True))
    print("| text, s | media, s | turn, s | turn / parts | at most |\n| ---: | ---: | ---: | ---: | ---: |")
    print(f"| {text:.2f} | {parts_:.2f} | {whole:.2f} | {ratio:.3f} | {MOST['cpu' if on_cpu else 'cuda']} |")


if __name__ == "__main__":
    main()
