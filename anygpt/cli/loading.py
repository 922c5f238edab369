"""From a model's name to the model, with all checks that are possible before the slow imports."""

from __future__ import annotations

import json
import logging
import os
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygpt.checkpoint import find_checkpoint, read_config
from anygpt.cli.errors import CommandError
from anygpt.config import AnyGPTConfig
from anygpt.messages import Conversation
from encoders import media

if TYPE_CHECKING:
    from anygpt.model import AnyGPT


def find_model(name: str) -> tuple[Path, AnyGPTConfig]:
    """The model's folder and its configuration; imports no torch."""
    folder = find_checkpoint(name)
    return folder, read_config(folder)


def check_modality(modality: str, config: AnyGPTConfig) -> None:
    """Make sure that the model takes the modality."""
    if modality not in config.inputs:
        accepted = ", ".join(config.inputs) or "text alone"
        raise CommandError(f"this model does not take {modality}; it takes {accepted}")


def with_media(conversation: Conversation, config: AnyGPTConfig) -> Conversation:
    """The conversation with the files that it names read."""
    return [
        {**message, "content": [_load(part, message["role"], config) for part in message["content"]]}
        for message in conversation
    ]


def _load(part: dict[str, Any], role: str, config: AnyGPTConfig) -> dict[str, Any]:
    modality = part["type"]
    if modality == "text":
        return part
    if role == "user":
        check_modality(modality, config)
    if "path" not in part:
        return part
    kept = {key: value for key, value in part.items() if key != "path"}  # an answer's caption, say
    return {**kept, modality: media.read(modality, part["path"])}


def be_quiet() -> None:
    """Let the libraries say only what went wrong; to be called before they are imported."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore")
    logging.getLogger().setLevel(logging.ERROR)


def load_model(folder: Path, config: AnyGPTConfig, loading: dict[str, Any]) -> AnyGPT:
    """Load the model; this is where the slow imports happen.

    Args:
        loading: as `anygpt.fitting.read_loading` gives it.

    The decoders' imports happen as well, so that they do not hold up the first picture in the midst of an answer.
    """
    be_quiet()
    from anygpt.model import AnyGPT

    model = AnyGPT.from_pretrained(folder, **with_torch(loading))
    for output in config.outputs.values():
        index = folder / output.decoder / "model_index.json"
        if index.is_file():
            _import_parts(json.loads(index.read_text(encoding="utf-8")))
    return model


def with_torch(loading: dict[str, Any]) -> dict[str, Any]:
    """What `anygpt.fitting.read_loading` gives, as `AnyGPT.from_pretrained` takes it."""
    import torch

    return loading | ({"dtype": getattr(torch, loading["dtype"])} if "dtype" in loading else {})


def _import_parts(index: dict[str, Any]) -> None:
    """Import the classes that a diffusers pipeline's model_index.json names."""
    import diffusers

    getattr(diffusers, str(index.get("_class_name")), None)
    for part in index.values():
        if isinstance(part, list) and part[0] in ("diffusers", "transformers"):
            getattr(import_module(part[0]), str(part[1]), None)
