"""One training loop for all stages, on accelerate: one process or many, with or without mixed precision.

AdamW with a learning rate for each part, warm-up and cosine; examples drawn ahead by workers; a progress bar and
log.jsonl; checkpoints to go on from; and at the end a report of what the stage improved, with the proof that what
had to stay frozen did.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import Tensor, nn
from tqdm import tqdm

from anygpt.config import ConfigError
from anygpt.frozen import fingerprint
from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from stages import checkpoints
from stages.assembly import open_model
from stages.config import TrainingConfig, read_config
from stages.data import batches, prompts_of
from stages.stage import Stage

MOST_SKIPPED = 50  # steps in a row without a usable gradient, before giving up


class TrainingError(RuntimeError):
    """A run that cannot go on, or that did what it must not."""


class Interrupted(Exception):
    """The run was asked to stop, and has saved a checkpoint."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped after step {step} and saved; --resume goes on from there")
        self.number = number


class _Step(nn.Module):
    """A stage's loss as a module's forward pass, which is what processes that train together wrap."""

    def __init__(self, stage: Stage[Any], model: AnyGPT) -> None:
        super().__init__()
        self.stage, self.model = stage, model

    def forward(self, batch: Sequence[Prompt], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = self.stage.loss(self.model, batch, step)
        # Nothing that trains may have had a part in it, as in stage 1 where a batch is text alone.
        if not loss.requires_grad:
            loss = loss + 0.0 * next(p for p in self.model.parameters() if p.requires_grad).sum()
        return loss, parts


def train(stage: Stage[Any], *, resume: bool = False) -> dict[str, Any]:
    """Run a stage to its end: the model lands in its `output` folder, beside `report.json`, which is returned.

    Args:
        resume: go on from the newest checkpoint in the output folder; with none there, begin.

    Raises:
        ConfigError: settings or a model that cannot be used.
        Interrupted: on SIGTERM or Ctrl-C, once a checkpoint is saved.
        TrainingError: no usable gradient for long, or a frozen part that changed.
    """
    config: TrainingConfig = stage.config
    accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    output = Path(config.output)
    found = checkpoints.newest(output / "checkpoints")
    if found and not resume:
        raise ConfigError(f"{output} holds a run already: go on with --resume, or choose another output")
    set_seed(config.seed)
    model = open_model(config.model, config.parts).to(accelerator.device)
    groups = stage.prepare(model)
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "name": name} for name, parameters in groups.items()],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=config.weight_decay,
    )
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    frozen = {name: fingerprint(part) for name, part in stage.frozen(model).items()}
    longest = _longest(model, config)
    validation = prompts_of(
        stage.examples("validation"), model.processor, config.batch_size, longest, stage.skipped
    )
    if found:
        state = checkpoints.load(found, trained, optimizer)
        stage.skipped.read, stage.skipped.left_out = (
            state.get("items read", 0),
            state.get("items left out", 0),
        )
    else:
        state = {
            "step": 0,
            "seconds": 0.0,
            "skipped": 0,
            "items read": 0,
            "items left out": 0,
            "before": _figures(stage, model, validation),
        }
        _show(accelerator, f"before: {_told(state['before'])}")
    output.mkdir(parents=True, exist_ok=True)
    _loop(stage, model, optimizer, trained, state, accelerator)

    after = _figures(stage, model, validation)
    changed = [name for name, part in stage.frozen(model).items() if fingerprint(part) != frozen[name]]
    if changed:
        raise TrainingError(f"frozen parts changed in training: {', '.join(changed)}; nothing was saved")
    report = {
        "stage": stage.name,
        "steps": state["step"],
        "skipped": state["skipped"],
        "items read": stage.skipped.read,
        "items left out": stage.skipped.left_out,
        "seconds": round(state["seconds"], 1),
        "before": state["before"],
        "after": after,
        "trained": {name: sum(p.numel() for p in parameters) for name, parameters in groups.items()},
        "frozen": frozen,
    }
    if accelerator.is_main_process:
        model.save_pretrained(output)
        temporary = output / f".report.json.{os.getpid()}"
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, output / "report.json")
    accelerator.wait_for_everyone()
    _show(accelerator, f"before: {_told(state['before'])}\nafter:  {_told(after)}")
    if left_out := stage.skipped.left_out:
        _show(accelerator, f"{left_out} of {stage.skipped.read} items left out: {stage.skipped.path}")
    _show(accelerator, f"{len(frozen)} frozen parts unchanged; saved to {output}")
    return report


def _longest(model: AnyGPT, config: TrainingConfig) -> int | None:
    """Tokens that the LLM can read, by which a person's data are checked."""
    return getattr(model.llm.config, "max_position_embeddings", None) if config.data is not None else None


def _loop(
    stage: Stage[Any],
    model: AnyGPT,
    optimizer: torch.optim.Optimizer,
    trained: dict[str, nn.Parameter],
    state: dict[str, Any],
    accelerator: Accelerator,
) -> None:
    """The steps from `state["step"]` on; updates `state`."""
    config: TrainingConfig = stage.config
    step_module, stepper = accelerator.prepare(_Step(stage, model), optimizer)
    start, begun, before = state["step"], time.monotonic(), state["seconds"]
    examples = batches(
        stage.examples("training"),
        model.processor,
        batch_size=config.batch_size,
        steps=config.steps,
        start=start,
        seed=config.seed,
        workers=config.workers,
        process=accelerator.process_index,
        processes=accelerator.num_processes,
        longest=_longest(model, config),
        skipped=stage.skipped if config.data is not None else None,
    )

    def save() -> None:
        if accelerator.is_main_process:
            checkpoints.save(Path(config.output) / "checkpoints", trained, optimizer, state)

    model.train()
    smooth: dict[str, float] = {}
    skipped = 0  # in a row
    bar = tqdm(
        total=config.steps,
        initial=start,
        desc=stage.name,
        disable=not accelerator.is_main_process,
        mininterval=1,
    )
    with _stop_signals() as caught, bar:
        for step, batch in enumerate(examples, start):
            # Noise depends on the step alone, so that an interrupted run goes on as if it had not been.
            torch.manual_seed(
                config.seed * 1_000_003 + step * accelerator.num_processes + accelerator.process_index
            )
            for group in optimizer.param_groups:
                rate = config.learning_rates.get(group["name"], config.learning_rate)
                group["lr"] = rate * rate_factor(step, config)
            loss, parts = step_module(batch, step)
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(list(trained.values()), config.max_grad_norm)
            if norm is None or torch.isfinite(norm):
                stepper.step()
                skipped = 0
            else:
                skipped += 1
                state["skipped"] += 1
            stepper.zero_grad()
            if skipped > MOST_SKIPPED:
                raise TrainingError(
                    f"no finite gradient in {skipped} steps up to step {step}; try a lower learning_rate"
                )
            state["step"], state["seconds"] = step + 1, before + time.monotonic() - begun
            state["items read"], state["items left out"] = stage.skipped.read, stage.skipped.left_out
            for name, value in {"loss": loss.detach(), **parts}.items():
                if math.isfinite(number := float(value)):
                    smooth[name] = 0.95 * smooth.get(name, number) + 0.05 * number
            bar.set_postfix_str(_told(smooth), refresh=False)
            bar.update()
            if accelerator.is_main_process and (step + 1) % config.log_steps == 0:
                _log(Path(config.output), state, smooth, float(norm or 0), config)
            # Processes hear a signal at different steps; all stop at the first one's.
            heard = torch.tensor([caught[0] if caught else 0], device=accelerator.device)
            if stop := int(accelerator.gather(heard).max()):
                save()
                raise Interrupted(stop, step + 1)
            if (step + 1) % config.checkpoint_steps == 0 or step + 1 == config.steps:
                save()
    model.eval()


def rate_factor(step: int, config: TrainingConfig) -> float:
    """The share of the highest learning rate at a step: linear warm-up, then a cosine to nothing."""
    warm = config.warmup * config.steps
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (config.steps - warm)))


@torch.no_grad()
def _figures(stage: Stage[Any], model: AnyGPT, validation: list[list[Prompt]]) -> dict[str, float]:
    """The losses on the examples kept apart, always with the same noise, and the stage's own figures."""
    model.eval()
    sums: dict[str, list[float]] = {}
    with torch.random.fork_rng():
        for index, batch in enumerate(validation):
            torch.manual_seed(index)
            loss, parts = stage.loss(model, batch, 0)
            for name, value in {"loss": loss, **parts}.items():
                sums.setdefault(name, []).append(float(value))
    losses = {name: sum(values) / len(values) for name, values in sums.items()}
    return {name: round(value, 4) for name, value in {**losses, **stage.measure(model)}.items()}


def _log(
    output: Path, state: dict[str, Any], losses: dict[str, float], norm: float, config: TrainingConfig
) -> None:
    line = {
        "step": state["step"],
        **{name: round(value, 5) for name, value in losses.items()},
        "gradient": round(norm, 5) if math.isfinite(norm) else None,
        "rate": config.learning_rate * rate_factor(state["step"] - 1, config),
        "skipped": state["skipped"],
        "seconds": round(state["seconds"], 1),
    }
    with (output / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that fills when SIGTERM or Ctrl-C comes; a second one ends the process as ever."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _told(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())


def _show(accelerator: Accelerator, text: str) -> None:
    if accelerator.is_main_process:
        print(text, flush=True)


class _Arguments(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as all others of the command line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def run(kind: type[Stage[Any]], arguments: Sequence[str] | None = None) -> int:
    """A stage's command line; returns the exit code: 0, 2 for a mistake of the user's, 128 + a signal's number."""
    about = (kind.__doc__ or "").partition("\n")[0]
    parser = _Arguments(prog=f"anygpt train {kind.name}", description=about)
    parser.add_argument("--config", required=True, metavar="FILE", help="the stage's settings, a YAML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting in place of the file's"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint, where there is one"
    )
    parser.add_argument(
        "--max-skipped",
        metavar="SHARE",
        help="of the data's items, may be left out; as --set max_skipped=SHARE",
    )
    try:
        given = parser.parse_args(arguments)
        changes = [*given.set, *([f"max_skipped={given.max_skipped}"] if given.max_skipped else [])]
        train(kind(read_config(kind.settings, given.config, changes)), resume=given.resume)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.number
    except KeyboardInterrupt:  # before the first step there is nothing to save
        return 128 + signal.SIGINT
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:  # OSError: transformers' for a frozen part that is not there
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0
