"""The film decoder: a small `TextToVideoSDPipeline` for eight frames of 32×32, latents of 8×8 from the picture VAE.

Most of a film is told by one frame, so the UNet first learns from single frames, at a sixth of the cost, and then
from whole films how they move.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, TextToVideoSDPipeline, UNet3DConditionModel
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from anygpt.toyworld.drawing import draw_film
from anygpt.toyworld.foundations.captions import film_caption
from anygpt.toyworld.foundations.denoising import build_scheduler, train_denoiser
from anygpt.toyworld.foundations.picture_decoder import encode
from anygpt.toyworld.foundations.picture_vae import to_tensor
from anygpt.toyworld.foundations.text_encoders import TEXT_DIM, tokenize
from anygpt.toyworld.phrases import caption_film
from anygpt.toyworld.scenes import random_scene

POOL = 6000  # films, encoded once
FRAMES = 8


def build_unet() -> UNet3DConditionModel:
    return UNet3DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=8,
        down_block_types=("DownBlock3D", "CrossAttnDownBlock3D"),
        up_block_types=("CrossAttnUpBlock3D", "UpBlock3D"),
        block_out_channels=(48, 96),
        layers_per_block=1,
        cross_attention_dim=TEXT_DIM,
        attention_head_dim=16,
        norm_num_groups=8,
    )


def train(
    work_dir: Path,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    frame_steps: int = 1000,
    film_steps: int = 800,
) -> TextToVideoSDPipeline:
    torch.manual_seed(0)
    rng = np.random.default_rng(12)
    scenes = [random_scene(rng, moving=True) for _ in range(POOL)]
    stored = work_dir / "film-latents.pt"
    if stored.exists():
        latents = torch.load(stored, weights_only=True)
    else:
        films = (to_tensor(draw_film(scene, FRAMES)) for scene in tqdm(scenes, desc="encoding films"))
        latents = (
            torch.stack([encode(vae, film) for film in films]).transpose(1, 2).contiguous()
        )  # (N, C, frames, 8, 8)
        torch.save(latents, stored)
    unet = build_unet()

    def middle_frame(films: torch.Tensor, step: int) -> torch.Tensor:
        """One of the two middle frames, where the thing is at its place; (B, C, 1, 8, 8)."""
        index = FRAMES // 2 - step % 2
        return films[:, :, index : index + 1]

    for name, steps, size, pick in (
        ("film-unet-frames", frame_steps, 32, middle_frame),
        ("film-unet", film_steps, 8, lambda films, step: films),
    ):
        train_denoiser(
            name,
            unet,
            latents,
            lambda rng, index: (
                caption_film(scenes[index]) if rng.random() < 0.8 else film_caption(rng, scenes[index])[0]
            ),
            lambda captions: (
                text_encoder(input_ids=tokenize(tokenizer, captions)["input_ids"]).last_hidden_state
            ),
            lambda noisy, time, conditioning: unet(noisy, time, conditioning).sample,
            work_dir=work_dir,
            steps=steps,
            size=size,
            pick_latents=pick,
        )
    return TextToVideoSDPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=build_scheduler()
    )
