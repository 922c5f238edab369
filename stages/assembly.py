"""The model that a stage starts from: a checkpoint, or a new one that a preset describes."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig

from anygpt.checkpoint import ASSETS, find_checkpoint, find_part, read_config, read_preset
from anygpt.config import AnyGPTConfig, ConfigError
from anygpt.frozen import load_llm
from anygpt.model import AnyGPT


def open_model(name: str, parts: str | None = None) -> AnyGPT:
    """A checkpoint as `AnyGPT.from_pretrained` takes it, or a preset: a YAML file with the keys of a config.json.

    Args:
        parts: with a preset, the folder that its relative names of frozen parts start from.

    Raises:
        ConfigError: there is no such model, or it cannot be used.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        config = read_preset(_packaged(name))
        root = _packaged(parts) if parts is not None else None
        _check_parts(config, root)
        return AnyGPT.from_config(config, root)
    if parts is not None:
        raise ConfigError(f"'parts' is for presets; the checkpoint {name!r} names its frozen parts itself")
    return AnyGPT.from_pretrained(name)


def outline(name: str, parts: str | None = None) -> AnyGPT:
    """As `open_model`, on the meta device: shapes, and no weights. Encoders and decoders are loaded where only they tell a size.

    Raises:
        ConfigError: there is no such model, or it cannot be used.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        config, root = read_preset(_packaged(name)), _packaged(parts) if parts is not None else None
        _check_parts(config, root)
        root = root.resolve() if root is not None else None
    else:
        root = find_checkpoint(name)
        config = read_config(root)
    llm, tokenizer = load_llm(find_part(config.llm, root), torch.float32, outline=True)
    with torch.device("meta"):
        model = AnyGPT(config, llm, tokenizer, root)
        if config.lora is not None and root is not None:
            lora = LoraConfig.from_pretrained(str(root / config.lora.path))
            model.add_lora(lora.r, lora.lora_alpha, lora.target_modules, lora.lora_dropout)
    return model


def _packaged(name: str) -> Path:
    """A path as it is, or else what comes with the package under that name: `assets/…` needs no repository around."""
    path = Path(name)
    return path if path.exists() or not (ASSETS.parent / name).exists() else ASSETS.parent / name


def _check_parts(config: AnyGPTConfig, parts: Path | None) -> None:
    """A bare name is a folder's; asking the hub for it would take long and tell nothing."""
    entries = [
        config.llm,
        *(e.encoder for e in config.adapted.values()),
        *(e.decoder for e in config.outputs.values()),
    ]
    for name in entries:
        if "/" not in name and not ((parts or Path()) / name).is_dir():
            raise ConfigError(
                f"there is no folder {name!r} in {parts or Path.cwd()}; 'parts' says where the preset's are"
            )
