"""How the toy world's things are said in English: one canonical caption a medium, and many ways to ask for it.

Everything here turns a `Scene`, a `Thing` or a `Tone` into words. The *canonical* caption is what the decoders' text
encoders and the answers use; the paraphrases are what people say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from numpy.random import Generator

from anygpt.toyworld.scenes import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    PLACES,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    relation,
)
from anygpt.toyworld.sounds import Tone

SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "circle", "circle", "disc", "disk", "dot", "ball"),
    "square": ("square", "square", "square", "box"),
    "triangle": ("triangle",),
    "diamond": ("diamond", "diamond", "diamond", "rhombus"),
    "star": ("star",),
    "cross": ("cross", "cross", "cross", "plus sign", "plus"),
    "ring": ("ring", "ring", "ring", "donut"),
    "heart": ("heart",),
}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red",),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green",),
    "cyan": ("cyan", "cyan", "turquoise"),
    "blue": ("blue",),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink",),
}
SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "small", "small", "tiny", "little", "mini"),
    "large": ("large", "large", "large", "big", "huge", "giant"),
}
BACKGROUND_WORDS: dict[str, tuple[str, ...]] = {
    "white": ("white",),
    "grey": ("grey", "grey", "gray"),
    "black": ("black",),
}
PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "centre": (
        "in the centre",
        "in the middle",
        "in the center",
        "at the centre",
        "centred",
        "right in the middle",
    ),
    "top": (
        "at the top",
        "at the top",
        "on top",
        "in the top middle",
        "up at the top",
        "near the top edge",
        "at the upper edge",
    ),
    "bottom": (
        "at the bottom",
        "at the bottom",
        "down at the bottom",
        "in the bottom middle",
        "near the bottom edge",
        "at the lower edge",
    ),
    "left": (
        "at the left",
        "on the left",
        "on the left side",
        "to the left",
        "at the left edge",
        "on the left hand side",
    ),
    "right": (
        "at the right",
        "on the right",
        "on the right side",
        "to the right",
        "at the right edge",
        "on the right hand side",
    ),
    **{
        f"{row} {side}": (
            f"at the {row} {side}",
            f"at the {row} {side}",
            f"in the {row} {side}",
            f"in the {row} {side} corner",
            f"in the {word} {side}",
            f"in the {word} {side} corner",
            f"{row} {side}",
        )
        for row, word in (("top", "upper"), ("bottom", "lower"))
        for side in ("left", "right")
    },
}
MOTION_PHRASES: dict[str, tuple[str, ...]] = {
    "still": (
        "standing still",
        "that stands still",
        "not moving",
        "that does not move",
        "staying still",
        "that stays still",
    ),
    **{
        way: (
            f"moving {way}",
            f"moving {way}",
            f"that moves {way}",
            f"going {way}",
            f"sliding {way}",
            f"drifting {way}",
            f"which goes {way}",
            *extra,
        )
        for way, extra in {
            "left": ("moving to the left", "flying to the left"),
            "right": ("moving to the right", "flying to the right"),
            "up": ("moving upwards", "rising", "that rises", "climbing"),
            "down": ("moving downwards", "falling", "that falls", "sinking", "dropping"),
        }.items()
    },
    "growing": (
        "growing",
        "growing",
        "that grows",
        "getting bigger",
        "getting larger",
        "becoming bigger",
        "which expands",
    ),
    "shrinking": (
        "shrinking",
        "shrinking",
        "that shrinks",
        "getting smaller",
        "becoming smaller",
        "which gets smaller",
    ),
    "blinking": (
        "blinking",
        "blinking",
        "that blinks",
        "flashing",
        "that flashes",
        "flickering",
        "going on and off",
    ),
}
PITCH_WORDS = {
    "high": ("high", "high", "high pitched"),
    "middle": ("middle", "middle", "medium", "mid"),
    "low": ("low", "low", "low pitched", "deep"),
}
CONTOUR_WORDS = {
    "steady": ("steady", "steady", "constant", "even"),
    "rising": ("rising", "rising", "ascending"),
    "falling": ("falling", "falling", "descending"),
    "pulsing": ("pulsing", "pulsing", "beating", "pulsating"),
    "fading in": ("fading in", "fading in", "swelling"),
    "fading out": ("fading out", "fading out", "dying away"),
}
# What makes a sound do that: the contract's contour table read backwards.
CONTOUR_CAUSES = {
    "steady": "standing still",
    "rising": "moving up or growing",
    "falling": "moving down or shrinking",
    "pulsing": "blinking",
    "fading in": "moving right",
    "fading out": "moving left",
}


def pick(rng: Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def place_phrase(place: str) -> str:
    """The canonical one: "at the top left", "in the centre"."""
    return "in the centre" if place == "centre" else f"at the {place}"


def motion_phrase(motion: str) -> str:
    """The canonical one: "moving left", "growing", "standing still"."""
    if motion == "still":
        return "standing still"
    return f"moving {motion}" if motion in ("left", "right", "up", "down") else motion


def caption_thing(thing: Thing) -> str:
    return article(f"{thing.size} {thing.colour} {thing.shape}")


def near_captions(caption: str) -> list[str]:
    """Canonical captions that differ from a picture's or a film's in a word or two: in one attribute, or with those of two things swapped."""
    if "background" not in caption:
        return []
    motions = tuple(motion_phrase(motion) for motion in MOTIONS)
    # "at the top left" before "at the top"
    places = tuple(sorted(map(place_phrase, PLACES), key=len, reverse=True))
    near = []
    for values in (tuple(BACKGROUNDS), SHAPES, tuple(COLOURS), tuple(SIZES), motions):
        found = list(re.finditer(rf"\b(?:{'|'.join(values)})\b", caption))
        steps = range(1, min(len(values), 3 if len(found) == 1 else 2))
        for match in found if values != tuple(SIZES) or len(found) == 1 else ():  # two things are small
            for step in steps:
                other = values[(values.index(match[0]) + step) % len(values)]
                near.append(caption[: match.start()] + other + caption[match.end() :])
    for values in (SHAPES, tuple(COLOURS), places):
        found = list(re.finditer(rf"\b(?:{'|'.join(values)})\b", caption))
        if len(found) == 2:
            (a, b), (c, d) = (match.span() for match in found)
            near.append(caption[:a] + caption[c:d] + caption[b:c] + caption[a:b] + caption[d:])
    return near


def caption_picture(scene: Scene) -> str:
    """ "a small red circle at the top left on a white background"; of two things, the relation and the first one's place."""
    first = scene.things[0]
    if len(scene.things) == 2:
        second = scene.things[1]
        where = f"{relation(first, second)} {caption_thing(second)}"
        first_place, second_place = place_phrase(first.place), place_phrase(second.place)
        return (
            f"{caption_thing(first)} {first_place} {where} {second_place} on a {scene.background} background"
        )
    return f"{caption_thing(first)} {place_phrase(first.place)} on a {scene.background} background"


def describe_picture(scene: Scene) -> str:
    """The caption; of two things the relation before the places, which a model that writes word by word then fits to it.

    "a small red circle left of a small blue star on a white background, the circle at the left and the star in the centre".
    """
    if len(scene.things) == 1:
        return caption_picture(scene)
    first, second = scene.things
    return (
        f"{caption_thing(first)} {relation(first, second)} {caption_thing(second)} on a {scene.background} background, "
        f"the {first.shape} {place_phrase(first.place)} and the {second.shape} {place_phrase(second.place)}"
    )


def caption_film(scene: Scene) -> str:
    """ "a small red circle moving left at the top on a white background"."""
    thing = scene.things[0]
    motion, place = motion_phrase(thing.motion), place_phrase(thing.place)
    return f"{caption_thing(thing)} {motion} {place} on a {scene.background} background"


def caption_sound(tone: Tone) -> str:
    """ "a high rising star sound"."""
    return article(f"{tone.pitch} {tone.contour} {tone.shape} sound")


def describe_sound(tone: Tone) -> str:
    """The caption, and what it comes from: "a high rising star sound, from a small star moving up or growing"."""
    size = {"high": "small ", "middle": "", "low": "large "}[tone.pitch]
    return f"{caption_sound(tone)}, from {article(size + tone.shape)} {CONTOUR_CAUSES[tone.contour]}"


def say_thing(rng: Generator, thing: Thing, said: frozenset[str]) -> str:
    """A noun phrase that names the attributes in `said`, in one of many orders; without a shape, "thing" stands in."""
    shape = (
        pick(rng, SHAPE_WORDS[thing.shape]) if "shape" in said else pick(rng, ("thing", "shape", "object"))
    )
    colour = pick(rng, COLOUR_WORDS[thing.colour]) if "colour" in said else ""
    size = pick(rng, SIZE_WORDS[thing.size]) if "size" in said else ""
    form = rng.random()
    before, after = [size, colour], ""
    if form < 0.08:
        before = [colour, size]
    elif form < 0.14 and colour:
        before, after = (
            [size],
            pick(rng, (f" in {colour}", f" that is {colour}", f" coloured {colour}", f" of {colour} colour")),
        )
    elif form < 0.20 and size:
        before, after = (
            [colour],
            pick(rng, (f" that is {size}", f" of {size} size", f", {size}", f" which is {size}")),
        )
    elif form < 0.24 and size and colour:
        before, after = (
            [],
            pick(rng, (f", {colour} and {size}", f", {size} and {colour}", f" that is {size} and {colour}")),
        )
    phrase = " ".join([word for word in before if word] + [shape]) + after
    return pick(rng, (article(phrase), article(phrase), article(phrase), f"one {phrase}", phrase))


def say_background(rng: Generator, background: str) -> str:
    word = pick(rng, BACKGROUND_WORDS[background])
    return pick(
        rng,
        (
            f"on a {word} background",
            f"on {word}",
            f"on a {word} background",
            f"with a {word} background",
            f"against {word}",
            f"against a {word} background",
            f"in front of a {word} background",
            f"over {word}",
            f"over a {word} backdrop",
            f"on a {word} backdrop",
            f"with a {word} backdrop",
            f"on a plain {word} background",
            f"on a {word} canvas",
            f"with {word} behind it",
            f"where the background is {word}",
            f"and the background is {word}",
            f"background {word}",
        ),
    )


def say_scene(rng: Generator, scene: Scene, said: frozenset[str], film: bool = False) -> str:
    """A noun phrase for a scene that names the attributes in `said` (shape, colour, size, place, motion, background)."""
    thing = scene.things[0]
    if len(scene.things) == 1 and (way := rng.random()) < 0.18:
        return (say_list if way < 0.12 else say_steps)(rng, scene, said, film)
    background = say_background(rng, scene.background) if "background" in said else ""
    if len(scene.things) == 2:
        parts = [say_pair(rng, scene, said)]
    else:
        parts = [say_thing(rng, thing, said)]
        extras = []
        if "place" in said:
            extras.append(pick(rng, PLACE_PHRASES[thing.place]))
        if film and "motion" in said:
            extras.append(pick(rng, MOTION_PHRASES[thing.motion]))
        if len(extras) == 2 and (rng.random() < 0.6 or thing.place == "left" or thing.place == "right"):
            extras.reverse()
        parts += extras
    if background:
        form = rng.random()
        if form < 0.12:
            return f"{background}, {' '.join(parts)}"
        if form < 0.24:
            return f"{' '.join(parts)}, {background}"
        if form < 0.36 and len(scene.things) == 1:
            parts.insert(1, background)
            return " ".join(parts)
        if form < 0.44:
            word = pick(rng, BACKGROUND_WORDS[scene.background])
            return f"{' '.join(parts)}, {word} background"
        parts.append(background)
    separator = pick(rng, (" ", " ", " ", ", "))
    return " ".join(parts[:1]) + "".join(
        (separator if i == 0 else " ") + part for i, part in enumerate(parts[1:])
    )


def say_list(rng: Generator, scene: Scene, said: frozenset[str], film: bool = False) -> str:
    """The attributes of a single thing one after the other: "red circle, small, top left, white background"."""
    thing = scene.things[0]
    items = [say_thing(rng, thing, said & {"shape", "colour"} | {"shape"})]
    rest = []
    if "size" in said:
        rest.append(pick(rng, SIZE_WORDS[thing.size]) + pick(rng, ("", "", " size")))
    if "place" in said:
        rest.append(
            pick(
                rng, (thing.place, thing.place, f"place {thing.place}", pick(rng, PLACE_PHRASES[thing.place]))
            )
        )
    if film and "motion" in said:
        rest.append(pick(rng, MOTION_PHRASES[thing.motion]))
    if "background" in said:
        rest.append(
            pick(rng, ("{} background", "{} background", "background {}", "on {}")).format(
                pick(rng, BACKGROUND_WORDS[scene.background])
            )
        )
    rng.shuffle(rest)
    return ", ".join(items + rest)


def say_steps(rng: Generator, scene: Scene, said: frozenset[str], film: bool = False) -> str:
    """A thing, and sentences that say the rest: "a circle. make it red. put it at the top"."""
    thing = scene.things[0]
    first = frozenset(name for name in ("colour", "size") if name in said and rng.random() < 0.5)
    rest = []
    if "colour" in said - first:
        rest.append(
            pick(
                rng, ("make it {}", "it should be {}", "it is {}", "paint it {}", "the colour is {}")
            ).format(pick(rng, COLOUR_WORDS[thing.colour]))
        )
    if "size" in said - first:
        rest.append(
            pick(rng, ("make it {}", "it should be {}", "it is {}", "the size is {}")).format(
                pick(rng, SIZE_WORDS[thing.size])
            )
        )
    if "place" in said:
        rest.append(
            pick(rng, ("put it {}", "it should be {}", "place it {}", "it is {}")).format(
                pick(rng, PLACE_PHRASES[thing.place])
            )
        )
    if film and "motion" in said:
        rest.append(
            pick(rng, ("it should be {}", "it is {}", "let it be {}")).format(
                pick(rng, MOTION_PHRASES[thing.motion])
            )
        )
    if "background" in said:
        word = pick(rng, BACKGROUND_WORDS[scene.background])
        rest.append(
            pick(
                rng,
                (
                    "the background is {}",
                    "use a {} background",
                    "make the background {}",
                    "the background should be {}",
                ),
            ).format(word)
        )
    rng.shuffle(rest)
    return pick(rng, (". ", ". ", ", ", "; ")).join([say_thing(rng, thing, first | {"shape"}), *rest])


def say_relation(rng: Generator, word: str) -> str:
    ways = {
        "left of": ("left of", "to the left of", "on the left of"),
        "right of": ("right of", "to the right of", "on the right of"),
        "above": ("above", "over", "on top of", "higher than"),
        "below": ("below", "under", "beneath", "underneath"),
    }[word]
    return pick(rng, ways)


def say_pair(rng: Generator, scene: Scene, said: frozenset[str]) -> str:
    """Two things with their relation; both shapes and colours are always named, both sizes where `said` has them."""
    first, second = scene.things
    named = frozenset({"shape", "colour"}) | (said & {"size"})
    one, other = say_thing(rng, first, named), say_thing(rng, second, named)
    how = say_relation(rng, relation(first, second))
    return pick(
        rng,
        (
            f"{one} {how} {other}",
            f"{one} {how} {other}",
            f"{one} that is {how} {other}",
            f"{one} and {other}, the first {how} the second",
        ),
    )


def say_sound(rng: Generator, tone: Tone, said: frozenset[str]) -> str:
    """A noun phrase for a sound named by itself: pitch, contour and shape as far as `said` names them."""
    pitch = pick(rng, PITCH_WORDS[tone.pitch]) if "size" in said else ""
    contour = pick(rng, CONTOUR_WORDS[tone.contour]) if "motion" in said else ""
    shape = pick(rng, SHAPE_WORDS[tone.shape]) if "shape" in said else ""
    noun = pick(rng, ("sound", "sound", "tone", "note"))
    before = [pitch, contour] if rng.random() < 0.7 else [contour, pitch]
    if shape and rng.random() < 0.5:
        phrase = " ".join(word for word in (*before, noun) if word) + f" of {article(shape)}"
        return article(phrase)
    if contour and rng.random() < 0.25:
        phrase = " ".join(word for word in (pitch, shape, noun) if word)
        tail = {
            "steady": ("that stays steady", "that does not change"),
            "rising": ("that rises", "that goes up"),
            "falling": ("that falls", "that goes down"),
            "pulsing": ("that pulses", "that comes in bursts"),
            "fading in": ("that fades in", "that gets louder"),
            "fading out": ("that fades out", "that gets quieter"),
        }[tone.contour]
        return f"{article(phrase)} {pick(rng, tail)}"
    return article(" ".join(word for word in (*before, shape, noun) if word))
