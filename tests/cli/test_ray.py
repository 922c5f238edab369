"""`anygpt generate --batch --ray`: processes that think and that make media, and some of them killed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Command, ask, environment, results, write

from encoders import media

RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not RAY, reason="ray is not installed: pip install 'anygpt[ray]'")


def run(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "anygpt", "generate", *map(str, arguments)]
    # Ray gives its workers the lowest priority; on a busy machine the test would take hours
    own = environment() | {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    own.pop("RAY_ADDRESS", None)
    return subprocess.Popen(command, cwd=folder, env=own, stderr=subprocess.PIPE, text=True)


def workers(process: int, kind: str) -> list[int]:
    """The processes below `process` in which Ray runs a class of this name, at work by now."""
    parents, found = {}, []
    for entry in Path("/proc").iterdir():
        try:
            number = int(entry.name)
            parents[number] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            title = (entry / "cmdline").read_text()
            if title.startswith("ray::") and kind in title and "__init__" not in title:
                found.append(number)
        except (ValueError, OSError):
            continue

    def below(number: int) -> bool:
        while number := parents.get(number, 0):
            if number == process:
                return True
        return False

    return [number for number in found if below(number)]


def without_times(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in result.items() if key != "seconds"} for result in found]


def test_wrong_pools_are_told(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    file = write(tmp_path / "requests.jsonl", [ask("hello")])
    command = ("generate", "--batch", file, "--model", checkpoint)
    for pools in ("2", "0,1", "a,b", "1,2,3"):
        done = anygpt(*command, "--ray", pools)
        assert done.code == 2 and "two numbers of at least 1 are wanted" in done.err
    assert "give --batch FILE" in anygpt("generate", "hello", "--ray", "1,1").err


@pytest.mark.skipif(RAY, reason="ray is installed")
def test_ray_is_asked_for(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    file = write(tmp_path / "requests.jsonl", [ask("hello")])
    done = anygpt("generate", "--batch", file, "--model", checkpoint, "--ray", "1,1")
    assert done.code == 2 and "pip install 'anygpt[ray]'" in done.err


def test_the_two_kinds_of_processes_make_what_one_makes(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Ray between them."""
    import pickle

    from anygpt.cli.batch import read_requests
    from anygpt.cli.batch_on_ray import Painter, Thinker, Work, _column
    from anygpt.fitting import Fitting
    from anygpt.model import AnyGPT

    monkeypatch.chdir(tmp_path)
    lines = [ask("draw", id="one"), "nonsense", ask("hello", id=3)]
    requests = list(read_requests(write(tmp_path / "requests.jsonl", lines), {}))
    options, loading = {"max_new_tokens": 4, "seed": 2}, {"fitting": Fitting()}
    work = Work(Path(checkpoint), Path("out"), tmp_path / "out", options, loading)
    made = Painter(work)(Thinker(work)(_column(requests)))
    found = [pickle.loads(row) for row in made["row"]]
    wanted = AnyGPT.from_pretrained(checkpoint).chat(["draw", "hello"], **options)
    assert "is not JSON" in found[1]["error"]
    for result, reply in zip((found[0], found[2]), wanted, strict=True):
        assert result["text"] == reply.text
        for path in reply.save(tmp_path / "wanted"):
            assert path.read_bytes() == (tmp_path / "out" / str(result["id"]) / path.name).read_bytes()
    assert found[0]["content"][0]["path"] == "out/one/image_0.png"


@needs_ray
@pytest.mark.slow
def test_ray_gives_what_one_process_gives(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    lines = [ask("draw", id="one"), "nonsense", ask("hello", id=3), ask("draw")]
    lines[3]["messages"][0]["content"].append({"type": "image", "path": "missing.png"})
    file = write(tmp_path / "requests.jsonl", [*lines, ask("draw", id="five")])
    command = ("--batch", file, "--model", checkpoint, "--max-new-tokens", 12, "--output-dir")
    assert anygpt("generate", *command, "here").code == 0
    process = run(tmp_path, *command, "there", "--ray", "1,2")
    assert "3 answered, 2 failed, 0 kept" in process.communicate(timeout=900)[1] and process.returncode == 0
    here, there = (json.dumps(without_times(results(tmp_path / name))) for name in ("here", "there"))
    assert there.replace(f"{tmp_path}/", "").replace("there/", "here/") == here
    # one process makes media of several answers in one batch, whose sums are rounded otherwise
    for path in (tmp_path / "here").rglob("*_*.*"):
        other = tmp_path / "there" / path.relative_to(tmp_path / "here")
        one, same = (media.read(path.name.partition("_")[0], file) for file in (path, other))
        pixels = [np.asarray(getattr(m, "samples", getattr(m, "frames", m)), float) for m in (one, same)]
        assert pixels[0].shape == pixels[1].shape
        assert np.abs(pixels[0] - pixels[1]).max() <= {".png": 1, ".wav": 1e-3, ".mp4": 24}[path.suffix]


@needs_ray
@pytest.mark.slow
def test_two_killed_workers_lose_nothing(checkpoint: str, tmp_path: Path) -> None:
    """2,000 requests; a process of each kind dies on the way, and then the whole run, which goes on after that."""
    count = 2000
    file = write(
        tmp_path / "requests.jsonl", [ask("draw" if i % 50 == 0 else f"hello {i}") for i in range(count)]
    )
    command = (
        "--batch",
        file,
        "--model",
        checkpoint,
        "--max-new-tokens",
        8,
        "--output-dir",
        "out",
        "--ray",
        "2,2",
    )
    process = run(tmp_path, *command)
    path, killed = tmp_path / "out" / "results.jsonl", []
    for kind, lines in (("Thinker", 0), ("Painter", 100)):
        while not (found := workers(process.pid, kind)) or path.read_bytes().count(b"\n") < lines:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        os.kill(found[0], signal.SIGKILL)
        killed.append(found[0])
    told = process.communicate(timeout=3000)[1]
    assert process.returncode == 0 and f"{count} answered, 0 failed, 0 kept" in told, told
    found = results(tmp_path / "out")
    assert [result["id"] for result in found] == list(range(1, count + 1))
    assert all("error" not in result for result in found) and len(set(killed)) == 2
    drawn = [part for result in found for part in result["content"] if part["type"] != "text"]
    assert len(drawn) >= count // 50 and all((tmp_path / part["path"]).is_file() for part in drawn)
    again = run(tmp_path, *command)
    assert f"0 answered, 0 failed, {count} kept" in again.communicate(timeout=300)[1]
