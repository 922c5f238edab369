"""Parts that never change: loading the LLM, and proving that weights stayed as they were."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from anygpt.config import ConfigError


def load_llm(
    name: str, dtype: torch.dtype | Literal["auto"], *, outline: bool = False, **loading: Any
) -> tuple[Any, Any]:
    """The causal language model and the tokenizer in a folder or on the hub, without progress bars.

    Args:
        dtype: of the weights in memory; "auto" keeps the files'.
        outline: on the meta device, by its configuration alone: shapes, and no weights.
        loading: as transformers' `from_pretrained` takes it (see `anygpt.fitting`).

    Raises:
        ConfigError: it is in neither, or it cannot be loaded that way.
    """
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoTokenizer,
        GenerationConfig,
    )
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        kind: Any = AutoConfig.from_pretrained(name)
        kind = getattr(kind, "thinker_config", kind)  # of an Omni, the half that thinks; the other one speaks
        # an LLM with eyes is filed elsewhere
        auto: Any = (
            AutoModelForCausalLM
            if type(kind) in AutoModelForCausalLM._model_mapping
            else AutoModelForImageTextToText
        )
        if outline:
            with torch.device("meta"):
                llm = auto.from_config(kind, dtype=dtype)
            with suppress(OSError):  # not every model has settings of its own for this
                llm.generation_config = GenerationConfig.from_pretrained(name)
        else:
            llm = auto.from_pretrained(name, config=kind, dtype=dtype, **loading)
        return llm, AutoTokenizer.from_pretrained(name)
    # transformers' OSError is for what is neither a folder nor on the hub, the others are for ways of loading it
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        if not loading and not isinstance(error, OSError):
            raise
        reason = " ".join(str(error).split())
        raise ConfigError(f"the language model {name!r} cannot be loaded: {reason}") from error
    finally:
        if bars:
            logging.enable_progress_bar()


def weight_of(layer: nn.Module) -> Tensor:
    """A layer's weight, brought back from where accelerate keeps it if it has been offloaded."""
    if not hasattr(layer, "_hf_hook"):
        return layer.weight  # type: ignore[return-value]
    from accelerate.utils import align_module_device

    with align_module_device(layer):
        return layer.weight.detach().clone()  # type: ignore[operator]


def fingerprint(module: nn.Module) -> str:
    """sha256 over names and weights, without LoRA matrices and what PEFT adds to names.

    Of weights that processes share out, all must ask at once.
    """
    weights = {
        name.removeprefix("base_model.model.").replace(".base_layer.", "."): value
        for name, value in module.state_dict().items()
        if "lora_" not in name
    }
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach()
        if isinstance(value, DTensor):
            value = value.full_tensor()
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
