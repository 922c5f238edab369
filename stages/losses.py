"""How far the output projections' conditioning is from what the decoders should get."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from anygpt.config import ConfigError
from anygpt.learning import Output, SignalStates
from anygpt.model import AnyGPT
from anygpt.precomputed import Store, caption_key
from anygpt.processor import Prompt
from encoders.media import Audio
from encoders.resampling import resample
from stages.config import TrainingConfig

Distance = Literal["squared", "norm"]
NearCaptions = Callable[[str], list[str]]
TOGETHER = 8  # captions that a text encoder reads at once
# Of near captions, in shares of the embeddings' mean square: a background's words are .07 apart.
TEMPERATURE = 0.02


def distance(conditioning: Tensor, wanted: Tensor, kind: Distance) -> Tensor:
    """How far conditioning (N, tokens, dim) is from the caption embeddings wanted, a scalar.

    Args:
        kind: `norm` is NExT-GPT's, the mean over tokens of ||difference||₂. `squared` is the mean of its square as a
            share of each wanted embedding's own mean square: the same for decoders of any width and scale, and with a
            gradient that fades as the aim comes near, so that the denoising loss has its say.
    """
    difference = (conditioning - wanted).float()
    if kind == "norm":
        return difference.norm(dim=-1).mean()
    return (difference.square().mean((1, 2)) / wanted.float().square().mean((1, 2))).mean()


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

    @property
    def weights(self) -> dict[str, float]:
        """Of each kind of loss."""
        return {"text": self.text_weight, "caption": self.caption_weight, "near": self.near_weight}


class Captions:
    """The embeddings that the frozen decoders' text encoders give captions, kept by caption.

    They are made `TOGETHER` at a time, the last ones filled up: in a batch of another size a caption's embedding has other
    last digits, and a run that was interrupted, which knows other captions by then, would not come to the same end.

    Args:
        kept: how many at most; then the oldest go.
    """

    def __init__(self, kept: int = 8192) -> None:
        self.kept = kept
        self.stores: Mapping[str, Store] = {}  # embeddings computed before
        self._known: dict[tuple[str, str], Tensor] = {}

    def __call__(self, model: AnyGPT, modality: str, captions: Sequence[str]) -> Tensor:
        """Embeddings (N, tokens, dim) of captions, for the decoder of `modality`."""
        new = [caption for caption in dict.fromkeys(captions) if (modality, caption) not in self._known]
        if (store := self.stores.get(modality)) is not None:
            kept = {caption: store.get(caption_key(caption)) for caption in new}
            self._known |= {
                (modality, caption): value for caption, value in kept.items() if value is not None
            }
            new = [caption for caption, value in kept.items() if value is None]
        for first in range(0, len(new), TOGETHER):
            some = new[first : first + TOGETHER]
            embeddings = model.decoder(modality).encode_text(some + some[-1:] * (TOGETHER - len(some)))
            self._known |= {
                (modality, caption): embedding for caption, embedding in zip(some, embeddings, strict=False)
            }
        result = torch.stack([self._known[modality, caption].to(model.device) for caption in captions])
        while len(self._known) > self.kept:
            del self._known[next(iter(self._known))]
        return result


def signal_losses(
    model: AnyGPT, output: Output, captions: Captions, config: SignalConfig, near: NearCaptions
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The losses of a stage that trains signal tokens.

    Args:
        near: a caption → captions that mean something else in few words (hard negatives), none where none are known.

    Returns:
        "text", and for each modality "… caption" and "… near" where it has any; and the conditioning (N, tokens, dim) of
        each modality's targets.
    """
    conditioning = {
        modality: model.project(modality, states.hidden, states.embeddings)
        for modality, states in output.signals.items()
    }
    distances = caption_distances(model, output.signals, conditioning, captions, config.caption_distance)
    losses = {"text": output.loss} | {f"{modality} caption": value for modality, value in distances.items()}
    if config.near_weight:
        told_apart = near_losses(model, output.signals, conditioning, captions, near)
        losses |= {f"{modality} near": value for modality, value in told_apart.items()}
    return losses, conditioning


def signal_items(batch: Sequence[Prompt], config: SignalConfig, near: NearCaptions) -> Counter[str]:
    """How many targets each of `signal_losses` is a mean over."""
    items: Counter[str] = Counter()
    for target in (target for prompt in batch for target in prompt.targets):
        if target.caption is not None:
            items[f"{target.modality} caption"] += 1
            if config.near_weight and near(target.caption):
                items[f"{target.modality} near"] += 1
    return items


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
            media: list[Any] = [states.targets[row].medium for row in rows]
            # what has no latents yet gets them in one batch
            new = [place for place, medium in enumerate(media) if not isinstance(medium, Tensor)]
            if new:
                made = decoder.encode_media([bare(media[place], decoder.rate) for place in new])
                for place, latents in zip(new, made, strict=True):
                    media[place] = latents
            latents = torch.stack([medium.to(model.device) for medium in media])
            losses[modality] = decoder.denoising_loss(conditioning[modality][rows], latents)
    return losses


def bare(medium: Any, rate: float | None) -> Any:
    """A medium of `encoders.media` as decoders take it: a sound's samples at `rate` Hz, a film's frames, a picture as it is."""
    if isinstance(medium, Audio) and rate is not None:
        return resample(torch.from_numpy(medium.samples), medium.rate, int(rate)).numpy()
    return getattr(medium, "frames", medium)
