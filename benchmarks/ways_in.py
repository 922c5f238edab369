"""The ways in side by side: how a picture reaches the LLM, each trained on the same pictures for as many steps.

    python -m benchmarks.ways_in [--steps 1500] [--seeds 3] [--questions 200] [--ways llava-mlp flamingo] [--output runs/ways-in]

Every run starts from a new adapter on the frozen encoder and LLM of the shipped anygpt-tiny. The LLM stays as it is: what differs
is the way in alone. BLIP-2's steps are half of its first stage, without the LLM, and half of its second. Writes
ways-in.md, which grows with each run. A run that is finished is not repeated: its folder is named after all that
it depends on. One that was stopped goes on with the same command.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from anygpt.checkpoint import ASSETS
from anygpt.evaluation.scoring import write_json, write_text
from anygpt.evaluation.suites import evaluate
from anygpt.model import AnyGPT
from benchmarks.runs import exit_code, told
from benchmarks.stage_order import digest_of
from stages.config import TrainingConfig, read_config
from stages.data import prompts_of
from stages.encoding_alignment import EncodingAlignment
from stages.query_pretraining import QueryPretraining
from stages.stage import Stage
from stages.training import train

PRESETS = ASSETS / "presets"
STARTS = {"ask_several": 1.0}  # a picture, and questions about it over one to four turns
TIMED = 5  # steps by which time is measured
Figures = dict[str, float]


@dataclass(frozen=True)
class Way:
    """A way in.

    Attributes:
        preset: whose `tiny.yaml` says how pictures come in.
        stages: each stage with the number of the preset's table that has its settings; they share the steps.
        adapter: another kind of adapter than the preset's.
    """

    preset: str
    stages: tuple[tuple[type[Stage[Any]], int], ...] = ((EncodingAlignment, 1),)
    adapter: str | None = None

    def config(self) -> dict[str, Any]:
        """What a new model is made of: the preset's picture input, and nothing else."""
        whole = yaml.safe_load((PRESETS / self.preset / "tiny.yaml").read_text(encoding="utf-8"))
        image = whole["inputs"]["image"]
        if self.adapter is not None:
            image = {**image, "adapter": {"kind": self.adapter}}
        kept = {key: whole[key] for key in ("llm", "cross_attention") if key in whole}
        return {**kept, "inputs": {"image": image}}


WAYS = {
    "nextgpt-linear": Way("nextgpt"),
    "nextgpt-mlp": Way("nextgpt", adapter="mlp"),
    "llava-linear": Way("llava", adapter="linear"),
    "llava-mlp": Way("llava"),
    "blip2": Way("blip2", ((QueryPretraining, 1), (EncodingAlignment, 2))),
    "flamingo": Way("flamingo"),
}


@dataclass(frozen=True)
class Bench:
    """What all runs share.

    Attributes:
        output: the folder of all runs.
        parts: the folder of the frozen parts.
        steps: of each way, all its stages together.
        settings: of every stage, in place of its table's.
        questions: how many are asked of each suite.
    """

    output: Path
    parts: Path
    steps: int
    settings: dict[str, Any]
    questions: int


def trained(bench: Bench, way: Way, seed: int) -> list[Path]:
    """The folders of the way's stages, the last one its model; those that are not finished are run."""
    config, folders = way.config(), list[Path]()
    digest = digest_of(config, bench.parts)
    for kind, number in way.stages:
        changes = {**bench.settings, "seed": seed, "steps": bench.steps // len(way.stages)}
        if kind is EncodingAlignment:  # BLIP-2's first stage has captions alone
            changes["starts"] = STARTS
        settings: TrainingConfig = read_config(
            kind.settings,
            PRESETS / way.preset / f"stage-{number}.yaml",
            [f"{key}={json.dumps(value)}" for key, value in changes.items()],
        )
        start = folders[-1].name if folders else config
        facts = {**asdict(settings), "output": "", "parts": digest, "model": start}
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        folder = bench.output / f"{way.preset}-{number}-{name}"
        if not (folder / "report.json").is_file():
            model = str(folders[-1] if folders else folder / "preset.yaml")
            if not folders:
                write_json(Path(model), config)  # JSON is YAML
            parts = None if folders else str(bench.parts)
            train(kind(replace(settings, model=model, parts=parts, output=str(folder))), resume=True)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        folders.append(folder)
    return folders


def measured(bench: Bench, folder: Path) -> Figures:
    """The figures of a model, kept beside it."""
    path = folder / f"figures-{bench.questions}.json"
    if not path.is_file():
        model = AnyGPT.from_pretrained(folder)
        settings = {"model": folder.name}
        suites = evaluate(
            model, ["vqa", "image-caption"], folder / "report", count=bench.questions, settings=settings
        )
        captions, answers = suites["image-caption"]["figures"], suites["vqa"]["figures"]
        figures = {
            **_costs(model, bench),
            "VQA accuracy": answers["VQA accuracy"],
            "CIDEr": captions["CIDEr"],
            "BLEU-4": captions["BLEU-4"],
        }
        write_json(path, figures)
    return json.loads(path.read_bytes())


def _costs(model: AnyGPT, bench: Bench) -> Figures:
    """What trains, in thousands of parameters; the LLM's tokens for a picture; seconds of one core's work for a step.

    The encoder's work is not in it, which is the same for all.
    """
    settings = read_config(
        EncodingAlignment.settings,
        PRESETS / "llava" / "stage-1.yaml",
        [f"{key}={json.dumps(value)}" for key, value in {**bench.settings, "starts": STARTS}.items()],
    )
    size = settings.batch_size
    stage = EncodingAlignment(replace(settings, validation_examples=size))
    parameters = [p for group in stage.prepare(model).values() for p in group]
    [batch] = prompts_of(stage.examples("validation"), model.processor, size)
    pictures = [medium for prompt in batch for medium in prompt.media]
    model.encode(pictures)
    seconds = []
    for _ in range(TIMED):
        start = time.process_time()
        stage.loss(model, batch, 0)[0].backward()
        seconds.append(time.process_time() - start)
    # with cross-attention, only its tag is read among the words
    length = 1 if model.config.cross_attention is not None else len(model.adapt(pictures[:1])[0])
    return {
        "thousand parameters": sum(p.numel() for p in parameters) / 1000,
        "tokens a picture": length,
        "s a step": statistics.median(seconds),
    }


def table(found: dict[str, list[Figures]], about: str) -> str:
    """A row a way, of the seeds' mean and standard deviation, as Markdown."""
    names = list(next(iter(found.values()))[0])
    text = [f"# The ways in\n\n{about}\n", f"| | {' | '.join(names)} | seeds |"]
    text.append("| --- |" + " ---: |" * (len(names) + 1))
    for way, figures in found.items():
        cells = [_cell(name, [figure[name] for figure in figures]) for name in names]
        text.append(f"| {way} | {' | '.join(cells)} | {len(figures)} |")
    return "\n".join(text) + "\n"


def _cell(name: str, values: Sequence[float]) -> str:
    return f"{values[0]:.0f}" if name in ("thousand parameters", "tokens a picture") else told(values)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1500, help="of each way, all its stages together")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=200, help="of each suite")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY")
    parser.add_argument("--output", type=Path, default=Path("runs/ways-in"))
    given = parser.parse_args()
    if min(given.steps // 2, given.batch_size, given.seeds, given.questions) < 1:
        parser.error("--steps is at least 2, --batch-size, --seeds and --questions at least 1")
    bench = Bench(
        output=given.output.resolve(),
        parts=ASSETS / "anygpt-tiny",
        steps=given.steps,
        settings={
            "batch_size": given.batch_size,
            "examples": given.steps * given.batch_size,  # none comes twice
            "validation_examples": 8,
            "measured_examples": 8,
        },
        questions=given.questions,
    )
    about = (
        f"{given.steps} steps of {given.batch_size} conversations each, the LLM frozen; mean ± standard deviation over seeds. "
        f"`VQA accuracy` and `CIDEr`: of {given.questions} questions for one attribute and as many for a description, half of "
        "them about combinations that training held out. `s a step`: of one core's work, without the encoder's."
    )
    found: dict[str, list[Figures]] = {}
    planned = [(way, seed) for seed in range(given.seeds) for way in given.ways]

    def work() -> None:
        for number, (way, seed) in enumerate(planned, 1):
            print(f"[{number}/{len(planned)}] {way}, seed {seed}", flush=True)
            folders = trained(bench, WAYS[way], seed)
            found.setdefault(way, []).append(measured(bench, folders[-1]))
            write_text(bench.output / "ways-in.md", table(found, about))
        print(table(found, about))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
