"""How good the frozen parts are by themselves: no adapter or projection between them can be better.

A decoder is driven by its own text encoder with canonical captions. An encoder is read by a linear probe: ridge
regression of its features, as the adapter gets them, onto each attribute's values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anygpt.evaluation.decoders import measure_decoder
from anygpt.evaluation.requests import CARRIED, all_facts, given_part
from anygpt.evaluation.scoring import Facts
from anygpt.toyworld.scenes import random_scene

if TYPE_CHECKING:
    from torch import Tensor

    from anygpt.model import AnyGPT

EXAMPLES = 800  # that a probe learns from
STRENGTHS = (
    1e-1,
    1.0,
    1e1,
    1e2,
    1e3,
)  # of the ridge, for standardised features; the best on a fifth of them is taken
ENCODED_AT_ONCE = 32

Shares = dict[str, float]


def decoder_ceiling(model: AnyGPT, made: str, count: int, seed: int) -> Shares:
    """Attribute → share that is right in what the decoder makes of captions, with the settings that the model uses."""
    tally, _ = measure_decoder(model.decoder(made), count, seed=seed)
    return tally.shares()


def encoder_ceiling(model: AnyGPT, given: str, count: int, seed: int, examples: int = EXAMPLES) -> Shares:
    """Attribute → share of `count` new media in which a linear probe of the features names it."""
    from tqdm import tqdm

    rng = np.random.default_rng([seed, list(CARRIED).index(given)])
    moving = given in ("video", "audio", "imu")
    features: list[Tensor] = []
    facts: list[Facts] = []
    with tqdm(
        total=examples + count, desc=f"probing {given}", unit="medium", leave=False, disable=None
    ) as bar:
        while len(facts) < examples + count:
            scenes = [
                random_scene(rng, moving=moving)
                for _ in range(min(ENCODED_AT_ONCE, examples + count - len(facts)))
            ]
            features.append(
                _features(model, given, [given_part(rng, given, scene)[given] for scene in scenes])
            )
            facts += [all_facts(scene) for scene in scenes]
            bar.update(len(scenes))
    import torch

    rows = torch.cat(features)
    return {name: _probe(rows, [fact[name] for fact in facts], examples) for name in CARRIED[given]}


def _features(model: AnyGPT, given: str, media: list[Any]) -> Tensor:
    """(N, tokens · dim), what the model's adapter would read."""
    import torch

    encoder, entry = model.encoder(given), model.config.inputs[given]
    batch = torch.stack([encoder.preprocess(given, medium) for medium in media]).to(model.device)
    with torch.no_grad():
        tokens = (
            encoder.pooled(given, batch) if entry.features == "pooled" else encoder.features(given, batch)
        )
    return tokens.flatten(1).float().cpu()


def _probe(features: Tensor, values: list[str], examples: int) -> float:
    """The share right of the rows past `examples`, by the probe that the rows before taught."""
    import torch

    names = sorted(set(values))
    classes = torch.tensor([names.index(value) for value in values])
    targets = torch.nn.functional.one_hot(classes, len(names)).float()
    learnt = features[:examples]
    rows = (features - learnt.mean(0)) / learnt.std(0).clamp(min=1e-6)
    rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
    tried = examples * 4 // 5

    def right(fitted: int, until: int, strength: float) -> float:
        weights = _ridge(rows[:fitted], targets[:fitted], strength)
        return float(((rows[fitted:until] @ weights).argmax(1) == classes[fitted:until]).float().mean())

    best = max(STRENGTHS, key=lambda strength: right(tried, examples, strength))
    return right(examples, len(rows), best)


def _ridge(rows: Tensor, targets: Tensor, strength: float) -> Tensor:
    """Weights (dim, classes), solved on the smaller side."""
    import torch

    count, width = rows.shape
    if width <= count:
        return torch.linalg.solve(rows.T @ rows + strength * torch.eye(width), rows.T @ targets)
    return rows.T @ torch.linalg.solve(rows @ rows.T + strength * torch.eye(count), targets)
