"""The film decoder: a small `TextToVideoSDPipeline` for eight frames of 64×64, latents of 16×16 from the picture VAE.

Most of a film is told by one frame, so the UNet starts as the picture decoder's, applied to each frame, with temporal
layers between that pass their input on; it then learns from films how things move. ModelScope's text-to-video model
grew from Stable Diffusion in the same way (Wang et al. 2023, section 3).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, TextToVideoSDPipeline, UNet2DConditionModel, UNet3DConditionModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import nn
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from anygpt.toyworld.drawing import at_time, draw_film
from anygpt.toyworld.foundations.captions import film_caption
from anygpt.toyworld.foundations.denoising import build_scheduler, train_denoiser
from anygpt.toyworld.foundations.picture_decoder import box_of, encode
from anygpt.toyworld.foundations.picture_vae import to_tensor
from anygpt.toyworld.foundations.text_encoders import tokenize
from anygpt.toyworld.phrases import caption_film
from anygpt.toyworld.scenes import Scene, random_scene

POOL = 3000  # films, encoded once
FRAMES = 8
DIRECTIONS = ("left", "right", "up", "down")  # what is slow to learn: where a thing is in each frame
OTHERS = 0.45  # share of the films of other motions that are kept
# Where things are is decided in the noisiest steps.
RANGES = ((0, 1000), (300, 800), (750, 1000), (900, 1000))


def build_unet(picture_unet: UNet2DConditionModel) -> UNet3DConditionModel:
    """A film UNet whose every frame is what `picture_unet` makes of it."""
    config = picture_unet.config
    unet = UNet3DConditionModel(
        sample_size=config["sample_size"],
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        down_block_types=tuple(name.replace("2D", "3D") for name in config["down_block_types"]),
        up_block_types=tuple(name.replace("2D", "3D") for name in config["up_block_types"]),
        block_out_channels=config["block_out_channels"],
        layers_per_block=config["layers_per_block"],
        cross_attention_dim=config["cross_attention_dim"],
        attention_head_dim=config["block_out_channels"][-1] // config["attention_head_dim"][-1],
        norm_num_groups=config["norm_num_groups"],
    )
    shapes = {name: value.shape for name, value in unet.state_dict().items()}
    # Attention's projections are 1×1 convolutions in a picture UNet and linear layers in a film UNet.
    spatial = {name: value.view(shapes[name]) for name, value in picture_unet.state_dict().items()}
    unet.load_state_dict(spatial, strict=False)
    for module in unet.modules():
        if isinstance(module, TransformerTemporalModel):
            nn.init.zeros_(module.proj_out.weight)
            nn.init.zeros_(module.proj_out.bias)
    return unet


def boxes_of(scene: Scene) -> np.ndarray:
    """`box_of` in each frame, bool (frames, side, side)."""
    times = [index / (FRAMES - 1) for index in range(FRAMES)]
    things = [tuple(now for thing in scene.things if (now := at_time(thing, time))) for time in times]
    return np.stack([box_of(Scene(scene.background, shown)) for shown in things])


def train(
    work_dir: Path,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    picture_unet: UNet2DConditionModel,
    steps: int = 3000,
) -> TextToVideoSDPipeline:
    torch.manual_seed(0)
    rng = np.random.default_rng(12)
    scenes: list[Scene] = []
    while len(scenes) < POOL:
        scene = random_scene(rng, moving=True)
        if scene.things[0].motion in DIRECTIONS or rng.random() < OTHERS:
            scenes.append(scene)
    stored = work_dir / "film-latents.pt"
    if stored.exists():
        latents = torch.load(stored, weights_only=True)
    else:
        films = (to_tensor(draw_film(scene, FRAMES, 64)) for scene in tqdm(scenes, desc="encoding films"))
        latents = (
            torch.stack([encode(vae, film) for film in films]).transpose(1, 2).contiguous()
        )  # (N, C, frames, 16, 16)
        torch.save(latents, stored)
    unet = build_unet(picture_unet)
    # The transformer before all blocks is a third of the cost, for what the others do as well: it goes on passing on.
    unet.conv_in.requires_grad_(False)
    unet.transformer_in.requires_grad_(False)
    train_denoiser(
        "film-unet",
        unet,
        latents,
        lambda rng, index: (
            caption_film(scenes[index]) if rng.random() < 0.8 else film_caption(rng, scenes[index])[0]
        ),
        lambda captions: text_encoder(input_ids=tokenize(tokenizer, captions)["input_ids"]).last_hidden_state,
        lambda noisy, time, conditioning: unet(noisy, time, conditioning).sample,
        work_dir=work_dir,
        steps=steps,
        size=8,
        learning_rate=1.3e-3,
        # the spatial layers know most already, but things now pass through places where no picture had any
        rate_of=lambda name: 1.0 if "temp_" in name else 0.3,
        ranges=RANGES,
        boxes=torch.from_numpy(np.stack([boxes_of(scene) for scene in scenes]))[:, None],
    )
    return TextToVideoSDPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=build_scheduler()
    )
