"""Bad data: every kind of damage has its reason, in every reader, and nothing but a `BadItem` comes of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command_line import picture
from damage import DAMAGE, corpus, cut, line, noise, scrambled
from data_files import Published, publish

from anygpt.data import BadItem, DataError, Source, open_source
from anygpt.data.errors import REASONS
from anygpt.data.media import open_all
from anygpt.data.skipped import Skip, Skipped


@pytest.mark.parametrize("kind", DAMAGE)
def test_every_kind_of_damage_has_its_reason(kind: str, tmp_path: Path) -> None:
    reason, make = DAMAGE[kind]
    folder = tmp_path / "media"
    folder.mkdir()
    picture(folder / "good.png")
    (tmp_path / "rows.jsonl").write_bytes(line(make(folder)) + b"\n")
    reader = open_source(Source("messages", str(tmp_path / "rows.jsonl"), str(folder)))
    with pytest.raises(BadItem) as caught:
        open_all(reader.example(0))
    assert caught.value.reason == reason and reason in REASONS
    assert str(caught.value) and "\n" not in str(caught.value)


def test_a_corpus_of_damage_is_told_apart(tmp_path: Path) -> None:
    path, bad = corpus(tmp_path / "corpus", good=20)
    reader = open_source(Source("messages", str(path)))
    found = set()
    for row in range(len(reader)):
        try:
            open_all(reader.example(row))
        except BadItem:
            found.add(row)
    assert found == bad and len(reader) == len(DAMAGE) + 20


def test_a_file_that_is_cut_off_gives_its_whole_rows(tmp_path: Path) -> None:
    rows = [{"instruction": f"say {i}", "input": "", "output": str(i)} for i in range(5)]
    for name, data in (
        ("array.json", json.dumps(rows, indent=1).encode()),
        ("lines.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows)),
    ):
        path = tmp_path / name
        path.write_bytes(data[: len(data) - 30])
        reader = open_source(Source("alpaca", str(path)))
        assert [reader.example(row)[1]["content"][0]["text"] for row in range(4)] == list("0123")
        with pytest.raises(BadItem) as caught:
            reader.example(4)
        assert caught.value.reason == "truncated"


def test_a_quote_that_nobody_closes_spoils_one_row_of_a_csv(tmp_path: Path) -> None:
    lines = [f"{i},zz{i},0,sound {i}" for i in range(60)]
    lines[7] = '7,zz7,0,"sound 7'
    (tmp_path / "audiocaps.csv").write_text(
        "audiocap_id,youtube_id,start_time,caption\n" + "\n".join(lines) + "\n"
    )
    reader = open_source(Source("audiocaps", str(tmp_path / "audiocaps.csv")))
    assert len(reader) == 60
    for row in range(60):
        try:
            reader.read(row)
            assert row != 7
        except BadItem as error:
            assert (row, error.reason) == (7, "malformed row")


def test_every_reader_survives_bytes_that_are_wrong(tmp_path: Path) -> None:
    """Seeded noise in every file of rows: rows come or are told, and a file is refused in one line at most."""
    published = publish(tmp_path)
    rng = np.random.default_rng(0)
    told = 0
    for name, entry in published.items():
        path = Path(entry.source.path)
        if path.is_dir():
            path = path / "a.txt"
        whole = path.read_bytes()
        for _ in range(15):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), 3):
                data[place] = rng.choice([0, 10, 34, 44, 91, 93, 123, 125, 255, *range(48, 58)])
            path.write_bytes(data[: rng.integers(1, len(data))] if rng.random() < 0.2 else data)
            try:
                reader = open_source(entry.source)
            except DataError as error:
                assert "\n" not in str(error), name
                continue
            for row in range(len(reader)):
                try:
                    assert reader.example(row)[-1]["role"] == "assistant"
                except BadItem as error:
                    told += 1
                    assert error.reason in REASONS, name
        path.write_bytes(whole)
    assert told > 100


def test_every_reader_tells_media_that_are_gone_or_empty(tmp_path: Path) -> None:
    published: dict[str, Published] = publish(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".jpg", ".png", ".wav", ".mp4")]
    for reason, spoil in (("empty", lambda path: path.write_bytes(b"")), ("missing", Path.unlink)):
        for path in files:
            spoil(path)
        for name, entry in published.items():
            if name == "webdataset":  # its media lie in the shard: test_containers.py
                continue
            if name == "cc3m folder" and reason == "missing":
                with pytest.raises(DataError, match="holds no pictures"):
                    open_source(entry.source)
                continue
            reader = open_source(entry.source)
            for row in range(len(reader)):
                media = [
                    part
                    for message in reader.read(row)
                    for part in message["content"]
                    if isinstance(part, dict) and "path" in part
                ]
                if media:
                    with pytest.raises(BadItem) as caught:
                        open_all(reader.example(row))
                    assert caught.value.reason == reason, name


SPOILS: dict[str, tuple[str, tuple[str, ...], Callable[[Path], Any] | None]] = {
    "half of it": ("truncated", (".png", ".jpg", ".wav", ".mp4"), cut),
    "a web page": ("wrong type", (".png", ".jpg", ".wav", ".mp4"), lambda path: path.write_text("<html>404</html>")),
    "a folder": ("wrong type", (".png", ".jpg", ".wav", ".mp4"), lambda path: (path.unlink(), path.mkdir())),
    "one pixel": ("wrong size", (".png", ".jpg"), lambda path: picture(path, (1, 1))),
    "two samples": ("wrong size", (".wav",), lambda path: soundfile.write(path, np.zeros(2), 16000)),
    "what a decoder cannot read": ("damaged", (".png",), lambda path: scrambled(noise(path))),
    "a link that leads out": ("outside the folder", (".png", ".jpg", ".wav", ".mp4"), None),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPOILS)
def test_every_reader_tells_media_that_are_damaged(kind: str, tmp_path: Path) -> None:
    """The kinds of damage to files, in every format that has such files."""
    reason, suffixes, spoil = SPOILS[kind]
    published = publish(tmp_path / "data")
    spoiled = set()
    for path in sorted((tmp_path / "data").rglob("*")):
        if path.suffix in suffixes and path.is_file():
            if kind == "half of it" and path.suffix in (".png", ".jpg"):
                noise(path)  # which is longer than a head
            if spoil is not None:
                spoil(path)
            else:
                outside = tmp_path / f"{len(spoiled)}{path.suffix}"
                path.rename(outside)
                path.symlink_to(outside)
            spoiled.add(path)
    told = set()
    for name, entry in published.items():
        try:
            reader = open_source(entry.source)
        except DataError:
            assert name == "cc3m folder" and kind == "a folder"  # it holds no pictures then
            continue
        for row in range(len(reader)):
            try:
                paths = [p["path"] for m in reader.example(row) for p in m["content"] if "path" in p]
                if not spoiled & set(paths):
                    continue
                open_all(reader.example(row))
                raise AssertionError(f"{name}, row {row}: nothing was told")
            except BadItem as error:
                assert error.reason == reason, (name, row, str(error))
                told.add(name)
    assert len(told) >= (2 if len(suffixes) == 1 else 5), told


def test_too_much_that_is_left_out_stops_the_run(tmp_path: Path) -> None:
    def skip(row: int, reason: str = "missing") -> Skip:
        return Skip("a.json", row, reason, "gone")

    skipped = Skipped(tmp_path / "skipped.jsonl", 0.01, planned=10_000)
    skipped.add(10, [skip(row) for row in range(10)])  # of so few, a share means little
    with pytest.raises(DataError) as caught:
        skipped.add(90, [skip(11, "empty")])
    assert str(caught.value).startswith(
        "11 of 100 items cannot be used (missing 10, empty 1), more than max_skipped 1.00% "
    )
    few = Skipped(tmp_path / "few.jsonl", 0.1, planned=20)
    few.add(5, [skip(0), skip(1)])
    with pytest.raises(DataError):
        few.add(1, [skip(2)])  # 3 of the 20 that there are
    many = Skipped(tmp_path / "many.jsonl", 0.01, planned=10**6, read=99_000, left_out=980)
    many.add(1000, [skip(row) for row in range(19)])
    # each is written once, whoever meets it again
    again = Skipped(tmp_path / "skipped.jsonl", 1.0, planned=10)
    again.note([skip(3), skip(12)])
    rows = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == [*range(10), 11, 12]
    assert rows[0] == {"source": "a.json", "row": 0, "reason": "missing", "detail": "gone"}
