"""A training run's checkpoints: folders written aside and renamed, so that each is whole or not there.

step-00000500/weights.safetensors   what trains
              optimizer.pt          AdamW's averages
              state.json            how far the run was, its settings, and its figures before the first step
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from stages.sharding import shared_as, whole

KEPT = 2  # checkpoints


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written; the ones before it are whole."""


def newest(folder: Path) -> Path | None:
    """The newest checkpoint in `folder`; None where there is none yet."""
    return max(folder.glob("step-[0-9]*"), default=None)


def save(
    folder: Path,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    *,
    main: bool = True,
) -> None:
    """Write a checkpoint of `state["step"]` steps, and forget all but the newest `KEPT`.

    Args:
        main: this process writes; the others give it their shares, where there are any.

    Raises:
        CheckpointError: the disk is full, or the folder cannot be written.
    """
    weights, averages = whole(dict(parameters)), whole(optimizer.state_dict())
    if not main:
        return
    path = folder / f"step-{state['step']:08d}"
    temporary = folder / ".unfinished"  # one is left where a process was killed
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        save_file(
            {name: value.detach().contiguous() for name, value in weights.items()},
            temporary / "weights.safetensors",
        )
        torch.save(averages, temporary / "optimizer.pt")
        (temporary / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        for file in temporary.iterdir():  # to the disk, before the name says that they are there
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # each library has its own for a full disk
        shutil.rmtree(temporary, ignore_errors=True)
        last = newest(folder)
        kept = f"; {last.name} is kept, and --resume goes on from there" if last else ""
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"the checkpoint of step {state['step']} cannot be written to {folder} ({reason}){kept}"
        ) from error
    for old in sorted(folder.glob("step-[0-9]*"))[:-KEPT]:
        shutil.rmtree(old)


def read_state(path: Path) -> dict[str, Any]:
    """The state in a checkpoint.

    Raises:
        ValueError: it was written by an earlier version, which kept no settings.
    """
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if "settings" not in state:
        raise ValueError(f"the checkpoint {path} is of an earlier version of anygpt; choose another output")
    return state


@torch.no_grad()
def load(path: Path, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    """Read a checkpoint into the parameters and the optimiser.

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
        value.copy_(shared_as(weights[name], value))
    kept = torch.load(path / "optimizer.pt", weights_only=True, map_location="cpu")
    in_order = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept["state"] = {
        number: {name: shared_as(value, in_order[number]) for name, value in averages.items()}
        for number, averages in kept["state"].items()
    }
    optimizer.load_state_dict(kept)
