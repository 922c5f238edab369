"""`anygpt data`: conversion to our own schema, and the report."""

import json
from pathlib import Path

import pytest
from command_line import Command
from damage import DAMAGE, corpus
from data_files import publish, told, write_json

from anygpt.data import Source, open_source


def test_conversion_keeps_what_every_format_says(anygpt: Command, tmp_path: Path) -> None:
    for number, entry in enumerate(publish(tmp_path / "data").values()):
        source, output = entry.source, tmp_path / f"{number}.jsonl"
        options = ["--annotations", source.annotations] if source.annotations else []
        options += ["--task", source.task] if source.task else []
        done = anygpt(
            "data", "convert", source.format, source.path, output, "--media", source.folder, *options
        )
        assert done.code == 0, done.err
        before, after = open_source(source), open_source(Source("messages", str(output), str(source.folder)))
        assert len(before) == len(after) and f": {len(after)} rows" in done.out
        for row in range(len(before)):
            assert told(after.example(row)) == told(before.example(row)), source.format


def test_bad_rows_are_left_out_and_named(anygpt: Command, tmp_path: Path) -> None:
    path, bad = corpus(tmp_path / "corpus", good=20)
    output = tmp_path / "out.jsonl"
    done = anygpt("data", "convert", "messages", path, output)
    assert done.code == 2 and "more than max_skipped 1.00% allows" in done.err and done.err.count("\n") == 1
    assert not output.exists() and not list(tmp_path.glob(".out*"))
    done = anygpt("data", "convert", "messages", path, output, "--max-skipped", "0.9")
    assert done.code == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    names = [json.loads(line) for line in (tmp_path / "out.skipped.jsonl").read_text().splitlines()]
    assert {int(row["id"]) for row in rows}.isdisjoint(row["row"] for row in names)
    assert len(rows) + len(names) == len(DAMAGE) + 20 and {row["row"] for row in names} < bad


def test_the_report_counts_and_shows(anygpt: Command, tmp_path: Path) -> None:
    path, bad = corpus(tmp_path / "corpus", good=20)
    for _ in range(2):  # a second report replaces the first
        done = anygpt("data", "check", "messages", path, "--report", tmp_path / "report")
    assert done.code == 0 and f"{len(bad) + 20} rows, 20 usable\n" in done.out
    assert f"{sum(reason == 'truncated' for reason, _ in DAMAGE.values())} truncated\n" in done.out
    text = (tmp_path / "report" / "report.md").read_text()
    assert (
        "| wrong size | 3 |" in text and "| image given | 10 |" in text and "| audio, seconds | 1 |" in text
    )
    shown = [name.split(")")[0] for name in text.split("](")[1:]]
    assert shown and all((tmp_path / "report" / name).is_file() for name in shown)
    names = [json.loads(line) for line in (tmp_path / "report" / "skipped.jsonl").read_text().splitlines()]
    assert {row["row"] for row in names} == bad and len(names) == len(bad)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convert", "lava", "a.json", "o.jsonl"], "did you mean 'llava'?"),
        (["convert", "llava", "none.json", "o.jsonl"], "there is no file none.json"),
        (["convert", "llava", "a.json", "a.json"], "is the file that is to be read"),
        (["convert", "llava", "a.json", "."], "is a folder; name a file"),
        (["convert", "llava", "a.json", "o.jsonl", "--task", "draw"], "unknown task 'draw'"),
        (["convert", "llava", "a.json", "o.jsonl", "--max-skipped", "2"], "--max-skipped"),
        (["check", "vqav2", "a.json"], "a.json has no list under 'questions'"),
        (["check", "llava", "a.json", "--media", "nowhere"], "there is no media folder nowhere"),
        (["check", "llava", "a.json", "--report", "a.json"], "is not a folder"),
        (["check", "llava", "a.json", "--limit", "0"], "--limit"),
    ],
)
def test_mistakes_are_one_line(anygpt: Command, tmp_path: Path, arguments: list[str], words: str) -> None:
    write_json(tmp_path / "a.json", [])
    done = anygpt("data", *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1) and words in done.err


def test_help(anygpt: Command) -> None:
    assert all(name in anygpt("data").out for name in ("convert", "check"))
    assert "--max-skipped" in anygpt("data", "convert", "--help").out
