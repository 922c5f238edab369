"""A training run's checkpoints: folders written aside and renamed, so that each is whole or not there.

step-00000500/weights.safetensors   what trains
              optimizer.pt          AdamW's averages
              state.json            how far the run was, and its figures before the first step
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

KEPT = 2  # checkpoints


def newest(folder: Path) -> Path | None:
    """The newest checkpoint in `folder`; None where there is none yet."""
    return max(folder.glob("step-[0-9]*"), default=None)


def save(
    folder: Path, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write a checkpoint of `state["step"]` steps, and forget all but the newest `KEPT`."""
    path = folder / f"step-{state['step']:08d}"
    temporary = folder / ".unfinished"  # one is left where a process was killed
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(
        {name: value.detach().contiguous() for name, value in parameters.items()},
        temporary / "weights.safetensors",
    )
    torch.save(optimizer.state_dict(), temporary / "optimizer.pt")
    (temporary / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(path, ignore_errors=True)
    os.replace(temporary, path)
    for old in sorted(folder.glob("step-[0-9]*"))[:-KEPT]:
        shutil.rmtree(old)


@torch.no_grad()
def load(path: Path, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Read a checkpoint into the parameters and the optimiser; returns its state.

    Raises:
        ValueError: it is of another model or stage.
    """
    weights = load_file(path / "weights.safetensors")
    sizes = {name: value.shape for name, value in parameters.items()}
    if {name: value.shape for name, value in weights.items()} != sizes:
        raise ValueError(
            f"the checkpoint {path} holds other weights than this stage trains; its model or stage is another"
        )
    for name, value in parameters.items():
        value.copy_(weights[name])
    optimizer.load_state_dict(torch.load(path / "optimizer.pt", weights_only=True, map_location="cpu"))
    return json.loads((path / "state.json").read_text(encoding="utf-8"))
