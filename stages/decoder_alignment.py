"""Stage 2, decoder alignment: signal tokens and output projections learn to say to the decoders what is asked for.

The LLM is frozen: it writes the sentence before a medium already, and the signal tokens' output rows learn to come
after it. What the LLM thinks at the signal tokens becomes, through a projection, what the decoder's own text encoder
would have made of the medium's caption.
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
from stages.losses import Captions, SignalConfig, denoising_losses, signal_losses
from stages.measures import answers, share
from stages.stage import Stage, decoders
from stages.training import run

DRAWN = 0.5  # share of the examples with their media, for the denoising loss
SEEDS: dict[Split, int] = {"training": 201, "validation": 202, "measured": 203}


@dataclass(frozen=True)
class DecoderAlignmentConfig(SignalConfig):
    """The settings of stage 2: those of `SignalConfig`, and

    Attributes:
        denoising_weight: of the decoders' own losses; 0 leaves them out.
        denoising_steps: they are computed every so many steps, as they are slow.
        denoising_items: on at most so many media of each modality.
    """

    denoising_weight: float = 0.1
    denoising_steps: int = 4
    denoising_items: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.denoising_weight < 0:
            raise ConfigError(f"denoising_weight must be at least 0, not {self.denoising_weight}")
        for name in ("denoising_steps", "denoising_items"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")


class DecoderAlignment(Stage[DecoderAlignmentConfig]):
    """Train signal tokens and output projections on requests in text alone."""

    name = "decoder-alignment"
    settings = DecoderAlignmentConfig
    trains = ("signals", "signal_head", "projections")
    task = "make"

    def __init__(self, config: DecoderAlignmentConfig) -> None:
        super().__init__(config)
        self.captions = Captions()
        self.outputs = config.denoising_weight > 0

    def toy_world(self, split: Split) -> Dataset[Conversation]:
        # Some answers without media, or signal tokens would be learned to follow every sentence.
        starts = {name: weight for name, weight in STARTS.items() if name.startswith("request_")}
        starts |= {name: STARTS[name] for name in ("plain", "outside", "knowledge")}
        draw = DRAWN if self.config.denoising_weight and split != "measured" else 0.0
        return ToyWorld(
            self.size(split), SEEDS[split] + 1000 * self.config.seed, starts=starts, draw_outputs=draw
        )

    def prepare(self, model: AnyGPT) -> dict[str, list[nn.Parameter]]:
        model.use_signals()  # what was made through captions so far learns the other way here
        return super().prepare(model)

    def frozen(self, model: AnyGPT) -> dict[str, nn.Module]:
        return super().frozen(model) | decoders(model)

    def loss(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Next token, distance to the captions' embeddings (a mean over modalities), and denoising (likewise)."""
        config = self.config
        output = model(batch)
        loss, parts, conditioning = signal_losses(model, output, self.captions, config, near_captions)
        if config.denoising_weight and step % config.denoising_steps == 0:
            denoising = denoising_losses(model, output.signals, conditioning, config.denoising_items)
            if denoising:
                loss = loss + config.denoising_weight * torch.stack(list(denoising.values())).mean()
            parts |= {f"{modality} denoising": value.detach() for modality, value in denoising.items()}
        return loss, parts

    def measure(self, model: AnyGPT) -> dict[str, float]:
        """The share of answers with the right set of media; the distances to captions are among the losses."""
        return {
            "right media": share(
                [answer.right_media for answer in answers(model, self.examples("measured"), self.skipped)]
            )
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """`anygpt train decoder-alignment`."""
    return run(DecoderAlignment, arguments)


if __name__ == "__main__":
    sys.exit(main())
