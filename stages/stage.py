"""What a stage is: which parts train, on which conversations, with which losses, and what it should improve."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from torch import Tensor, nn
from torch.utils.data import Dataset

from anygpt.config import ConfigError, unknown
from anygpt.data.mixture import Mixture, Split
from anygpt.data.skipped import SKIPPED, Skipped
from anygpt.data.source import Task
from anygpt.messages import Conversation
from anygpt.model import AnyGPT
from anygpt.processor import Prompt
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
    """

    name: ClassVar[str]
    settings: ClassVar[type[TrainingConfig]] = TrainingConfig
    trains: ClassVar[tuple[str, ...]]
    task: ClassVar[Task] = "describe"
    outputs: bool = False

    def __init__(self, config: Settings) -> None:
        if config.stage not in (None, self.name):
            raise ConfigError(f"these settings are for the stage {config.stage!r}, not for {self.name!r}")
        self.config = config

    def size(self, split: Split) -> int:
        """How many examples a split has; the training's may come again."""
        config = self.config
        return {
            "training": config.examples or config.steps * config.batch_size,
            "validation": config.validation_examples,
            "measured": config.measured_examples,
        }[split]

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
        config = self.config
        if config.data is None:
            return self.toy_world(split)
        return Mixture(
            config.data,
            split,
            size=self.size(split),
            seed=config.seed,
            validation=config.validation_examples,
            measured=config.measured_examples,
            task=self.task,
            outputs=self.outputs,
        )

    @cached_property
    def skipped(self) -> Skipped:
        """The data's items that this process leaves out."""
        path = Path(self.config.output) / SKIPPED
        return Skipped(path, self.config.max_skipped, self.size("training"))

    @abstractmethod
    def toy_world(self, split: Split) -> Dataset[Conversation]:
        """The stage's conversations where no data are given."""

    @abstractmethod
    def loss(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """What to make small, and the parts it is made of, by name and without gradient.

        Args:
            step: from 0 on; always 0 where the loss is only measured.
        """

    @abstractmethod
    def measure(self, model: AnyGPT) -> dict[str, float]:
        """What the stage is for, in figures, on its "measured" examples."""


def encoders(model: AnyGPT) -> dict[str, nn.Module]:
    """The frozen encoders of all inputs, by name; loads them."""
    return {f"encoder {entry.encoder}": model.encoder(m) for m, entry in model.config.inputs.items()}


def decoders(model: AnyGPT) -> dict[str, nn.Module]:
    """The frozen decoders of all outputs, by name; loads them."""
    return {
        f"decoder {entry.decoder}": nn.ModuleDict(model.decoder(m).modules)
        for m, entry in model.config.outputs.items()
    }
