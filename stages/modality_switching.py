"""Stage 3, modality-switching instruction tuning: whole dialogues, in which every message may hold other media.

LoRA matrices on the LLM learn when to answer in which medium, together with the adapters, signal tokens and
projections of the stages before.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

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
from stages.command import run
from stages.losses import SignalConfig, signal_losses
from stages.measures import answers, share
from stages.signal_stage import SignalStage
from stages.stage import decoders, encoders

SEEDS: dict[Split, int] = {"training": 301, "validation": 302, "measured": 303}
LLAMA_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class ModalitySwitchingConfig(SignalConfig):
    """The settings of stage 3: those of `SignalConfig`, and

    Attributes:
        turns: numbers of exchanges; each dialogue has one of them, so one that stands here twice comes twice as often.
        lora_rank, lora_alpha, lora_dropout: of the LoRA matrices, where the model has none yet.
        lora_layers: the LLM's layers that get them.
    """

    turns: tuple[int, ...] = (1, 1, 2, 3, 5)
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
        if self.lora_dropout < 0:
            raise ConfigError(f"lora_dropout must be at least 0, not {self.lora_dropout}")


class ModalitySwitching(SignalStage[ModalitySwitchingConfig]):
    """Train LoRA, adapters, signal tokens and projections on dialogues that mix media."""

    name = "modality-switching"
    settings = ModalitySwitchingConfig
    trains = ("adapters", "signals", "signal_head", "projections", "lora")
    task = "both"

    def prepare(self, model: AnyGPT) -> dict[str, list[nn.Parameter]]:
        config = self.config
        if not model.has_lora:
            model.add_lora(config.lora_rank, config.lora_alpha, list(config.lora_layers), config.lora_dropout)
        return super().prepare(model)

    def toy_world(self, split: Split) -> Dataset[Conversation]:
        config = self.config
        return ToyWorld(
            self.size(split),
            SEEDS[split] + 1000 * config.seed,
            starts=config.starts or STARTS,
            turns=config.turns,
        )

    def frozen(self, model: AnyGPT) -> dict[str, nn.Module]:
        return super().frozen(model) | encoders(model) | decoders(model)

    def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
        """Next token in all of the dialogue's answers, and the distance to the captions' embeddings."""
        return signal_losses(
            model, model(batch, packing=self.config.packing), self.captions, self.config, near_captions
        )[0]

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
