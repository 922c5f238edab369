"""What the choices of the training stages are worth: the embedded model's recipe with one thing changed, in small runs.

    python -m benchmarks.ablations [--steps 300] [--seeds 3] [--requests 16] [--output runs/ablations]

Every run starts from new adapters, signal tokens and projections on the frozen parts of the shipped anygpt-tiny, and all
are measured on the same requests. Writes ablations.md, which grows with each run. A run that is finished is not
repeated: its folder is named after all that it depends on. One that was stopped goes on with the same command.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
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
from stages.config import TrainingConfig, read_config
from stages.data import prompts_of
from stages.decoder_alignment import DecoderAlignment
from stages.encoding_alignment import EncodingAlignment
from stages.modality_switching import ModalitySwitching
from stages.stage import Stage
from stages.training import Interrupted, TrainingError, train

TABLES = ASSETS / "presets" / "anygpt-tiny"  # each stage's settings
STAGES: dict[str, type[Stage[Any]]] = {"1": EncodingAlignment, "2": DecoderAlignment, "3": ModalitySwitching}
WATCHED = 8  # examples of a run's own report, which is not looked at
Figures = dict[str, float]


@dataclass(frozen=True)
class Variant:
    """The recipe with something changed.

    Attributes:
        stages: their numbers, in the order in which they are run.
        tokens: signal tokens of each output.
        projection: its kind.
        losses: settings of stage 2.
    """

    stages: str = "2"
    tokens: int | None = None
    projection: str | None = None
    losses: dict[str, float] = field(default_factory=dict)


VARIANTS: dict[str, dict[str, Variant]] = {
    "signal tokens": {str(count): Variant(tokens=count) for count in (1, 2, 4, 8, 24)},
    "projection": {"transformer": Variant(), "linear": Variant(projection="linear")},
    "losses of stage 2": {
        "all four": Variant(),
        **{
            f"without {loss}": Variant(losses={f"{loss}_weight": 0.0})
            for loss in ("text", "caption", "near", "denoising")
        },
    },
    "order of the stages": {order: Variant(order.replace("-", "")) for order in ("1-2-3", "1-3-2")},
}


@dataclass(frozen=True)
class Bench:
    """What all runs share.

    Attributes:
        output: the folder of all runs.
        parts: the folder of the frozen parts.
        preset: what a new model is made of, the keys of a config.json.
        settings: of every stage, in place of its table's.
        examples: requests for the distance to captions and for the right media.
        requests: for each output, whose media are judged.
    """

    output: Path
    parts: Path
    preset: dict[str, Any]
    settings: dict[str, Any]
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


def preset_of(variant: Variant, preset: dict[str, Any]) -> dict[str, Any]:
    """The preset as the variant has it."""
    changed = copy.deepcopy(preset)
    for output in changed["outputs"].values():
        if variant.tokens is not None:
            output["signal_tokens"] = variant.tokens
            if words := output.get("signal_words"):
                output["signal_words"] = words_of(words, variant.tokens)
        if variant.projection is not None:
            output["projection"] = {**output["projection"], "kind": variant.projection}
    return changed


def words_of(words: str, count: int) -> str:
    """The first `count` words, again from the first where they are too few."""
    again = words.lower().split()  # within a text, a small letter is one token
    given = words.split()
    while len(given) < count:
        given += again
    return " ".join(given[:count])


def trained(bench: Bench, variant: Variant, seed: int) -> Path:
    """The folder of the variant's model: its stages run from each to the next, those that were not yet."""
    preset = preset_of(variant, bench.preset)
    digest, start = digest_of(bench.preset, bench.parts), None
    for number in variant.stages:
        changes = {**bench.settings, "seed": seed, **(variant.losses if number == "2" else {})}
        config: TrainingConfig = read_config(
            STAGES[number].settings,
            TABLES / f"stage-{number}.yaml",
            [f"{key}={json.dumps(value)}" for key, value in changes.items()],
        )
        facts = {**asdict(config), "output": "", "parts": digest, "model": start.name if start else preset}
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        folder = bench.output / f"stage-{number}-{name}"
        if not (folder / "report.json").is_file():
            model, parts = str(start), None
            if start is None:
                model, parts = str(folder / "preset.yaml"), str(bench.parts)
                write_json(Path(model), preset)  # JSON is YAML
            stage = STAGES[number](replace(config, model=model, parts=parts, output=str(folder)))
            train(stage, resume=True)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        start = folder
    assert start is not None, "a variant has a stage"
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


def runs(seeds: int) -> Iterator[tuple[str, str, int]]:
    """All runs as (group, name, seed): every variant with one seed before the next."""
    for seed in range(seeds):
        for group, variants in VARIANTS.items():
            for name in variants:
                yield group, name, seed


def tables(found: dict[tuple[str, str], list[Figures]], about: str) -> str:
    """Figures of each (group, name), a row of the seeds' mean and standard deviation, as Markdown."""
    text = [f"# Ablations\n\n{about}"]
    for group in VARIANTS:
        rows = {name: figures for (of, name), figures in found.items() if of == group}
        if rows:
            names = list(next(iter(rows.values()))[0])
            text.append(f"\n## {group[0].upper()}{group[1:]}\n")
            text += [f"| | {' | '.join(names)} | seeds |", "| --- |" + " ---: |" * (len(names) + 1)]
            for row, figures in rows.items():
                cells = [told([figure[name] for figure in figures]) for name in names]
                text.append(f"| {row} | {' | '.join(cells)} | {len(figures)} |")
    return "\n".join(text) + "\n"


def told(values: Sequence[float]) -> str:
    """The mean, and the standard deviation where there are several."""
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def exit_code(work: Callable[[], None]) -> int:
    """Of a benchmark that goes on where it was stopped: 0, 130 after Ctrl-C or SIGTERM, 1 where it cannot go on."""
    try:
        work()
    except (Interrupted, KeyboardInterrupt):
        print("stopped; what is done is kept, the same command goes on", file=sys.stderr)
        return 130
    except (TrainingError, ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300, help="of each stage")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=16, help="for each medium, which are judged")
    parser.add_argument("--output", type=Path, default=Path("runs/ablations"))
    given = parser.parse_args()
    if min(given.steps, given.seeds, given.requests) < 1:
        parser.error("--steps, --seeds and --requests are at least 1")
    few = {"validation_examples": WATCHED, "measured_examples": WATCHED}
    bench = Bench(
        output=given.output.resolve(),
        parts=ASSETS / "anygpt-tiny",
        preset=yaml.safe_load((ASSETS / "presets" / "anygpt-tiny.yaml").read_text(encoding="utf-8")),
        settings={"steps": given.steps, **few},
        examples=128,
        requests=given.requests,
    )
    about = (
        f"{given.steps} steps a stage; mean ± standard deviation over seeds. `caption`: the distance of what the projection makes "
        "to the caption's embedding, a share of its mean square, 0 is best. `right`: the share of attributes right in "
        f"{given.requests} requests for that medium. Variants but the last two are stage 2 alone, from new projections."
    )
    found: dict[tuple[str, str], list[Figures]] = {}
    planned = list(runs(given.seeds))

    def work() -> None:
        for number, (group, name, seed) in enumerate(planned, 1):
            print(f"[{number}/{len(planned)}] {group}: {name}, seed {seed}", flush=True)
            folder = trained(bench, VARIANTS[group][name], seed)
            found.setdefault((group, name), []).append(measured(bench, folder))
            write_text(bench.output / "ablations.md", tables(found, about))
        print(tables(found, about))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
