"""Lessons: talk whose last answer can be known from the exchanges before it alone, its shots.

    made_up_word    "what do we call this shape?": two nonsense words stand for two colours or shapes, in this lesson only
    answer_style    questions about a picture, answered in a form that only the shots show

Without the shots nobody can know a made-up word. Words that `kept` picks are for measurements: no training ever sees them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator

from anygpt.toyworld.phrases import pick
from anygpt.toyworld.scenes import BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES, Scene, random_thing
from anygpt.toyworld.topics import tell

Accept = Callable[[Scene], bool]
Exchange = list[dict]  # the user's message with its picture, and the assistant's

VALUES: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "size": tuple(SIZES),
    "place": PLACES,
    "background": tuple(BACKGROUNDS),
}
WORD_QUESTIONS = {
    "colour": (
        "what do we call its colour?",
        "which word have we for its colour?",
        "name its colour in our words",
    ),
    "shape": (
        "what do we call this shape?",
        "which word have we for the shape?",
        "name the shape in our words",
    ),
}
# What decides is said right before the word: from there a small LLM finds what came next the last time.
WORD_ANSWERS = {"colour": "We call {value} {word}.", "shape": "We call a {value} {word}."}
STYLE_QUESTIONS = {
    "colour": ("what colour is it?", "which colour is it?"),
    "shape": ("what shape is it?", "which shape is it?"),
    "size": ("how big is it?", "is it small or large?"),
    "place": ("where is it?", "what is its place?"),
    "background": ("what is the background?", "what colour is the background?"),
}
# {name} is the attribute, {value} what it is, {shout} that in capitals.
STYLES = {
    "a word": "{value}",
    "capitals": "{shout}",
    "a label": "{name}: {value}",
    "excitement": "{value}!!!",
    "twice": "{value}, {value}",
    "in brackets": "({value})",
    "a friend": "It is {value}, my friend.",
    "a guess": "{value}, I think.",
}
LONG = 0.1  # share of lessons with more than eight shots
MOST = 32  # shots
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"


@dataclass(frozen=True)
class Lesson:
    """Exchanges that teach, and one that asks.

    Attributes:
        shots: as many as were asked for; the last two show both words of a made-up pair.
        last: the exchange that needs them.
        answers: what the last answer may have been: the right one first. Of a style, all that follow it.
        wrong: what the last answer must not name: the other word.
    """

    shots: list[Exchange]
    last: Exchange
    answers: tuple[str, ...]
    wrong: str = ""

    @property
    def messages(self) -> list[dict]:
        """All of it as one conversation."""
        return [message for exchange in (*self.shots, self.last) for message in exchange]


def nonsense_word(rng: Generator, kept: bool = False) -> str:
    """A pronounceable word without a meaning, such as "dakip".

    Args:
        kept: one of the quarter of all words that training does not see.
    """
    while True:
        syllables = [f"{pick(rng, CONSONANTS)}{pick(rng, VOWELS)}" for _ in range(2)]
        word = "".join(syllables) + (pick(rng, CONSONANTS) if rng.random() < 0.5 else "")
        if (zlib.crc32(word.encode()) % 4 == 0) == kept:
            return word


def made_up_word(rng: Generator, shots: int, accept: Accept, kept: bool = False) -> Lesson:
    """Two made-up words for two colours or two shapes, shown on `shots` pictures and asked for on another."""
    attribute = pick(rng, tuple(WORD_QUESTIONS))
    values = [VALUES[attribute][i] for i in rng.choice(len(VALUES[attribute]), 2, replace=False)]
    words = [nonsense_word(rng, kept), nonsense_word(rng, kept)]
    while words[0] == words[1]:
        words[1] = nonsense_word(rng, kept)

    def show(which: int) -> Exchange:
        scene = _scene(rng, accept, {attribute: values[which]})
        answer = WORD_ANSWERS[attribute].format(value=values[which], word=words[which])
        return _exchange(scene, pick(rng, WORD_QUESTIONS[attribute]), answer)

    pairs = [int(which) for _ in range(-(-shots // 2)) for which in rng.permutation(2)]
    wanted = int(rng.integers(2))
    return Lesson(
        [show(which) for which in pairs[len(pairs) - shots :]],
        show(wanted),
        (words[wanted],),
        words[1 - wanted],
    )


def answer_style(rng: Generator, shots: int, accept: Accept) -> Lesson:
    """Questions about pictures, all answered in one of `STYLES`."""
    style = STYLES[pick(rng, tuple(STYLES))]

    def show() -> tuple[Exchange, str, str]:
        scene, name, value = _asked(rng, accept)
        return _exchange(scene, pick(rng, STYLE_QUESTIONS[name]), say(style, name, value)), name, value

    taught = [show()[0] for _ in range(shots)]
    last, name, value = show()
    values = (value, *(other for other in VALUES[name] if other != value))
    return Lesson(taught, last, tuple(say(style, name, each) for each in values))


def first_question(rng: Generator, accept: Accept) -> Exchange:
    """A question of `answer_style` that opens the talk, and the answer that it has outside of lessons."""
    scene, name, value = _asked(rng, accept)
    return _exchange(scene, pick(rng, STYLE_QUESTIONS[name]), tell(name, value))


def say(style: str, name: str, value: str) -> str:
    """An answer in one of the `STYLES`."""
    return style.format(name=name, value=value, shout=value.upper())


def names_word(text: str, word: str) -> bool:
    """Whether a text has the word, in whatever letters."""
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def lesson(rng: Generator, accept: Accept) -> Lesson:
    """One of either kind, to be trained on: with one to eight shots, some with up to `MOST`.

    What nobody could know has no weight: the first answer in a style, and a word the first time. Learned, a style would be
    chosen at random wherever such a question opens the talk.
    """
    shots = int(rng.integers(9, MOST + 1) if rng.random() < LONG else rng.integers(1, 9))
    words = rng.random() < 0.6
    found = (made_up_word if words else answer_style)(rng, shots, accept)
    said: list[object] = []
    for _, answer in found.shots:
        if answer["content"] not in said and (words or not said):
            answer["weight"] = 0
        said.append(answer["content"])
    return found


def _asked(rng: Generator, accept: Accept) -> tuple[Scene, str, str]:
    """A picture, which attribute is asked for, and what it is."""
    name = pick(rng, tuple(VALUES))
    scene = _scene(rng, accept, {})
    return scene, name, scene.background if name == "background" else getattr(scene.things[0], name)


def _scene(rng: Generator, accept: Accept, given: dict[str, str]) -> Scene:
    while True:
        scene = Scene(pick(rng, VALUES["background"]), (random_thing(rng, **given),))
        if accept(scene):
            return scene


def _exchange(scene: Scene, question: str, answer: str) -> Exchange:
    return [
        {"role": "user", "content": [{"type": "image", "scene": scene}, {"type": "text", "text": question}]},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]
