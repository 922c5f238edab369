"""What a run would be, without its weights: what trains, how much memory each part takes, how many steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from anygpt.checkpoint import stored_bytes
from stages.assembly import outline
from stages.config import TrainingConfig
from stages.stage import Stage

GIB = 2**30
STATES = 2  # numbers that AdamW keeps of each that trains


def dry_run(stage: Stage[Any], processes: int = 1) -> str:
    """The account of a run as a Markdown table and a line, from the model on the meta device.

    Memory is that of weights, gradients and AdamW's averages, in each process; what a batch takes comes on top.

    Raises:
        ConfigError: settings, data or a model that cannot be used.
    """
    config: TrainingConfig = stage.config
    stage.processes = processes
    model = outline(config.model, config.parts)
    with torch.device("meta"):
        groups = stage.prepare(model)
    if config.data is not None:
        stage.examples("training")  # opens every source
    frozen_size = 2 if config.dtype == "bfloat16" else 4
    trains = {id(parameter) for parameters in groups.values() for parameter in parameters}
    rows = [_row(name, parameters, 4, trains=True) for name, parameters in groups.items()]
    own: dict[str, nn.Module] = {
        name: part for name, part in model.trainable_parts().items() if name not in groups
    }
    for name, part in {**own, "llm": model.llm}.items():
        others = [p for p in part.parameters() if id(p) not in trains and p.numel()]
        if others:
            rows.append(_row(name, others, frozen_size if name == "llm" else 4, trains=False))
    parts = {f"encoder {entry.encoder}": entry.encoder for entry in model.config.adapted.values()}
    parts |= {f"decoder {entry.decoder}": entry.decoder for entry in model.config.outputs.values()}
    for name, folder in parts.items():
        size = stored_bytes(folder, model.root)
        rows.append((name, "", "no", size))
    known = sum(size for *_, size in rows if size is not None)
    lines = ["| part | parameters | trains | GiB |", "| --- | ---: | --- | ---: |"]
    lines += [
        f"| {name} | {number} | {trains} | {'not here' if size is None else f'{size / GIB:.3f}'} |"
        for name, number, trains, size in [*rows, ("all", "", "", known)]
    ]
    shape = f"{processes} × {config.gradient_accumulation} × {config.batch_size}"
    lines.append(
        f"{stage.steps} steps of {stage.step_size} examples ({shape}: processes × batches × batch_size), "
        f"{stage.steps * stage.step_size} in all, of {stage.size('training')} different ones"
    )
    return "\n".join(lines)


def _row(
    name: str, parameters: Iterable[nn.Parameter], size: int, *, trains: bool
) -> tuple[str, str, str, int | None]:
    """A part's line; what trains has a gradient and AdamW's averages besides."""
    number = sum(parameter.numel() for parameter in parameters)
    return name, f"{number:,}", "yes" if trains else "no", number * size * (2 + STATES if trains else 1)
