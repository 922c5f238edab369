"""The loop: going on after a stop, bad gradients, the log, and the command line."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from short_runs import STAGES, stage_on
from torch import Tensor

from anygpt.config import ConfigError
from anygpt.data import Source
from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from stages import checkpoints, encoding_alignment
from stages.checkpoints import CheckpointError
from stages.config import TrainingConfig
from stages.decoder_alignment import DecoderAlignment
from stages.encoding_alignment import EncodingAlignment
from stages.stage import Stage
from stages.training import Interrupted, TrainingError, rate_factor, train

ROOT = Path(__file__).parents[2]


def result(folder: Path) -> dict[str, Tensor]:
    lora = folder / "lora" / "adapter_model.safetensors"
    return load_file(folder / "model.safetensors") | (load_file(lora) if lora.exists() else {})


@pytest.mark.parametrize(
    ("name", "number"), [("modality-switching", signal.SIGTERM), ("decoder-alignment", signal.SIGINT)]
)
def test_a_stopped_run_goes_on_to_the_same_end(
    name: str, number: int, checkpoint: Path, tmp_path: Path
) -> None:
    kind = STAGES[name]

    class Stopped(kind):  # type: ignore[valid-type, misc]
        """Asked to stop in its third step."""

        def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
            if step == 2:
                os.kill(os.getpid(), number)
            return super().losses(model, batch, step)

    settings: dict[str, Any] = {
        "steps": 5,
        "examples": 8,
    }  # examples come again: kept features must not matter
    whole = train(stage_on(kind, checkpoint, tmp_path / "whole", **settings))
    stopped = stage_on(Stopped, checkpoint, tmp_path / "stopped", **settings)
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match="stopped after step 3"):
        train(stopped)
    assert signal.getsignal(number) is handler
    assert not (tmp_path / "stopped" / "config.json").exists()
    with pytest.raises(ConfigError, match="holds a run already: go on with --resume"):
        train(stage_on(kind, checkpoint, tmp_path / "stopped", **settings))
    resumed = train(stage_on(kind, checkpoint, tmp_path / "stopped", **settings), resume=True)
    first, second = result(tmp_path / "whole"), result(tmp_path / "stopped")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert resumed["before"] == whole["before"] and resumed["after"] == whole["after"]
    lines = [json.loads(line) for line in (tmp_path / "stopped" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]


def test_only_the_newest_whole_checkpoints_are_kept(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([weight])
    assert checkpoints.newest(tmp_path) is None
    for step in (9, 10, 11):
        with torch.no_grad():
            weight.fill_(step)
        checkpoints.save(tmp_path, {"w": weight}, optimizer, {"step": step, "settings": {}})
    (tmp_path / ".unfinished").mkdir()  # as a process that was killed leaves it
    newest = checkpoints.newest(tmp_path)
    assert newest is not None and newest.name == "step-00000011"
    assert len(list(tmp_path.glob("step-*"))) == 2
    with torch.no_grad():
        weight.zero_()
    assert checkpoints.read_state(newest)["step"] == 11
    checkpoints.load(newest, {"w": weight}, optimizer)
    assert weight.tolist() == [11.0] * 3
    with pytest.raises(ValueError, match="other weights than this stage trains"):
        checkpoints.load(newest, {"v": weight}, optimizer)


class Unlucky(EncodingAlignment):
    """Has losses that are no numbers from its second step on, as many as `bad`."""

    bad = 9

    def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
        unlucky = 1 <= step <= self.bad
        losses = super().losses(model, batch, step)
        return {name: value * (float("nan") if unlucky else 1.0) for name, value in losses.items()}


class Unluckier(Unlucky):
    bad = 10


def test_a_loss_that_is_no_number_is_skipped_and_counted_and_ten_in_a_row_stop(
    checkpoint: Path, tmp_path: Path
) -> None:
    report = train(stage_on(Unlucky, checkpoint, tmp_path / "run", steps=12))
    assert report["skipped"] == 9 and report["steps"] == 12
    assert all(value.isfinite().all() for value in result(tmp_path / "run").values())
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines][-3:] == [8, 9, 9] and lines[1]["gradient"] is None
    with pytest.raises(TrainingError, match="no finite gradient in 10 steps up to step 11; --resume goes on"):
        train(stage_on(Unluckier, checkpoint, tmp_path / "worse", steps=12, checkpoint_steps=1))
    newest = checkpoints.newest(tmp_path / "worse" / "checkpoints")
    assert newest is not None and newest.name == "step-00000010"


class Filling(EncodingAlignment):
    """From its fourth step on no file may grow: the disk is full."""

    def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
        if step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        return super().losses(model, batch, step)


def test_a_full_disk_keeps_the_last_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 6, "checkpoint_steps": 2, "log_steps": 6}
    whole = train(stage_on(EncodingAlignment, checkpoint, tmp_path / "whole", **settings))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(CheckpointError, match=r"of step 4 cannot be written .* step-00000002 is kept"):
            train(stage_on(Filling, checkpoint, tmp_path / "run", **settings))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002"]
    resumed = train(stage_on(EncodingAlignment, checkpoint, tmp_path / "run", **settings), resume=True)
    assert resumed["after"] == whole["after"]


def test_settings_that_changed_are_told_and_those_that_make_another_run_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stage(**changes: Any) -> Stage[Any]:
        return stage_on(EncodingAlignment, checkpoint, tmp_path / "run", **changes)

    train(stage(steps=2))
    for changes, told in (
        ({"batch_size": 8}, "batch_size was 4 and is 8"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"data": (Source("alpaca", "a.json"),)}, "data was None and is [{'format': 'alpaca'"),
    ):
        with pytest.raises(ConfigError) as caught:
            train(stage(steps=2, **changes), resume=True)
        assert told in str(caught.value) and "step-00000002" in str(caught.value)
    capsys.readouterr()
    report = train(stage(steps=3, learning_rate=1e-3, log_steps=2, workers=1), resume=True)
    out = capsys.readouterr().out
    assert "other settings: steps was 2 and is 3" in out and "learning_rate was 0.01 and is 0.001" in out
    assert "log_steps" not in out and report["steps"] == 3


def test_each_part_has_its_own_learning_rate(checkpoint: Path, tmp_path: Path) -> None:
    rates = {"signals": 1e-12}
    train(stage_on(DecoderAlignment, checkpoint, tmp_path / "run", learning_rates=rates, batch_size=16))
    before, after = result(checkpoint), result(tmp_path / "run")
    moved = {key: float((after[key] - before[key]).abs().max()) for key in before}
    assert moved["signals.embedding"] < 1e-9 and moved["signals.head"] > 1e-3
    assert max(far for key, far in moved.items() if key.startswith("projections.")) > 1e-3


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainingConfig("model", "output", steps=100, warmup=0.1)
    factors = [rate_factor(step, config) for step in range(100)]
    assert factors[:11] == sorted(factors[:11]) and factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[0] < 0.2 and max(factors) == 1.0 and 0 < factors[-1] < 0.01
    assert rate_factor(0, TrainingConfig("model", "output", steps=1)) > 0.5


def write_config(checkpoint: Path, folder: Path) -> Path:
    settings = stage_on(EncodingAlignment, checkpoint, folder / "run", workers=1).config
    path = folder / "stage.yaml"
    path.write_text(
        yaml.safe_dump({key: value for key, value in vars(settings).items() if value is not None})
    )
    return path


def test_the_command_line(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(checkpoint, tmp_path)
    assert encoding_alignment.main(["--config", str(path), "--set", "stepz=1"]) == 2
    assert "error: " in (told := capsys.readouterr().err) and "did you mean 'steps'?" in told
    assert encoding_alignment.main(["--config", str(path), "--set", "model=nothing"]) == 2
    assert "no model 'nothing'" in capsys.readouterr().err
    preset = ROOT / "assets" / "presets" / "anygpt-tiny.yaml"
    assert (
        encoding_alignment.main(["--config", str(path), "--set", f"model={preset}"]) == 2
    )  # without its parts
    assert "there is no folder 'llm' in" in capsys.readouterr().err
    assert encoding_alignment.main(["--config", str(path), "--set", "seed=3"]) == 0
    assert "frozen parts unchanged" in capsys.readouterr().out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["stage"] == "encoding-alignment" and report["steps"] == 2
    assert AnyGPT.from_pretrained(tmp_path / "run").config.inputs.keys() == report_inputs(checkpoint)
    assert encoding_alignment.main(["--config", str(path)]) == 2
    assert "--resume" in capsys.readouterr().err


def test_anygpt_train_is_the_same_command(checkpoint: Path, tmp_path: Path) -> None:
    path = write_config(checkpoint, tmp_path)
    command = [sys.executable, "-m", "anygpt", "train", "encoding-alignment", "--config", str(path)]
    done = subprocess.run(
        [*command, "--set", "steps=1"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "frozen parts unchanged" in done.stdout
    assert json.loads((tmp_path / "run" / "report.json").read_text())["steps"] == 1


def report_inputs(checkpoint: Path) -> set[str]:
    return set(json.loads((checkpoint / "config.json").read_text())["inputs"])
