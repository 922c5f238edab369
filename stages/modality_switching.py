"""Stage 3, modality-switching instruction tuning: whole dialogues, in which every message may hold other media.

LoRA matrices on the LLM learn when to answer in which medium, together with the adapters, signal tokens and
projections of the stages before.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from anygpt.config import ConfigError
from anygpt.data.mixture import Split
from anygpt.messages import Conversation
from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from anygpt.toyworld.dialogues import STARTS
from anygpt.toyworld.phrases import near_captions
from anygpt.toyworld.source import ToyWorld
from stages.config import TrainingConfig
from stages.losses import Captions, Distance, caption_distances, near_losses
from stages.measures import answers, share
from stages.stage import Stage, decoders, encoders
from stages.training import run

SEEDS: dict[Split, int] = {"training": 301, "validation": 302, "measured": 303}
LLAMA_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class ModalitySwitchingConfig(TrainingConfig):
    """The settings of stage 3: the common ones, and

    Attributes:
        turns: numbers of exchanges; each dialogue has one of them, so one that stands here twice comes twice as often.
        text_weight: of the next-token loss, over text and signal tokens.
        caption_weight: of the distance to the caption's embedding.
        caption_distance: how it is measured; see `stages.losses.distance`.
        near_weight: of telling the caption from near ones; see `stages.losses.near_losses`. 0 leaves it out.
        lora_rank, lora_alpha, lora_dropout: of the LoRA matrices, where the model has none yet.
        lora_layers: the LLM's layers that get them.
    """

    turns: tuple[int, ...] = (1, 1, 2, 3, 5)
    text_weight: float = 1.0
    caption_weight: float = 1.0
    caption_distance: Distance = "squared"
    near_weight: float = 0.0
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_layers: tuple[str, ...] = LLAMA_LAYERS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.turns or min(self.turns) < 1:
            raise ConfigError(f"turns is a list of numbers of at least 1, not {list(self.turns)}")
        for name in ("lora_rank", "lora_alpha"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("text_weight", "caption_weight", "near_weight", "lora_dropout"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, not {getattr(self, name)}")


class ModalitySwitching(Stage[ModalitySwitchingConfig]):
    """Train LoRA, adapters, signal tokens and projections on dialogues that mix media."""

    name = "modality-switching"
    settings = ModalitySwitchingConfig
    trains = ("adapters", "signals", "signal_head", "projections", "lora")
    task = "both"

    def __init__(self, config: ModalitySwitchingConfig) -> None:
        super().__init__(config)
        self.captions = Captions()

    def prepare(self, model: AnyGPT) -> dict[str, list[nn.Parameter]]:
        config = self.config
        if not model.has_lora:
            model.add_lora(config.lora_rank, config.lora_alpha, list(config.lora_layers), config.lora_dropout)
        return super().prepare(model)

    def toy_world(self, split: Split) -> Dataset[Conversation]:
        config = self.config
        return ToyWorld(
            self.size(split), SEEDS[split] + 1000 * config.seed, starts=STARTS, turns=config.turns
        )

    def frozen(self, model: AnyGPT) -> dict[str, nn.Module]:
        return super().frozen(model) | encoders(model) | decoders(model)

    def loss(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Next token in all of the dialogue's answers, and the distance to the captions' embeddings."""
        config = self.config
        output = model(batch)
        conditioning, distances = caption_distances(
            model, output.signals, self.captions, config.caption_distance
        )
        loss = config.text_weight * output.loss
        if distances:
            loss = loss + config.caption_weight * torch.stack(list(distances.values())).mean()
        near: dict[str, Tensor] = {}
        if config.near_weight:
            near = near_losses(model, output.signals, conditioning, self.captions, near_captions)
        if near:
            loss = loss + config.near_weight * torch.stack(list(near.values())).mean()
        parts = {"text": output.loss.detach()}
        parts |= {f"{modality} near": value.detach() for modality, value in near.items()}
        return loss, parts | {f"{modality} caption": value.detach() for modality, value in distances.items()}

    def measure(self, model: AnyGPT) -> dict[str, float]:
        """The shares of answers with the right set of media, and of those with the right words."""
        given = answers(model, self.examples("measured"), self.skipped)
        return {
            "right media": share([answer.right_media for answer in given]),
            "right answers": share([answer.right_text for answer in given]),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """`anygpt train modality-switching`."""
    return run(ModalitySwitching, arguments)


if __name__ == "__main__":
    sys.exit(main())
