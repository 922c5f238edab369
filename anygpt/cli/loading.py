"""From a model's name to the model, with all checks that are possible before the slow imports."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from anygpt.checkpoint import find_checkpoint, read_config
from anygpt.cli.errors import CommandError
from anygpt.config import AnyGPTConfig

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


def be_quiet() -> None:
    """Let the libraries say only what went wrong; to be called before they are imported."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore")
    logging.getLogger().setLevel(logging.ERROR)


def load_model(folder: Path) -> AnyGPT:
    """Load the model; this is where the slow imports happen."""
    be_quiet()
    from anygpt.model import AnyGPT

    return AnyGPT.from_pretrained(folder)
