"""`--draw-boxes`: the boxes that an answer names, drawn on the picture that they are about."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygpt.cli.files import take_name
from anygpt.cli.terminal import Screen
from anygpt.grounding import Found, GroundingError, draw, form_of, parse
from encoders import media

if TYPE_CHECKING:
    from PIL.Image import Image

    from anygpt.model import AnyGPT
    from encoders.views import Window


def window_of(model: AnyGPT, picture: Image) -> Window:
    """What the model's encoder sees of a picture."""
    from encoders.views import seen_window

    return seen_window(model.encoder("image"), *picture.size)


def draw_boxes(
    model: AnyGPT, content: list[dict[str, Any]], given: Image | None, folder: Path
) -> tuple[Path | None, Found]:
    """Draw an answer's boxes on its last picture or, where it has none, on the given one, and save that.

    Args:
        content: the answer's, with paths for media.
        given: the last picture that the person gave.

    Returns:
        The new file, none without boxes or a picture; and the boxes, as fractions of that picture's sides, with what was no box.
    """
    text = "".join(part["text"] for part in content if part["type"] == "text")
    read = parse(text, form_of(text))
    made = [part["path"] for part in content if part["type"] == "image"]
    found = Found(problems=read.problems)
    if made:
        picture, window = media.read("image", made[-1]), (0.0, 0.0, 1.0, 1.0)
    elif given is not None:
        picture, window = given, window_of(model, given)
    else:
        return None, read
    for box in read.boxes:
        try:
            found.boxes.append(box.of_view(window))
        except GroundingError as error:
            found.problems.append(str(error))
    if not found.boxes:
        return None, found
    from anygpt.media import write

    path = take_name(folder, "boxes", ".png")
    try:
        return write("image", draw(picture, found.boxes), path), found
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def show_boxes(
    model: AnyGPT, content: list[dict[str, Any]], given: Image | None, folder: Path, screen: Screen
) -> None:
    """As `draw_boxes`, and say where the picture is; on stderr, a line each, what looks like a box and is none."""
    path, found = draw_boxes(model, content, given, folder)
    if path is not None:
        screen.say(f"boxes: {path}")
    for problem in found.problems:
        print(f"anygpt: not drawn: {' '.join(problem.split())}", file=sys.stderr, flush=True)


def as_json(path: Path | None, found: Found) -> dict[str, Any]:
    """The boxes as `anygpt generate --json` prints them."""
    return {
        "boxes": [{"box": list(box.corners), "label": box.label} for box in found.boxes],
        "problems": found.problems,
        "drawn": str(path) if path else None,
    }
