"""`anygpt generate` and `anygpt info`."""

import json
from pathlib import Path

import pytest
import soundfile
from command_line import Command, names, picture, sound
from PIL import Image

from anygpt.cli.terminal import Screen, inline
from encoders import media


def test_json_is_one_object_with_files(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    done = anygpt("generate", "draw", "--model", checkpoint, "--output-dir", "out", "--seed", 3, "--json")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    assert list(answer) == ["text", "content", "seed", "seconds"] and answer["seed"] == 3
    assert [part["type"] for part in answer["content"][:3]] == ["image", "audio", "video"]
    assert answer["text"] == "".join(part.get("text", "") for part in answer["content"])
    assert all(
        set(part) == {"type", "text" if part["type"] == "text" else "path"} for part in answer["content"]
    )
    assert {"text", "image", "total"} <= set(answer["seconds"])
    for part in answer["content"]:
        if part["type"] != "text":
            assert Path(part["path"]).parent == Path("out")
            media.read(part["type"], tmp_path / part["path"])
    assert names(tmp_path / "out") == sorted(
        Path(part["path"]).name for part in answer["content"] if "path" in part
    )


def test_text_and_paths_and_no_file_is_overwritten(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    command = ("generate", "draw", "--model", checkpoint, "--output-dir", "out")
    first = anygpt(*command)
    assert first.code == 0 and "image: out/image_0.png\n" in first.out and "\x1b" not in first.out
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names(tmp_path / "out")}
    second = anygpt(*command)
    after = {name: (tmp_path / "out" / name).read_bytes() for name in names(tmp_path / "out")}
    assert len(after) == 2 * len(before) and all(after[name] == data for name, data in before.items())
    number = sum(name.startswith("image") for name in before)
    assert f"image: out/image_{number}.png\n" in second.out
    assert after[f"image_{number}.png"] == before["image_0.png"]  # the same seed, the same bytes


def test_media_go_in(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    sound(tmp_path / "b.wav")
    ask = ("generate", "what?", "--model", checkpoint, "--max-new-tokens", 8, "--json")
    plain, seen = anygpt(*ask), anygpt(*ask, "--image", "a.png", "--audio", "b.wav")
    assert plain.code == seen.code == 0
    assert json.loads(plain.out)["content"] != json.loads(seen.out)["content"]
    alone = anygpt("generate", "--image", "a.png", "--model", checkpoint, "--max-new-tokens", 2)
    assert alone.code == 0


def test_info(anygpt: Command, checkpoint: str) -> None:
    tree = json.loads(anygpt("info", checkpoint, "--json").out)
    assert tree["llm"]["class"] == "LlamaForCausalLM" and tree["llm"]["frozen"]
    table = anygpt("info", checkpoint).out
    for word in (
        "decoders/image",
        "StableDiffusionPipeline",
        "frozen",
        "trained",
        f"{tree['llm']['parameters']:,}",
    ):
        assert word in table


def test_in_a_process_of_its_own_only_the_answer_appears(
    typed: Command, checkpoint: str, tmp_path: Path
) -> None:
    done = typed("generate", "draw", "--model", checkpoint, "--json")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    image = next(part["path"] for part in answer["content"] if part["type"] == "image")
    assert Image.open(tmp_path / image).format == "PNG"
    audio = next(part["path"] for part in answer["content"] if part["type"] == "audio")
    assert soundfile.info(tmp_path / audio).format == "WAV"


@pytest.mark.parametrize(
    ("environment", "start"),
    [
        ({"TERM": "xterm-kitty"}, "\x1b_Ga=T,f=100,"),
        ({"TERM_PROGRAM": "iTerm.app"}, "\x1b]1337;File=inline=1;"),
        ({"COLORTERM": "truecolor", "TERM": "xterm-256color"}, "\x1b[38;2;200;30;30;48;2;200;30;30m▀"),
        ({"COLORTERM": "truecolor", "TERM": "xterm-kitty", "TMUX": "/tmp/x"}, "\x1b[38;2;"),
        ({"TERM": "xterm"}, ""),
    ],
)
def test_pictures_inline(environment: dict[str, str], start: str) -> None:
    drawn = inline(Image.new("RGB", (64, 48), (200, 30, 30)), environment)
    assert drawn.startswith(start) if start else drawn == ""
    if "▀" in drawn:
        assert drawn.count("\n") == 12 and drawn.count("▀") == 12 * 32


def test_a_screen_that_nobody_watches_shows_the_answer_alone(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(lively=False)
    screen.status("working")
    screen.note("a note")
    screen.text(" Here")
    screen.text(" it is.")
    screen.medium("image", Path("a.png"), None, 1.0)
    screen.text(" And more.")
    screen.end_line()
    assert capsys.readouterr().out == "Here it is.\nimage: a.png\nAnd more.\n"
