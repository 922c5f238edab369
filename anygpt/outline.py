"""A whole model on the meta device: every shape and no number, so it takes neither memory nor a download.

A frozen part is laid out from its own configuration files where it lies in a folder, otherwise from `assets/parts.yaml`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import nn

from anygpt.checkpoint import ASSETS, find_part
from anygpt.config import AnyGPTConfig, ConfigError
from anygpt.frozen import load_llm
from anygpt.model import AnyGPT

if TYPE_CHECKING:
    from decoders.diffusion import Decoder


@dataclass
class Outline:
    """A model and its frozen parts, all of them on the meta device.

    Attributes:
        model: LLM, adapters, signal tokens and projections.
        encoders: by their names in the config.
        decoders: by modality.
    """

    model: AnyGPT
    encoders: dict[str, nn.Module]
    decoders: dict[str, Decoder]


def outline(config: AnyGPTConfig, root: Path | None = None) -> Outline:
    """Lay out what a config names.

    Args:
        root: the folder that relative names in the config start from.

    Raises:
        ConfigError: a part that is neither in a folder nor in the table, an input without `dim`, or a `conditioning` that
            is not its decoder's.
    """
    from decoders.diffusion import Decoder

    for modality, entry in config.adapted.items():
        if entry.dim is None:
            raise ConfigError(
                f"inputs.{modality}.dim is missing; without the encoder's weights it must be given"
            )
    names = dict.fromkeys(entry.encoder for entry in config.adapted.values())
    encoders = {name: _part(name, root, _encoder_in) for name in names}
    decoders = {m: Decoder(_part(entry.decoder, root, _pipeline_in)) for m, entry in config.outputs.items()}
    for modality, output in config.outputs.items():
        shape = tuple(decoders[modality].conditioning_shape)
        if output.conditioning not in (None, shape):
            raise ConfigError(
                f"outputs.{modality}.conditioning is {output.conditioning}, and {output.decoder} takes {shape}"
            )
    outputs = {
        m: replace(output, conditioning=decoders[m].conditioning_shape)
        for m, output in config.outputs.items()
    }
    llm, tokenizer = _part(config.llm, root, _llm_in)
    with torch.device("meta"):
        model = AnyGPT(replace(config, outputs=outputs), llm, tokenizer, root)
    return Outline(model, encoders, decoders)


def _part(name: str, root: Path | None, in_folder: Any) -> Any:
    """A part from its folder, or from the table as `in_folder`'s kind of part is there."""
    place = find_part(name, root)
    if Path(place).is_dir():
        return in_folder(Path(place))
    if name not in _table():
        raise ConfigError(
            f"the sizes of {name!r} are not known here: it is no folder, and {PARTS} does not have it"
        )
    part = _from_table(_table()[name])
    return (part, _tokenizer()) if in_folder is _llm_in else part


# --- from the table ---

PARTS = ASSETS / "parts.yaml"


@cache
def _table() -> Mapping[str, Any]:
    return yaml.safe_load(PARTS.read_text(encoding="utf-8"))


def _from_table(entry: Mapping[str, Any] | None) -> Any:
    """An entry as an object: a network on the meta device, a pipeline of parts, a scheduler, a stand-in for a tokenizer."""
    if entry is None:  # a part that a pipeline can do without
        return None
    if "length" in entry:
        return _tokenizer(entry["length"])
    module, _, name = entry["class"].rpartition(".")
    kind = getattr(import_module(module), name)
    if "parts" in entry:
        return kind(**{part: _from_table(inner) for part, inner in entry["parts"].items()})
    return _build(kind, entry.get("config", {}))


def _build(kind: Any, values: Mapping[str, Any]) -> Any:
    """An instance by its class's configuration: transformers' take an object, diffusers' the values themselves."""
    settings = getattr(kind, "config_class", None)
    arguments = (settings(**values),) if settings is not None else ()
    if not issubclass(kind, nn.Module):
        return kind(*arguments) if arguments else kind(**values)
    with torch.device("meta"):
        return kind(*arguments) if arguments else kind(**values)


def _tokenizer(length: int | None = None) -> Any:
    """A tokenizer that knows no word; only its length is looked at."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), eos_token="</s>", model_max_length=length
    )


# --- from folders ---


def _llm_in(folder: Path) -> tuple[nn.Module, Any]:
    return load_llm(str(folder), torch.float32, outline=True)


def _encoder_in(folder: Path) -> nn.Module:
    from encoders import load_encoder

    return load_encoder(folder).to("meta")  # its class reads more than a config, and encoders are small


def _pipeline_in(folder: Path) -> Any:
    import diffusers

    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    parts = {
        name: None if value[1] is None else _component(folder / name, *value)
        for name, value in index.items()
        if isinstance(value, list)
    }
    more = {key: value for key, value in index.items() if key not in parts and not key.startswith("_")}
    return getattr(diffusers, index["_class_name"])(**parts, **more)


def _component(folder: Path, library: str, name: str) -> Any:
    kind = getattr(import_module(library), name)
    if not issubclass(kind, nn.Module):
        return kind.from_pretrained(folder)
    settings = getattr(kind, "config_class", None)
    with torch.device("meta"):
        return (
            kind(settings.from_pretrained(folder)) if settings else kind.from_config(kind.load_config(folder))
        )
