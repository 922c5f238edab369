"""Boxes in text: where a thing is in a picture, written in a prompt or read from an answer.

    fractions   a star: [0.100, 0.200, 0.400, 0.500]              of the picture's sides; this project's form
    integers    a star: [100, 200, 400, 500]                      thousandths of the sides
    qwen        [{"bbox_2d": [100, 200, 400, 500], "label": "a star"}]    Qwen3-VL's, in thousandths too
    kosmos      <phrase>a star</phrase><object><patch_index_0195><patch_index_0492></object>    Kosmos-2's

Kosmos-2 names the cells, of 32 × 32, where two corners lie; the other forms keep three decimals. What a form
keeps of a box is read back exactly. A model's answer may hold anything: what looks like a box and is none is
told, never raised.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from anygpt.config import unknown

if TYPE_CHECKING:
    from PIL.Image import Image

CELLS = 32  # a side, in Kosmos-2
SHOWN = 60  # characters of what is no box, in the sentence about it


class GroundingError(ValueError):
    """A box that cannot be written: which, and why."""


@dataclass(frozen=True)
class Box:
    """A box and what it holds.

    Attributes:
        x1, y1, x2, y2: left, top, right and bottom as fractions of the picture's sides, from its top left.
        label: what is there; empty for a place alone.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    label: str = ""

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """(x1, y1, x2, y2)."""
        return self.x1, self.y1, self.x2, self.y2

    def in_view(self, window: Sequence[float]) -> Box:
        """A box of the picture as a box of what an encoder sees of it, the rest cut off.

        Args:
            window: what it sees, as `encoders.views.seen_window` gives it.

        Raises:
            GroundingError: it lies wholly outside the window.
        """
        left, top, right, bottom = window
        return self._moved(
            1 / (right - left), -left / (right - left), 1 / (bottom - top), -top / (bottom - top)
        )

    def of_view(self, window: Sequence[float]) -> Box:
        """A box of what an encoder sees as a box of the picture; what lies in the padding is cut off.

        Raises:
            GroundingError: it lies wholly in the padding.
        """
        left, top, right, bottom = window
        return self._moved(right - left, left, bottom - top, top)

    def _moved(self, wide: float, x: float, high: float, y: float) -> Box:
        x1, x2 = (corner * wide + x for corner in (self.x1, self.x2))
        y1, y2 = (corner * high + y for corner in (self.y1, self.y2))
        if x2 < 0 or x1 > 1 or y2 < 0 or y1 > 1:
            raise GroundingError(f"the box {self.corners} lies wholly outside the picture that is seen")
        x1, y1, x2, y2 = (min(max(corner, 0.0), 1.0) for corner in (x1, y1, x2, y2))
        return Box(x1, y1, x2, y2, self.label)


@dataclass
class Found:
    """What was read from a text: the boxes in order, and a sentence for each thing that is no box after all."""

    boxes: list[Box] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, text: str, corners: Sequence[Any], scale: float, label: str) -> None:
        """Take four numbers, `scale` to the side, as a box, or tell why they are none; `text` is what was read."""
        if problem := _problem(corners, scale):
            self.tell(text, problem)
        else:
            x1, y1, x2, y2 = (corner / scale for corner in corners)
            self.boxes.append(Box(x1, y1, x2, y2, label))

    def tell(self, text: str, problem: str) -> None:
        """Note a problem with a stretch of text."""
        shown = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
        self.problems.append(f"{shown!r} {problem}")


def _problem(corners: Sequence[Any], scale: float) -> str | None:
    """Why these are not the corners of a box in a picture of `scale` to the side, or None."""
    if len(corners) != 4:
        return f"has {len(corners)} numbers, not 4"
    if not all(isinstance(corner, int | float) and not isinstance(corner, bool) for corner in corners):
        return "holds what is no number"
    if not all(0 <= corner <= scale for corner in corners):  # neither is NaN
        return "goes beyond the picture"
    if corners[2] < corners[0] or corners[3] < corners[1]:
        return "ends before it begins"
    return None


def render(boxes: Sequence[Box], form: str = "fractions") -> str:
    """Write boxes as text: one a line, in `qwen` one JSON list, in `kosmos` one after the other.

    Args:
        form: a key of `FORMS`.

    Raises:
        GroundingError: an unknown form, a box beyond the picture, or a label that the form cannot carry.
    """
    if form not in FORMS:
        raise GroundingError(unknown("form of boxes", form, FORMS))
    for box in boxes:
        if problem := _problem(box.corners, 1):
            raise GroundingError(f"the box {box.corners} {problem}")
        if box.label != box.label.strip() or not FORMS[form].label.fullmatch(box.label):
            raise GroundingError(f"the form {form!r} cannot carry the label {box.label!r}")
    return FORMS[form].render(boxes)


def parse(text: str, form: str = "fractions") -> Found:
    """Read the boxes in a text, which may say other things too; whatever it holds, only an unknown form raises.

    Args:
        form: a key of `FORMS`.

    Raises:
        GroundingError: an unknown form.
    """
    if form not in FORMS:
        raise GroundingError(unknown("form of boxes", form, FORMS))
    found = Found()
    FORMS[form].parse(text, found)
    return found


def form_of(text: str) -> str:
    """The form in which a text most likely writes its boxes: its marks tell, or whole numbers above 1."""
    if "bbox_2d" in text:
        return "qwen"
    if "<object>" in text or "<patch_index_" in text:
        return "kosmos"
    numbers = [part.strip() for match in BRACKETS.finditer(text) for part in match[1].split(",")]
    whole = [number for number in numbers if INTEGER.fullmatch(number)]
    return (
        "integers" if len(whole) == len(numbers) and any(int(number) > 1 for number in whole) else "fractions"
    )


def in_view(text: str, window: Sequence[float]) -> str:
    """A text about a picture with its boxes in brackets as those of what an encoder sees of it; what is no box stays.

    Raises:
        GroundingError: a box that lies wholly outside the window.
    """
    form = form_of(text)
    if tuple(window) == (0, 0, 1, 1) or form not in ("fractions", "integers"):
        return text

    def replace(match: re.Match[str]) -> str:
        boxes = parse(match[0], form).boxes
        return render([boxes[0].in_view(window)], form) if boxes else match[0]

    return BRACKETS.sub(replace, text)


def draw(image: Image, boxes: Sequence[Box]) -> Image:
    """A copy of the picture with the boxes' outlines, and their labels, on it.

    Raises:
        GroundingError: a box that goes beyond the picture or ends before it begins.
    """
    from PIL import ImageColor, ImageDraw

    for box in boxes:
        if problem := _problem(box.corners, 1):
            raise GroundingError(f"the box {box.corners} {problem}")
    picture = image.convert("RGB")
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    line = max(1, round(min(width, height) / 150))
    for index, box in enumerate(boxes):
        colour = ImageColor.getrgb(f"hsl({index * 137 % 360}, 90%, 50%)")  # neighbours differ much
        left, top = round(box.x1 * (width - 1)), round(box.y1 * (height - 1))
        right, bottom = round(box.x2 * (width - 1)), round(box.y2 * (height - 1))
        pen.rectangle((left, top, right, bottom), outline=colour, width=line)
        if label := _drawable(box.label):
            _, _, long, high = pen.textbbox((0, 0), label)
            # above the box where there is room, and within the picture
            x, y = max(0, min(left, width - long)), top - high if top >= high else top + line
            pen.rectangle((x, y, x + long, y + high), fill=colour)
            pen.text((x, y), label, fill=(0, 0, 0))
    return picture


def _drawable(label: str) -> str:
    """A label in one line, of a length that a picture can carry, without characters that no font has."""
    label = " ".join(label.split())[:SHOWN]
    return "".join(letter if letter.isprintable() else "?" for letter in label)


# ── label: [x1, y1, x2, y2] ───────────────────────────────────────────────────────────────────────────

# Brackets that hold a digit or a comma mean a box; its label goes back to the last mark that ends a phrase.
BRACKETS = re.compile(r"\[([^\[\]\n]*[\d,][^\[\]\n]*)(\]?)")
MARKS = r"\[\]:;,.!?\n"
PLAIN_LABEL = re.compile(f"[^{MARKS}]*")
FRACTION = re.compile(r"[+-]?\d{1,9}(?:\.\d{0,30})?|[+-]?\.\d{1,30}", re.ASCII)
INTEGER = re.compile(r"[+-]?\d{1,9}", re.ASCII)


def _render_fractions(boxes: Sequence[Box]) -> str:
    return "\n".join(_labelled(box, [f"{corner:.3f}" for corner in box.corners]) for box in boxes)


def _render_integers(boxes: Sequence[Box]) -> str:
    return "\n".join(_labelled(box, map(str, _thousandths(box))) for box in boxes)


def _labelled(box: Box, numbers: Any) -> str:
    return f"{box.label}{': ' if box.label else ''}[{', '.join(numbers)}]"


def _thousandths(box: Box) -> list[int]:
    return [round(corner * 1000) for corner in box.corners]


def _parse_fractions(text: str, found: Found) -> None:
    _parse_brackets(text, found, FRACTION, 1)


def _parse_integers(text: str, found: Found) -> None:
    _parse_brackets(text, found, INTEGER, 1000)


def _parse_brackets(text: str, found: Found, number: re.Pattern[str], scale: int) -> None:
    end = 0
    for match in BRACKETS.finditer(text):
        numbers = [part.strip() for part in match[1].split(",")]
        before, end = text[end : match.start()].rstrip(" \t"), match.end()
        label = re.split(f"[{MARKS}]", before[:-1])[-1].strip() if before.endswith(":") else ""
        if not match[2]:
            found.tell(match[0], "is not closed")
        elif not all(number.fullmatch(part) for part in numbers):
            found.tell(match[0], "holds what is no number" if scale == 1 else "holds what is no whole number")
        else:
            found.add(match[0], [float(part) for part in numbers], scale, label)


# ── JSON, as Qwen's models write it ───────────────────────────────────────────────────────────────────

ANY_LABEL = re.compile(r".*", re.DOTALL)


def _render_qwen(boxes: Sequence[Box]) -> str:
    entries: list[dict[str, Any]] = []
    for box in boxes:
        entries.append({"bbox_2d": _thousandths(box)} | ({"label": box.label} if box.label else {}))
    return json.dumps(entries, ensure_ascii=False)


def _parse_qwen(text: str, found: Found) -> None:
    """Each object by itself: an answer that was cut off still gives its first boxes, a fence does no harm."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            entry, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            following = text.find("{", place + 1)
            found.tell(text[place : following if following >= 0 else None].strip(), "is no JSON object")
            place = following
            continue
        shown, corners, label = text[place:end], entry.get("bbox_2d"), entry.get("label", "")
        if not isinstance(corners, list):
            found.tell(shown, "has no list under 'bbox_2d'")
        elif not isinstance(label, str):
            found.tell(shown, "has a label that is no text")
        else:
            found.add(shown, corners, 1000, label.strip())
        place = text.find("{", end)


# ── location tokens, as Kosmos-2 writes them ──────────────────────────────────────────────────────────

TAGGED_LABEL = re.compile(r"[^<>]*")
OBJECT = re.compile(
    r"(?:<phrase>(?P<label>[^<>]*)</phrase>)?[ \t]*<object>(?P<inside>.*?)(?P<end></object>|(?=<object>)|\Z)",
    re.DOTALL,
)
CELL = re.compile(r"<patch_index_(\d{4})>", re.ASCII)
DELIMITER = "</delimiter_of_multi_objects/>"


def _render_kosmos(boxes: Sequence[Box]) -> str:
    pieces = []
    for box in boxes:
        left, top = (min(math.floor(corner * CELLS), CELLS - 1) for corner in (box.x1, box.y1))
        right = max(math.ceil(box.x2 * CELLS - 1), left)  # an empty box fills the cell it begins in
        bottom = max(math.ceil(box.y2 * CELLS - 1), top)
        phrase = f"<phrase>{box.label}</phrase>" if box.label else ""
        cells = "".join(f"<patch_index_{y * CELLS + x:04}>" for x, y in ((left, top), (right, bottom)))
        pieces.append(f"{phrase}<object>{cells}</object>")
    return "".join(pieces)


def _parse_kosmos(text: str, found: Found) -> None:
    """As Kosmos-2's own code: from centre to centre of the two cells, or whole cells in one row or column."""
    for match in OBJECT.finditer(text):
        label = (match["label"] or "").strip()
        for place in match["inside"].split(DELIMITER):
            cells = [int(cell) for cell in CELL.findall(place)]
            if match["end"] != "</object>":
                found.tell(match[0], "is not closed")
            elif len(cells) != 2 or CELL.sub("", place).strip():
                found.tell(match[0], "holds no pair of cells")
            elif max(cells) >= CELLS * CELLS:
                found.tell(match[0], "goes beyond the picture")
            else:
                (top, left), (bottom, right) = (divmod(cell, CELLS) for cell in cells)
                whole = (left == right or top == bottom) and left <= right and top <= bottom
                near, far = (0.0, 1.0) if whole else (0.5, 0.5)
                found.add(match[0], [left + near, top + near, right + far, bottom + far], CELLS, label)


class Form(NamedTuple):
    """How boxes are written and read, and which labels that way of writing can carry."""

    render: Callable[[Sequence[Box]], str]
    parse: Callable[[str, Found], None]
    label: re.Pattern[str]


FORMS = {
    "fractions": Form(_render_fractions, _parse_fractions, PLAIN_LABEL),
    "integers": Form(_render_integers, _parse_integers, PLAIN_LABEL),
    "qwen": Form(_render_qwen, _parse_qwen, ANY_LABEL),
    "kosmos": Form(_render_kosmos, _parse_kosmos, TAGGED_LABEL),
}
