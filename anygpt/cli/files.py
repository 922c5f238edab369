"""What the commands write: media under free names, and text; each file appears whole or not at all."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

from anygpt.cli.errors import CommandError


def check_output_dir(folder: Path, option: str = "--output-dir") -> None:
    """Make sure that `folder`, given by `option`, is one that can be written to, or made; nothing is written yet."""
    place = folder
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise CommandError(f"{option} {folder}: {place} is not a folder; name a folder, new or old")
    if not os.access(place, os.W_OK | os.X_OK):
        raise CommandError(f"{option} {folder}: no permission to write in {place}")


def take_name(folder: Path, stem: str, suffix: str) -> Path:
    """The first free `stem`_0, `stem`_1, … in `folder`, taken with an empty file, so that no other command,
    running at the same time, takes it as well."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        path = folder / f"{stem}_{number}{suffix}"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError("numbers do not end")


def save_medium(modality: str, medium: Any, folder: Path) -> Path:
    """Save a medium as `folder`/image_0.png, audio_0.wav, video_0.mp4 or the next number that is free."""
    from anygpt.media import SUFFIXES, write

    path = take_name(folder, modality, SUFFIXES[modality])
    try:
        return write(modality, medium, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path`, in one go."""
    temporary = path.with_name(f".{uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
