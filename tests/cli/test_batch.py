"""`anygpt generate --batch`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from command_line import Command, ask, environment, hear_ctrl_c, names, picture, results, write

from encoders import media


def test_results_are_those_of_single_requests_in_order(
    anygpt: Command, checkpoint: str, tmp_path: Path
) -> None:
    picture(tmp_path / "a.png")
    looking = {
        "role": "user",
        "content": [{"type": "text", "text": "look"}, {"type": "image", "path": "a.png"}],
    }
    lines = [ask("draw", id="one"), ask("hello", id="two"), {"id": 3, "messages": [looking]}, ask("draw")]
    file = write(tmp_path / "requests.jsonl", lines)
    done = anygpt(
        "generate", "--batch", file, "--model", checkpoint, "--output-dir", "out", "--max-new-tokens", 12
    )
    assert (done.code, done.out) == (0, "") and "4 answered, 0 failed, 0 kept" in done.err
    found = results(tmp_path / "out")
    assert [result["id"] for result in found] == ["one", "two", 3, 4]
    assert all(list(result) == ["id", "text", "content", "seed", "seconds"] for result in found)
    first = found[0]["content"]
    assert [part["path"] for part in first[:3]] == [
        "out/one/image_0.png",
        "out/one/audio_0.wav",
        "out/one/video_0.mp4",
    ]
    for part in first[:3]:
        media.read(part["type"], tmp_path / part["path"])
    single = json.loads(
        anygpt("generate", "hello", "--model", checkpoint, "--max-new-tokens", 12, "--json").out
    )
    assert single["text"] == found[1]["text"]


def test_bad_lines_get_errors_and_the_rest_go_on(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    empty = {"role": "user", "content": [{"type": "image", "path": "empty.png"}]}
    taken = {"role": "user", "content": [{"type": "thermal", "path": "x.npy"}]}
    system = {"role": "system", "content": "be brief"}
    lines = [
        ask("hello", id="a"),
        "{not json",
        "[1]",
        {"id": "b"},
        {"id": "c", "messages": [empty]},
        ask("hello", id="a"),
        ask("hello", id="d", sede=3),
        ask("hello", id=[1]),
        {"id": "e", "messages": [taken]},
        {
            "id": "f",
            "messages": [system, *ask("hi")["messages"]],
        },  # only this LLM's template knows that it can't
        {"id": "g", "messages": [{"role": "assistant", "content": "hi"}]},
        "",
        ask("hello", id="../up"),
        ask("hello", id="results.jsonl"),
    ]
    file = write(tmp_path / "requests.jsonl", lines)
    done = anygpt(
        "generate", "--batch", file, "--model", checkpoint, "--output-dir", "out", "--max-new-tokens", 3
    )
    assert done.code == 0 and "3 answered, 10 failed, 0 kept" in done.err
    found = results(tmp_path / "out")
    assert [r["id"] for r in found] == [
        "a",
        2,
        3,
        "b",
        "c",
        6,
        "d",
        8,
        "e",
        "f",
        "g",
        "../up",
        "results.jsonl",
    ]
    errors = {result["id"]: result["error"] for result in found if "error" in result}
    assert all(set(result) == {"id", "error"} for result in found if "error" in result)
    words = {2: "JSON", 3: "object", "b": "messages", "c": "is empty", 6: "line 1", "d": "'sede'"}
    words |= {8: "id", "e": "does not take thermal", "f": "system", "g": "user"}
    assert set(errors) == set(words)
    for identity, word in words.items():
        assert word in errors[identity] and "\n" not in errors[identity]
    assert all(name.startswith("out/") or name in ("requests.jsonl", "empty.png") for name in names(tmp_path))


def test_a_second_run_goes_on(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    lines = [ask(f"hello {number}", id=f"r{number}") for number in range(4)]
    file = write(tmp_path / "requests.jsonl", lines)
    command = (
        "generate",
        "--batch",
        file,
        "--model",
        checkpoint,
        "--output-dir",
        "out",
        "--max-new-tokens",
        3,
    )
    anygpt(*command)
    whole = results(out)
    untouched = (out / "results.jsonl").read_bytes()
    assert "0 answered, 0 failed, 4 kept" in anygpt(*command).err
    assert (out / "results.jsonl").read_bytes() == untouched

    # As a run leaves it that was killed while it wrote its third line.
    text = (out / "results.jsonl").read_text().splitlines(keepends=True)
    (out / "results.jsonl").write_text("".join(text[:2]) + text[2][:20])
    assert "2 answered, 0 failed, 2 kept" in anygpt(*command).err
    assert [result["text"] for result in results(out)] == [result["text"] for result in whole]

    # One request is another now, a bad one comes, and the file that a third one names.
    lines[1] = ask("goodbye", id="r1")
    looking = {"role": "user", "content": [{"type": "image", "path": "a.png"}]}
    write(file, [*lines, {"id": "r4", "messages": [looking]}])
    assert "1 answered, 1 failed, 3 kept" in anygpt(*command).err
    assert [result["id"] for result in results(out)] == ["r0", "r1", "r2", "r3", "r4"]
    picture(tmp_path / "a.png")
    assert "1 answered, 0 failed, 4 kept" in anygpt(*command).err
    assert "error" not in results(out)[4]
    assert "5 answered, 0 failed, 0 kept" in anygpt(*command, "--seed", 1).err


def test_missing_media_are_made_again(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    file = write(tmp_path / "requests.jsonl", [ask("draw", id="x"), ask("hello", id="y")])
    command = (
        "generate",
        "--batch",
        file,
        "--model",
        checkpoint,
        "--output-dir",
        "out",
        "--max-new-tokens",
        4,
    )
    anygpt(*command)
    before = (tmp_path / "out" / "x" / "image_0.png").read_bytes()
    shutil.rmtree(tmp_path / "out" / "x")
    assert "1 answered, 0 failed, 1 kept" in anygpt(*command).err
    assert (tmp_path / "out" / "x" / "image_0.png").read_bytes() == before
    assert [result["id"] for result in results(tmp_path / "out")] == ["x", "y"]


def test_the_results_of_others_are_not_touched(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    file = write(tmp_path / "requests.jsonl", [ask("hello", id="x")])
    command = (
        "generate",
        "--batch",
        file,
        "--model",
        checkpoint,
        "--output-dir",
        "out",
        "--max-new-tokens",
        2,
    )
    anygpt(*command)
    kept = (tmp_path / "out" / "results.jsonl").read_bytes()
    write(file, [ask("hello", id="z")])
    done = anygpt(*command)
    assert done.code == 2 and "'x'" in done.err and done.err.count("\n") == 1
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == kept
    (tmp_path / "out" / "results.jsonl").write_text("my notes\n")
    done = anygpt(*command)
    assert done.code == 2 and "line 1" in done.err
    assert (tmp_path / "out" / "results.jsonl").read_text() == "my notes\n"


def test_an_empty_file(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    done = anygpt("generate", "--batch", write(tmp_path / "none.jsonl", [""]), "--model", checkpoint)
    assert done.code == 0 and (tmp_path / "output" / "results.jsonl").read_text() == ""


def test_ctrl_c_keeps_what_is_done(typed: Command, checkpoint: str, tmp_path: Path) -> None:
    file = write(tmp_path / "requests.jsonl", [ask(f"hello {number}", id=number) for number in range(1000)])
    options = ["--batch", str(file), "--model", checkpoint, "--output-dir", "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "anygpt", "generate", *options],
        cwd=tmp_path,
        env=environment(),
        preexec_fn=hear_ctrl_c,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    path = tmp_path / "out" / "results.jsonl"
    end = time.monotonic() + 900
    while not (path.is_file() and path.stat().st_size):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (130, "")
    assert "stopped" in err and "Traceback" not in err
    found = results(tmp_path / "out")
    assert 0 < len(found) < 1000 and [result["id"] for result in found] == list(range(len(found)))
