"""The loop that trains every foundation: Adam, warm-up and cosine decay, EMA, a progress bar, resumable checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

CHECKPOINT_EVERY = 200  # steps


def parallel_batches(make: Callable[[int], Any], start: int, steps: int, workers: int = 1) -> Iterator[Any]:
    """`make(step)` for each step from `start` on, drawn ahead by worker processes; the step is the seed."""
    dataset = _Batches(make, start, steps)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers, prefetch_factor=4)
    return iter(loader)


class _Batches(torch.utils.data.Dataset):
    def __init__(self, make: Callable[[int], Any], start: int, steps: int) -> None:
        self.make, self.start, self.steps = make, start, steps

    def __len__(self) -> int:
        return self.steps - self.start

    def __getitem__(self, index: int) -> Any:
        return self.make(self.start + index)


def fit(
    name: str,
    model: nn.Module,
    loss_of: Callable[[Any, int], torch.Tensor],
    make_batch: Callable[[int], Any],
    *,
    steps: int,
    learning_rate: float,
    work_dir: Path,
    ema_decay: float = 0.0,
    warmup: int = 100,
    weight_decay: float = 0.01,
    max_norm: float = 1.0,
    rate_of: Callable[[str], float] = lambda name: 1.0,
) -> None:
    """Train `model` in place for `steps` on `make_batch(step)`; with `ema_decay` it ends with the averaged weights.

    `rate_of` gives the share of the learning rate that a parameter of a name gets.

    A checkpoint is written to `work_dir/name.pt` every `CHECKPOINT_EVERY` steps, and training goes on from it.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    parameters = list(named.values())
    rates = sorted({rate_of(name) for name in named})
    groups = [
        {"params": [p for name, p in named.items() if rate_of(name) == rate], "lr": rate * learning_rate}
        for rate in rates
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1.0, (step + 1) / warmup)
            * (0.02 + 0.98 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item()) / 2)
        ),
    )
    average = [p.detach().clone() for p in parameters]
    start = 0
    checkpoint = work_dir / f"{name}.pt"
    work_dir.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        average, start = state["average"], state["step"]
    model.train()
    bar = tqdm(total=steps, initial=start, desc=name, mininterval=5)
    smooth: float | None = None
    for step, batch in enumerate(parallel_batches(make_batch, start, steps), start):
        torch.manual_seed(step)
        loss = loss_of(batch, step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        optimizer.step()
        schedule.step()
        # The average's horizon grows with the step, so that the random start is soon forgotten.
        decay = min(ema_decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        bar.set_postfix_str(f"loss {smooth:.4f}", refresh=False)
        bar.update()
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "average": average,
                "step": step + 1,
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
    bar.close()
    if ema_decay:
        with torch.no_grad():
            for parameter, value in zip(parameters, average, strict=True):
                parameter.copy_(value)
    model.eval()
