"""How far the output projections' conditioning is from what the decoders should get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from anygpt.model import AnyGPT, SignalStates
from encoders.media import Audio
from encoders.resampling import resample

Distance = Literal["squared", "norm"]
CACHED = 8192  # caption embeddings, at most
# Of near captions, in shares of the embeddings' mean square: a background's words are .07 apart.
TEMPERATURE = 0.02


def distance(conditioning: Tensor, wanted: Tensor, kind: Distance) -> Tensor:
    """How far conditioning (N, tokens, dim) is from the caption embeddings wanted, a scalar.

    Args:
        kind: `norm` is NExT-GPT's, the mean over tokens of ||difference||₂. `squared` is the mean of its square as a
            share of the wanted embeddings' own mean square: the same for decoders of any width and scale, and with a
            gradient that fades as the aim comes near, so that the denoising loss has its say.
    """
    difference = (conditioning - wanted).float()
    if kind == "norm":
        return difference.norm(dim=-1).mean()
    return difference.square().mean() / wanted.float().square().mean()


class Captions:
    """The embeddings that the frozen decoders' text encoders give captions, kept by caption."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Tensor] = {}

    def __call__(self, model: AnyGPT, modality: str, captions: Sequence[str]) -> Tensor:
        """Embeddings (N, tokens, dim) of captions, for the decoder of `modality`."""
        new = [caption for caption in dict.fromkeys(captions) if (modality, caption) not in self._known]
        if new:
            for caption, embedding in zip(new, model.decoder(modality).encode_text(new), strict=True):
                self._known[modality, caption] = embedding
        result = torch.stack([self._known[modality, caption] for caption in captions])
        while len(self._known) > CACHED:
            del self._known[next(iter(self._known))]
        return result


def caption_distances(
    model: AnyGPT, signals: dict[str, SignalStates], captions: Captions, kind: Distance
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """For each output modality: the conditioning of all its targets, and its distance to those with a caption."""
    conditioning: dict[str, Tensor] = {}
    distances: dict[str, Tensor] = {}
    for modality, states in signals.items():
        conditioning[modality] = model.project(modality, states.hidden, states.embeddings)
        rows = [row for row, target in enumerate(states.targets) if target.caption is not None]
        if rows:
            wanted = captions(model, modality, [states.targets[row].caption or "" for row in rows])
            distances[modality] = distance(
                conditioning[modality][rows], wanted.to(conditioning[modality].device), kind
            )
    return conditioning, distances


def near_losses(
    model: AnyGPT,
    signals: dict[str, SignalStates],
    conditioning: dict[str, Tensor],
    captions: Captions,
    near: Callable[[str], list[str]],
) -> dict[str, Tensor]:
    """How hard it is to tell, by distance, the caption meant from near ones: a cross-entropy for each modality.

    A mean square hardly notices what moves a caption's embedding little, a background for instance; the decoder does.

    Args:
        near: a caption → captions that mean something else in few words (hard negatives); none leaves the target out.
    """
    losses: dict[str, Tensor] = {}
    meant = torch.tensor(0)
    for modality, states in signals.items():
        each = []
        for row, target in enumerate(states.targets):
            others = near(target.caption) if target.caption is not None else []
            if others:
                wanted = captions(model, modality, [target.caption or "", *others]).to(conditioning[modality])
                distances = (conditioning[modality][row] - wanted).float().square().mean((1, 2))
                shares = distances / wanted[0].float().square().mean()
                each.append(functional.cross_entropy(-shares / TEMPERATURE, meant.to(shares.device)))
        if each:
            losses[modality] = torch.stack(each).mean()
    return losses


def denoising_losses(
    model: AnyGPT, signals: dict[str, SignalStates], conditioning: dict[str, Tensor], items: int
) -> dict[str, Tensor]:
    """The decoders' own losses on at most `items` of each modality's targets that have their medium."""
    losses: dict[str, Tensor] = {}
    for modality, states in signals.items():
        rows = [row for row, target in enumerate(states.targets) if target.medium is not None][:items]
        if rows:
            decoder = model.decoder(modality)
            media = [_bare(states.targets[row].medium, decoder.rate) for row in rows]
            losses[modality] = decoder.denoising_loss(conditioning[modality][rows], media)
    return losses


def _bare(medium: Any, rate: float | None) -> Any:
    """A medium of `encoders.media` as decoders take it: a sound's samples at `rate` Hz, a film's frames, a picture as it is."""
    if isinstance(medium, Audio) and rate is not None:
        return resample(torch.from_numpy(medium.samples), medium.rate, int(rate)).numpy()
    return getattr(medium, "frames", medium)
