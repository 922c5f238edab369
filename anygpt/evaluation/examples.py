"""Questions with right answers for the metrics of the literature: from the toy world, or from a person's file."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.random import Generator

from anygpt.evaluation import wordings
from anygpt.evaluation.errors import EvaluationError
from anygpt.evaluation.requests import (
    CARRIED,
    Case,
    all_facts,
    given_part,
    new_scene,
    request,
    thing_sound_request,
    user,
)
from anygpt.evaluation.wordings import article, finish, pick, scene_words
from anygpt.shots import read_line
from anygpt.toyworld.phrases import caption_film, caption_picture, caption_sound, place_phrase
from anygpt.toyworld.sounds import tone_of


def caption_example(rng: Generator, held_out: bool) -> Case:
    """A picture to be described."""
    scene = new_scene(rng, held_out)
    text = finish(rng, pick(rng, wordings.DESCRIBE["image"]))
    caption = f"I see {caption_picture(scene)}."
    reference = [{"type": "text", "text": caption}]
    return Case(user(text, given_part(rng, "image", scene)), wanted=caption, reference=reference)


def vqa_example(rng: Generator, held_out: bool) -> Case:
    """A picture and a question about one attribute; right is the bare value and what says it in a sentence."""
    scene = new_scene(rng, held_out)
    name = pick(rng, CARRIED["image"])
    value = all_facts(scene)[name]
    text = finish(rng, pick(rng, wordings.ASK[name]))
    sentence = {"place": place_phrase, "shape": article}.get(name, str)(value)
    answers = (value, f"it is {sentence}", f"the {name} is {value}")
    reference = [{"type": "text", "text": answer} for answer in answers]
    return Case(user(text, given_part(rng, "image", scene)), wanted=f"{text} ({value})", reference=reference)


def making_example(rng: Generator, held_out: bool, made: str) -> Case:
    """A request for one medium, with its caption and the medium as one would draw it."""
    scene = new_scene(rng, held_out, moving=made != "image")
    if made == "audio":
        text, caption = thing_sound_request(rng, scene.things[0]), caption_sound(tone_of(scene.things[0]))
    else:
        asks = {"image": wordings.IMAGE_REQUESTS, "video": wordings.VIDEO_REQUESTS}[made]
        text = pick(rng, asks).format(x=scene_words(rng, scene, moving=made == "video"))
        caption = (caption_film if made == "video" else caption_picture)(scene)
    case = request(rng, text, (made,), all_facts(scene))
    return replace(case, reference=[{"type": "text", "text": caption}, given_part(rng, made, scene)])


def read_data(
    file: Path, inputs: Collection[str], made: str | None = None
) -> list[tuple[str, Callable[[], tuple[Case, ...]]]]:
    """The cases in a person's JSON Lines file, each with its id.

    A line is one of a batch's requests with the right answer: {"id": …, "messages": […], "reference": …}, the reference a
    string, several strings that are all right, or a message's content with media. Relative paths in it start where the
    command was called, as in a batch.

    Args:
        inputs: the modalities that the model takes.
        made: the modality that every answer must hold; None takes the modalities of the reference.

    Raises:
        EvaluationError: naming the file, the line and what was wrong.
    """
    if not file.is_file():
        raise EvaluationError(f"--data {file}: {'is not a file' if file.exists() else 'does not exist'}")
    cases: dict[str, Case] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        if line.strip():
            try:
                identity, case = _read_line(line, number, inputs, made)
            except ValueError as error:
                raise EvaluationError(f"{file}, line {number}: {' '.join(str(error).split())}") from error
            if identity in cases:
                raise EvaluationError(f"{file}, line {number}: the id {identity!r} comes twice")
            cases[identity] = case
    if not cases:
        raise EvaluationError(f"--data {file}: has no cases")
    return [(identity, lambda case=case: (case,)) for identity, case in cases.items()]  # type: ignore[misc]


def _read_line(line: bytes, number: int, inputs: Collection[str], made: str | None) -> tuple[str, Case]:
    given_id, messages, answer = read_line(line)
    for part in (part for message in (*messages, answer) for part in message["content"]):
        if "path" in part and not part["path"].is_file():
            raise EvaluationError(f"there is no file {part['path']}")
    for part in (part for message in messages if message["role"] == "user" for part in message["content"]):
        if part["type"] not in ("text", *inputs):
            raise EvaluationError(
                f"this model does not take {part['type']}; it takes {', '.join(inputs) or 'text alone'}"
            )
    given = tuple(part["type"] for part in answer["content"] if part["type"] != "text")
    case = Case(
        messages, (made,) if made else given, wanted=_words(answer["content"]), reference=answer["content"]
    )
    return str(number if given_id is None else given_id), case


def _words(content: list[dict[str, Any]]) -> str:
    return " / ".join(part["text"] if part["type"] == "text" else f"[{part['type']}]" for part in content)
