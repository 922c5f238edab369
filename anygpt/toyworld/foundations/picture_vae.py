"""The VAE that the picture and the film decoder share: 4× downsampling, 8 latent channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from anygpt.toyworld.drawing import draw_film, draw_picture
from anygpt.toyworld.foundations.fitting import fit
from anygpt.toyworld.scenes import random_scene

CROP = 32


def build() -> AutoencoderKL:
    """Few groups at few channels: a norm over a single channel would throw its flat colour away."""
    channels = (8, 24, 48)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=2,
        sample_size=64,
        mid_block_add_attention=False,
    )


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """uint8 (..., H, W, 3) → float32 (..., 3, H, W) in [-1, 1]."""
    return torch.from_numpy(pictures).float().div(127.5).sub(1).movedim(-1, -3)


def batch(step: int, size: int = 48, whole: bool = False) -> torch.Tensor:
    """Whole pictures (a quarter as many), or crops of pictures around a thing and frames of films: (B, 3, side, side)."""
    rng = np.random.default_rng([1, step])
    items = []
    for index in range(size // 4 if whole else size):
        if not whole and index % 3 == 0:
            scene = random_scene(rng, two_things=0.3, moving=True)
            items.append(draw_film(scene, 8, CROP)[rng.integers(8)])
            continue
        scene = random_scene(rng, two_things=0.4)
        picture = draw_picture(scene, 64)
        if not whole:
            thing = scene.things[0]
            corner = np.array(thing.centre)[::-1] * 64 - CROP / 2 + rng.uniform(-12, 12, 2)
            row, column = np.clip(corner, 0, 64 - CROP).astype(int)
            picture = picture[row : row + CROP, column : column + CROP]
        items.append(picture)
    return to_tensor(np.stack(items))


def train(work_dir: Path, steps: int = 3000) -> AutoencoderKL:
    """Crops first, which are four times cheaper; the last third sees whole pictures every other step."""
    torch.manual_seed(0)
    vae = build()

    def loss_of(pictures: torch.Tensor, step: int) -> torch.Tensor:
        posterior = vae.encode(pictures).latent_dist
        error = vae.decode(posterior.sample()).sample - pictures
        return error.abs().mean() + 2 * error.square().mean() + 1e-6 * posterior.kl().mean()

    def make_batch(step: int) -> torch.Tensor:
        return batch(step, whole=step > 2 * steps // 3 and step % 2 == 0)

    fit(
        "picture-vae",
        vae,
        loss_of,
        make_batch,
        steps=steps,
        learning_rate=2e-3,
        work_dir=work_dir,
        ema_decay=0.995,
    )
    # The UNets expect latents of unit variance.
    with torch.no_grad():
        latents = torch.cat([vae.encode(batch(10**6 + i, whole=True)).latent_dist.mean for i in range(20)])
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    return vae
