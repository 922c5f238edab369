"""The published ImageBind weights → an encoder folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from anygpt.conversion.files import compare, load_tensors, new_folder
from encoders.imagebind import ImageBindConfig, ImageBindEncoder, ImageBindModel, ImageBindPreprocessor


def convert_imagebind(
    path: Path,
    out: Path,
    clip_spacing: Literal["ends", "even"] = "ends",
    config: ImageBindConfig | None = None,
) -> None:
    """Write `out` as `ImageBindEncoder.from_pretrained` reads it: its weights are safetensors, so they load faster.

    Args:
        path: `imagebind_huge.pth`.
        clip_spacing: how the clips of sounds and films are spread: over `ends`, as ImageBind's code does, or `even`, as
            NExT-GPT has learned to hear (see `ImageBindPreprocessor`).
        config: the model's sizes; None means those of imagebind_huge.

    Raises:
        ConversionError: the file is not that, or `out` is taken.
    """
    import torch

    config = config or ImageBindConfig.huge()
    weights = load_tensors(path)
    with torch.device("meta"):
        model = ImageBindModel(config)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    compare(
        str(path), {name: tuple(value.shape) for name, value in weights.items()}, wanted, "imagebind_huge"
    )
    model.load_state_dict(weights, assign=True)
    preprocessor = replace(ImageBindPreprocessor.for_model(config), clip_spacing=clip_spacing)
    with new_folder(out) as folder:
        ImageBindEncoder(model.eval(), preprocessor).save_pretrained(folder)
