"""How many examples a second stage 1 learns from, with the encoders' features computed before, and on the fly.

    python -m benchmarks.throughput [--steps 24] [--only films …]

The model is anygpt-tiny as stage 1 begins with it: encoders, LLM and fresh adapters, without LoRA. All is done in one process, files are opened
there as well; seconds are of one core's work. Each batch is learned in both ways, one after the other, so that what else the machine
does hits both alike; the files (pictures, sounds and films of the toy world as PNG, WAV and MP4) come once.

How much there is to win depends on the encoder's size and the LLM's. For NExT-GPT's, which are published, a film is 15 clips of 257 tokens through
630 million weights, and a caption 50 tokens forward and backward through 6.7 billion: 3.7 times as much for the one as for the other. The last row has
an encoder, without training, that is as wide as makes it so here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml

from anygpt.checkpoint import ASSETS
from anygpt.data import Source
from anygpt.media import write
from anygpt.messages import normalise
from anygpt.model import AnyGPT
from anygpt.precomputed import FEATURES
from anygpt.processor import Prompt
from anygpt.toyworld.source import ToyWorld
from encoders.imagebind import ImageBindEncoder, ImageBindModel
from stages.assembly import open_model
from stages.config import TrainingConfig
from stages.data import TURN, batches
from stages.encoding_alignment import EncodingAlignment
from stages.precompute import precompute

BATCH = 32
KINDS = {"given_image": ".png", "given_audio": ".wav", "given_video": ".mp4"}
PRESET, PARTS = str(ASSETS / "presets" / "anygpt-tiny.yaml"), str(ASSETS / "anygpt-tiny")
WIDE = 192  # of the vision encoder, which has 128
MIXTURES: dict[str, tuple[tuple[str, ...], int | None]] = {
    "pictures": (("given_image",), None),
    "sounds": (("given_audio",), None),
    "films": (("given_video",), None),
    "all three": (tuple(KINDS), None),
    "films, in NExT-GPT's proportion": (("given_video",), WIDE),
}
WANTED = 3.0  # times as fast


def corpus(folder: Path, rows: int, starts: tuple[str, ...]) -> Path:
    """Dialogues about `rows` files, in our own schema."""
    world = ToyWorld(rows, 7, starts=dict.fromkeys(starts, 1.0))
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


class Run:
    """Stage 1, and the seconds of work that each part of its steps took."""

    def __init__(self, stage: EncodingAlignment, model: AnyGPT, precomputed: bool) -> None:
        self.stage, self.model = stage, model
        if precomputed:
            stage.use_precomputed(model)
        self.parameters = [p for part in stage.prepare(model).values() for p in part]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-3)
        self.seconds = {"data": 0.0, "encoders": 0.0, "LLM": 0.0}
        self.batches: Iterator[list[list[Prompt]]] = batches(
            stage.examples("training"),
            model.processor,
            batch_size=BATCH,
            steps=stage.steps,
            workers=0,
            skipped=stage.skipped,
        )

    def step(self) -> None:
        """Learn from a batch."""
        times = [time.process_time()]
        [batch] = next(self.batches)
        times.append(time.process_time())
        self.model.encode([medium for prompt in batch for medium in prompt.media])
        times.append(time.process_time())
        self.stage.loss(self.model, batch, 1)[0].backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        times.append(time.process_time())
        for name, begun, ended in zip(self.seconds, times, times[1:]):
            self.seconds[name] += ended - begun


def widened(folder: Path, width: int) -> str:
    """The preset with another vision encoder."""
    encoder = ImageBindEncoder.from_pretrained(Path(PARTS, "imagebind"))
    config = dataclasses.replace(encoder.model.config, vision_embed_dim=width)
    wide = ImageBindEncoder(ImageBindModel(config).eval(), encoder.preprocessor, encoder.tokenizer)
    wide.save_pretrained(folder / "imagebind")
    preset = yaml.safe_load(Path(PRESET).read_text(encoding="utf-8"))
    for entry in preset["inputs"].values():
        entry["encoder"] = str(folder / "imagebind")
    path = folder / "preset.yaml"
    path.write_text(yaml.safe_dump(preset), encoding="utf-8")
    return str(path)


def measured(starts: tuple[str, ...], width: int | None, steps: int) -> tuple[Run, Run]:
    """On the fly, and precomputed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = corpus(folder, BATCH * (steps + TURN) + 32, starts)
        config = TrainingConfig(
            PRESET if width is None else widened(folder, width),
            str(folder / "run"),
            steps + TURN,
            parts=PARTS,
            data=(Source("messages", str(data)),),
            precomputed=str(folder / "kept"),
            batch_size=BATCH,
            validation_examples=1,
            measured_examples=1,
            workers=0,
        )
        precompute(FEATURES, EncodingAlignment(config))
        model = open_model(config.model, config.parts).train()
        fly, kept = (Run(EncodingAlignment(config), model, precomputed) for precomputed in (False, True))
        for number in range(config.steps or 0):
            if number == TURN:  # what came first is not counted
                for run in (fly, kept):
                    run.seconds = dict.fromkeys(run.seconds, 0.0)
            fly.step()
            kept.step()
    return fly, kept


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--only", nargs="+", choices=MIXTURES, help="some of the rows")
    given = parser.parse_args()
    torch.set_num_threads(1)
    steps = max(given.steps // TURN, 1) * TURN
    print("| stage 1 | way | examples a second | ms an example: data | encoders | LLM | times as fast |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name in given.only or MIXTURES:
        fly, kept = measured(*MIXTURES[name], steps)
        for way, run in (("on the fly", fly), ("precomputed", kept)):
            rate = BATCH * steps / sum(run.seconds.values())
            parts = " | ".join(f"{1000 * value / BATCH / steps:.2f}" for value in run.seconds.values())
            times = sum(fly.seconds.values()) / sum(run.seconds.values())
            print(f"| {name} | {way} | {rate:.1f} | {parts} | {times:.2f} |", flush=True)
    print(f"\nWanted: at least {WANTED:.0f} times as fast.")


if __name__ == "__main__":
    main()
