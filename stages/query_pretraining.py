"""BLIP-2's first stage: the Q-Former learns from pictures and their captions, without the LLM.

Contrast, matching and writing (arXiv 2301.12597, section 3.1) are `anygpt.adapters.pretraining.QFormerPretraining`; this
is its place in the loop. The adapter's linear map to the LLM, and the LLM, wait for the next stage.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from anygpt.adapters import Adapter
from anygpt.adapters.pretraining import QFormerPretraining, Task
from anygpt.adapters.qformer import QFormer
from anygpt.config import ConfigError
from anygpt.data.mixture import Split
from anygpt.messages import Conversation
from anygpt.model import AnyGPT
from anygpt.processor import IGNORE, Prompt
from anygpt.toyworld.source import ToyWorld
from stages.command import run
from stages.config import TrainingConfig
from stages.data import prompts_of
from stages.stage import Stage, encoders

TASKS: tuple[str, ...] = get_args(Task)
SEEDS: dict[Split, int] = {"training": 401, "validation": 402, "measured": 403}


@dataclass(frozen=True)
class QueryPretrainingConfig(TrainingConfig):
    """The settings of BLIP-2's first stage: the common ones, and

    Attributes:
        longest: captions are cut after so many tokens.
        width: of the space in which pictures and captions are compared.
    """

    longest: int = 64
    width: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.packing:
            raise ConfigError("packing is for stages that run the LLM, which this one does not")
        for name in ("longest", "width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")


class QueryPretraining(Stage[QueryPretrainingConfig]):
    """Train a Q-Former to tell, match and write the captions of pictures, without the LLM."""

    name = "query-pretraining"
    settings = QueryPretrainingConfig
    trains = ("adapters", "pretraining")

    def prepare(self, model: AnyGPT) -> dict[str, list[nn.Parameter]]:
        """The Q-Former's own parameters, and those of the text part, which hangs on the model while this stage lasts."""
        adapter = dict(model.adapters.items()).get("image")
        way_in = adapter.map if isinstance(adapter, Adapter) else None
        qformer = way_in[0] if isinstance(way_in, nn.Sequential) else None
        if not isinstance(qformer, QFormer):
            raise ConfigError("this stage is for models whose pictures come in through a q-former")
        words = len(model.llm.get_input_embeddings().weight)
        pretraining = QFormerPretraining(qformer, words, self.config.longest, self.config.width)
        model.pretraining = pretraining.to(model.device, model.dtype)
        model.requires_grad_(False)
        mine = list(qformer.requires_grad_(True).parameters())
        shared = {id(parameter) for parameter in mine}
        text = [p for p in pretraining.requires_grad_(True).parameters() if id(p) not in shared]
        return {"adapters": mine, "pretraining": text}

    def toy_world(self, split: Split) -> Dataset[Conversation]:
        seed = SEEDS[split] + 1000 * self.config.seed
        return ToyWorld(self.size(split), seed, starts=self.config.starts or {"caption_image": 1.0})

    def frozen(self, model: AnyGPT) -> dict[str, nn.Module]:
        return super().frozen(model) | encoders(model)

    @property
    def weights(self) -> dict[str, float]:
        """The sum of the three losses, as in the paper."""
        return dict.fromkeys(TASKS, 1.0)

    def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
        """Contrast, matching and writing; contrast is within the batch."""
        return dict(self._pretraining(model)(*self._pairs(model, batch)))

    def items(self, batch: Sequence[Prompt], step: int) -> Counter[str]:
        return Counter(dict.fromkeys(TASKS, len(batch)))

    @torch.no_grad()
    def measure(self, model: AnyGPT) -> dict[str, float]:
        """How often the caption of a picture, of all measured ones, is the nearest, and how often its picture to a caption."""
        prompts = [
            prompt for batch in prompts_of(self.examples("measured"), model.processor, 32) for prompt in batch
        ]
        features, ids, mask = self._pairs(model, prompts)
        similar = self._pretraining(model).similarity(features, ids, mask)
        same = (ids[:, None] == ids[None]).all(-1)  # equal captions are each other's
        nearest = {"caption": similar.argmax(1), "picture": similar.argmax(0)}
        rows = torch.arange(len(ids), device=ids.device)
        return {
            f"nearest {what} right": float(same[rows, found].float().mean())
            for what, found in nearest.items()
        }

    def _pairs(self, model: AnyGPT, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor, Tensor]:
        """Features (N, tokens, dim), the captions' token ids (N, L), padded on the right, and their mask."""
        media = [prompt.media[0] for prompt in prompts]
        model.encode(media)
        features = torch.stack([medium.features for medium in media if medium.features is not None])
        texts = [
            torch.tensor([token for token in prompt.labels if token != IGNORE][: self.config.longest])
            for prompt in prompts
        ]
        ids = pad_sequence(texts, batch_first=True)
        mask = pad_sequence([torch.ones_like(text) for text in texts], batch_first=True)
        return features.to(model.device, model.dtype), ids.to(model.device), mask.to(model.device)

    def _pretraining(self, model: AnyGPT) -> QFormerPretraining:
        assert isinstance(model.pretraining, QFormerPretraining), "`prepare` comes first"
        return model.pretraining


def main(arguments: Sequence[str] | None = None) -> int:
    """`anygpt train query-pretraining`."""
    return run(QueryPretraining, arguments)


if __name__ == "__main__":
    sys.exit(main())
