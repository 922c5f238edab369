"""In which order the stages are best run: the embedded model's recipe as 1-2-3 and as 1-3-2, in small runs.

    python -m benchmarks.stage_order [--steps 300] [--seeds 3] [--requests 8] [--output runs/stage-order]

Every run starts from new adapters, signal tokens and projections on the frozen parts of the shipped anygpt-tiny, and all
are measured on the same requests. Writes stage-order.md, which grows with each run. A run that is finished is not
repeated: its folder is named after all that it depends on. One that was stopped goes on with the same command.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from anygpt.checkpoint import ASSETS
from anygpt.evaluation.matrix import share_right
from anygpt.evaluation.running import BATCH, check
from anygpt.evaluation.scoring import write_json, write_text
from anygpt.evaluation.suites import plan
from anygpt.model import AnyGPT
from benchmarks.runs import Figures, exit_code, read_arguments, tables
from stages.config import TrainingConfig, read_config
from stages.data import prompts_of
from stages.decoder_alignment import DecoderAlignment
from stages.encoding_alignment import EncodingAlignment
from stages.modality_switching import ModalitySwitching
from stages.stage import Stage
from stages.training import train

TABLES = ASSETS / "presets" / "anygpt-tiny"  # each stage's settings
STAGES: dict[str, type[Stage[Any]]] = {"1": EncodingAlignment, "2": DecoderAlignment, "3": ModalitySwitching}
ORDERS = ("1-2-3", "1-3-2")
WATCHED = 8  # examples of a run's own report, which is not looked at


@dataclass(frozen=True)
class Bench:
    """What all runs share.

    Attributes:
        output: the folder of all runs.
        parts: the folder of the frozen parts.
        preset: what a new model is made of, the keys of a config.json.
        settings: of every stage, in place of its table's.
        of_stage: more of them, of one stage.
        examples: requests for the distance to captions and for the right media.
        requests: for each output, whose media are judged.
    """

    output: Path
    parts: Path
    preset: dict[str, Any]
    settings: dict[str, Any]
    of_stage: dict[str, dict[str, Any]]
    examples: int
    requests: int


def digest_of(preset: dict[str, Any], parts: Path) -> str:
    """A digest of the files of a preset's frozen parts, which lie in the folder `parts`."""
    ways = [*preset["inputs"].values(), *preset.get("outputs", {}).values()]
    names = {preset["llm"], *(way.get("encoder") or way["decoder"] for way in ways)}
    digest = hashlib.sha256()
    for path in sorted(p for name in names for p in (parts / name).rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(parts)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def trained(bench: Bench, order: str, seed: int) -> Path:
    """The folder of the model after the stages in this order, each run from the one before, those that were not yet."""
    digest, start = digest_of(bench.preset, bench.parts), None
    for number in order.split("-"):
        changes = {**bench.settings, **bench.of_stage.get(number, {}), "seed": seed}
        config: TrainingConfig = read_config(
            STAGES[number].settings,
            TABLES / f"stage-{number}.yaml",
            [f"{key}={json.dumps(value)}" for key, value in changes.items()],
        )
        facts = {
            **asdict(config),
            "output": "",
            "parts": digest,
            "model": start.name if start else bench.preset,
        }
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        folder = bench.output / f"stage-{number}-{name}"
        if not (folder / "report.json").is_file():
            model, parts = str(start), None
            if start is None:
                model, parts = str(folder / "preset.yaml"), str(bench.parts)
                write_json(Path(model), bench.preset)  # JSON is YAML
            stage = STAGES[number](replace(config, model=model, parts=parts, output=str(folder)))
            train(stage, resume=True)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        start = folder
    assert start is not None, "an order has a stage"
    return start


def measured(bench: Bench, folder: Path) -> Figures:
    """The figures of a model, kept beside it.

    Returns:
        For each output the distance of what the projection makes to the caption's embedding, as stage 2 measures it, and the
        share of attributes right in what requests for it get, as the any-to-any matrix has them; and the share of
        answers with the right media.
    """
    path = folder / f"figures-{bench.examples}-{bench.requests}.json"
    if not path.is_file():
        model = AnyGPT.from_pretrained(folder)
        figures = _stage_figures(model, bench.examples)
        figures |= {f"{made} right": _right(model, made, bench.requests) for made in model.config.outputs}
        write_json(path, figures)
    return json.loads(path.read_bytes())


@torch.no_grad()
def _stage_figures(model: AnyGPT, examples: int) -> Figures:
    """Stage 2's own measures: always with the same losses, on the same examples."""
    counts = {"validation_examples": examples, "measured_examples": examples, "denoising_weight": 0}
    changes = [f"{key}={value}" for key, value in counts.items()]
    config = read_config(DecoderAlignment.settings, TABLES / "stage-2.yaml", changes)
    stage = DecoderAlignment(config)
    sums: dict[str, list[float]] = {}
    for batch in prompts_of(stage.examples("validation"), model.processor, config.batch_size):
        for name, value in stage.loss(model, batch, 0)[1].items():
            sums.setdefault(name, []).append(float(value))
    distances = {f"{made} caption": statistics.mean(sums[f"{made} caption"]) for made in model.config.outputs}
    return {**distances, **stage.measure(model)}


def _right(model: AnyGPT, made: str, requests: int) -> float:
    """The mean share of attributes right over requests in words for one medium, half of them for held-out things."""
    items = plan("toyworld", model.config, requests, 0, None)[f"text to {made}"]
    shares = []
    for start in range(0, requests, BATCH):
        cases = [item.turns()[0] for item in items[start : start + BATCH]]
        replies: Any = model.chat([case.messages for case in cases], seed=start)
        shares += [share_right(check(case, reply)[0]) for case, reply in zip(cases, replies, strict=True)]
    return statistics.mean(shares)


def main() -> int:
    given = read_arguments(__doc__, steps=300, of_what="stage", output="runs/stage-order")
    few = {"validation_examples": WATCHED, "measured_examples": WATCHED}
    bench = Bench(
        output=given.output.resolve(),
        parts=ASSETS / "anygpt-tiny",
        preset=yaml.safe_load((ASSETS / "presets" / "anygpt-tiny.yaml").read_text(encoding="utf-8")),
        settings={"steps": given.steps, "batch_size": 8, **few},
        # the output rows of new signal tokens learn slowly, and a short run would not get to write one
        of_stage={
            "2": {
                "denoising_weight": 0,
                "learning_rates": {"projections": 2e-3, "signals": 1e-5, "signal_head": 1e-2},
            }
        },
        examples=128,
        requests=given.requests,
    )
    about = (
        f"{given.steps} steps of 8 a stage; mean ± standard deviation over seeds. `caption`: the distance of what the projection makes "
        "to the caption's embedding, a share of its mean square, 0 is best. `right`: the share of attributes right in "
        f"{given.requests} requests for that medium."
    )
    found: dict[tuple[str, str], list[Figures]] = {}

    def work() -> None:
        for seed in range(given.seeds):
            for order in ORDERS:
                print(f"{order}, seed {seed}", flush=True)
                folder = trained(bench, order, seed)
                found.setdefault(("stages", order), []).append(measured(bench, folder))
                write_text(bench.output / "stage-order.md", tables("Order of the stages", found, about))
        print(tables("Order of the stages", found, about))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
