"""LLaVA's second stage, visual instruction tuning: the projection and the LLM's own weights learn talk about pictures.

(arXiv 2304.08485, section 4.2.) Where the LLM must stay as it is, `stages.modality_switching` puts LoRA in its place.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from torch import Tensor, nn
from torch.utils.data import Dataset

from anygpt.data.mixture import Split
from anygpt.messages import Conversation
from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from anygpt.toyworld.source import ToyWorld
from stages.command import run
from stages.config import TrainingConfig
from stages.measures import answers, share
from stages.stage import Stage, encoders

SEEDS: dict[Split, int] = {"training": 501, "validation": 502, "measured": 503}


class VisualInstruction(Stage[TrainingConfig]):
    """Train the input adapters and the LLM itself on talk about pictures."""

    name = "visual-instruction"
    trains = ("adapters", "llm")

    def prepare(self, model: AnyGPT) -> dict[str, list[nn.Parameter]]:
        model.unfreeze_llm()
        return super().prepare(model)

    def toy_world(self, split: Split) -> Dataset[Conversation]:
        seed = SEEDS[split] + 1000 * self.config.seed
        return ToyWorld(self.size(split), seed, starts=self.config.starts or {"ask_several": 1.0})

    def frozen(self, model: AnyGPT) -> dict[str, nn.Module]:
        kept = {name: part for name, part in super().frozen(model).items() if name not in self.trains}
        return kept | encoders(model)

    def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
        """Cross-entropy of the answers' tokens, in all turns."""
        return {"text": model(batch, packing=self.config.packing).loss}

    def measure(self, model: AnyGPT) -> dict[str, float]:
        """The share of last answers that are right word for word."""
        given = answers(model, self.examples("measured"), self.skipped)
        return {"right answers": share([answer.right_text for answer in given])}


def main(arguments: Sequence[str] | None = None) -> int:
    """`anygpt train visual-instruction`."""
    return run(VisualInstruction, arguments)


if __name__ == "__main__":
    sys.exit(main())
