"""The picture decoder: a small `StableDiffusionPipeline` for 64×64 pictures, latents of 16×16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from anygpt.toyworld.drawing import draw_picture
from anygpt.toyworld.foundations.captions import picture_caption
from anygpt.toyworld.foundations.denoising import build_scheduler, train_denoiser
from anygpt.toyworld.foundations.picture_vae import to_tensor
from anygpt.toyworld.foundations.text_encoders import TEXT_DIM, tokenize
from anygpt.toyworld.phrases import caption_picture
from anygpt.toyworld.scenes import Scene, random_scene

POOL = 16_000  # pictures, encoded once


def build_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        cross_attention_dim=TEXT_DIM,
        attention_head_dim=(2, 4, 6),  # diffusers takes it as the number of heads here (its issue 2011)
        norm_num_groups=8,
    )


def box_of(scene: Scene, side: int = 16) -> np.ndarray:
    """Which of side × side latents lie in the square of a thing or next to it, bool (side, side)."""
    middles = (np.arange(side) + 0.5) / side
    box = np.zeros((side, side), bool)
    for thing in scene.things:
        x, y = (np.abs(middles - centre) < thing.width / 2 + 1.5 / side for centre in thing.centre)
        box |= np.outer(y, x)
    return box


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    return (vae.encode(pictures).latent_dist.mean * vae.config.scaling_factor).half()


def train(
    work_dir: Path,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    steps: int = 3000,
) -> StableDiffusionPipeline:
    torch.manual_seed(0)
    rng = np.random.default_rng(9)
    scenes = [random_scene(rng, two_things=0.12) for _ in range(POOL)]
    stored = work_dir / "picture-latents.pt"
    if stored.exists():
        latents = torch.load(stored, weights_only=True)
    else:
        chunks = [scenes[i : i + 64] for i in range(0, POOL, 64)]
        latents = torch.cat(
            [
                encode(vae, to_tensor(np.stack([draw_picture(s) for s in chunk])))
                for chunk in tqdm(chunks, desc="encoding pictures")
            ]
        )
        torch.save(latents, stored)
    unet = build_unet()
    train_denoiser(
        "picture-unet",
        unet,
        latents,
        # The model's own projections imitate canonical captions; people's prompts come in other words.
        lambda rng, index: (
            caption_picture(scenes[index]) if rng.random() < 0.8 else picture_caption(rng, scenes[index])[0]
        ),
        lambda captions: text_encoder(input_ids=tokenize(tokenizer, captions)["input_ids"]).last_hidden_state,
        lambda noisy, time, conditioning: unet(noisy, time, conditioning).sample,
        work_dir=work_dir,
        steps=steps,
        size=32,
        boxes=torch.from_numpy(np.stack([box_of(scene) for scene in scenes]))[:, None],
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
