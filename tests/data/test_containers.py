"""Media inside larger files: WebDataset's shards and the library `datasets`, whole and damaged."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import picture, sound
from data_files import told
from PIL import Image

from anygpt.data import BadItem, DataError, Source, open_source
from anygpt.data.convert import convert
from anygpt.data.media import open_all
from anygpt.data.reader import Reader
from anygpt.messages import Conversation
from anygpt.precomputed import file_key

LONG = "a/" * 60 + "000009"  # longer than a plain header's 100 letters


def image(shade: int = 0) -> bytes:
    data = io.BytesIO()
    noise = np.random.default_rng(shade).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(noise).save(data, "PNG")
    return data.getvalue()


def shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def pairs(*numbers: int) -> dict[str, bytes]:
    """Pictures with captions."""
    members = {}
    for number in numbers:
        members[f"{number:06d}.png"] = image(number)
        members[f"{number:06d}.txt"] = f"picture {number}".encode()
    return members


def read(reader: Reader) -> list[str]:
    """Of each row its answer, or why it cannot be used."""
    rows = []
    for row in range(len(reader)):
        try:
            rows.append(open_all(reader.example(row))[-1]["content"][0]["text"])
        except BadItem as error:
            rows.append(error.reason)
    return rows


def medium(conversation: Conversation, modality: str) -> Any:
    return next(part[modality] for message in conversation for part in message["content"] if modality in part)


def test_samples_of_shards_become_conversations(tmp_path: Path) -> None:
    (sound_file := sound(tmp_path / "a.wav")).rename(tmp_path / "b.wav")
    turns = [
        {"from": "human", "value": "<image>\nand <audio> what path?"},
        {"from": "gpt", "value": "a path"},
    ]
    ours = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]},
            {"role": "assistant", "content": "a kite", "weight": 0},
            {"role": "user", "content": "sure?"}, {"role": "assistant", "content": "yes"}]  # fmt: skip
    shard(
        tmp_path / "00000.tar",
        pairs(0, 1) | {f"{LONG}.png": image(9), f"{LONG}.json": b'{"caption": "far down"}'},
    )
    shard(tmp_path / "00001.tar", {
        "x/1.wav": (tmp_path / "b.wav").read_bytes(), "x/1.png": image(3), "x/1.json": json.dumps({"conversations": turns}).encode(),
        "y/1.png": image(4), "y/1.json": json.dumps({"messages": ours}).encode(),
    })  # fmt: skip
    reader = open_source(Source("webdataset", str(tmp_path)))
    assert len(reader) == 5 and sound_file.name == "a.wav"
    rows = [told(reader.example(row)) for row in range(5)]
    assert rows[1] == ["user: [image 000001.png] Describe the picture.", "assistant: picture 1"]
    assert rows[2] == ["user: [image 000009.png] What does the picture show?", "assistant: far down"]
    assert rows[3] == ["user: [image 1.png] and [audio 1.wav] what path?", "assistant: a path"]
    assert rows[4] == [
        "user: [image 1.png] what?",
        "assistant: a kite",
        "user: sure?",
        "assistant: yes",
    ]
    opened = open_all(reader.example(4))
    assert np.array_equal(medium(opened, "image"), Image.open(io.BytesIO(image(4))))
    assert medium(open_all(reader.example(3)), "audio").samples.shape[0] >= 1
    one = open_source(Source("webdataset", str(tmp_path / "00001.tar"), task="make", limit=1))
    assert len(one) == 1
    # a converted file leads into the shards
    convert(reader, tmp_path / "ours.jsonl", 0.0)
    again = open_source(Source("messages", str(tmp_path / "ours.jsonl")))
    assert [told(again.example(row)) for row in range(5)] == rows
    # what is not to be learned stays so
    for example in (reader.example(4), again.example(4)):
        assert [message.get("weight") for message in example] == [None, 0, None, None]
    assert np.array_equal(medium(open_all(again.example(4)), "image"), medium(opened, "image"))


def test_damage_to_a_shard_is_told_and_costs_its_samples_alone(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", pairs(0, 1, 2, 3) | {
        "000004.png": b"<html>404</html>", "000004.txt": b"a page", "000005.png": image(5), "000005.txt": b"caf\xff",
        "000006.txt": b"no picture", "000007.png": b"", "000007.txt": b"empty", "000008.png": image(8)[:300], "000008.txt": b"half",
        "000009.json": b"{", "000009.png": image(1),
    })  # fmt: skip
    bad = ["wrong type", "undecodable text", "malformed row", "empty", "truncated", "malformed row"]
    assert read(open_source(Source("webdataset", str(path)))) == [f"picture {i}" for i in range(4)] + bad
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        second, third = (archive.getmember(f"00000{i}.png") for i in (1, 2))
    data[second.offset : second.offset + 512] = (
        bytes(range(256)) * 2
    )  # a header that is none: its medium is lost
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    rows = read(open_source(Source("webdataset", str(path))))
    assert (
        rows[0] == "picture 0" and rows[1] == "damaged" and rows[2] == "malformed row"
    )  # and its caption is alone
    assert rows[3:] == ["picture 2", "picture 3", *bad]
    for length, last in ((third.offset_data + 100, "truncated"), (third.offset + 100, "truncated")):
        path.write_bytes(data[:length])
        os.utime(path, ns=(2, length))
        rows = read(open_source(Source("webdataset", str(path))))
        assert rows[0] == "picture 0" and rows[-1] in (last, "malformed row") and len(rows) == 4
    for content in (b"", b"no archive" * 1000, bytes(10240)):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot read|no samples") as caught:
            open_source(Source("webdataset", str(path)))
        assert "\n" not in str(caught.value)


def test_a_path_into_a_file_leads_nowhere_else(tmp_path: Path) -> None:
    shard(tmp_path / "outside.tar", pairs(0))
    (tmp_path / "media").mkdir()
    rows = ["../outside.tar/@512+100/a.png", "none.tar/@512+100/a.png", "@3/a.png", "@3/a.0.png"]
    lines = [
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "path": name}]},
                {"role": "assistant", "content": "a"},
            ]
        }
        for name in rows
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    reader = open_source(Source("messages", str(tmp_path / "rows.jsonl"), str(tmp_path / "media")))
    assert read(reader) == ["outside the folder", "missing", "missing", "missing"]
    (tmp_path / "media" / "@3").mkdir()
    picture(tmp_path / "media" / "@3" / "a.0.png")  # a folder may have such a name
    assert read(reader)[3] == "a"


def test_a_members_identity_changes_with_its_shard(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", pairs(0, 1))
    reader = open_source(Source("webdataset", str(path)))
    keys = {file_key(reader.example(row)[0]["content"][0]["path"]) for row in (0, 1, 0)}
    assert len(keys) == 2
    os.utime(path, ns=(1, 1))
    assert file_key(reader.example(0)[0]["content"][0]["path"]) not in keys


def test_data_sets_of_the_library(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    columns: dict[str, list[Any]] = {
        "image": [{"bytes": image(0), "path": None}, {"bytes": image(1)[:300], "path": "a.png"}, None],
        "caption": ["a path", "half", "nothing"],
    }
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    kept = datasets.Dataset.from_dict(columns, features=features)
    kept.save_to_disk(str(tmp_path / "pairs"))
    reader = open_source(Source("datasets", str(tmp_path / "pairs"), task="describe"))
    assert read(reader) == ["a path", "truncated", "missing"]
    part = reader.example(0)[0]["content"][0]
    assert np.array_equal(medium(open_all(reader.example(0)), "image"), Image.open(io.BytesIO(image(0))))
    assert (
        file_key(part["path"])
        == file_key(part["path"])
        != file_key(reader.example(1)[0]["content"][0]["path"])
    )

    several = {
        "images": [[{"bytes": image(1), "path": None}, {"bytes": image(2), "path": None}]] * 2,
        "messages": [
            [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "image", "text": None}, {"type": "text", "text": "which?"}]},
             {"role": "assistant", "content": [{"type": "text", "text": "the second"}]}],
            [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "one?"}]},
             {"role": "assistant", "content": [{"type": "text", "text": "no"}]}],
        ],
    }  # fmt: skip
    content = {
        "role": datasets.Value("string"),
        "content": [{"type": datasets.Value("string"), "text": datasets.Value("string")}],
    }
    features = datasets.Features({"images": datasets.List(datasets.Image()), "messages": [content]})
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(several, features=features)}).save_to_disk(
        str(tmp_path / "turns")
    )
    reader = open_source(Source("datasets", str(tmp_path / "turns" / "train")))
    assert told(reader.example(0)) == [
        "user: [image images.0] [image images.1] which?",
        "assistant: the second",
    ]
    assert read(reader) == ["the second", "malformed row"]
    with pytest.raises(DataError, match="holds the splits train; name one of its folders"):
        open_source(Source("datasets", str(tmp_path / "turns")))
    with pytest.raises(DataError, match="cannot open the data set"):
        picture(tmp_path / "a.png")
        open_source(Source("datasets", str(tmp_path)))
