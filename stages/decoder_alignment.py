"""Stage 2, decoder alignment: signal tokens and output projections learn to say to the decoders what is asked for.

The LLM is frozen: it writes the sentence before a medium already, and the signal tokens' output rows learn to come
after it. What the LLM thinks at the signal tokens becomes, through a projection, what the decoder's own text encoder
would have made of the medium's caption.
"""

from __future__ import annotations

import sys
from collections import Counter
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
from stages.losses import SignalConfig, denoising_losses, signal_losses
from stages.measures import answers, share
from stages.signal_stage import SignalStage
from stages.stage import decoders

DRAWN = 0.5  # share of the examples with their media, for the denoising loss
SEEDS: dict[Split, int] = {"training": 201, "validation": 202, "measured": 203}


@dataclass(frozen=True)
class DecoderAlignmentConfig(SignalConfig):
    """The settings of stage 2: those of `SignalConfig`, and

    Attributes:
        denoising_weight: of the decoders' own losses; 0 leaves them out.
        denoising_steps: they are computed every so many steps, as they are slow.
        denoising_items: on at most so many media of each modality in a batch.
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


class DecoderAlignment(SignalStage[DecoderAlignmentConfig]):
    """Train signal tokens and output projections on requests in text alone."""

    name = "decoder-alignment"
    settings = DecoderAlignmentConfig
    trains = ("signals", "signal_head", "projections")
    task = "make"

    def __init__(self, config: DecoderAlignmentConfig) -> None:
        super().__init__(config)
        self.outputs = config.denoising_weight > 0

    def toy_world(self, split: Split) -> Dataset[Conversation]:
        # Some answers without media, or signal tokens would be learned to follow every sentence.
        starts = {name: weight for name, weight in STARTS.items() if name.startswith("request_")}
        starts |= {name: STARTS[name] for name in ("plain", "outside", "knowledge")}
        draw = DRAWN if self.config.denoising_weight and split != "measured" else 0.0
        return ToyWorld(
            self.size(split),
            SEEDS[split] + 1000 * self.config.seed,
            starts=self.config.starts or starts,
            draw_outputs=draw,
        )

    def prepare(self, model: AnyGPT) -> dict[str, list[nn.Parameter]]:
        model.use_signals()  # what was made through captions so far learns the other way here
        return super().prepare(model)

    def frozen(self, model: AnyGPT) -> dict[str, nn.Module]:
        return super().frozen(model) | decoders(model)

    @property
    def weights(self) -> dict[str, float]:
        return super().weights | {"denoising": self.config.denoising_weight}

    def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
        """Next token, and for each modality the distance to the captions' embeddings and, in some steps, denoising."""
        output = model(batch, packing=self.config.packing)
        losses, conditioning = signal_losses(model, output, self.captions, self.config, near_captions)
        if self._denoises(step):
            denoising = denoising_losses(model, output.signals, conditioning, self.config.denoising_items)
            losses |= {f"{modality} denoising": value for modality, value in denoising.items()}
        return losses

    def items(self, batch: Sequence[Prompt], step: int) -> Counter[str]:
        items = super().items(batch, step)
        if self._denoises(step):
            drawn = Counter(t.modality for prompt in batch for t in prompt.targets if t.medium is not None)
            for modality, number in drawn.items():
                items[f"{modality} denoising"] = min(number, self.config.denoising_items)
        return items

    def _denoises(self, step: int) -> bool:
        return self.config.denoising_weight > 0 and step % self.config.denoising_steps == 0

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
