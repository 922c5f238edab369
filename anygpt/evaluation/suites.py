"""The suites of `anygpt evaluate`: what is asked in each, and what is made of the answers.

from anygpt.evaluation.suites import evaluate
results = evaluate(model, ["toyworld"], Path("report"), count=300)
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import Generator

from anygpt.config import AnyGPTConfig
from anygpt.evaluation import SUITES, conversations, examples, grounding, in_context, ways_out
from anygpt.evaluation.errors import EvaluationError
from anygpt.evaluation.matrix import summarise_matrix
from anygpt.evaluation.requests import CARRIED, MATRIX, Case, split_of
from anygpt.evaluation.running import QUICK, Item, Log, Record, run
from anygpt.evaluation.scoring import SHOWN, write_json
from anygpt.evaluation.switching import DIALOGUE, summarise_switching

if TYPE_CHECKING:
    from anygpt.evaluation.literature import Features
    from anygpt.model import AnyGPT

MADE = {"text-to-image": "image", "text-to-audio": "audio", "text-to-video": "video"}
OWN_DATA = ("toyworld", in_context.SUITE, ways_out.SUITE, grounding.SUITE)
NEEDS_TORCHMETRICS = ("image-caption", *MADE)
QUICK_SUITES = ("switching", in_context.SUITE, grounding.SUITE)  # what is in their media is not looked at
RESULTS, CEILINGS = "results.json", "ceilings.json"

Turns = tuple[Case, ...]
Cell = Callable[[Generator, bool], Turns]


def check_suites(suites: Sequence[str], data: Path | None) -> None:
    """Make sure, before a model is loaded, that the suites can be run.

    Raises:
        EvaluationError: data for a suite that takes none, or for several; a library that is missing.
    """
    if data is not None and len(suites) > 1:
        accepted = [suite for suite in SUITES if suite not in OWN_DATA]
        raise EvaluationError(f"--data is for one suite: name it with --suite, one of {', '.join(accepted)}")
    if data is not None and suites[0] in OWN_DATA:
        raise EvaluationError(
            f"the {suites[0]} suite makes its own data: leave out --data, or choose another --suite"
        )
    if any(suite in NEEDS_TORCHMETRICS for suite in suites) and find_spec("torchmetrics") is None:
        needy = next(suite for suite in suites if suite in NEEDS_TORCHMETRICS)
        raise EvaluationError(f"the suite {needy} needs torchmetrics: pip install 'anygpt[eval]'")


def plan(
    suite: str,
    config: AnyGPTConfig,
    count: int,
    seed: int,
    data: Path | None,
    shots: Sequence[int] = in_context.SHOTS,
) -> dict[str, list[Item]]:
    """The suite's conversations, cell by cell.

    Args:
        config: cells with a modality that the model does not have are left out.
        count: of conversations in a cell; from data, all lines if 0, otherwise the first ones.
        shots: how many examples stand before a question, in the suite in-context.
    """
    if data is not None:
        lines = examples.read_data(data, config.inputs, MADE.get(suite))
        return {
            "data": [Item(f"{suite}/data/{identity}", turns) for identity, turns in lines[: count or None]]
        }
    if suite == in_context.SUITE:
        _check_pictures(suite, config)
        return in_context.plan_lessons(count, seed, shots)
    if suite == ways_out.SUITE:  # the matrix's own requests, the same ones for each way
        matrix = _cells("toyworld", config)
        return {
            f"{name}, {way}": [
                Item(f"{suite}/{name}, {way}/{i}", partial(_make, "toyworld", name, matrix[name], i, seed))
                for i in range(count)
            ]
            for name in ways_out.CELLS
            if name in matrix
            for way in ways_out.WAYS
        }
    return {
        name: [Item(f"{suite}/{name}/{i}", partial(_make, suite, name, cell, i, seed)) for i in range(count)]
        for name, cell in _cells(suite, config).items()
    }


def _make(suite: str, name: str, cell: Cell, index: int, seed: int) -> Turns:
    """The conversation of that number: it depends on nothing but these. Odd numbers are of held-out things."""
    held_out = index % 2 == 1
    rng = np.random.default_rng([seed, zlib.crc32(f"{suite}/{name}".encode()), index])
    return tuple(_with_split(case, held_out) for case in cell(rng, held_out))


def _with_split(case: Case, held_out: bool) -> Case:
    return replace(case, split=split_of(held_out))


def _cells(suite: str, config: AnyGPTConfig) -> dict[str, Cell]:
    def one(maker: Callable[[Generator, bool], Case]) -> Cell:
        return lambda rng, held_out: (maker(rng, held_out),)

    if suite == "toyworld":
        return {name: one(maker) for name, maker in MATRIX.items() if _has(config, name)}
    if suite == "switching":
        if missing := [modality for modality in SHOWN if modality not in config.outputs]:
            raise EvaluationError(
                f"the switching suite without --data asks for {missing[0]}, which this model does not make"
            )
        singles = {name: one(maker) for name, maker in conversations.kinds(config.inputs).items()}
        return {**singles, DIALOGUE: conversations.dialogue}
    if suite in MADE:
        if MADE[suite] not in config.outputs:
            raise EvaluationError(
                f"this model makes no {MADE[suite]}; it makes {', '.join(config.outputs) or 'text alone'}"
            )
        return {"toy": one(partial(examples.making_example, made=MADE[suite]))}
    _check_pictures(suite, config)
    if suite == grounding.SUITE:
        return {name: one(maker) for name, maker in grounding.CELLS.items()}
    return {"toy": one({"image-caption": examples.caption_example, "vqa": examples.vqa_example}[suite])}


def _check_pictures(suite: str, config: AnyGPTConfig) -> None:
    if "image" not in config.inputs:
        raise EvaluationError(f"this model takes no image, which the suite {suite} is about")


def _has(config: AnyGPTConfig, cell: str) -> bool:
    given, made = cell.removesuffix(" of two").replace(" of two to", " to").split(" to ")
    return given in ("text", *config.inputs) and made in ("text", *config.outputs)


def evaluate(
    model: AnyGPT,
    suites: Sequence[str],
    folder: Path,
    *,
    count: int = 100,
    seed: int = 0,
    data: Path | None = None,
    shots: Sequence[int] = in_context.SHOTS,
    features: Features | None = None,
    settings: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run suites and write `results.json`; what `folder` holds already of this very run is not run again, and the
    figures of its other suites stay.

    Args:
        suites: of `anygpt.evaluation.SUITES`.
        count: conversations of each cell; of a file, 0 takes all.
        data: a JSON Lines file of cases, for one suite; None makes cases from the toy world.
        shots: how many examples stand before a question, in the suite in-context.
        features: what FID and CLIPScore compare by; None takes the model's own encoder of the modality.
        settings: what else the answers depend on and a run that goes on must share, such as the model's name.
        options: of `model.chat`.

    Returns:
        Each suite's figures by its name, as in `results.json`.

    Raises:
        EvaluationError: suites, data or a folder that do not go together.
    """
    from tqdm import tqdm

    check_suites(suites, data)
    plans = {suite: plan(suite, model.config, count, seed, data, shots) for suite in suites}
    digest = hashlib.sha256(data.read_bytes()).hexdigest()[:16] if data else None
    log = Log(folder, {**(settings or {}), "seed": seed, "data": digest})
    total = sum(len(items) for cells in plans.values() for items in cells.values())
    results: dict[str, Any] = {}
    with tqdm(total=total, unit="case", disable=None) as bar:
        for suite, cells in plans.items():
            for name, items in cells.items():
                bar.set_description(f"{suite}, {name}")
                answer = partial(ways_out.answer, model, name) if suite == ways_out.SUITE else model.chat
                quick = dict.fromkeys(model.config.outputs, QUICK) if suite in QUICK_SUITES else {}
                chosen = {**(options or {}), **quick}
                run(answer, items, log, bar, seed=seed, keep=not quick, options=chosen)
    for suite, cells in plans.items():
        records = {name: [log.records[item.id] for item in items] for name, items in cells.items()}
        figures = _summarise(model, suite, records, folder, count, seed, features)
        results[suite] = {"count": count, **figures}
    about = {**(settings or {}), "seed": seed, "data": str(data) if data else None}
    write_json(folder / RESULTS, {"about": about, "suites": _earlier(folder / RESULTS, about) | results})
    return results


def _earlier(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The other suites' figures that an earlier run of the same model, seed and data left there."""
    try:
        old = json.loads(path.read_bytes())
        return dict(old["suites"]) if old["about"] == about else {}
    except (OSError, ValueError, TypeError, KeyError):  # none, or not ours
        return {}


def _summarise(
    model: AnyGPT,
    suite: str,
    cells: dict[str, list[Record]],
    folder: Path,
    count: int,
    seed: int,
    features: Features | None,
) -> dict[str, Any]:
    if suite == "switching":
        return summarise_switching(
            [{"cell": name, **record} for name, records in cells.items() for record in records]
        )
    single = {name: [{"id": r["id"], **r["turns"][0]} for r in records] for name, records in cells.items()}
    if suite == in_context.SUITE:
        return in_context.summarise_lessons(single)
    if suite == ways_out.SUITE:
        return ways_out.summarise_ways(single)
    if suite == grounding.SUITE:
        return grounding.summarise_grounding(single)
    if suite == "toyworld":
        return summarise_matrix(single, _ceilings(model, folder / CEILINGS, count, seed))
    from anygpt.evaluation import literature

    [records] = single.values()
    if suite == "image-caption":
        return literature.summarise_captions(records)
    if suite == "vqa":
        return literature.summarise_vqa(records)
    made = MADE[suite]
    if features is None:
        if made not in model.config.inputs:
            raise EvaluationError(
                f"this model has no encoder of {made} to compare by; name one with --features"
            )
        features = literature.features_of(model.encoder(made), model.config.inputs[made].encoder)
    return literature.summarise_making(records, made, features, folder)


def _ceilings(model: AnyGPT, path: Path, count: int, seed: int) -> dict[str, dict[str, float]]:
    """What the frozen parts can do by themselves, measured once for a report and kept beside it."""
    from anygpt.evaluation.ceilings import decoder_ceiling, encoder_ceiling

    known = json.loads(path.read_bytes()) if path.is_file() else {}
    if known.get("count") != count:
        known = {"count": count}
    for given in (modality for modality in CARRIED if modality in model.config.inputs):
        if f"{given} to" not in known:
            known[f"{given} to"] = encoder_ceiling(model, given, max(count, 200), seed)
            write_json(path, known)
    for made in (modality for modality in SHOWN if modality in model.config.outputs):
        if f"to {made}" not in known:
            known[f"to {made}"] = decoder_ceiling(model, made, count, seed)
            write_json(path, known)
    return {name: shares for name, shares in known.items() if name != "count"}
