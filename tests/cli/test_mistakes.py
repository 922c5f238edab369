"""A person's mistakes: one clear line on stderr, exit code 2, nothing written; and what needs no model at all."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import Command, environment, picture, sound
from PIL import Image

import anygpt as package


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model that is a config alone: all of this must be found out before its weights are looked for."""
    folder = tmp_path / "model"
    folder.mkdir()
    entry = {"encoder": "imagebind"}
    config = {
        "model_type": "anygpt",
        "llm": "llm",
        "inputs": {m: entry for m in ("image", "audio", "video", "imu")},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return "model"


def files(folder: Path) -> None:
    """Good files and bad ones."""
    picture(folder / "good.png")
    sound(folder / "good.wav")
    picture(folder / "dot.png", (1, 1))
    sound(folder / "silent.wav", seconds=0)
    (folder / "empty.png").touch()
    (folder / "empty.wav").touch()
    (folder / "torn.png").write_bytes((folder / "good.png").read_bytes()[:60])
    (folder / "text.png").write_text("this is no picture")
    (folder / "text.mp4").write_text("this is no film")
    np.save(folder / "flat.npy", np.zeros((5, 100), np.float32))


MISTAKES = [
    (["--image", "none.png"], ["none.png", "does not exist"]),
    (["--image", "."], ["is a folder"]),
    (["--image", "empty.png"], ["empty.png", "is empty"]),
    (["--image", "text.png"], ["text.png", "is text", "PNG"]),
    (["--image", "good.wav"], ["a WAV sound"]),
    (["--image", "torn.png"], ["torn.png", "damaged"]),
    (["--image", "dot.png"], ["1x1"]),
    (["--image", "huge.png"], ["100 megapixels"]),
    (["--audio", "silent.wav"], ["silent.wav", "lasts 0 s"]),
    (["--audio", "empty.wav"], ["is empty"]),
    (["--audio", "good.png"], ["a PNG picture"]),
    (["--video", "text.mp4"], ["text.mp4"]),
    (["--imu", "flat.npy"], ["(6, samples)"]),
    (["--thermal", "flat.npy"], ["does not take thermal", "image, audio, video, imu"]),
    (["--image", "good.png", "--image", "none.png"], ["none.png"]),
    (["--output-dir", "good.png"], ["good.png", "is not a folder"]),
    (["--output-dir", "good.png/below"], ["good.png", "is not a folder"]),
    (["--seed", "-1"], ["--seed", "greater than or equal to 0"]),
    (["--seed", "x"], ["--seed", "integer"]),
    (["--top-p", "0"], ["top_p", "above 0"]),
    (["--temperature", "-1"], ["--temperature"]),
    (["--max-new-tokens", "0"], ["--max-new-tokens"]),
    (["--modle", "model"], ["--modle"]),
    (["--image"], ["--image"]),
    (["--model", "nowhere"], ["no model 'nowhere'", "a folder with a config.json"]),
    (["more"], ["more"]),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=[" ".join(a) for a, _ in MISTAKES])
def test_a_mistake_is_one_line(
    anygpt: Command, tmp_path: Path, model: str, arguments: list[str], words: list[str]
) -> None:
    files(tmp_path)
    if "huge.png" in arguments:
        Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    before = set(tmp_path.rglob("*"))
    if "--model" not in arguments:
        arguments = ["--model", model, *arguments]
    for extra in ([], ["--json"]):
        done = anygpt("generate", "what is this?", *extra, *arguments)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("anygpt: error: ") and done.err.count("\n") == 1, done.err
        assert all(word in done.err for word in words), done.err
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "nonsense"),
        (["--nonsense"], "--nonsense"),
        (["generate"], "the prompt is empty"),
        (["generate", "  "], "the prompt is empty"),
        (["generate", "--batch", "none.jsonl", "--model", "model"], "none.jsonl"),
        (["generate", "hello", "--batch", "none.jsonl"], "--batch"),
        (["chat", "nowhere"], "no model 'nowhere'"),
        (["chat", "model", "--output-dir", "model/config.json"], "is not a folder"),
        (["info", "nowhere"], "no model 'nowhere'"),
        (["train", "nonsense"], "nonsense"),
    ],
)
def test_other_mistakes(anygpt: Command, model: str, arguments: list[str], words: str) -> None:
    done = anygpt(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("anygpt: error: ") and words in done.err


def test_a_config_that_is_no_json(anygpt: Command, model: str, tmp_path: Path) -> None:
    (tmp_path / model / "config.json").write_text("{")
    done = anygpt("generate", "hello", "--model", model)
    assert done.code == 2 and "config.json is not JSON" in done.err


def test_version_and_help(anygpt: Command) -> None:
    assert anygpt("--version").out == f"anygpt {package.__version__}\n"
    for arguments in ([], ["--help"]):
        done = anygpt(*arguments)
        assert done.code == 0 and all(name in done.out for name in ("chat", "generate", "info", "train"))
    assert "encoding-alignment" in anygpt("train").out
    assert "--temperature" in anygpt("generate", "--help").out


def test_help_and_mistakes_import_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from anygpt.cli import main; main(['--help']); main(['generate', 'x', '--image', 'none.png']);"
        "main(['chat', 'nowhere']); print([m for m in ('torch', 'transformers', 'diffusers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
