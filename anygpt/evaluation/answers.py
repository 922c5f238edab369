"""What an answer in words says: every attribute value of the toy world that its sentences name."""

from __future__ import annotations

import re

from anygpt.toyworld.scenes import BACKGROUNDS, COLOURS, SHAPES, SIZES

Found = dict[str, set[str]]

SYNONYMS = {
    "disc": "circle", "disk": "circle", "dot": "circle", "ball": "circle", "box": "square", "rhombus": "diamond", "plus": "cross",
    "donut": "ring", "turquoise": "cyan", "violet": "purple", "gray": "grey", "tiny": "small", "little": "small", "big": "large", "huge": "large",
}  # fmt: skip
NAMES = {"shape": SHAPES, "colour": tuple(COLOURS), "size": tuple(SIZES), "background": tuple(BACKGROUNDS)}
# Longest first: what one line has read is taken out of the text before the next.
PHRASES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("motion", r"(?:mov|go|slid|drift|fly)(?:ing|es|e|s) (?:to the )?(left|right|up|down)(?:wards?)?", {}),
    (
        "motion",
        r"standing still|stands still|staying still|not moving|does not move|growing|grows|shrinking|shrinks|blinking|blinks|flashing",
        {
            "standing still": "still", "stands still": "still", "staying still": "still", "not moving": "still", "does not move": "still",
            "grows": "growing", "shrinks": "shrinking", "blinks": "blinking", "flashing": "blinking",
        },
    ),
    (
        "contour",
        r"fading in|fading out|fades in|fades out|rising|rises|falling|falls|pulsing|pulses|steady|constant",
        {"fades in": "fading in", "fades out": "fading out", "rises": "rising", "falls": "falling", "pulses": "pulsing", "constant": "steady"},
    ),
    ("relation", r"(?:to the |on the )?(left of|right of|above|below)", {}),
    ("count", r"(no|one|two|three|four|1|2|3|4) (?:things?|shapes?)", {"1": "one", "2": "two", "3": "three", "4": "four"}),
    ("place", r"(?:top|upper|bottom|lower)[ -](?:left|right)", {"upper left": "top left", "upper right": "top right", "lower left": "bottom left", "lower right": "bottom right"}),
    ("place", r"(?:at|on|to|in|near) the (left|right|top|bottom|centre|center|middle)", {"center": "centre", "middle": "centre"}),
    ("pitch", r"high|middle|low", {}),
    ("metres", r"(\d+(?:\.\d+)?) ?(?:metres?|meters?|m)", {}),
    ("degrees", r"(-?\d+(?:\.\d+)?) ?(?:degrees|°)", {}),
)  # fmt: skip


def read_answer(text: str) -> Found:
    """Attribute → the values that the text names; attributes that it does not name are missing.

    Attributes: shape, colour, size, background, place, motion, contour, pitch, relation, count, metres, degrees.
    """
    text = re.sub(r"\s+", " ", text.lower())
    found: Found = {}
    for name, pattern, meanings in PHRASES:
        expression = re.compile(rf"(?<![\w.])(?:{pattern})(?!\w)")
        for match in expression.finditer(text):
            words = match.group(1) if match.lastindex else match.group(0)
            words = words.replace("-", " ")
            found.setdefault(name, set()).add(meanings.get(words, words))
        text = expression.sub(" ; ", text)
    for word in re.findall(r"[a-z]+(?:-[a-z]+)*", text):
        word = SYNONYMS.get(word, word)
        for name, values in NAMES.items():
            for value in values:
                if word in (value, f"{value}s", f"{value}es"):
                    found.setdefault(name, set()).add(value)
    return found
