"""New requests and questions made from the contract, one cell of the any-to-any matrix at a time.

Every thing is fully specified, so that an answer is right or wrong and nothing is left to taste.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from numpy.random import Generator
from PIL import Image

from anygpt.evaluation import wordings
from anygpt.evaluation.scoring import SHOWN, Checks, Facts
from anygpt.evaluation.wordings import (
    article,
    finish,
    motion_words,
    pick,
    scene_words,
    thing_words,
    tone_words,
)
from anygpt.messages import Message, Part
from anygpt.toyworld.drawing import (
    FRAME_RATE,
    TEMPERATURES,
    draw_depth,
    draw_film,
    draw_picture,
    draw_thermal,
)
from anygpt.toyworld.scenes import MOTIONS, Scene, Thing, random_scene, relation
from anygpt.toyworld.sounds import (
    CONTOUR_OF_MOTION,
    PITCH_OF_SIZE,
    RATE,
    feel,
    play,
    random_tone,
    tone_of,
)
from encoders.media import Audio, Imu, Video

CARRIED = {
    "image": ("shape", "colour", "size", "place", "background"),
    "video": ("shape", "colour", "size", "place", "background", "motion"),
    "audio": ("shape", "pitch", "contour"),
    "depth": ("shape", "size", "place"),
    "thermal": ("shape", "colour", "place"),
    "imu": ("motion",),
}
HEARD_AS = {"size": "pitch", "motion": "contour"}  # what a sound tells of a thing


@dataclass(frozen=True)
class Case:
    """What is said to the model now, and what is right.

    Attributes:
        messages: since the last answer; the user's is the last one.
        media: the modalities that the answer must hold, in any order.
        shown: what each medium of the answer must show, in the order of `media`: attribute → value, or a scene of two
            things of which the places are left open; empty where it is not judged.
        said: attribute → the value that the words must name, and no other.
        wanted: the case in words, for the reader of the results.
        kind: of request, where a suite tells them apart.
        split: "seen" or "held-out".
        refuse: whether the only honest answer is that it can't.
        reference: an answer that would be right, as a message's content.
        judge: what is right in the answer's words, where `said` cannot tell.
    """

    messages: list[Message]
    media: tuple[str, ...] = ()
    shown: tuple[Facts | Scene, ...] = ()
    said: Facts = field(default_factory=dict)
    wanted: str = ""
    kind: str = ""
    split: str = ""
    refuse: bool = False
    reference: list[Part] = field(default_factory=list)
    judge: Callable[[str], Checks] | None = None


def split_of(held_out: bool) -> str:
    return "held-out" if held_out else "seen"


def user(text: str, *media: Part) -> list[Message]:
    return [{"role": "user", "content": [*media, {"type": "text", "text": text}]}]


def new_scene(rng: Generator, held_out: bool, moving: bool = False, two_things: float = 0.0) -> Scene:
    return random_scene(
        rng, moving=moving, two_things=two_things, accept=lambda scene: scene.held_out == held_out
    )


def all_facts(scene: Scene) -> Facts:
    """Everything about a scene of one thing, its sound included."""
    thing = scene.things[0]
    names = ("shape", "colour", "size", "place", "motion")
    return {
        **{name: getattr(thing, name) for name in names},
        "background": scene.background,
        "pitch": PITCH_OF_SIZE[thing.size],
        "contour": CONTOUR_OF_MOTION[thing.motion],
    }


def given_part(rng: Generator, modality: str, scene: Scene) -> Part:
    """The scene's one thing in a modality, as a message's part; what moves needs a motion to show it."""
    thing = scene.things[0]
    still = Scene(scene.background, tuple(replace(thing, motion="still") for thing in scene.things))
    drawn: dict[str, Callable[[], Any]] = {
        "image": lambda: Image.fromarray(draw_picture(still)),
        "video": lambda: Video(draw_film(scene), FRAME_RATE),
        "audio": lambda: Audio(play(tone_of(thing), rng)[None], RATE),
        "depth": lambda: draw_depth(still, rng),
        "thermal": lambda: draw_thermal(still, rng),
        "imu": lambda: Imu(feel(thing.motion, rng)),
    }
    return {"type": modality, modality: drawn[modality]()}


def request(rng: Generator, text: str, media: tuple[str, ...], facts: Facts, **more: Any) -> Case:
    """A request in words for one thing or tone, whose answer shows `facts` and names those that its first medium has."""
    text = finish(rng, text)
    shown = tuple({name: facts[name] for name in SHOWN[kind] if name in facts} for kind in media)
    return Case(user(text), media, shown, dict(shown[0]), text, **more)


def image_case(rng: Generator, held_out: bool) -> Case:
    scene = new_scene(rng, held_out)
    text = pick(rng, wordings.IMAGE_REQUESTS).format(x=scene_words(rng, scene))
    return request(rng, text, ("image",), all_facts(scene))


def video_case(rng: Generator, held_out: bool) -> Case:
    scene = new_scene(rng, held_out, moving=True)
    text = pick(rng, wordings.VIDEO_REQUESTS).format(x=scene_words(rng, scene, moving=True))
    return request(rng, text, ("video",), all_facts(scene))


def audio_case(rng: Generator, held_out: bool) -> Case:
    """A sound named by itself, or the sound of a thing; only things can be held out."""
    if not held_out and rng.random() < 0.5:
        tone = random_tone(rng)
        text = pick(rng, wordings.SOUND_REQUESTS).format(x=tone_words(rng, tone))
        return request(rng, text, ("audio",), vars(tone))
    scene = new_scene(rng, held_out, moving=True)
    return request(rng, thing_sound_request(rng, scene.things[0]), ("audio",), all_facts(scene))


def thing_sound_request(rng: Generator, thing: Thing) -> str:
    words = f"{thing_words(rng, thing.size, thing.colour, thing.shape)} {motion_words(rng, thing.motion)}"
    return pick(rng, wordings.SOUND_REQUESTS).format(x=pick(rng, wordings.THING_SOUND).format(x=words))


def pair_case(rng: Generator, held_out: bool) -> Case:
    """A picture of two things; the relation is said and their places are not."""
    scene = new_scene(rng, held_out, two_things=1)
    first, second = scene.things
    how = relation(first, second)
    how = f"to the {how}" if how in ("left of", "right of") else how
    one, other = (article(f"{thing.colour} {thing.shape}") for thing in scene.things)
    words = f"{one} {how} {other} on a {scene.background} background"
    text = finish(rng, pick(rng, wordings.IMAGE_REQUESTS).format(x=words))
    return Case(user(text), ("image",), (scene,), wanted=text)


def pair_question_case(rng: Generator, held_out: bool) -> Case:
    """A picture of two things, and how many they are or how one lies to the other."""
    scene = new_scene(rng, held_out, two_things=1)
    first, second = scene.things
    asked = pick(rng, ("count", "relation"))
    said = {asked: "two" if asked == "count" else relation(first, second)}
    names = {"first": f"the {first.colour} {first.shape}", "second": f"the {second.colour} {second.shape}"}
    text = finish(rng, pick(rng, wordings.ASK_TWO[asked]).format(**names))
    part = given_part(rng, "image", scene)
    return Case(user(text, part), said=said, wanted=f"{text} ({said[asked]})")


def fact_case(rng: Generator, held_out: bool) -> Case:
    """A question about the world that needs no medium: how warm a colour is, what a motion does to the sound."""
    asked = pick(rng, tuple(wordings.FACTS))
    if asked == "degrees":
        x = pick(rng, tuple(TEMPERATURES))
        value = f"{TEMPERATURES[x]:g}"
    else:
        motion = pick(rng, tuple(m for m in MOTIONS if m != "still"))
        x = motion if motion in ("growing", "shrinking", "blinking") else f"{motion}-moving"
        value = CONTOUR_OF_MOTION[motion]
    text = finish(rng, pick(rng, wordings.FACTS[asked]).format(x=x))
    return Case(user(text), said={asked: value}, wanted=f"{text} ({value})")


def question_case(rng: Generator, held_out: bool, modality: str) -> Case:
    """A medium and a question: to describe it, or one attribute."""
    scene = new_scene(rng, held_out, moving=modality in ("video", "audio", "imu"))
    facts, part = all_facts(scene), given_part(rng, modality, scene)
    if modality == "audio" and not held_out and rng.random() < 0.5:
        tone = random_tone(rng)
        facts, part = vars(tone), {"type": "audio", "audio": Audio(play(tone, rng)[None], RATE)}
    asked = CARRIED[modality]
    if len(asked) == 1 or rng.random() < 0.4:
        text = pick(rng, wordings.DESCRIBE[modality])
    else:
        asked = (pick(rng, asked),)
        text = pick(rng, wordings.ASK[asked[0]])
    said, text = {name: facts[name] for name in asked}, finish(rng, text)
    return Case(user(text, part), said=said, wanted=f"{text} ({', '.join(said.values())})")


def cross_case(rng: Generator, held_out: bool, given: str, made: str) -> Case:
    """A given medium is asked for in another: what it carries must come through, the rest is the model's to choose.

    A still medium would have a still film, so its film's motion is said in words.
    """
    still = given in ("image", "depth", "thermal")
    scene = new_scene(rng, held_out, moving=not still or made == "video")
    part, facts = given_part(rng, given, scene), all_facts(scene)
    text = pick(rng, wordings.CROSS[made])
    carried = CARRIED[given]
    if still and made == "video":
        text, carried = (
            f"{text.rstrip('?')}, {motion_words(rng, scene.things[0].motion)}",
            (*carried, "motion"),
        )
    text = finish(rng, text)
    wanted = {name: facts[name] for name in shared(carried, made)}
    case = Case(user(text, part), (made,), (wanted,))
    return replace(case, wanted=f"{text} ({given}: {', '.join(wanted.values()) or 'nothing that it shows'})")


def shared(carried: tuple[str, ...], made: str) -> tuple[str, ...]:
    """The attributes that a medium of modality `made` shows of those carried; what one side only hears, as it is heard."""
    names = []
    for name in SHOWN[made]:
        heard = HEARD_AS.get(name, name)
        if name in carried:
            names.append(name)
        elif heard in carried or any(HEARD_AS.get(seen) == name for seen in carried):
            names.append(heard)
    return tuple(names)


Maker = Callable[[Generator, bool], Case]
# The any-to-any matrix: (given, made), and two cells more for scenes of two things.
MATRIX: dict[str, Maker] = {
    "text to text": fact_case,
    "text to image": image_case,
    "text to audio": audio_case,
    "text to video": video_case,
    **{f"{given} to text": partial(question_case, modality=given) for given in CARRIED},
    **{
        f"{given} to {made}": partial(cross_case, given=given, made=made)
        for given in CARRIED
        for made in SHOWN
    },
    "text to image of two": pair_case,
    "image of two to text": pair_question_case,
}
