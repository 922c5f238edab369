"""Damage, as it comes in life: for each kind the reason by which it should be told, and what makes it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from command_line import picture, sound
from data_files import film
from PIL import Image

Row = dict[str, Any] | bytes | None


def question(modality: str, name: str, answer: str = "it is red") -> dict[str, Any]:
    content = [{"type": modality, "path": name}, {"type": "text", "text": "what is this?"}]
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]}


def noise(path: Path) -> Path:
    """A picture that does not compress, so that half of it is half a picture."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def scrambled(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data)
    return path


def _image(make: Callable[[Path], Any], name: str = "bad.png") -> Callable[[Path], Row]:
    def row(folder: Path) -> Row:
        make(folder / name)
        return question("image", name)

    return row


def _sound(make: Callable[[Path], Any]) -> Callable[[Path], Row]:
    def row(folder: Path) -> Row:
        make(folder / "bad.wav")
        return question("audio", "bad.wav")

    return row


def _link(path: Path) -> None:
    outside = path.parents[2] / "outside.png"
    picture(outside)
    path.symlink_to(outside)


def _outside(name: str) -> Callable[[Path], Row]:
    def row(folder: Path) -> Row:
        place = folder.parents[1]  # outside, also where the folder is one of a corpus's
        picture(place / "outside.png")
        return question("image", name.format(place))

    return row


def _film(folder: Path) -> Row:
    cut(film(folder / "bad.mp4"))
    return question("video", "bad.mp4")


def _late(folder: Path) -> Row:
    """A film whose index is whole and whose frames are not: decoders give what there is."""
    whole = film(folder / "bad.mp4").read_bytes()
    boxes, place = {}, 0
    while place < len(whole):
        length = int.from_bytes(whole[place : place + 4], "big")
        boxes[whole[place + 4 : place + 8]] = whole[place : place + length]
        place += length
    (folder / "bad.mp4").write_bytes(boxes[b"ftyp"] + boxes[b"moov"] + boxes[b"mdat"][:-200])
    return question("video", "bad.mp4")


DAMAGE: dict[str, tuple[str, Callable[[Path], Row]]] = {
    "a picture that is not there": ("missing", lambda folder: question("image", "none.png")),
    "an empty picture": ("empty", _image(Path.touch)),
    "half a PNG": ("truncated", _image(lambda path: cut(noise(path)))),
    "half a JPEG": ("truncated", _image(lambda path: cut(noise(path)), "bad.jpg")),
    "half a WAV": ("truncated", _sound(lambda path: cut(sound(path)))),
    "half a film": ("truncated", _film),
    "a film without its last frames": ("truncated", _late),
    "a web page for a picture": ("wrong type", _image(lambda path: path.write_text("<html>404</html>"))),
    "a sound for a picture": ("wrong type", _image(lambda path: sound(path.with_suffix(".wav")).rename(path))),
    "a folder for a picture": ("wrong type", _image(Path.mkdir)),
    "a picture of one pixel": ("wrong size", _image(lambda path: picture(path, (1, 1)))),
    "a picture of a hundred megapixels": ("wrong size", _image(lambda path: Image.new("1", (10_000, 10_000)).save(path))),
    "a sound of two samples": ("wrong size", _sound(lambda path: soundfile.write(path, np.zeros(2), 16000))),
    "a scrambled picture": ("damaged", _image(lambda path: scrambled(noise(path)))),
    "noise for a sound": ("damaged", _sound(lambda path: path.write_bytes(b"RIFF\0\0\0\0WAVE" + bytes(range(256))))),
    "a path upwards": ("outside the folder", _outside("../outside.png")),
    "an absolute path": ("outside the folder", _outside("{}/outside.png")),
    "a link that leads out": ("outside the folder", _image(_link)),
    "a name with a NUL": ("malformed row", lambda folder: question("image", "a\0.png")),
    "a name that is too long": ("malformed row", lambda folder: question("image", "a" * 300 + ".png")),
    "a line that is not JSON": ("malformed row", lambda folder: b'{"messages": [{"role": "user",}]}'),
    "a line of another kind": ("malformed row", lambda folder: b"[1, 2]"),
    "nothing": ("malformed row", lambda folder: None),
    "no answer": ("malformed row", lambda folder: {"messages": [{"role": "user", "content": "hello"}]}),
    "an unknown modality": ("malformed row", lambda folder: question("smell", "a.png")),
    "an empty answer": ("empty", lambda folder: question("image", "good.png", "  ")),
    "an answer of a million letters": ("too long", lambda folder: question("image", "good.png", "a" * 10**6)),
    "bytes that are no text": ("undecodable text", lambda folder: b'{"messages": "\xff\xfe"}'),
    "half a character": ("undecodable text", lambda folder: question("image", "good.png", "a\ud800")),
    "text that was lost before": ("undecodable text", lambda folder: question("image", "good.png", "caf\ufffd")),
}  # fmt: skip


def line(row: Row) -> bytes:
    return row if isinstance(row, bytes) else json.dumps(row).encode()


def corpus(folder: Path, good: int) -> tuple[Path, set[int]]:
    """A JSON Lines file with every kind of damage among `good` good rows, each damaged file in a folder of its own.

    Returns:
        The file, whose folder holds the media, and the numbers of its damaged rows.
    """
    rows: list[bytes] = []
    for number, (_, make) in enumerate(DAMAGE.values()):
        place = folder / str(number)
        place.mkdir(parents=True)
        picture(place / "good.png")
        row = make(place)
        if isinstance(row, dict):  # its paths start at the corpus's folder
            for part in row["messages"][0]["content"]:
                name = part.get("path", "") if isinstance(part, dict) else ""
                if name and not name.startswith("/"):
                    # two folders up is outside, one is another's
                    part["path"] = f"{number}/../{name}" if name.startswith("..") else f"{number}/{name}"
        rows.append(line(row))
    picture(folder / "good.png")
    sound(folder / "good.wav")
    kinds = ("image", "good.png"), ("audio", "good.wav")
    rows += [line(question(*kinds[i % 2], f"it is number {i}")) for i in range(good)]
    # the good ones among the bad ones
    order = np.random.default_rng(0).permutation(len(rows))
    path = folder / "corpus.jsonl"
    path.write_bytes(b"".join(rows[i] + b"\n" for i in order))
    return path, {place for place, i in enumerate(order) if i < len(DAMAGE)}
