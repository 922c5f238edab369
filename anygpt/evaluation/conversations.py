"""Requests and dialogues for modality switching: which media an answer must hold, and when it must be a refusal.

What the media show is not judged here, so they may be made in one step; what the words say about them is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from numpy.random import Generator

from anygpt.evaluation import wordings
from anygpt.evaluation.requests import (
    CARRIED,
    Case,
    all_facts,
    audio_case,
    cross_case,
    image_case,
    new_scene,
    question_case,
    request,
    thing_sound_request,
    user,
    video_case,
)
from anygpt.evaluation.scoring import SHOWN, Facts
from anygpt.evaluation.wordings import finish, motion_words, pick, place_words, scene_words
from anygpt.toyworld.scenes import BACKGROUNDS, COLOURS, MOTIONS, PLACES, SHAPES, SIZES
from anygpt.toyworld.sounds import CONTOUR_OF_MOTION, PITCH_OF_SIZE

TURNS = (3, 7)  # of a dialogue
VALUES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "place": PLACES,
    "background": tuple(BACKGROUNDS),
    "motion": MOTIONS,
}


def _unjudged(case: Case, kind: str) -> Case:
    """The case with nothing judged but the set of media and the words."""
    return replace(case, shown=(), kind=kind)


def one_case(rng: Generator, held_out: bool) -> Case:
    make = (image_case, video_case, audio_case)[rng.integers(3)]
    return _unjudged(make(rng, held_out), "one medium")


def several_case(rng: Generator, held_out: bool) -> Case:
    media = list(wordings.SEVERAL_REQUESTS)[rng.integers(len(wordings.SEVERAL_REQUESTS))]
    scene = new_scene(rng, held_out, moving=True)
    text = pick(rng, wordings.SEVERAL_REQUESTS[media]).format(x=scene_words(rng, scene, moving=True))
    return replace(_unjudged(request(rng, text, media, all_facts(scene)), "several media"), said={})


def medium_case(rng: Generator, held_out: bool, inputs: tuple[str, ...]) -> Case:
    """A given medium is asked for in another one."""
    given, made = pick(rng, inputs), pick(rng, tuple(SHOWN))
    return _unjudged(cross_case(rng, held_out, given, made), "from medium to medium")


def question_about_one(rng: Generator, held_out: bool, inputs: tuple[str, ...]) -> Case:
    case = question_case(rng, held_out, pick(rng, inputs))
    return replace(_unjudged(case, "a question"), said={})


def plain_case(rng: Generator, held_out: bool) -> Case:
    text = finish(rng, pick(rng, wordings.PLAIN))
    return Case(user(text), wanted=text, kind="plain talk")


def outside_case(rng: Generator, held_out: bool) -> Case:
    """A request or a question that nothing in the toy world answers."""
    text = pick(rng, wordings.OUTSIDE)
    if rng.random() < 0.5:
        asks = (wordings.IMAGE_REQUESTS, wordings.VIDEO_REQUESTS, wordings.SOUND_REQUESTS)[rng.integers(3)]
        text = pick(rng, asks).format(x=pick(rng, wordings.OUTSIDE_THINGS))
    text = finish(rng, text)
    return Case(user(text), wanted=text, kind="from outside", refuse=True)


class Dialogue:
    """Turns about one thing: asked for in one medium, edited, asked for in others and asked about, with talk in between.

    Args:
        held_out: whether it begins with a held-out thing; an edit may make any thing.
    """

    def __init__(self, rng: Generator, held_out: bool) -> None:
        self.rng, self.held_out = rng, held_out
        self.facts: Facts = {}  # of the thing in focus, as far as the words have told them
        self.kind = "image"  # its last medium

    def turns(self) -> tuple[Case, ...]:
        count = int(self.rng.integers(TURNS[0], TURNS[1] + 1))
        return (self.start(), *(self.go_on() for _ in range(count - 1)))

    def start(self) -> Case:
        rng = self.rng
        self.kind = pick(rng, tuple(SHOWN))
        scene = new_scene(rng, self.held_out, moving=self.kind != "image")
        self.facts = all_facts(scene)
        if self.kind == "audio":
            del self.facts["place"], self.facts["background"]
            return self._answered(thing_sound_request(rng, scene.things[0]), "one medium")
        if self.kind == "image":
            del self.facts["motion"], self.facts["contour"]
        asks = {"image": wordings.IMAGE_REQUESTS, "video": wordings.VIDEO_REQUESTS}[self.kind]
        text = pick(rng, asks).format(x=scene_words(rng, scene, moving=self.kind == "video"))
        return self._answered(text, "one medium")

    def go_on(self) -> Case:
        ways = [self.edit, self.edit, self.as_well, self.as_well, self.aside]
        if self.kind != "audio":
            ways.append(self.ask)
        return ways[self.rng.integers(len(ways))]()

    def edit(self) -> Case:
        """Another value for one attribute, in the same medium."""
        rng = self.rng
        name = pick(rng, ("shape", "size") if self.kind == "audio" else SHOWN[self.kind])
        value = pick(rng, tuple(value for value in VALUES[name] if value != self.facts.get(name)))
        self._know(name, value)
        words = {"place": place_words, "motion": motion_words}.get(name, lambda rng, value: value)(rng, value)
        return self._answered(pick(rng, wordings.EDIT[name]).format(x=words), "an edit")

    def as_well(self) -> Case:
        """The same thing in another medium; a film's motion is said."""
        rng = self.rng
        self.kind = pick(rng, tuple(kind for kind in SHOWN if kind != self.kind))
        text = pick(rng, wordings.AS_WELL[self.kind])
        if self.kind == "video":
            motion = pick(rng, MOTIONS)
            self._know("motion", motion)
            text = text.format(x=motion_words(rng, motion))
        return self._answered(text, "another medium")

    def ask(self) -> Case:
        """A question about the thing in its last medium."""
        name = pick(self.rng, tuple(name for name in SHOWN[self.kind] if name in self.facts))
        text = finish(self.rng, pick(self.rng, wordings.ASK[name]))
        return Case(user(text), said={name: self.facts[name]}, wanted=text, kind="a question")

    def aside(self) -> Case:
        return (plain_case if self.rng.random() < 0.5 else outside_case)(self.rng, self.held_out)

    def _know(self, name: str, value: str) -> None:
        self.facts[name] = value
        if name == "size":
            self.facts["pitch"] = PITCH_OF_SIZE[value]
        if name == "motion":
            self.facts["contour"] = CONTOUR_OF_MOTION[value]

    def _answered(self, text: str, kind: str) -> Case:
        """The next turn, answered with the thing in its medium."""
        return _unjudged(request(self.rng, text, (self.kind,), self.facts), kind)


def kinds(inputs: Iterable[str]) -> dict[str, Callable[[Generator, bool], Case]]:
    """The single requests, by kind, for a model that takes the modalities `inputs`."""
    known = tuple(modality for modality in CARRIED if modality in set(inputs))
    about_media = {
        "from medium to medium": partial(medium_case, inputs=known),
        "a question": partial(question_about_one, inputs=known),
    }
    return {
        "one medium": one_case,
        "several media": several_case,
        **(about_media if known else {}),
        "plain talk": plain_case,
        "from outside": outside_case,
    }


def dialogue(rng: Generator, held_out: bool) -> tuple[Case, ...]:
    """A conversation of three to seven turns."""
    return Dialogue(rng, held_out).turns()
