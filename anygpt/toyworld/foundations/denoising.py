"""Training a diffusion decoder's UNet on latents: v-prediction with zero terminal SNR, guidance-ready."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import nn

from anygpt.toyworld.foundations.fitting import fit

DROP_CAPTION = 0.08  # share of empty captions, for classifier-free guidance


def build_scheduler() -> DDIMScheduler:
    """The last step of training is pure noise, so backgrounds come out as white or black as they were."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


def train_denoiser(
    name: str,
    unet: nn.Module,
    latents: torch.Tensor,
    caption_of: Callable[[np.random.Generator, int], str],
    embed: Callable[[list[str]], torch.Tensor],
    predict: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    work_dir: Path,
    steps: int,
    size: int,
    learning_rate: float = 1e-3,
    pick_latents: Callable[[torch.Tensor, int], torch.Tensor] = lambda rows, step: rows,
) -> None:
    """Train `unet` in place on `latents` (N, …) of unit variance.

    Args:
        caption_of: (rng, index) → a caption of item `index`, a new paraphrase each time.
        embed: captions → conditioning; frozen.
        predict: (noisy, timesteps, conditioning) → the UNet's output.
        pick_latents: what of a batch of latents to train on at a step.
    """
    alphas = build_scheduler().alphas_cumprod

    def make_batch(step: int) -> tuple[torch.Tensor, list[str]]:
        rng = np.random.default_rng([8, step])
        indices = rng.integers(len(latents), size=size)
        captions = ["" if rng.random() < DROP_CAPTION else caption_of(rng, int(index)) for index in indices]
        return torch.from_numpy(indices), captions

    def loss_of(batch: tuple[torch.Tensor, list[str]], step: int) -> torch.Tensor:
        indices, captions = batch
        clean = pick_latents(latents[indices].float(), step)
        # What a caption decides is decided at high noise: half of the steps are drawn from the noisiest third.
        high = torch.rand(len(clean)) < 0.5
        time = (
            torch.where(high, 667 + 333 * torch.rand(len(clean)), 1000 * torch.rand(len(clean)))
            .long()
            .clamp(max=999)
        )
        shape = (-1,) + (1,) * (clean.dim() - 1)
        signal, noise_level = alphas[time].sqrt().view(shape), (1 - alphas[time]).sqrt().view(shape)
        noise = torch.randn_like(clean)
        noisy = signal * clean + noise_level * noise
        target = signal * noise - noise_level * clean
        with torch.no_grad():
            conditioning = embed(captions)
        return nn.functional.mse_loss(predict(noisy, time, conditioning), target)

    fit(
        name,
        unet,
        loss_of,
        make_batch,
        steps=steps,
        learning_rate=learning_rate,
        work_dir=work_dir,
        ema_decay=0.999,
        warmup=100,
    )
