"""Stage 1, encoding alignment: the adapters learn to put media into the LLM's words.

The LLM is frozen, so it answers about a picture only once the adapter's embeddings say to it what words would.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from torch import Tensor, nn
from torch.utils.data import Dataset

from anygpt.config import INPUT_MODALITIES
from anygpt.data.mixture import Split
from anygpt.messages import Conversation
from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from anygpt.toyworld.dialogues import STARTS
from anygpt.toyworld.source import ToyWorld
from stages.command import run
from stages.config import TrainingConfig
from stages.measures import answers, share
from stages.stage import Stage, encoders

SEEDS: dict[Split, int] = {"training": 101, "validation": 102, "measured": 103}


class EncodingAlignment(Stage[TrainingConfig]):
    """Train the input adapters on descriptions of, and questions about, each modality."""

    name = "encoding-alignment"
    trains = ("adapters",)
    task = "describe"
    inputs: tuple[str, ...] = INPUT_MODALITIES

    def prepare(self, model: AnyGPT) -> dict[str, list[nn.Parameter]]:
        self.inputs = tuple(model.config.inputs)
        return super().prepare(model)

    def toy_world(self, split: Split) -> Dataset[Conversation]:
        starts = {
            name: weight for name, weight in STARTS.items() if name.removeprefix("given_") in self.inputs
        }
        return ToyWorld(
            self.size(split), SEEDS[split] + 1000 * self.config.seed, starts=self.config.starts or starts
        )

    def frozen(self, model: AnyGPT) -> dict[str, nn.Module]:
        return super().frozen(model) | encoders(model)

    def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
        """Cross-entropy of the answers' tokens."""
        return {"text": model(batch, packing=self.config.packing).loss}

    def measure(self, model: AnyGPT) -> dict[str, float]:
        """The share of answers that are right word for word: of all, and of those about each modality."""
        right: dict[str, list[bool]] = {}
        for answer in answers(model, self.examples("measured"), self.skipped):
            given = next(
                (part["type"] for part in answer.question["content"] if part["type"] != "text"), "text"
            )
            for name in ("right answers", f"right about {given}"):
                right.setdefault(name, []).append(answer.right_text)
        return {name: share(right[name]) for name in sorted(right)}


def main(arguments: Sequence[str] | None = None) -> int:
    """`anygpt train encoding-alignment`."""
    return run(EncodingAlignment, arguments)


if __name__ == "__main__":
    sys.exit(main())
