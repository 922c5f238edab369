"""`--examples`, `--shots` and `--draw-boxes` of chat and generate, and `evaluate --shots`."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Command, names, picture
from PIL import Image

from anygpt.cli.boxes import as_json, draw_boxes


def write_shots(folder: Path) -> Path:
    file = folder / "shots.jsonl"
    lines = []
    for number, colour in enumerate([(200, 30, 30), (30, 30, 200)]):
        Image.new("RGB", (32, 32), colour).save(folder / f"{number}.png")
        content = [{"type": "image", "path": f"{number}.png"}, "what is this?"]
        lines.append({"messages": [{"role": "user", "content": content}], "reference": f"a dax {number}"})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_generate_with_examples_says_what_the_api_says(
    anygpt: Command, checkpoint: str, tmp_path: Path
) -> None:
    from anygpt.model import AnyGPT
    from anygpt.shots import as_document, as_turns, nearest, read_shots

    write_shots(tmp_path)
    asked = picture(tmp_path / "asked.png")
    ask = (
        "generate",
        "what is this?",
        "--image",
        asked,
        "--model",
        checkpoint,
        "--max-new-tokens",
        8,
        "--json",
    )
    plain = json.loads(anygpt(*ask).out)["text"]
    model = AnyGPT.from_pretrained(checkpoint)
    shots = read_shots(tmp_path / "shots.jsonl")
    request = [{"role": "user", "content": [{"type": "image", "path": asked}, "what is this?"]}]
    chosen = nearest(model, shots, request, 1)
    assert chosen == shots[:1]  # the red one
    said = set()
    for options, messages in (
        ((), as_turns(shots, request)),
        (("--interleaved",), as_document(shots, request)),
        (("--shots", 1), as_turns(chosen, request)),
        (("--shots", 0), as_turns([], request)),
    ):
        done = anygpt(*ask, "--examples", "shots.jsonl", *options)
        assert done.code == 0, done.err
        answer = json.loads(done.out)
        assert answer["text"] == model.chat(messages, max_new_tokens=8).text
        said.add(answer["text"])
    assert len(said) > 1 and plain in said


def test_chat_with_examples(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    write_shots(tmp_path)
    lines = "hello\nhello\n/reset\nhello\n/save talk.json"
    done = anygpt("chat", checkpoint, "--examples", "shots.jsonl", stdin=lines)
    assert (done.code, done.err) == (0, "")
    talk = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert len(talk) == 2  # the examples are not what was said
    plain = anygpt("chat", checkpoint, stdin="hello")
    assert done.out != plain.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "x", "--examples", "none.jsonl"], "does not exist"),
        (["generate", "x", "--examples", "bad.jsonl"], "bad.jsonl, line 1: has no reference"),
        (["generate", "x", "--examples", "lost.jsonl"], "lost.png"),
        (["generate", "x", "--examples", "heat.jsonl"], "does not take thermal"),
        (["generate", "x", "--shots", "2"], "are for --examples"),
        (["generate", "x", "--interleaved"], "are for --examples"),
        (["generate", "--batch", "bad.jsonl", "--draw-boxes"], "--batch takes no"),
        (["chat", "--examples", "none.jsonl"], "does not exist"),
        (["evaluate", "--suite", "vqa", "--shots", "1"], "--shots is for the suite in-context"),
        (["evaluate", "--suite", "in-context", "--shots", "1,x"], "not '1,x'"),
        (["evaluate", "--suite", "in-context", "--shots", "64"], "from 0 to 32"),
        (["evaluate", "--suite", "in-context", "--data", "bad.jsonl"], "makes its own data"),
    ],
)
def test_mistakes(anygpt: Command, checkpoint: str, tmp_path: Path, arguments: list[str], words: str) -> None:
    for name, part in (
        ("lost", {"type": "image", "path": "lost.png"}),
        ("heat", {"type": "thermal", "path": "x"}),
    ):
        line = {"messages": [{"role": "user", "content": [part]}], "reference": "b"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line))
    (tmp_path / "bad.jsonl").write_text(json.dumps({"messages": "a"}))
    command, *rest = arguments
    model = ["--model", checkpoint] if command == "generate" else [checkpoint]
    done = anygpt(command, *model, *rest)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert words in done.err


def test_evaluate_in_context(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    command = (
        "evaluate",
        checkpoint,
        "--suite",
        "in-context",
        "--count",
        1,
        "--report",
        "out",
        "--shots",
        "0,2",
    )
    done = anygpt(*command)
    assert done.code == 0, done.err
    figures = json.loads((tmp_path / "out" / "results.json").read_text())["suites"]["in-context"]
    assert {task: list(cells) for task, cells in figures["tasks"].items()} == {
        "made-up word": ["0", "2"],
        "answer style": ["0", "2"],
    }
    assert figures["tasks"]["made-up word"]["2"]["counts"] == {"word": 1}
    report = (tmp_path / "out" / "report.md").read_text()
    assert "### made-up word" in report and "By chance: word 0.5." in report


def text(words: str) -> list[dict]:
    return [{"type": "text", "text": words}]


def test_boxes_are_drawn_and_what_is_none_is_told(checkpoint: str, tmp_path: Path) -> None:
    from anygpt.model import AnyGPT

    model = AnyGPT.from_pretrained(checkpoint)
    wide = Image.new("RGB", (96, 48), (255, 255, 255))  # its middle square is what ImageBind sees
    answer = text("a star: [0.0, 0.0, 0.5, 1.0], a ring: [0.1, 0.2, 0.4, 1.2] and [0.5, 0.5]")
    path, found = draw_boxes(model, answer, wide, tmp_path / "out")
    assert path == tmp_path / "out" / "boxes_0.png"
    [box] = found.boxes
    assert box.label == "a star" and box.corners == pytest.approx((0.25, 0, 0.5, 1), abs=0.01)
    assert len(found.problems) == 2 and "beyond the picture" in found.problems[0]
    drawn = np.asarray(Image.open(path))
    rows, columns = np.nonzero((drawn != 255).any(-1))
    assert drawn.shape == (48, 96, 3) and abs(columns.min() - 24) <= 1 and rows.max() == 47
    told = as_json(path, found)
    assert told["drawn"] == str(path) and told["boxes"][0]["label"] == "a star" and len(told["problems"]) == 2
    # on the answer's own picture, where it has one; and nothing without a picture or a box
    own = picture(tmp_path / "own.png", (40, 40))
    path, _ = draw_boxes(model, [*answer, {"type": "image", "path": str(own)}], wide, tmp_path / "out")
    assert path is not None and Image.open(path).size == (40, 40)
    assert draw_boxes(model, text("nothing here"), wide, tmp_path / "out")[0] is None
    path, found = draw_boxes(model, answer, None, tmp_path / "out")
    assert path is None and len(found.problems) == 2
    assert names(tmp_path / "out") == ["boxes_0.png", "boxes_1.png"]


def test_draw_boxes_on_the_command_line(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    picture(tmp_path / "wide.png", (64, 32))
    ask = (
        "generate",
        "--image",
        "wide.png",
        "--model",
        checkpoint,
        "--max-new-tokens",
        4,
        "--draw-boxes",
        "--json",
    )
    done = anygpt(*ask, "what is at [0.3, 0.0, 0.6, 1.0]?")
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert {"boxes", "problems", "drawn"} <= set(answer)
    outside = anygpt(*ask, "what is at [0.0, 0.0, 0.1, 1.0]?")
    assert outside.code == 2 and "outside the picture that is seen" in outside.err
    talk = anygpt("chat", checkpoint, "--draw-boxes", stdin="wide.png what is at [0.0, 0.0, 0.1, 1.0]?")
    assert talk.code == 0 and talk.err.count("\n") >= 1 and "outside the picture" in talk.err
