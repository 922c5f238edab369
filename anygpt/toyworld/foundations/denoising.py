"""Training a diffusion decoder's UNet on latents: v-prediction with zero terminal SNR, guidance-ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler
from numpy.random import Generator
from torch import nn

from anygpt.toyworld.foundations.fitting import fit

DROP_CAPTION = 0.08  # share of empty captions, for classifier-free guidance
BOX_WEIGHT = 4
Ranges = Sequence[tuple[int, int]]
# A third of the timesteps from all, a third from where shapes are decided, a third from the noisiest third.
RANGES: Ranges = ((0, 1000), (300, 800), (667, 1000))


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


def draw_times(count: int, ranges: Ranges) -> torch.Tensor:
    """Timesteps (count,), each uniform in one of the ranges."""
    low, high = torch.tensor(ranges)[torch.randint(len(ranges), (count,))].T
    return (low + (high - low) * torch.rand(count)).long().clamp(max=999)


def train_denoiser(
    name: str,
    unet: nn.Module,
    latents: torch.Tensor,
    caption_of: Callable[[Generator, int], str],
    embed: Callable[[list[str]], torch.Tensor],
    predict: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    work_dir: Path,
    steps: int,
    size: int,
    learning_rate: float = 1e-3,
    rate_of: Callable[[str], float] = lambda name: 1.0,
    boxes: torch.Tensor | None = None,
    ranges: Ranges = RANGES,
) -> None:
    """Train `unet` in place on `latents` (N, C, …) of unit variance.

    Args:
        caption_of: (rng, index) → a caption of item `index`, a new paraphrase each time.
        embed: captions → conditioning; frozen.
        predict: (noisy, timesteps, conditioning) → the UNet's output.
        boxes: (N, 1, …), where the latents show a thing, if they do. Things are a tenth of most pictures but all of what is hard
            in them, so until the last third of the steps these places count `BOX_WEIGHT` times.
        ranges: of timesteps, each drawn as often.
    """
    alphas = build_scheduler().alphas_cumprod
    for module in unet.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # a sixth faster on CPUs

    def make_batch(step: int) -> tuple[torch.Tensor, list[str]]:
        rng = np.random.default_rng([8, step])
        indices = rng.integers(len(latents), size=size)
        captions = ["" if rng.random() < DROP_CAPTION else caption_of(rng, int(index)) for index in indices]
        return torch.from_numpy(indices), captions

    def loss_of(batch: tuple[torch.Tensor, list[str]], step: int) -> torch.Tensor:
        indices, captions = batch
        clean = latents[indices].float()
        time = draw_times(len(clean), ranges)
        shape = (-1,) + (1,) * (clean.dim() - 1)
        signal, noise_level = alphas[time].sqrt().view(shape), (1 - alphas[time]).sqrt().view(shape)
        noise = torch.randn_like(clean)
        noisy = signal * clean + noise_level * noise
        target = signal * noise - noise_level * clean
        with torch.no_grad():
            conditioning = embed(captions)
        error = (predict(noisy, time, conditioning) - target).square().mean(1, keepdim=True)
        if boxes is None or step >= 2 * steps // 3:
            return error.mean()
        weights = 1 + (BOX_WEIGHT - 1) * boxes[indices].float()
        return (error * weights).mean() / weights.mean()

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
        rate_of=rate_of,
    )
