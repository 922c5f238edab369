"""A stage's settings: one YAML file of flat keys, each of which `--set key=value` overrides."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from anygpt.config import ConfigError, unknown
from anygpt.data.source import Source


@dataclass(frozen=True)
class TrainingConfig:
    """What every stage can be told.

    Attributes:
        model: the checkpoint to start from (a folder, a packaged name or a hub id), or a preset: a YAML file that
            says what a new model is made of.
        output: the folder for the result, its log, report and checkpoints.
        steps: how many steps of the optimiser; or else
        epochs: how often the data are gone through, by their number of rows (mixed by weights, not each source so often), or
            with `examples`, these.
        parts: with a preset, the folder that its relative names of frozen parts start from.
        data: where the examples come from, a list of sources (see `anygpt.data.Source`); the toy world unless given.
        starts: how the toy world's conversations begin, names with weights (see `anygpt.toyworld.source.ToyWorld`);
            the stage's own mixture unless given.
        precomputed: a folder that `anygpt precompute` has filled for these data; what is there is not computed again.
        max_skipped: the share of the data's items that may be left out because they cannot be used; beyond it, the run stops.
        stage: which stage these settings are for, by its name; `anygpt train --preset` goes by it.
        batch_size: examples in a batch, in each process.
        packing: several short examples of a batch in one row, none of which sees another, instead of padding behind each; and
            steps of long and short examples, which without it have such as are about as long.
        gradient_accumulation: batches that make a step, in each process; with the loss of one batch of them all.
        examples: how many are drawn before the same ones come again; None draws new ones to the end. What the encoders
            made of them is kept, so a second time costs less.
        learning_rate: the highest; it is warmed up to it, and falls off in a cosine to nothing.
        learning_rates: for some of the parts that train ("adapters", "signals", "signal_head", "projections", "lora"), another one.
        warmup: share of the steps over which the learning rate rises.
        weight_decay: AdamW's.
        max_grad_norm: longer gradients are cut to this.
        fsdp: several processes share out the LLM's weights and what trains; each computes with a layer at a time (FSDP2).
        dtype: `bfloat16` keeps the LLM in it where it is frozen, and computes in it; what trains stays float32.
        seed: of data, first weights and noise.
        workers: processes that draw examples ahead.
        checkpoint_steps: a checkpoint every so many steps.
        log_steps: a line in log.jsonl every so many steps.
        log_with: a tracker of accelerate's that gets the same figures, e.g. "tensorboard" or "wandb".
        validation_examples: how many examples, kept apart, for the loss before and after.
        measured_examples: how many for the stage's own figures before and after.
    """

    model: str
    output: str
    steps: int | None = None
    epochs: float | None = None
    parts: str | None = None
    data: tuple[Source, ...] | None = None
    starts: dict[str, float] | None = None
    precomputed: str | None = None
    max_skipped: float = 0.01
    stage: str | None = None
    batch_size: int = 32
    packing: bool = False
    gradient_accumulation: int = 1
    examples: int | None = None
    learning_rate: float = 1e-3
    learning_rates: dict[str, float] = field(default_factory=dict)
    warmup: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    fsdp: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    workers: int = 1
    checkpoint_steps: int = 500
    log_steps: int = 20
    log_with: str | None = None
    validation_examples: int = 128
    measured_examples: int = 64

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ConfigError("give steps or epochs, and not both")
        if self.epochs is not None and self.data is None and self.examples is None:
            raise ConfigError("epochs needs data or examples: the toy world has no end")
        for name in ("steps", "epochs"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ConfigError(f"{name} must be above 0, not {value}")
        for name in (
            "batch_size",
            "gradient_accumulation",
            "checkpoint_steps",
            "log_steps",
            "validation_examples",
            "measured_examples",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.examples is not None and self.examples < self.batch_size:
            raise ConfigError(
                f"examples must be at least the batch_size of {self.batch_size}, not {self.examples}"
            )
        for name in ("weight_decay", "seed", "workers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, not {getattr(self, name)}")
        for name, rate in {"learning_rate": self.learning_rate, **self.learning_rates}.items():
            if rate <= 0:
                raise ConfigError(f"the learning rate {name!r} must be above 0, not {rate}")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup is a share of the steps, from 0 to below 1, not {self.warmup}")
        if not 0 <= self.max_skipped <= 1:
            raise ConfigError(f"max_skipped is a share, from 0 to 1, not {self.max_skipped}")
        if self.data is not None and self.starts is not None:
            raise ConfigError(
                "starts says how the toy world's conversations begin; leave it out with data (--set starts=null)"
            )
        if self.data is not None and not self.data:
            raise ConfigError("data names no source; leave it out for the toy world")
        if self.max_grad_norm <= 0:
            raise ConfigError(f"max_grad_norm must be above 0, not {self.max_grad_norm}")


# What may change while a run goes on: where things are and how often, and how fast it learns. All else would make it another run.
FREE = ("output", "workers", "max_skipped", "checkpoint_steps", "log_steps", "log_with")
TUNED = (
    "precomputed",
    "steps",
    "epochs",
    "learning_rate",
    "learning_rates",
    "warmup",
    "weight_decay",
    "max_grad_norm",
)

Config = TypeVar("Config", bound=TrainingConfig)
Settings = TypeVar("Settings")  # any dataclass of settings


def read_config(kind: type[Config], path: str | Path, changes: Sequence[str] = ()) -> Config:
    """Read a stage's YAML file.

    Args:
        kind: the stage's dataclass.
        changes: `key=value`, the value in YAML; `learning_rates.lora=1e-3` reaches inside.

    Raises:
        ConfigError: a file that is no such YAML, a key that is unknown or missing, or a value of a wrong kind.
    """
    values = _load(Path(path))
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise ConfigError(f"--set takes key=value, not {change!r}")
        *outer, inner = key.strip().split(".")
        place = values
        for name in outer:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {change}: {name!r} has no keys inside")
        place[inner] = yaml.safe_load(text)
    try:
        return _build(kind, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def compare(before: dict[str, Any], now: dict[str, Any], checkpoint: Path) -> list[str]:
    """What to tell of settings that changed since a checkpoint and may.

    Raises:
        ConfigError: some changed that may not; it says which.
    """
    changed = {
        key: f"{key} was {before.get(key)} and is {now.get(key)}"
        for key in {**before, **now}
        if key not in FREE and before.get(key) != now.get(key)
    }
    refused = [text for key, text in changed.items() if key not in TUNED]
    if refused:
        raise ConfigError(
            f"the run in {checkpoint} has other settings: {'; '.join(refused)}. Set them back, or choose another output"
        )
    return [f"going on with other settings: {text}" for text in changed.values()]


def _load(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"cannot read {path}: {reason}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no keys and values")
    return values


def _build(kind: type[Settings], values: dict[str, Any]) -> Settings:
    annotations = typing.get_type_hints(kind)
    for key in values:
        if key not in annotations:
            raise ConfigError(unknown("key", key, annotations))
    for item in dataclasses.fields(kind):  # type: ignore[arg-type]  # a dataclass
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and item.name not in values:
            raise ConfigError(f"the key {item.name!r} is missing")
    return kind(**{key: _convert(annotations[key], value, key) for key, value in values.items()})


def _convert(kind: Any, value: Any, where: str) -> Any:
    """`value` as the annotation says; YAML reads 1e-3 as text, and whole numbers will do for others."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType or origin is typing.Union:  # "X | None"
        return None if value is None else _convert(inner[0], value, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected keys and values, got {value!r}")
        try:
            return _build(kind, value)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
    if origin is typing.Literal:
        if value not in inner:
            raise ConfigError(f"{where}: {unknown('value', value, inner)}")
        return value
    if origin is dict and isinstance(value, dict):
        return {str(key): _convert(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(inner[0], item, where) for item in value)
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    elif (
        isinstance(kind, type)
        and isinstance(value, kind)
        and not (isinstance(value, bool) and kind is not bool)
    ):
        return value
    names = {
        dict: "keys and values",
        tuple: "a list",
        str: "text",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
    }
    raise ConfigError(f"{where}: expected {names[origin or kind]}, got {value!r}")
