"""What the tests of the command line share: how it is asked, and the files that a person brings."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from PIL import Image

HOME = Path(__file__).resolve().parents[1]


class Done(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Done]


def environment() -> dict[str, str]:
    """Of a process of its own, which must find the repository's packages."""
    return {**os.environ, "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"}


def hear_ctrl_c() -> None:
    """For a new process: a shell starts what runs in its background deaf to Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def picture(path: Path, size: tuple[int, int] = (32, 32)) -> Path:
    Image.new("RGB", size, (200, 30, 30)).save(path)
    return path


def sound(path: Path, seconds: float = 1.0) -> Path:
    time = np.arange(int(16000 * seconds)) / 16000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * time), 16000)
    return path


def names(folder: Path) -> list[str]:
    """All files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def ask(text: str, **extra: Any) -> dict[str, Any]:
    """A request of a batch."""
    return {**extra, "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}


def write(path: Path, lines: list[Any]) -> Path:
    """A batch's file; a line may be a text as it is."""
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def results(folder: Path) -> list[dict[str, Any]]:
    """What a batch has answered."""
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
