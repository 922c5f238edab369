"""One training loop for all stages, on accelerate: one process or many, with or without mixed precision.

AdamW with a learning rate for each part, warm-up and cosine; examples drawn ahead by workers; a progress bar and
log.jsonl; checkpoints to go on from; and at the end a report of what the stage improved, with the proof that what
had to stay frozen did.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object, set_seed
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from anygpt.config import ConfigError
from anygpt.frozen import fingerprint
from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from stages import checkpoints
from stages.assembly import open_model
from stages.config import TrainingConfig, compare
from stages.data import batches, prompts_of
from stages.journal import Journal, check_tracker, told
from stages.sharding import shard, whole
from stages.stage import Stage

Number = TypeVar("Number", int, float)
MOST_SKIPPED = 10  # steps in a row without a usable gradient: then it gives up


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

    def forward(
        self, batch: Sequence[Prompt], step: int, whole: Counter[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = self.stage.loss(self.model, batch, step, whole)
        # Nothing that trains may have had a part in it, as in stage 1 where a batch is text alone; and processes that share
        # weights out put gradients together by their sizes, so that all must have them.
        if not loss.requires_grad or isinstance(self, FSDPModule):
            there = [p for p in self.model.parameters() if p.requires_grad and not isinstance(p, DTensor)]
            loss = loss + 0.0 * sum(p.sum() for p in there)
        return loss, parts

    @torch.no_grad()
    def figures(self, validation: list[list[Prompt]]) -> dict[str, float]:
        """The losses on the examples kept apart, always with the same noise, and the stage's own figures."""
        self.model.eval()
        sums: dict[str, list[float]] = {}
        with torch.random.fork_rng():
            for index, batch in enumerate(validation):
                torch.manual_seed(index)
                loss, parts = self.stage.loss(self.model, batch, 0)
                for name, value in {"loss": loss, **parts}.items():
                    sums.setdefault(name, []).append(float(value))
        losses = {name: sum(values) / len(values) for name, values in sums.items()}
        return {name: round(value, 4) for name, value in {**losses, **self.stage.measure(self.model)}.items()}


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
    output = Path(config.output)
    if config.log_with is not None:
        check_tracker(config.log_with)
    accelerator = Accelerator(
        mixed_precision="bf16" if config.dtype == "bfloat16" else "no",
        log_with=config.log_with,
        project_dir=output,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    stage.processes = accelerator.num_processes
    found = checkpoints.newest(output / "checkpoints")
    if found and not resume:
        raise ConfigError(f"{output} holds a run already: go on with --resume, or choose another output")
    settings = json.loads(json.dumps(dataclasses.asdict(config) | {"processes": stage.processes}))
    if found:
        state = checkpoints.read_state(found)
        for change in compare(state["settings"], settings, found):
            _show(accelerator, change)
        state["settings"] = settings
        stage.skipped.read, stage.skipped.left_out = state["items"][accelerator.process_index]
    set_seed(config.seed)
    sharded = config.fsdp and stage.processes > 1
    model = open_model(config.model, config.parts)
    if not sharded:  # which goes there share by share
        model.to(accelerator.device)
    groups = stage.prepare(model)
    stage.use_precomputed(model)
    if config.dtype == "bfloat16":
        for parameter in model.llm.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.bfloat16()
    step_module = _Step(stage, model)
    if sharded:
        groups = shard(step_module, model.llm, groups, accelerator.device)
        register_fsdp_forward_method(step_module, "figures")
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "name": name} for name, parameters in groups.items()],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=config.weight_decay,
    )
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    frozen = {name: fingerprint(part) for name, part in stage.frozen(model).items()}
    validation = prompts_of(
        stage.examples("validation"),
        model.processor,
        config.batch_size,
        _longest(model, config),
        stage.skipped,
    )

    def figures() -> dict[str, float]:
        with accelerator.autocast():
            return step_module.figures(validation)

    if found:
        checkpoints.load(found, trained, optimizer)
    else:
        state = {
            "step": 0,
            "seconds": 0.0,
            "skipped": 0,
            "skipped in a row": 0,
            "losses": {},
            "before": figures(),
            "settings": settings,
        }
        _show(accelerator, f"before: {told(state['before'])}")
    output.mkdir(parents=True, exist_ok=True)
    accelerator.init_trackers(stage.name, {key: str(value) for key, value in settings.items()})
    _loop(step_module, optimizer, trained, state, accelerator)

    after = figures()
    changed = [name for name, part in stage.frozen(model).items() if fingerprint(part) != frozen[name]]
    if changed:
        raise TrainingError(f"frozen parts changed in training: {', '.join(changed)}; nothing was saved")
    read, left_out = (sum(counts) for counts in zip(*_items(stage)))
    report = {
        "stage": stage.name,
        "steps": state["step"],
        "processes": stage.processes,
        "skipped": state["skipped"],
        "items read": read,
        "items left out": left_out,
        "seconds": round(state["seconds"], 1),
        "before": state["before"],
        "after": after,
        "trained": {name: sum(p.numel() for p in parameters) for name, parameters in groups.items()},
        "frozen": frozen,
    }
    weights = whole(dict(trained)) if sharded else {}
    if accelerator.is_main_process:
        if sharded:
            model = _with_weights(stage, weights)
        model.save_pretrained(output)
        temporary = output / f".report.json.{os.getpid()}"
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, output / "report.json")
    accelerator.wait_for_everyone()
    _show(accelerator, f"before: {told(state['before'])}\nafter:  {told(after)}")
    if left_out:
        _show(accelerator, f"{left_out} of {read} items left out: {stage.skipped.path}")
    _show(accelerator, f"{len(frozen)} frozen parts unchanged; saved to {output}")
    accelerator.end_training()
    return report


@torch.no_grad()
def _with_weights(stage: Stage[Any], weights: dict[str, Tensor]) -> AnyGPT:
    """The model that the stage starts from, with what was trained; to be saved."""
    model = open_model(stage.config.model, stage.config.parts)
    stage.prepare(model)
    own = dict(model.named_parameters())
    for name, value in weights.items():
        own[name].copy_(value)
    return model


def _longest(model: AnyGPT, config: TrainingConfig) -> int | None:
    """Tokens that the LLM can read, by which a person's data are checked."""
    return getattr(model.llm.config, "max_position_embeddings", None) if config.data is not None else None


def _loop(
    step_module: _Step,
    optimizer: torch.optim.Optimizer,
    trained: dict[str, nn.Parameter],
    state: dict[str, Any],
    accelerator: Accelerator,
) -> None:
    """The steps from `state["step"]` on; updates `state`."""
    stage, model = step_module.stage, step_module.model
    config: TrainingConfig = stage.config
    stepper = optimizer
    loss_of: Any = step_module
    if not isinstance(step_module, FSDPModule):
        loss_of, stepper = accelerator.prepare(step_module, optimizer)
    start = state["step"]
    examples = batches(
        stage.examples("training"),
        model.processor,
        batch_size=config.batch_size,
        accumulation=config.gradient_accumulation,
        steps=stage.steps,
        start=start,
        seed=config.seed,
        workers=config.workers,
        process=accelerator.process_index,
        processes=accelerator.num_processes,
        longest=_longest(model, config),
        packing=config.packing,
        skipped=stage.skipped if config.data is not None else None,
    )

    def save() -> None:
        state["items"] = _items(stage)
        main = accelerator.is_main_process
        checkpoints.save(Path(config.output) / "checkpoints", trained, optimizer, state, main=main)

    model.train()
    journal = Journal(stage.name, Path(config.output), stage.steps, config.log_steps, state, accelerator)
    with _stop_signals() as caught, journal:
        for step, parts_of_step in enumerate(examples, start):
            # Noise depends on the step alone, so that an interrupted run goes on as if it had not been.
            torch.manual_seed(
                config.seed * 1_000_003 + step * accelerator.num_processes + accelerator.process_index
            )
            factor = rate_factor(step, stage.steps, config.warmup)
            for group in optimizer.param_groups:
                rate = config.learning_rates.get(group["name"], config.learning_rate)
                group["lr"], group["weight_decay"] = rate * factor, config.weight_decay
            own = _added(stage.items(batch, step) for batch in parts_of_step)
            items = Counter(_added(gather_object([own])))
            losses = []
            for number, batch in enumerate(parts_of_step, 1):
                # processes put their gradients together once a step
                apart = number < len(parts_of_step)
                with accelerator.no_sync(loss_of) if apart else nullcontext(), accelerator.autocast():
                    loss, parts = loss_of(batch, step, items)
                    # accelerate takes the mean over processes, and this is their sum
                    accelerator.backward(loss * accelerator.num_processes)
                losses.append(
                    {name: float(value) for name, value in {"loss": loss.detach(), **parts}.items()}
                )
            # What had no part in the step is treated alike, whichever process or batch had none of it: AdamW's averages go on.
            for parameter in trained.values():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            norm = whole(accelerator.clip_grad_norm_(list(trained.values()), config.max_grad_norm))
            if norm is None or torch.isfinite(norm):
                stepper.step()
                state["skipped in a row"] = 0
            else:
                state["skipped in a row"] += 1
                state["skipped"] += 1
            stepper.zero_grad()
            if state["skipped in a row"] >= MOST_SKIPPED:
                raise TrainingError(
                    f"no finite gradient in {MOST_SKIPPED} steps up to step {step + 1}; --resume goes on from the last "
                    "checkpoint, with a lower learning_rate perhaps"
                )
            state["step"] = step + 1
            # Processes hear a signal at different steps; all stop at the first one's.
            heard = gather_object([(_added(losses), caught[0] if caught else 0)])
            journal.step(
                _added(theirs for theirs, _ in heard), float(norm or 0), config.learning_rate * factor
            )
            if stop := max(number for _, number in heard):
                save()
                raise Interrupted(stop, step + 1)
            if (step + 1) % config.checkpoint_steps == 0 or step + 1 == stage.steps:
                save()
    model.eval()


def _added(rows: Iterable[Mapping[str, Number]]) -> dict[str, Number]:
    """The sum of several rows of figures, name by name."""
    sums: dict[str, Number] = {}
    for name, value in (item for row in rows for item in row.items()):
        sums[name] = sums[name] + value if name in sums else value
    return sums


def _items(stage: Stage[Any]) -> list[tuple[int, int]]:
    """How many of the data's items each process has read, and left out."""
    return gather_object([(stage.skipped.read, stage.skipped.left_out)])


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """The share of the highest learning rate at a step of `steps`: linear warm-up (a share of them), then a cosine to nothing."""
    warm = warmup * steps
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


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


def _show(accelerator: Accelerator, text: str) -> None:
    if accelerator.is_main_process:
        print(text, flush=True)
