"""Noise for the denoising loss: what the pipeline's scheduler means by a timestep and by a prediction."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Noising = Callable[[Tensor, torch.Generator | None], tuple[Tensor, Tensor, Tensor]]


def noising_for(scheduler: Any) -> Noising:
    """(latents (B, …), generator) → (noisy latents, timesteps (B,), what the denoiser should predict).

    Timesteps are uniform. Sampling schedulers scale their inputs each in their own way; training always means the
    forward process of the beta schedule in their configuration, which `DDPMScheduler` states. Schedulers without a
    `prediction_type` are those of flow matching.
    """
    if "prediction_type" in scheduler.config:
        return _diffusion(scheduler)
    return _flow_matching(scheduler)


def _diffusion(scheduler: Any) -> Noising:
    from diffusers import DDPMScheduler

    forward: Any = DDPMScheduler.from_config(scheduler.config)

    def noise(latents: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        epsilon = _normal(latents, generator)
        steps = forward.config.num_train_timesteps
        timesteps = torch.randint(0, steps, (len(latents),), generator=generator).to(latents.device)
        noisy = forward.add_noise(latents, epsilon, timesteps)
        targets = {
            "epsilon": lambda: epsilon,
            "sample": lambda: latents,
            "v_prediction": lambda: forward.get_velocity(latents, epsilon, timesteps),
        }
        return noisy, timesteps, targets[forward.config.prediction_type]()

    return noise


def _flow_matching(scheduler: Any) -> Noising:
    """Straight paths from data to noise; the velocity along them is the target."""
    shift, steps = scheduler.config.shift, scheduler.config.num_train_timesteps

    def noise(latents: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        epsilon = _normal(latents, generator)
        uniform = torch.rand(len(latents), generator=generator).to(latents)
        sigma = shift * uniform / (1 + (shift - 1) * uniform)
        spread = sigma.view(-1, *[1] * (latents.dim() - 1))
        return (1 - spread) * latents + spread * epsilon, sigma * steps, epsilon - latents

    return noise


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Drawn on the CPU, so that a seed means the same noise on every device."""
    return torch.randn(like.shape, generator=generator).to(like)
