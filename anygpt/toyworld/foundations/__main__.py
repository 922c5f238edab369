"""Rebuild the foundations of anygpt-tiny from nothing: `python -m anygpt.toyworld.foundations all --output DIR`.

Each is a hub-style folder, as a pretrained model would be. A run that was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DiffusionPipeline
    from transformers import CLIPTextModel, CLIPTokenizer


def llm(output: Path) -> None:
    from anygpt.toyworld.foundations import language

    model, tokenizer = language.train(output)
    model.half().save_pretrained(output / "llm")
    tokenizer.save_pretrained(output / "llm")


def imagebind(output: Path) -> None:
    from anygpt.toyworld.foundations import imagebind as tiny
    from encoders.imagebind import ImageBindEncoder

    ImageBindEncoder(*tiny.train(output)).half().save_pretrained(output / "imagebind")


def picture_vae(output: Path) -> None:
    from anygpt.toyworld.foundations import picture_vae as tiny

    tiny.train(output).half().save_pretrained(output / "picture-vae")


def text_encoders(output: Path) -> None:
    from anygpt.toyworld.foundations import text_encoders as tiny

    for name, train in (("clip-text", tiny.train_clip), ("clap-text", tiny.train_clap)):
        model, tokenizer = train(output)
        model.save_pretrained(output / name)
        tokenizer.save_pretrained(output / name)


def image_decoder(output: Path) -> None:
    from anygpt.toyworld.foundations import picture_decoder

    pipeline = picture_decoder.train(output, *_pictures(output))
    _half(pipeline).save_pretrained(output / "image-decoder")


def audio_decoder(output: Path) -> None:
    from transformers import ClapTextModelWithProjection, RobertaTokenizer

    from anygpt.toyworld.foundations import sound_decoder

    folder = output / "clap-text"
    text_encoder = ClapTextModelWithProjection.from_pretrained(folder).requires_grad_(False)
    pipeline = sound_decoder.train(output, text_encoder, RobertaTokenizer.from_pretrained(folder))
    _half(pipeline).save_pretrained(output / "audio-decoder")


def video_decoder(output: Path) -> None:
    import torch
    from diffusers import UNet2DConditionModel

    from anygpt.toyworld.foundations import film_decoder

    picture_unet = UNet2DConditionModel.from_pretrained(
        output / "image-decoder" / "unet", torch_dtype=torch.float32
    )
    pipeline = film_decoder.train(output, *_pictures(output), picture_unet)
    _half(pipeline).save_pretrained(output / "video-decoder")


def _pictures(output: Path) -> tuple[AutoencoderKL, CLIPTextModel, CLIPTokenizer]:
    """The VAE, text encoder and tokenizer that pictures and films share."""
    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTextModel, CLIPTokenizer

    vae = AutoencoderKL.from_pretrained(output / "picture-vae", torch_dtype=torch.float32)
    text_encoder = CLIPTextModel.from_pretrained(output / "clip-text", dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(output / "clip-text")
    return vae.requires_grad_(False).eval(), text_encoder.requires_grad_(False).eval(), tokenizer


def _half(pipeline: DiffusionPipeline) -> DiffusionPipeline:
    import torch

    return pipeline.to(dtype=torch.float16)


FOUNDATIONS: dict[str, Callable[[Path], None]] = {
    "llm": llm,
    "imagebind": imagebind,
    "picture-vae": picture_vae,
    "text-encoders": text_encoders,
    "image-decoder": image_decoder,
    "audio-decoder": audio_decoder,
    "video-decoder": video_decoder,
}


def main(
    name: Annotated[str, typer.Argument(help=f"all, or one of: {', '.join(FOUNDATIONS)}")],
    output: Annotated[Path, typer.Option(help="the folder of the results and of the checkpoints on the way")],
) -> None:
    """Train one of anygpt-tiny's foundations, or all of them in order (each uses what comes before)."""
    if name != "all" and name not in FOUNDATIONS:
        raise typer.BadParameter(f"{name!r} is not a foundation; there are all, {', '.join(FOUNDATIONS)}")
    for each, build in FOUNDATIONS.items():
        if name in ("all", each):
            build(output)


if __name__ == "__main__":
    typer.run(main)
