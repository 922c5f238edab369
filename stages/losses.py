"""How far the output projections' conditioning is from what the decoders should get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from anygpt.config import ConfigError
from anygpt.model import AnyGPT, Output, SignalStates
from encoders.media import Audio
from encoders.resampling import resample
from stages.config import TrainingConfig

Distance = Literal["squared", "norm"]
NearCaptions = Callable[[str], list[str]]
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


@dataclass(frozen=True)
class SignalConfig(TrainingConfig):
    """What a stage that trains signal tokens can be told: the common settings, and

    Attributes:
        text_weight: of the next-token loss, over text and signal tokens.
        caption_weight: of the distance to the caption's embedding.
        caption_distance: how it is measured; see `distance`.
        near_weight: of telling the caption from near ones; see `near_losses`. 0 leaves it out.
    """

    text_weight: float = 1.0
    caption_weight: float = 1.0
    caption_distance: Distance = "squared"
    near_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("text_weight", "caption_weight", "near_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, not {getattr(self, name)}")


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


def signal_losses(
    model: AnyGPT, output: Output, captions: Captions, config: SignalConfig, near: NearCaptions
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """The next-token loss with the distances to captions, weighted; each a mean over modalities.

    Args:
        near: a caption → captions that mean something else in few words (hard negatives), none where none are known.

    Returns:
        The loss, its parts by name without gradient, and the conditioning (N, tokens, dim) of each modality's targets.
    """
    loss, parts = config.text_weight * output.loss, {"text": output.loss.detach()}
    conditioning = {
        modality: model.project(modality, states.hidden, states.embeddings)
        for modality, states in output.signals.items()
    }
    terms = {
        "caption": (
            config.caption_weight,
            caption_distances(model, output.signals, conditioning, captions, config.caption_distance),
        )
    }
    if config.near_weight:
        terms["near"] = (config.near_weight, near_losses(model, output.signals, conditioning, captions, near))
    for name, (weight, values) in terms.items():
        if values:
            loss = loss + weight * torch.stack(list(values.values())).mean()
        parts |= {f"{modality} {name}": value.detach() for modality, value in values.items()}
    return loss, parts, conditioning


def caption_distances(
    model: AnyGPT,
    signals: dict[str, SignalStates],
    conditioning: dict[str, Tensor],
    captions: Captions,
    kind: Distance,
) -> dict[str, Tensor]:
    """For each output modality the distance of its targets' conditioning to their captions, where they have one."""
    distances: dict[str, Tensor] = {}
    for modality, states in signals.items():
        rows = [row for row, target in enumerate(states.targets) if target.caption is not None]
        if rows:
            wanted = captions(model, modality, [states.targets[row].caption or "" for row in rows])
            distances[modality] = distance(
                conditioning[modality][rows], wanted.to(conditioning[modality].device), kind
            )
    return distances


def near_losses(
    model: AnyGPT,
    signals: dict[str, SignalStates],
    conditioning: dict[str, Tensor],
    captions: Captions,
    near: NearCaptions,
) -> dict[str, Tensor]:
    """How hard it is to tell, by distance, the caption meant from near ones: a cross-entropy for each modality.

    A mean square hardly notices what moves a caption's embedding little, a background for instance; the decoder does.
    """
    losses: dict[str, Tensor] = {}
    for modality, states in signals.items():
        rows, compared, counts = [], [], []
        for row, target in enumerate(states.targets):
            others = near(target.caption) if target.caption is not None else []
            if others:
                compared += [target.caption or "", *others]
                counts.append(1 + len(others))
                rows += [row] * counts[-1]
        if not rows:
            continue
        wanted = captions(model, modality, compared).to(conditioning[modality]).float()
        distances = (conditioning[modality][rows].float() - wanted).square().mean((1, 2))
        scores = (-distances / TEMPERATURE).split(counts)
        sizes = wanted.square().mean((1, 2)).split(counts)
        # the first of each is the one meant, and its size the measure of their distances
        meant = torch.zeros((), dtype=torch.long, device=distances.device)
        each = [functional.cross_entropy(of / size[0], meant) for of, size in zip(scores, sizes, strict=True)]
        losses[modality] = torch.stack(each).mean()
    return losses


def denoising_losses(
    model: AnyGPT, signals: dict[str, SignalStates], conditioning: dict[str, Tensor], items: int
) -> dict[str, Tensor]:
    """The decoders' own losses, where they have one, on at most `items` of each modality's targets that have their medium."""
    losses: dict[str, Tensor] = {}
    for modality, states in signals.items():
        rows = [row for row, target in enumerate(states.targets) if target.medium is not None][:items]
        decoder = model.decoder(modality)
        if rows and decoder.has_denoising_loss:
            media = [_bare(states.targets[row].medium, decoder.rate) for row in rows]
            losses[modality] = decoder.denoising_loss(conditioning[modality][rows], media)
    return losses


def _bare(medium: Any, rate: float | None) -> Any:
    """A medium of `encoders.media` as decoders take it: a sound's samples at `rate` Hz, a film's frames, a picture as it is."""
    if isinstance(medium, Audio) and rate is not None:
        return resample(torch.from_numpy(medium.samples), medium.rate, int(rate)).numpy()
    return getattr(medium, "frames", medium)
