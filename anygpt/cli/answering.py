"""An answer on its way to the screen and to files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygpt.cli.files import save_medium
from anygpt.cli.terminal import Screen

if TYPE_CHECKING:
    from anygpt.generation import Event, Reply

DOING = {"image": "drawing a picture", "audio": "making a sound", "video": "shooting a film"}


def show(events: Iterator[Event], screen: Screen, folder: Path) -> list[dict[str, Any]]:
    """Show an answer as it comes, its media saved in `folder`; its content, with paths for media."""
    from anygpt.generation import Done, MediaDone, MediaProgress, MediaStarted, TextDelta

    paths: list[Path] = []
    for event in events:
        match event:
            case TextDelta(text):
                screen.text(text)
            case MediaStarted(modality):
                screen.status(f"{DOING[modality]} …")
            case MediaProgress(modality, _, step, steps):
                screen.status(f"{DOING[modality]} … {step}/{steps}")
            case MediaDone(modality, _, medium, seconds):
                paths.append(save_medium(modality, medium, folder))
                screen.medium(modality, paths[-1], medium, seconds)
            case Done(reply):
                screen.end_line()
                return with_paths(reply, paths)
    raise AssertionError("an answer ends with Done")


def with_paths(reply: Reply, paths: list[Path]) -> list[dict[str, Any]]:
    """The reply's content as JSON has it: each medium's path in place of the medium."""
    waiting = iter(paths)
    return [part if part["type"] == "text" else _with_path(part, next(waiting)) for part in reply.content]


def _with_path(part: dict[str, Any], path: Path) -> dict[str, Any]:
    kept = {key: value for key, value in part.items() if key != part["type"]}
    return {**kept, "path": str(path)}


def as_json(reply: Reply, paths: list[Path]) -> dict[str, Any]:
    """An answer as `anygpt generate --json` prints it."""
    return {
        "text": reply.text,
        "content": with_paths(reply, paths),
        "seed": reply.seed,
        "seconds": {what: round(seconds, 3) for what, seconds in reply.seconds.items()},
    }
