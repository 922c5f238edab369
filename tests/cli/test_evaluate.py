"""`anygpt evaluate` on a tiny random model that answers "draw" with a picture, a sound and a film."""

import json
from pathlib import Path

import pytest
from command_line import Command, picture


def write_data(path: Path, *lines: dict) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_switching_on_data(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    """The media of the references are those asked for; the same command again asks nothing again."""

    def run(report: str, *references: list[str]) -> dict:
        lines = [
            {"id": number, "messages": "draw", "reference": [{"type": kind} for kind in reference]}
            for number, reference in enumerate(references)
        ]
        data = write_data(tmp_path / f"{report}.jsonl", *lines)
        done = anygpt(*command, report, "--data", data)
        assert done.code == 0 and done.out == f"{report}/report.md\n", done.err
        return json.loads((tmp_path / report / "results.json").read_text())["suites"]["switching"]

    command = ("evaluate", checkpoint, "--suite", "switching", "--report")
    [(given, _)] = run("first", ["image"])["confusion"]["image"].items()
    kinds = json.loads((tmp_path / "first" / "cases.jsonl").read_text())["turns"][0]["given"]
    assert {"image", "audio", "video"} <= set(kinds)
    figures = run("out", kinds, ["image"])
    assert figures["confusion"] == {given: {given: 1}, "image": {given: 1}}
    assert figures["right"]["share"] == 0.5 and figures["refusals"]["inside"]["of"] == 2
    assert f"| {given} | 1 |" in (tmp_path / "out" / "report.md").read_text()
    arguments = (*command, "out", "--data", tmp_path / "out.jsonl")
    before = (tmp_path / "out" / "cases.jsonl").read_bytes()
    assert anygpt(*arguments).code == 0
    assert (tmp_path / "out" / "cases.jsonl").read_bytes() == before
    refused = anygpt(*arguments, "--seed", 1)
    assert refused.code == 2 and "another seed" in refused.err and refused.err.rstrip().count("\n") == 0


def test_text_to_image_on_data(anygpt: Command, checkpoint: str, tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics", reason="of the extra `eval`")
    lines = []
    for name, size in (("a", (32, 32)), ("b", (48, 40))):
        reference = ["a thing", {"type": "image", "path": str(picture(tmp_path / f"{name}.png", size))}]
        lines.append({"id": name, "messages": "draw", "reference": reference})
    data = write_data(tmp_path / "data.jsonl", *lines)
    done = anygpt("evaluate", checkpoint, "--suite", "text-to-image", "--data", data, "--report", "out")
    assert done.code == 0, done.err
    result = json.loads((tmp_path / "out" / "results.json").read_text())["suites"]["text-to-image"]
    assert result["of"] == 2 and result["features"] == "imagebind" and result["figures"]["FID"] > 0
    assert result["figures"]["media"] == 0.0  # a sound and a film came unasked
    pictures = list((tmp_path / "out" / "gallery").glob("*.png"))
    made = [path for path in (tmp_path / "out" / "media").rglob("*_*") if path.is_file()]
    assert {path.suffix for path in made} == {".png", ".wav", ".mp4"} and len(pictures) == len(made)
    report = (tmp_path / "out" / "report.md").read_text()
    assert all(f"gallery/{path.name}" in report for path in pictures)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--suite", "toyword"], "did you mean 'toyworld'"),
        (["--suite", "toyworld", "--data", "data.jsonl"], "makes its own data"),
        (["--suite", "ways-out", "--data", "data.jsonl"], "the ways-out suite makes its own data"),
        (["--data", "data.jsonl"], "--data is for one suite"),
        (["--suite", "vqa", "--data", "none.jsonl"], "does not exist"),
        (["--suite", "vqa", "--data", "bad.jsonl"], "bad.jsonl, line 1: has no reference"),
        (["--count", "0"], "--count"),
        (["--seed", "-1"], "--seed"),
        (["--report", "data.jsonl"], "--report data.jsonl"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_mistakes(anygpt: Command, checkpoint: str, tmp_path: Path, arguments: list[str], words: str) -> None:
    write_data(tmp_path / "data.jsonl", {"messages": "a", "reference": "b"})
    write_data(tmp_path / "bad.jsonl", {"messages": "a"})
    done = anygpt("evaluate", checkpoint, *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert done.err.startswith("anygpt: error: ") and words in done.err
    assert not (tmp_path / "output").exists()


def test_an_unknown_model(anygpt: Command) -> None:
    done = anygpt("evaluate", "nowhere", "--suite", "vqa")
    assert done.code == 2 and "no model 'nowhere'" in done.err
