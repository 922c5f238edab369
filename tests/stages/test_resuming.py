"""A run that is killed and goes on comes to the same end, bit for bit; and so do several processes, and several batches a step."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from damage import corpus
from data_files import publish
from safetensors.torch import load_file
from short_runs import STAGES, stage_on
from torch import Tensor

from anygpt.data import Source
from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from stages import checkpoints
from stages.losses import Captions
from stages.stage import Stage
from stages.training import train

ROOT = Path(__file__).parents[2]
STEPS = 60


def weights(folder: Path) -> dict[str, Tensor]:
    lora = folder / "lora" / "adapter_model.safetensors"
    return load_file(folder / "model.safetensors") | (load_file(lora) if lora.exists() else {})


def log(folder: Path) -> list[dict[str, Any]]:
    """The run's log without what may differ: time and memory."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: v for key, v in line.items() if "seconds" not in key and key != "memory"} for line in lines]


def left_out(folder: Path) -> set[tuple[str, int]]:
    rows = [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]
    return {(row["source"], row["row"]) for row in rows}


def assert_same_end(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert log(one) == log(other) and [line["step"] for line in log(one)] == list(range(1, STEPS + 1))
    assert left_out(one) == left_out(other)
    reports = [json.loads((folder / "report.json").read_text()) for folder in (one, other)]
    assert all(report.pop("seconds") >= 0 for report in reports) and reports[0] == reports[1]


def mixture(folder: Path) -> tuple[Source, ...]:
    """Media of all kinds, good and damaged, and dialogues that make them."""
    path, _ = corpus(folder / "corpus", good=20)
    pairs = next(entry.source for name, entry in publish(folder).items() if name == "nextgpt t2x")
    return Source("messages", str(path), weight=1.0), Source(
        pairs.format, pairs.path, pairs.media, weight=1.0
    )


def killed(stage: Stage[Any], step: int, *, resume: bool) -> None:
    """Train in a process of its own that is killed in a step, as by a machine that fails."""

    class Killed(type(stage)):  # type: ignore[misc]
        def losses(self, model: AnyGPT, batch: Sequence[Prompt], at: int) -> dict[str, Tensor]:
            if at == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().losses(model, batch, at)

    child = os.fork()
    if not child:
        try:
            train(Killed(stage.config), resume=resume)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "packing"), [*((name, False) for name in STAGES), ("modality-switching", True)]
)
def test_a_run_killed_three_times_comes_to_the_same_end(
    name: str, packing: bool, checkpoint: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"steps": STEPS, "data": mixture(tmp_path), "max_skipped": 0.9, "workers": 2}
    settings["packing"] = packing
    settings |= {"checkpoint_steps": 3, "seed": 3, "gradient_accumulation": 2, "batch_size": 2}
    if name == "modality-switching":
        settings["lora_dropout"] = 0.1
    kind = STAGES[name]
    train(stage_on(kind, checkpoint, tmp_path / "whole", **settings))
    stage = stage_on(kind, checkpoint, tmp_path / "killed", **settings)
    for number, step in enumerate(sorted(random.Random(name).sample(range(4, STEPS), 3))):
        killed(stage, step, resume=number > 0)
        newest = checkpoints.newest(tmp_path / "killed" / "checkpoints")
        assert newest is not None and newest.name == f"step-{step // 3 * 3:08d}"
    train(stage_on(kind, checkpoint, tmp_path / "killed", **settings), resume=True)
    assert_same_end(tmp_path / "whole", tmp_path / "killed")


def test_a_captions_embedding_is_the_same_whatever_is_asked_with_it() -> None:
    """A run that goes on knows other captions than one that was never stopped."""
    model = AnyGPT.from_pretrained("anygpt-tiny")
    names = [f"a {pitch} {shape} sound" for pitch in ("high", "low") for shape in ("star", "ring", "heart")]
    names += [f"a {name} that rises" for name in names]
    for modality in ("audio", "image"):
        together = Captions()(model, modality, names)
        captions = Captions()
        for sizes in (names[3:4], names[1:6], names):
            again = captions(model, modality, sizes)
        assert torch.equal(again, together)


@pytest.mark.slow
def test_several_batches_a_step_are_as_one_large_one(checkpoint: Path, tmp_path: Path) -> None:
    """In every stage, with the losses of each modality that only some batches have."""
    for name, kind in STAGES.items():
        settings: dict[str, Any] = {"steps": 8, "learning_rate": 1e-3}
        if name == "decoder-alignment":
            settings |= {"near_weight": 0.5, "denoising_weight": 0.0}  # whose noise is each batch's own
        one = stage_on(kind, checkpoint, tmp_path / name / "one", batch_size=8, **settings)
        two = stage_on(
            kind, checkpoint, tmp_path / name / "two", batch_size=4, gradient_accumulation=2, **settings
        )
        train(one)
        train(two)
        assert_about_same(tmp_path / name / "one", tmp_path / name / "two")


def assert_about_same(one: Path, other: Path) -> None:
    first, second = log(one), log(other)
    assert len(first) == len(second) >= 8
    for line, told in zip(first, second, strict=True):
        assert line.keys() == told.keys()
        for key in line:
            assert line[key] == pytest.approx(told[key], rel=1e-5, abs=2e-5), (line["step"], key)


def launch(
    checkpoint: Path, output: Path, *arguments: str, name: str = "encoding-alignment", **settings: Any
) -> subprocess.Popen[str]:
    """Two processes of a stage, over gloo; `accelerate launch --cpu` would start one, whatever it is told."""
    stage = stage_on(STAGES[name], checkpoint, output, **settings)
    values = {key: value for key, value in vars(stage.config).items() if value is not None}
    if "data" in values:
        values["data"] = [
            {key: value for key, value in vars(source).items() if value is not None}
            for source in values["data"]
        ]
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.Popen(
        [*command, "-m", f"stages.{name.replace('-', '_')}", "--config", str(path), *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str]) -> None:
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, out[-3000:]


def killed_together(process: subprocess.Popen[str], output: Path) -> None:
    """Kill both processes in about their tenth step."""
    written = output / "log.jsonl"
    deadline = time.monotonic() + 300
    while not (written.exists() and written.read_text().count("\n") >= 9):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    # both at once, not their launcher, which would let the other one save; it ends by itself then, and so do the workers
    children = [
        int(line) for line in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    assert len(children) == 2
    for child in children:
        os.kill(child, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not (output / "report.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "packing"),
    [("encoding-alignment", True), ("decoder-alignment", False), ("modality-switching", False)],
)
def test_two_processes_are_as_one_and_go_on_together_after_a_kill(
    name: str, packing: bool, checkpoint: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"steps": 30, "data": mixture(tmp_path), "max_skipped": 0.9, "workers": 2}
    settings |= {"checkpoint_steps": 4, "learning_rate": 1e-3, "packing": packing}
    if name == "decoder-alignment":
        settings["denoising_weight"] = 0.0  # whose noise is each process's own
    train(stage_on(STAGES[name], checkpoint, tmp_path / "one", batch_size=8, **settings))
    settings |= {"batch_size": 4, "name": name}
    finished(launch(checkpoint, tmp_path / "two", **settings))
    assert_about_same(tmp_path / "one", tmp_path / "two")
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two")]
    assert [report["processes"] for report in reports] == [1, 2]
    assert reports[0]["items read"] == reports[1]["items read"]
    assert left_out(tmp_path / "one") == left_out(tmp_path / "two")

    killed_together(launch(checkpoint, tmp_path / "killed", **settings), tmp_path / "killed")
    finished(launch(checkpoint, tmp_path / "killed", "--resume", **settings))
    first, second = weights(tmp_path / "two"), weights(tmp_path / "killed")
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert log(tmp_path / "two") == log(tmp_path / "killed")


@pytest.mark.slow
def test_processes_that_share_the_weights_out_save_what_one_process_saves(
    checkpoint: Path, tmp_path: Path
) -> None:
    """FSDP2, a frozen LLM with LoRA and all else that trains; and a run of it that is killed goes on."""
    settings: dict[str, Any] = {"steps": 12, "data": mixture(tmp_path), "max_skipped": 0.9, "packing": True}
    settings |= {"checkpoint_steps": 4, "learning_rate": 1e-3}
    stage = stage_on(STAGES["modality-switching"], checkpoint, tmp_path / "one", batch_size=8, **settings)
    train(stage)
    settings |= {"batch_size": 4, "fsdp": True, "name": "modality-switching"}
    finished(launch(checkpoint, tmp_path / "shared", **settings))
    assert_about_same(tmp_path / "one", tmp_path / "shared")
    one, shared = ((tmp_path / name / "checkpoints" / "step-00000012") for name in ("one", "shared"))
    for files in ("weights.safetensors", "model"):
        first, second = (
            weights(folder.parents[1]) if files == "model" else load_file(folder / files)
            for folder in (one, shared)
        )
        assert first.keys() == second.keys() and any("lora" in key for key in first)
        far = {key: (first[key] - second[key]).abs() for key in first}
        # AdamW makes a step of what is nothing but rounding, where a gradient should be 0
        assert max(float(value.max()) for value in far.values()) < 1e-3
        assert float(torch.cat([value.flatten() for value in far.values()]).mean()) < 1e-6
    first, second = (torch.load(folder / "optimizer.pt", weights_only=True) for folder in (one, shared))
    assert first["state"].keys() == second["state"].keys()
    for number, averages in first["state"].items():
        for key, value in averages.items():
            assert torch.allclose(value, second["state"][number][key], rtol=1e-2, atol=1e-5), (number, key)
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "shared")]
    assert reports[0]["frozen"] == reports[1]["frozen"] and reports[0]["trained"] == reports[1]["trained"]
    assert reports[0]["after"] == pytest.approx(reports[1]["after"], abs=2e-4)

    killed_together(launch(checkpoint, tmp_path / "killed", **settings), tmp_path / "killed")
    finished(launch(checkpoint, tmp_path / "killed", "--resume", **settings))
    first, second = weights(tmp_path / "shared"), weights(tmp_path / "killed")
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert log(tmp_path / "shared") == log(tmp_path / "killed")
