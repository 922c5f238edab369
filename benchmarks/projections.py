"""What the settings of the way out are worth: output projections trained alone, with one thing changed at a time.

    python -m benchmarks.projections [--steps 250] [--seeds 3] [--requests 8] [--output runs/projections]

In decoder alignment the LLM is frozen and signal tokens that start as words hardly move (1e-5 a step, against 2e-3 for the
projections). Here they do not move at all, so what the LLM thinks at them is computed once for each number of tokens, and a
projection has seen its targets in a minute instead of an hour. All start anew on the frozen parts of the shipped anygpt-tiny
and are measured on the same requests. Writes projections.md, which grows with each run; runs that are there are not repeated.
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from accelerate import PartialState
from accelerate.utils import set_seed
from tqdm import tqdm

from anygpt.checkpoint import ASSETS
from anygpt.config import ProjectionConfig
from anygpt.evaluation.matrix import share_right
from anygpt.evaluation.scoring import judge, write_json, write_text
from anygpt.learning import SignalStates
from anygpt.model import AnyGPT
from anygpt.projections import build_projection
from anygpt.toyworld.dialogues import conversation
from anygpt.toyworld.phrases import near_captions
from anygpt.toyworld.scenes import Scene
from anygpt.toyworld.source import WANTED, seen
from benchmarks.runs import Figures, exit_code, read_arguments, tables
from stages.assembly import open_model
from stages.losses import Captions, caption_distances, denoising_losses, near_losses

STARTS = {"image": ("request_picture",), "audio": ("request_sound", "request_thing_sound"), "video": ("request_film",)}  # fmt: skip
TRAINING, MEASURED = 1000, 96  # requests of each modality
BATCH, RATE, WARMUP = 32, 2e-3, 20
DENOISED = 4  # in every fourth step so many media are denoised, as in the recipe
KEPT = 100_000  # captions' embeddings: all that a run meets, those of near captions too
WEIGHTS = {"caption": 1.0, "near": 0.3}


@dataclass(frozen=True)
class Variant:
    """The recipe with something changed: signal tokens of each output, the projection's kind, the losses' weights."""

    tokens: int | None = None
    projection: str | None = None
    weights: dict[str, float] = field(default_factory=lambda: dict(WEIGHTS))


VARIANTS: dict[str, dict[str, Variant]] = {
    "signal tokens": {str(count): Variant(tokens=count) for count in (1, 2, 4, 8, 24)},
    "projection": {"transformer": Variant(), "linear": Variant(projection="linear")},
    "losses": {
        "caption and near": Variant(),
        "without near": Variant(weights={"caption": 1.0}),
        "without caption": Variant(weights={"near": 0.3}),
        "with denoising": Variant(weights={**WEIGHTS, "denoising": 0.1}),
        "denoising alone": Variant(weights={"denoising": 0.1}),
    },
}


@dataclass(frozen=True)
class Requests:
    """What the LLM thinks at the signal tokens of N requests, and what each asks for, as a part with its scene or tone."""

    states: SignalStates
    parts: list[dict[str, Any]]

    def some(self, rows: list[int], media: bool = False) -> SignalStates:
        """The states of some of them; with their media drawn, for the denoising loss."""
        targets = [self.states.targets[row] for row in rows]
        if media:
            rng = np.random.default_rng(rows)
            drawn = (WANTED[part["type"]](part, rng) for part in (self.parts[row] for row in rows))
            targets = [replace(target, medium=medium) for target, medium in zip(targets, drawn, strict=True)]
        return SignalStates(self.states.hidden[rows], self.states.embeddings[rows], targets)


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


@torch.no_grad()
def requests_for(model: AnyGPT, modality: str, count: int, seed: int, accept: Callable[[Scene], bool]) -> Requests:  # fmt: skip
    """Requests of one turn for one medium, with the right answers, read by the model."""
    parts, prompts = [], []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        asked, answered = conversation(rng, starts=dict.fromkeys(STARTS[modality], 1.0), accept=accept)
        parts.append(answered["content"][-1])
        shown = {key: parts[-1][key] for key in ("type", "caption")}
        answer = {**answered, "content": [*answered["content"][:-1], shown]}
        prompts.append(model.processor([asked, answer], training=True))
    found = [model(prompts[start : start + BATCH]).signals[modality] for start in range(0, count, BATCH)]
    return Requests(joined(found), parts)


class Bench:
    """What all runs share.

    Args:
        preset: the keys of a config.json.
        parts: the folder of its frozen parts.
        folder: for the presets of the variants.
        steps: of each projection.
        requests: for each modality, whose media are judged.
        training, measured: numbers of requests to train on and to measure with, half of the latter of held-out things.
    """

    def __init__(
        self,
        preset: dict[str, Any],
        parts: Path,
        folder: Path,
        *,
        steps: int,
        requests: int,
        training: int = TRAINING,
        measured: int = MEASURED,
    ) -> None:
        self.preset, self.parts, self.folder = preset, parts, folder
        self.steps, self.requests = steps, requests
        self.sizes = (training, measured)
        self.captions = Captions(KEPT)
        self._read: dict[int | None, tuple[AnyGPT, dict[str, tuple[Requests, Requests]]]] = {}

    def figures(self, variant: Variant, seed: int) -> Figures:
        """Of each output: the distance to captions' embeddings, the share of captions told from near ones, attributes right."""
        model, read = self.read(variant.tokens)
        figures: Figures = {}
        for modality, (training, measured) in read.items():
            set_seed(seed)
            config = preset_of(variant, self.preset)["outputs"][modality]["projection"]
            width, shape = training.states.hidden.shape[-1], model.config.outputs[modality].conditioning
            assert shape is not None, "a model that is built has it"
            projection = build_projection(ProjectionConfig(**config), width, shape)
            model.projections[modality] = projection.to(model.device)
            self.train(model, modality, training, variant.weights)
            figures |= self.measured(model, modality, measured)
        return figures

    def read(self, tokens: int | None) -> tuple[AnyGPT, dict[str, tuple[Requests, Requests]]]:
        """A new model with so many signal tokens, and for each output the requests to train on and to measure with."""
        if tokens not in self._read:
            path = self.folder / f"preset-{tokens}.yaml"
            write_json(path, preset_of(Variant(tokens=tokens), self.preset))  # JSON is YAML
            set_seed(0)
            model = open_model(str(path), str(self.parts)).to(PartialState().device)
            many, few = self.sizes
            requests = {}
            for modality in tqdm(model.config.outputs, desc="reading requests"):
                halves = [
                    requests_for(model, modality, few // 2, seed, accept)
                    for seed, accept in ((2, seen), (3, held_out))
                ]
                measured = Requests(
                    joined([half.states for half in halves]), [part for half in halves for part in half.parts]
                )
                requests[modality] = (requests_for(model, modality, many, 1, seen), measured)
            self._read[tokens] = (model, requests)
        return self._read[tokens]

    def train(self, model: AnyGPT, modality: str, requests: Requests, weights: dict[str, float]) -> None:
        """The modality's projection, by the losses that have a weight."""
        projection = model.projections[modality]
        optimiser = torch.optim.AdamW(projection.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0)
        for step in tqdm(range(self.steps), desc=modality, leave=False):
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(1, (step + 1) / WARMUP) * (1 - step / self.steps)
            states = requests.some(torch.randint(len(requests.parts), (BATCH,)).tolist())
            conditioning = {modality: model.project(modality, states.hidden, states.embeddings)}
            losses: dict[str, dict[str, torch.Tensor]] = {}
            if "caption" in weights:
                losses["caption"] = caption_distances(
                    model, {modality: states}, conditioning, self.captions, "squared"
                )
            if "near" in weights:
                losses["near"] = near_losses(
                    model, {modality: states}, conditioning, self.captions, near_captions
                )
            if "denoising" in weights and (step % DENOISED == 0 or len(weights) == 1):
                some = requests.some(torch.randint(len(requests.parts), (DENOISED,)).tolist(), media=True)
                given = {modality: model.project(modality, some.hidden, some.embeddings)}
                losses["denoising"] = denoising_losses(model, {modality: some}, given, DENOISED)
            found = [weights[name] * value for name, of in losses.items() for value in of.values()]
            if not found:
                continue
            optimiser.zero_grad()
            torch.stack(found).sum().backward()
            torch.nn.utils.clip_grad_norm_(projection.parameters(), 1.0)
            optimiser.step()

    @torch.no_grad()
    def measured(self, model: AnyGPT, modality: str, requests: Requests) -> Figures:
        """The figures of one output."""
        states = requests.states
        conditioning = model.project(modality, states.hidden, states.embeddings)
        distance = caption_distances(
            model, {modality: states}, {modality: conditioning}, self.captions, "squared"
        )
        figures = {f"{modality} caption": float(distance[modality])}
        decoder = model.decoder(modality)
        told = [
            told_apart(self.captions(model, modality, [target.caption or "", *near]), made)
            for target, made in zip(states.targets, conditioning, strict=True)
            if (near := near_captions(target.caption or ""))
        ]
        if told:  # sounds have no near captions
            figures[f"{modality} told apart"] = statistics.mean(told)
        shares = []
        # seen ones and held-out ones
        picked = torch.linspace(0, len(states.targets) - 1, self.requests).long().tolist()
        for start in range(0, len(picked), BATCH):
            rows = picked[start : start + BATCH]
            options = model.config.outputs[modality].generation
            media = decoder(conditioning[rows], seeds=rows, **options)
            for row, medium in zip(rows, media, strict=True):
                part = requests.parts[row]
                checks, _ = judge(modality, medium, decoder.rate, part.get("scene") or part["tone"])
                shares.append(share_right(checks))
        return {**figures, f"{modality} right": statistics.mean(shares)}


def joined(found: Sequence[SignalStates]) -> SignalStates:
    """All of them, one after the other."""
    return SignalStates(
        torch.cat([states.hidden for states in found]),
        torch.cat([states.embeddings for states in found]),
        [target for states in found for target in states.targets],
    )


def held_out(scene: Scene) -> bool:
    return scene.held_out


def told_apart(wanted: torch.Tensor, made: torch.Tensor) -> bool:
    """Whether of several captions' embeddings (N, tokens, dim) the first is the nearest."""
    return int((wanted - made).square().mean((1, 2)).argmin()) == 0


def main() -> int:
    given = read_arguments(__doc__, steps=250, of_what="projection", output="runs/projections")
    preset = yaml.safe_load((ASSETS / "presets" / "anygpt-tiny.yaml").read_text(encoding="utf-8"))
    output = given.output.resolve() / f"{given.steps}-steps-{given.requests}-requests"
    bench = Bench(preset, ASSETS / "anygpt-tiny", output, steps=given.steps, requests=given.requests)
    about = (
        f"Projections trained for {given.steps} steps of {BATCH} requests in words; mean ± standard deviation over seeds, on {MEASURED} other "
        "requests, half of them for held-out things. `caption`: the distance to the caption's embedding, a share of its mean square, 0 is best. "
        f"`told apart`: the share of captions that are nearer than those which differ in a word. `right`: the share of attributes right in {given.requests} decoded media."
    )
    found: dict[tuple[str, str], list[Figures]] = {}
    # every variant with one seed before the next
    planned = [
        (group, name, seed) for seed in range(given.seeds) for group, of in VARIANTS.items() for name in of
    ]

    def work() -> None:
        for number, (group, name, seed) in enumerate(planned, 1):
            print(f"[{number}/{len(planned)}] {group}: {name}, seed {seed}", flush=True)
            path = output / f"{group}-{name}-{seed}.json".replace(" ", "-")
            if not path.is_file():
                write_json(path, bench.figures(VARIANTS[group][name], seed))
            found.setdefault((group, name), []).append(json.loads(path.read_bytes()))
            write_text(given.output / "projections.md", tables("Projections", found, about))
        print(tables("Projections", found, about))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
