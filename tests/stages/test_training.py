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
from accelerate.state import AcceleratorState
from data_files import publish
from safetensors.torch import load_file
from short_runs import STAGES, stage_on
from torch import Tensor

from anygpt.config import ConfigError
from anygpt.data import Source
from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from stages import checkpoints, encoding_alignment
from stages.checkpoints import CheckpointError
from stages.decoder_alignment import DecoderAlignment
from stages.dry_run import dry_run
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
    assert [line["skipped"] for line in lines][-4:] == [8, 9, 9, 9] and lines[1]["gradient"] is None
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
    factors = [rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:11] == sorted(factors[:11]) and factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[0] < 0.2 and max(factors) == 1.0 and 0 < factors[-1] < 0.01
    assert rate_factor(0, 1, 0.03) > 0.5


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


def test_epochs_count_the_rows_of_the_data_or_the_examples(checkpoint: Path, tmp_path: Path) -> None:
    published = publish(tmp_path)
    data = tuple(
        published[name].source for name in ("nextgpt t2x", "llava")
    )  # four rows each, one kept to validate and measure
    settings: dict[str, Any] = {"steps": None, "batch_size": 2}
    stage = stage_on(EncodingAlignment, checkpoint, tmp_path / "run", data=data, epochs=3.0, **settings)
    assert stage.steps == 3 * (2 + 2) / 2 and train(stage)["steps"] == 6
    stage = stage_on(EncodingAlignment, checkpoint, tmp_path, examples=9, epochs=1.5, **settings)
    assert stage.steps == 7 and stage.size("training") == 9
    for changes, told in (
        ({"epochs": 1.0, "steps": 2}, "not both"),
        ({}, "steps or epochs"),
        ({"epochs": 1.0}, "no end"),
    ):
        with pytest.raises(ConfigError, match=told):
            stage_on(EncodingAlignment, checkpoint, tmp_path, **(settings | changes))


def test_bfloat16_computes_in_it_and_keeps_what_trains_in_float32(checkpoint: Path, tmp_path: Path) -> None:
    seen: list[tuple[torch.dtype, torch.dtype]] = []

    class Watched(STAGES["modality-switching"]):  # type: ignore[misc, name-defined]
        def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
            lora = next(p for name, p in model.llm.named_parameters() if "lora_" in name)
            seen.append((model.dtype, lora.dtype))
            return super().losses(model, batch, step)

    AcceleratorState._reset_state()
    try:
        train(stage_on(Watched, checkpoint, tmp_path / "half", steps=4, dtype="bfloat16"))
    finally:
        AcceleratorState._reset_state()
    train(stage_on(STAGES["modality-switching"], checkpoint, tmp_path / "full", steps=4))
    assert set(seen) == {(torch.bfloat16, torch.float32)}
    weights = result(tmp_path / "half")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    halves, fulls = (
        [json.loads(line)["loss"] for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("half", "full")
    )
    assert halves != fulls and halves == pytest.approx(fulls, rel=0.05)


def test_a_tracker_that_is_not_there_is_told(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"log_with: unknown tracker 'tensorbord' \(did you mean 'tensorboard'"
    ):
        train(stage_on(EncodingAlignment, checkpoint, tmp_path / "run", log_with="tensorbord"))


def test_trackers_get_the_logs_figures(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(stage_on(EncodingAlignment, checkpoint, tmp_path / "run", log_with="tensorboard"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(tmp_path / "run" / "encoding-alignment"))
    events.Reload()
    told = [event.value for event in events.Scalars("loss")]
    assert told == pytest.approx([line["loss"] for line in lines])


@pytest.mark.parametrize("name", STAGES)
def test_a_dry_run_tells_what_the_run_will_be(
    name: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = stage_on(STAGES[name], checkpoint, tmp_path / "run", steps=3)
    told = dry_run(stage, 2)
    assert not (tmp_path / "run").exists()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines() if line[0] == "|"]
    trains = {row[0]: int(row[1].replace(",", "")) for row in rows if row[2] == "yes"}
    assert trains == train(stage_on(STAGES[name], checkpoint, tmp_path / "run", steps=3))["trained"]
    model = AnyGPT.from_pretrained(checkpoint)
    held = {row[0]: row[1] for row in rows if row[2] == "no"}
    assert int(held["llm"].replace(",", "")) == sum(p.numel() for p in model.llm.parameters())
    assert {key for key in held if key.startswith("encoder")} == {"encoder imagebind"}
    assert len([key for key in held if key.startswith("decoder")]) == 3
    assert "3 steps of 8 examples (2 × 1 × 4: processes" in told


def test_a_dry_run_by_command(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(checkpoint, tmp_path)
    assert encoding_alignment.main(["--config", str(path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("| part |") and not (tmp_path / "run").exists()
    assert encoding_alignment.main(["--config", str(path), "--dry-run", "--set", "model=nothing"]) == 2
