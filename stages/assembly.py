"""The model that a stage starts from: a checkpoint, or a new one that a preset describes."""

from __future__ import annotations

from pathlib import Path

import yaml

from anygpt.config import AnyGPTConfig, ConfigError
from anygpt.model import AnyGPT


def open_model(name: str, parts: str | None = None) -> AnyGPT:
    """A checkpoint as `AnyGPT.from_pretrained` takes it, or a preset: a YAML file with the keys of a config.json.

    Args:
        parts: with a preset, the folder that its relative names of frozen parts start from.

    Raises:
        ConfigError: there is no such model, or it cannot be used.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        return AnyGPT.from_config(read_preset(Path(name)), parts)
    if parts is not None:
        raise ConfigError(f"'parts' is for presets; the checkpoint {name!r} names its frozen parts itself")
    return AnyGPT.from_pretrained(name)


def read_preset(path: Path) -> AnyGPTConfig:
    """The configuration of a new model in a YAML file."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the preset {path}: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the preset {path} holds no keys and values")
    try:
        return AnyGPTConfig.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
