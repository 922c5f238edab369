"""Mistakes of the person at the command line."""

from __future__ import annotations

OURS = ("anygpt", "encoders", "decoders", "stages")


class CommandError(ValueError):
    """A command that cannot be carried out; the message is one line that says what would do."""


def is_mistake(error: BaseException) -> bool:
    """Whether an error is the person's to mend rather than a bug: each room has its own kinds of ValueError for
    those, and what the machine refuses about a named file is one, too."""
    if isinstance(error, ValueError):
        return type(error).__module__.partition(".")[0] in OURS
    return isinstance(error, OSError) and error.filename is not None


def one_line(error: BaseException) -> str:
    """What went wrong, without line breaks."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
