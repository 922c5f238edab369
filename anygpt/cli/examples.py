"""`--examples FILE`: solved examples before the request, all of them or those most like it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anygpt.cli.errors import CommandError
from anygpt.cli.loading import with_media
from anygpt.config import AnyGPTConfig
from anygpt.messages import Conversation
from anygpt.shots import Shot, as_document, as_turns, nearest, read_shots

if TYPE_CHECKING:
    from anygpt.model import AnyGPT


@dataclass(frozen=True)
class Examples:
    """Shots with their media read, and how to show them.

    Attributes:
        count: show so many, those most like the request; None shows all, in the file's order.
        interleaved: as one document rather than as earlier turns.
    """

    shots: list[Shot]
    count: int | None
    interleaved: bool

    def before(self, model: AnyGPT, messages: Conversation) -> Conversation:
        """The conversation `messages` with examples before it."""
        shots = self.shots if self.count is None else nearest(model, self.shots, messages, self.count)
        return (as_document if self.interleaved else as_turns)(shots, messages)


def read_examples(
    file: Path | None, count: int | None, interleaved: bool, config: AnyGPTConfig
) -> Examples | None:
    """The examples that a command was given; None without a file.

    Raises:
        CommandError: options that need a file.
        ShotError, MediaError: a file that cannot be used.
    """
    if file is None:
        if count is not None or interleaved:
            raise CommandError("--shots and --interleaved are for --examples FILE")
        return None
    return Examples([with_media(shot, config) for shot in read_shots(file)], count, interleaved)
