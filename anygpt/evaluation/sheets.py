"""Contact sheets: many pictures and films on one page, each with its words, to be looked at."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from anygpt.evaluation.gallery import FRAME_SIDE, FRAMES, PICTURE_SIDE, film_strip
from encoders.media import Video

LINE = 12
Item = tuple[str, Any, str, bool]  # modality, picture or frames, words, whether all is right


def contact_sheet(items: Sequence[Item], path: Path, columns: int = 8) -> None:
    """Write one PNG of all items: pictures in a grid, then a strip a film; words in red where something is wrong.

    Args:
        items: modality (image or video), the PIL picture or the uint8 frames (n, H, W, 3), the words, whether right.
    """
    pictures = [item for item in items if item[0] == "image"]
    films = [item for item in items if item[0] == "video"]
    tile = (PICTURE_SIDE + 4, PICTURE_SIDE + 4 * LINE)
    strip = (FRAMES * (FRAME_SIDE + 2), FRAME_SIDE + 2 * LINE)
    rows, across = -(-len(pictures) // columns), 2
    height = rows * tile[1] + -(-len(films) // across) * strip[1]
    sheet = Image.new(
        "RGB", (max(columns * tile[0], across * (strip[0] + 8)), max(height, 1)), (236, 232, 224)
    )
    pen = ImageDraw.Draw(sheet)
    for index, (_, picture, words, right) in enumerate(pictures):
        x, y = index % columns * tile[0], index // columns * tile[1]
        sheet.paste(picture.resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.NEAREST), (x + 2, y + 2))
        _write(pen, x + 2, y + PICTURE_SIDE + 4, words, 22, right)
    for index, (_, frames, words, right) in enumerate(films):
        x, y = index % across * (strip[0] + 8), rows * tile[1] + index // across * strip[1]
        sheet.paste(film_strip(Video(frames, 1.0)), (x + 2, y + 2))
        _write(pen, x + 2, y + FRAME_SIDE + 4, words, 88, right)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    sheet.save(temporary, format="PNG")
    os.replace(temporary, path)


def _write(pen: ImageDraw.ImageDraw, x: int, y: int, words: str, width: int, right: bool) -> None:
    text = "\n".join(textwrap.wrap(words, width)[:3])
    pen.multiline_text((x, y), text, fill=(0, 0, 0) if right else (190, 0, 0), font_size=10, spacing=1)
