"""The stages on data of a person's own, with bad items among them."""

import copy
import csv
import dataclasses
import json
import os
import pickle
import signal
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from damage import corpus
from data_files import publish
from numpy.random import Generator
from safetensors.torch import load_file
from short_runs import STAGES, stage_on
from torch import Tensor

from anygpt.config import ConfigError
from anygpt.data import BadItem, Source, open_source
from anygpt.data.errors import REASONS
from anygpt.data.media import open_all
from anygpt.data.mixture import Mixture
from anygpt.messages import MessageError, normalise
from anygpt.model import AnyGPT
from anygpt.processor import Prompt
from encoders.media import MediaError
from stages import encoding_alignment
from stages.config import TrainingConfig, read_config
from stages.data import prompt_maker
from stages.training import Interrupted, train


def skipped(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]


def test_a_corpus_with_every_kind_of_damage_trains_to_the_end(checkpoint: Path, tmp_path: Path) -> None:
    path, bad = corpus(tmp_path / "corpus", good=40)
    data = (Source("messages", str(path)),)
    stage = stage_on(
        STAGES["encoding-alignment"], checkpoint, tmp_path / "run", steps=20, data=data, max_skipped=0.9
    )
    report = train(stage)
    rows = skipped(tmp_path / "run")
    assert {row["row"] for row in rows} == bad and len(rows) == len(bad)  # all of them, and no good one
    assert all(row["reason"] in REASONS and row["detail"] and row["source"] == str(path) for row in rows)
    assert report["steps"] == 20 and report["items read"] >= 80 + report["items left out"] > 80


VALUES = ["", "  ", None, 7, [], {}, "../../outside.png", "/outside.png", "nothing.png", "a\0b", "a" * 60_000,
          "caf\ufffd", "half \ud800", "<image> <image> <image>", ["x", None]]  # fmt: skip


def spoiled(record: Any, rng: Generator) -> Any:
    """A record in which something stands that should not."""
    record = copy.deepcopy(record)
    place = record
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[int(rng.integers(len(keys)))]
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.1:
            place[key] = VALUES[int(rng.integers(len(VALUES)))]
            return record
        place = place[key]


def grown(rows: Any, rng: Generator) -> Any:
    """Two dozen rows, every third of them spoiled."""
    if isinstance(rows, dict):
        return {f"{key}-{i}": grown([row], rng)[i] for key, row in rows.items() for i in range(24)}
    return [spoiled(rows[i % len(rows)], rng) if i % 3 == 2 else rows[i % len(rows)] for i in range(24)]


def grow(path: Path, rng: Generator) -> None:
    """The same for a file of rows, in its own form."""
    if path.suffix in (".csv", ".tsv"):
        dialect = {"delimiter": "\t" if path.suffix == ".tsv" else ",", "lineterminator": "\n"}
        with path.open(newline="") as file:
            header, *rows = csv.reader(file, **dialect)
        cells = [
            [str(cell).replace("\0", "").replace("\ud800", "\ufffd") for cell in row]
            for row in grown(rows, rng)
        ]
        with path.open("w", newline="") as file:
            csv.writer(file, **dialect).writerows([header, *cells])
    elif path.suffix == ".p":
        path.write_bytes(pickle.dumps(grown(pickle.loads(path.read_bytes()), rng), protocol=2))
    else:
        text = path.read_text()
        lines = text.startswith("{") and "\n}" not in text.strip()  # an object a line
        root = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
        inside = next((key for key in ("annotations", "questions", "data") if key in root), None)
        if inside is not None:
            root[inside] = grown(root[inside], rng)
        else:
            root = grown(root, rng)
        path.write_text("".join(json.dumps(row) + "\n" for row in root) if lines else json.dumps(root))


@pytest.mark.slow
def test_all_readers_at_once_train_to_the_end_on_data_with_damage(checkpoint: Path, tmp_path: Path) -> None:
    """Every row that cannot be used is told, and no good one."""
    rng = np.random.default_rng(0)
    sources = [entry.source for entry in publish(tmp_path).values()]
    for path in sorted({source.path for source in sources}):
        if Path(path).is_file() and not path.endswith(".tar"):
            grow(Path(path), rng)
    pairs = next(Path(source.path) for source in sources if Path(source.path).is_dir())
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for i in range(12):
            for ending in (".jpg", ".txt"):
                data = (pairs / f"a{ending}").read_bytes()
                kinds = {3: b"", 5: b"<html>", 7: data[: len(data) // 2], 9: b"\xff\xfe"}
                for path in (pairs / f"{i}{ending}", tmp_path / f"{i}{ending}"):
                    path.write_bytes(kinds.get(i, data))
                shard.add(tmp_path / f"{i}{ending}", f"{i}{ending}")
    (pairs / "10.txt").unlink()
    stage = stage_on(
        STAGES["encoding-alignment"], checkpoint, tmp_path / "run", steps=60, batch_size=32, log_steps=20,
        data=tuple(dataclasses.replace(source, weight=1.0) for source in sources), max_skipped=0.9,
    )  # fmt: skip
    model = AnyGPT.from_pretrained(checkpoint)
    make = prompt_maker(model.processor, model.llm.config.max_position_embeddings)
    bad: set[tuple[str, int]] = set()
    good = 0
    for source in stage.config.data or ():
        reader = open_source(source, stage.task)
        for row in range(len(reader)):
            try:
                make(normalise(open_all(reader.example(row, outputs=stage.outputs))))
                good += 1
            except (BadItem, MediaError, MessageError):
                bad.add((source.path, row))
    assert len(bad) > 60 and good > 150 and len({path for path, _ in bad}) >= 15
    report = train(stage)
    rows = skipped(tmp_path / "run")
    assert report["steps"] == 60 and len(rows) == len({(row["source"], row["row"]) for row in rows})
    told = {(row["source"], row["row"]) for row in rows}
    mixture = stage.examples("training")
    assert isinstance(mixture, Mixture)
    come = {(share.name, share.row(place)) for share in mixture.shares for place in share.rows("training")}
    assert told <= bad and bad & come <= told  # some of what is kept apart is not looked at
    assert all(row["reason"] in REASONS and row["detail"] for row in rows)


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_trains_on_dialogues_of_other_projects(
    name: str, checkpoint: Path, tmp_path: Path
) -> None:
    published = publish(tmp_path)
    data = tuple(published[format].source for format in ("nextgpt t2x", "nextgpt present", "llava"))
    report = train(stage_on(STAGES[name], checkpoint, tmp_path / "run", data=data, max_skipped=0.0))
    assert report["items left out"] == 0 and report["items read"] >= 8
    assert report["after"]["loss"] == report["after"]["loss"]


def test_a_stopped_run_on_a_mixture_goes_on_to_the_same_end(checkpoint: Path, tmp_path: Path) -> None:
    path, _ = corpus(tmp_path / "corpus", good=30)
    pairs = next(e.source for name, e in publish(tmp_path).items() if name == "nextgpt t2x")
    data = (
        Source("messages", str(path), weight=2.0),
        Source(pairs.format, pairs.path, pairs.media, weight=1.0),
    )
    settings: dict[str, Any] = {"steps": 6, "data": data, "max_skipped": 0.9, "workers": 2}
    kind = STAGES["modality-switching"]

    class Stopped(kind):  # type: ignore[valid-type, misc]
        """Asked to stop in its third step, in the middle of a bucket."""

        def losses(self, model: AnyGPT, batch: Sequence[Prompt], step: int) -> dict[str, Tensor]:
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().losses(model, batch, step)

    whole = train(stage_on(kind, checkpoint, tmp_path / "whole", **settings))
    with pytest.raises(Interrupted, match="stopped after step 3"):
        train(stage_on(Stopped, checkpoint, tmp_path / "stopped", **settings))
    resumed = train(stage_on(kind, checkpoint, tmp_path / "stopped", **settings), resume=True)
    for file in ("model.safetensors", "lora/adapter_model.safetensors"):
        first, second = (load_file(tmp_path / run / file) for run in ("whole", "stopped"))
        assert all(torch.equal(first[key], second[key]) for key in first)
    same = ("before", "after", "items read", "items left out")
    assert {key: whole[key] for key in same} == {key: resumed[key] for key in same}
    assert {(r["source"], r["row"]) for r in skipped(tmp_path / "whole")} == {
        (r["source"], r["row"]) for r in skipped(tmp_path / "stopped")
    }


def test_too_many_bad_items_stop_the_run_and_say_so(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = corpus(tmp_path / "corpus", good=10)
    settings = vars(stage_on(STAGES["encoding-alignment"], checkpoint, tmp_path / "run", workers=1).config)
    config = tmp_path / "stage.yaml"
    data = [{"format": "messages", "path": str(path)}]
    config.write_text(
        yaml.safe_dump({key: v for key, v in settings.items() if v is not None} | {"data": data})
    )
    assert encoding_alignment.main(["--config", str(config)]) == 2
    told = capsys.readouterr().err
    lines = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "items cannot be used" in lines[0] and "max_skipped 1.00%" in lines[0]
    assert "skipped.jsonl names them" in lines[0] and "Traceback" not in told
    assert not (tmp_path / "run" / "config.json").exists() and skipped(tmp_path / "run")
    assert encoding_alignment.main(["--config", str(config), "--max-skipped", "2"]) == 2
    assert "max_skipped is a share, from 0 to 1, not 2.0" in capsys.readouterr().err


def test_sources_are_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "stage.yaml"
    path.write_text(
        "model: a\noutput: b\nsteps: 5\nmax_skipped: 0.05\ndata:\n"
        "- {format: llava, path: l.json, media: pictures, weight: 2}\n- {format: alpaca, path: a.json, limit: 10}\n"
    )
    config = read_config(TrainingConfig, path)
    first, second = Source("llava", "l.json", "pictures", weight=2.0), Source("alpaca", "a.json", limit=10)
    assert config.data == (first, second) and config.max_skipped == 0.05
    for text, message in (
        ("[{format: llava, paht: x}]", "data: unknown key 'paht' (did you mean 'path'?)"),
        ("[{format: llava}]", "data: the key 'path' is missing"),
        ("[{format: llava, path: x, task: draw}]", "unknown value 'draw'"),
        ("[{format: llava, path: x, weight: 0}]", "weight must be above 0"),
        ("[]", "data names no source"),
        ("llava", "data: expected a list, got 'llava'"),
    ):
        with pytest.raises(ConfigError) as caught:
            read_config(TrainingConfig, path, [f"data={text}"])
        assert message in str(caught.value)
