"""What a stage is: which parts train, on which conversations, with which losses, and what it should improve."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from anygpt.config import ConfigError, unknown
from anygpt.data.mixture import Mixture, Split
from anygpt.data.skipped import SKIPPED, Skipped
from anygpt.data.source import Task
from anygpt.messages import Conversation
from anygpt.model import AnyGPT
from anygpt.precomputed import FEATURES, Store, feature_stores, file_key
from anygpt.processor import IGNORE, Prompt
from stages.config import TrainingConfig

Settings = TypeVar("Settings", bound=TrainingConfig)


class Stage(ABC, Generic[Settings]):
    """One stage of training, for `stages.training.train`.

    The loop knows nothing of adapters or media: it asks the stage for parameters, examples and losses. A stage
    knows nothing of optimisers, processes and checkpoints.

    Attributes:
        name: as on the command line.
        settings: the dataclass of the stage's configuration.
        trains: which of `AnyGPT.trainable_parts` train; all other parts stay as they are.
        task: what becomes of a medium with a caption in a person's data.
        outputs: whether it learns from the media that the assistant answers with, and not from their captions alone.
        processes: how many train together; the loop says so.
    """

    name: ClassVar[str]
    settings: ClassVar[type[TrainingConfig]] = TrainingConfig
    trains: ClassVar[tuple[str, ...]]
    task: ClassVar[Task] = "describe"
    outputs: bool = False
    processes: int = 1

    def __init__(self, config: Settings) -> None:
        if config.stage not in (None, self.name):
            raise ConfigError(f"these settings are for the stage {config.stage!r}, not for {self.name!r}")
        self.config = config
        self.features: dict[str, Store] = {}
        self.latents: dict[str, Store] = {}

    def size(self, split: Split) -> int:
        """How many examples a split has; the training's may come again."""
        config = self.config
        return {
            "training": config.examples or self.steps * self.step_size,
            "validation": config.validation_examples,
            "measured": config.measured_examples,
        }[split]

    @cached_property
    def steps(self) -> int:
        """Steps of the whole run."""
        config = self.config
        if config.steps is not None:
            return config.steps
        examples = config.examples or self._mixture("training", 1).rows
        return math.ceil((config.epochs or 0) * examples / self.step_size)

    @property
    def step_size(self) -> int:
        """Examples in a step, of all processes."""
        return self.config.batch_size * self.config.gradient_accumulation * self.processes

    def prepare(self, model: AnyGPT) -> dict[str, list[nn.Parameter]]:
        """Let the stage's parts train, and nothing else; their parameters by the part's name."""
        model.requires_grad_(False)
        parts = model.trainable_parts()
        for name in self.config.learning_rates:
            if name not in self.trains:
                raise ConfigError(f"learning_rates: {unknown('part', name, self.trains)}")
        return {name: list(parts[name].requires_grad_(True).parameters()) for name in self.trains}

    def frozen(self, model: AnyGPT) -> dict[str, nn.Module]:
        """The modules that the stage holds or runs and must not change, by name."""
        kept = {name: part for name, part in model.trainable_parts().items() if name not in self.trains}
        return {"llm": model.llm, **kept}

    def examples(self, split: Split) -> Dataset[Conversation]:
        """Conversations that end with the assistant's answer, from the data or the toy world; the splits share none."""
        if self.config.data is None:
            return self.toy_world(split)
        return self._mixture(split, self.size(split))

    def _mixture(self, split: Split, size: int) -> Mixture:
        config = self.config
        return Mixture(
            config.data or (),
            split,
            size=size,
            seed=config.seed,
            validation=config.validation_examples,
            measured=config.measured_examples,
            task=self.task,
            outputs=self.outputs,
            known=self._known if self.features or self.latents else None,
        )

    def use_precomputed(self, model: AnyGPT) -> None:
        """Take features of files from the `precomputed` folder where it has them.

        Raises:
            ConfigError: it has none that the model's encoders made.
        """
        if self.config.precomputed is not None:
            self.features = feature_stores(model, Path(self.config.precomputed))
            self._check_precomputed(FEATURES, self.features)

    def _check_precomputed(self, what: str, *stores: Mapping[str, Store]) -> None:
        if self.config.data is None:
            raise ConfigError("precomputed needs data: the toy world's media are no files")
        if not any(len(store) for kind in stores for store in kind.values()):
            raise ConfigError(
                f"precomputed: {self.config.precomputed} holds no {what} of this model's own parts and their settings; "
                f"run: anygpt precompute {what} {self.name} --config …"
            )

    def _known(self, modality: str, path: Path, given: bool) -> Tensor | None:
        store = (self.features if given else self.latents).get(modality)
        return store.get(file_key(path)) if store is not None else None

    @cached_property
    def skipped(self) -> Skipped:
        """The data's items that this process leaves out."""
        path = Path(self.config.output) / SKIPPED
        return Skipped(path, self.config.max_skipped, self.size("training"))

    @abstractmethod
    def toy_world(self, split: Split) -> Dataset[Conversation]:
        """The stage's conversations where no data are given."""

    def loss(
        self, model: AnyGPT, batch: Sequence[Prompt], step: int, whole: Counter[str] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A batch's part of a step's loss, and of the several losses that it is made of, by name and without gradient.

        Each of `losses` is a mean over its items in the whole step, however many batches and processes share them; of those
        with one weight, such as the modalities' "caption", the mean counts.

        Args:
            step: from 0 on; always 0 where the loss is only measured.
            whole: as `items`, of all batches of the step; of this one alone unless given.
        """
        losses, own = self.losses(model, batch, step), self.items(batch, step)
        whole = own if whole is None else whole
        weights = self.weights
        kinds = Counter(_kind(name) for name in whole)
        shares = {name: value * (own[name] / max(whole[name], 1)) for name, value in losses.items()}
        total = sum(
            share * (weights[_kind(name)] / max(kinds[_kind(name)], 1)) for name, share in shares.items()
        )
        told = shares if len(weights) > 1 else {}
        return torch.as_tensor(total), {name: share.detach() for name, share in told.items()}

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each kind of loss in the sum; the kind is the last word of a loss's name."""
        return {"text": 1.0}

    @abstractmethod
    def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
        """What to make small, each a mean over the `items` of its name."""

    def items(self, batch: Sequence[Prompt], step: int) -> Counter[str]:
        """How many items each of `losses` is a mean over, as far as there are any; of "text", the tokens that are learned."""
        return Counter(text=sum(label != IGNORE for prompt in batch for label in prompt.labels[1:]))

    @abstractmethod
    def measure(self, model: AnyGPT) -> dict[str, float]:
        """What the stage is for, in figures, on its "measured" examples."""


def encoders(model: AnyGPT) -> dict[str, nn.Module]:
    """The frozen encoders of all inputs, by name; loads them."""
    return {f"encoder {entry.encoder}": model.encoder(m) for m, entry in model.config.adapted.items()}


def decoders(model: AnyGPT) -> dict[str, nn.Module]:
    """The frozen decoders of all outputs, by name; loads them."""
    return {
        f"decoder {entry.decoder}": nn.ModuleDict(model.decoder(m).modules)
        for m, entry in model.config.outputs.items()
    }


def _kind(loss: str) -> str:
    return loss.rpartition(" ")[2]
