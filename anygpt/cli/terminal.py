"""What appears on the terminal: streamed text, media by path, pictures inline where the terminal can."""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

CLEAR_LINE = "\r\x1b[K"
DIM, RED, PLAIN = "\x1b[2m", "\x1b[31m", "\x1b[0m"
PREVIEW = 32  # columns, and half as many rows, of a picture drawn with half blocks
KITTY_CHUNK = 4096  # bytes of base64 in one escape sequence, at most


class Screen:
    """Where answers go.

    Args:
        lively: a person looks on: colours, progress, pictures. Otherwise stdout gets the answer alone.
    """

    def __init__(self, lively: bool) -> None:
        self.lively = lively
        self.fresh = True  # the cursor is at the start of a line
        self.has_status = False

    def text(self, delta: str) -> None:
        """Some more of the answer's text; at the start of a line without spaces before it."""
        if self.fresh:
            delta = delta.lstrip()
        if delta:
            self._write(delta)
            self.fresh = delta.endswith("\n")

    def medium(self, modality: str, path: Path, medium: Any, seconds: float) -> None:
        """A medium that has been saved."""
        self.end_line()
        if self.lively:
            picture = inline(medium, os.environ) if modality == "image" else ""
            self._write(f"{picture}{modality}: {path} {DIM}({seconds:.1f} s){PLAIN}\n")
        else:
            self._write(f"{modality}: {path}\n")

    def end_line(self) -> None:
        """Go to the start of a line."""
        if not self.fresh:
            self._write("\n")
            self.fresh = True

    def clear(self) -> None:
        """Go to the start of an empty line."""
        self.end_line()
        self._write("")

    def status(self, text: str) -> None:
        """What is going on, in a line that the next output replaces; only where a person looks on."""
        if self.lively:
            self.end_line()
            self._write(f"{DIM}{text}{PLAIN}")
            self.has_status = True

    def say(self, text: str) -> None:
        """A line of the program's own that was asked for."""
        self.end_line()
        self._write(f"{text}\n")

    def note(self, text: str) -> None:
        """A line of the program's own; only where a person looks on."""
        if self.lively:
            self.say(f"{DIM}{text}{PLAIN}")

    def error(self, text: str) -> None:
        """One line on stderr."""
        self.clear()
        line = f"anygpt: error: {text}"
        print(f"{RED}{line}{PLAIN}" if self.lively else line, file=sys.stderr, flush=True)

    def _write(self, text: str) -> None:
        if self.has_status:
            self.has_status = False
            text = CLEAR_LINE + text
        sys.stdout.write(text)
        sys.stdout.flush()


def inline(image: Image, environment: Mapping[str, str]) -> str:
    """What draws the picture in the terminal that `environment` tells of, with a line break; empty if nothing does."""
    program = environment.get("TERM_PROGRAM", "")
    multiplexed = "TMUX" in environment or environment.get("TERM", "").startswith("screen")
    if not multiplexed:
        if (
            "KITTY_WINDOW_ID" in environment
            or environment.get("TERM") == "xterm-kitty"
            or program == "ghostty"
        ):
            return _kitty(_png(image))
        if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
            data = _png(image)
            return f"\x1b]1337;File=inline=1;size={len(data)}:{base64.b64encode(data).decode()}\x07\n"
    if environment.get("COLORTERM") in ("truecolor", "24bit"):
        return _half_blocks(image)
    return ""


def _png(image: Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def _kitty(data: bytes) -> str:
    encoded = base64.b64encode(data).decode()
    chunks = [encoded[start : start + KITTY_CHUNK] for start in range(0, len(encoded), KITTY_CHUNK)]
    pieces = []
    for index, chunk in enumerate(chunks):
        keys = "a=T,f=100,q=2," if index == 0 else ""
        pieces.append(f"\x1b_G{keys}m={int(index + 1 < len(chunks))};{chunk}\x1b\\")
    return "".join(pieces) + "\n"


def _half_blocks(image: Image) -> str:
    """Two pixels a character: the upper one is the colour of the block, the lower one that behind it."""
    height = max(2, round(PREVIEW * image.height / image.width / 2) * 2)
    small = image.convert("RGB").resize((PREVIEW, min(height, 2 * PREVIEW)))
    pixels = small.load()
    assert pixels is not None
    rows = []
    for y in range(0, small.height, 2):
        row = ""
        for x in range(small.width):
            (r, g, b), (r2, g2, b2) = pixels[x, y], pixels[x, y + 1]  # type: ignore[misc]
            row += f"\x1b[38;2;{r};{g};{b};48;2;{r2};{g2};{b2}m▀"
        rows.append(row + PLAIN)
    return "\n".join(rows) + "\n"
