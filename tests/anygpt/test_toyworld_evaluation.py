"""Measuring a model: right answers score 1, wrong ones are found out, and the questions are new."""

import json

import numpy as np
import pytest
from PIL import Image

from anygpt.evaluation import requests
from anygpt.evaluation.requests import CARRIED, MAKERS, Case, new_cases
from anygpt.evaluation.scoring import Tally, table, write_json
from anygpt.evaluation.sheets import contact_sheet
from anygpt.evaluation.toyworld import check, measure
from anygpt.generation import Reply
from anygpt.messages import normalise
from anygpt.toyworld import dialogues, smalltalk
from anygpt.toyworld.drawing import FRAME_RATE, draw_film, draw_picture
from anygpt.toyworld.phrases import caption_film, caption_picture, caption_sound, motion_phrase, place_phrase
from anygpt.toyworld.scenes import Scene
from anygpt.toyworld.sounds import RATE, Tone, play
from encoders.media import Audio, Video


def right_answer(case: Case, rng: np.random.Generator) -> Reply:
    """What a perfect model would answer."""
    content: list[dict] = []
    for modality, truth in zip(case.media, case.truths, strict=False):
        if isinstance(truth, Tone):
            caption, medium = caption_sound(truth), Audio(play(truth, rng)[None], RATE)
        elif modality == "video":
            caption, medium = caption_film(truth), Video(draw_film(truth), FRAME_RATE)
        else:
            caption, medium = caption_picture(truth), Image.fromarray(draw_picture(truth))
        content += [{"type": "text", "text": f"Here is {caption}."}, {"type": modality, modality: medium}]
    if not case.truths:
        say = {"place": place_phrase, "motion": motion_phrase}
        words = [say.get(name, str)(value) for name, value in case.said.items()]
        content.append({"type": "text", "text": f"It is {', '.join(words)}."})
        content += [{"type": modality, modality: None} for modality in case.media]
    return Reply(content)


@pytest.mark.parametrize("name", MAKERS)
def test_right_answers_score_one(name):
    rng, tally = np.random.default_rng(0), Tally()
    for case in new_cases(name, 24, rng):
        normalise(case.messages)
        checks, seen, _ = check(case, right_answer(case, rng))
        tally.add(checks, wanted=case.wanted, seen=seen)
    assert set(tally.shares().values()) == {1.0}, tally.wrong
    if name.startswith("about-"):
        assert set(CARRIED[name.removeprefix("about-")]) < set(tally.shares())


def test_wrong_answers_are_found_out():
    """The answer to another request has the right media and the wrong things."""
    rng = np.random.default_rng(1)
    for name in ("image", "video", "audio"):
        tally = Tally()
        cases = new_cases(name, 20, rng)
        for case, other in zip(cases, cases[1:] + cases[:1], strict=True):
            checks, _, _ = check(case, right_answer(other, rng))
            tally.add(checks, wanted=case.wanted)
        shares = tally.shares()
        assert (
            shares["media"] == 1.0 and shares["all"] < 0.2 and shares["words"] < 0.2 and shares["shape"] < 0.5
        )


def test_a_missing_or_a_needless_medium_is_found_out():
    rng = np.random.default_rng(2)
    [picture] = new_cases("image", 1, rng)
    silent, _, _ = check(picture, Reply([{"type": "text", "text": "Here is a picture."}]))
    assert silent == {"media": False, "words": False, "all": False}
    question = new_cases("about-image", 1, rng)[0]
    assert not check(question, right_answer(picture, rng))[0]["media"]


def test_half_of_the_cases_are_held_out():
    for name in ("image", "video", "pairs", *(f"about-{modality}" for modality in CARRIED)):
        groups = [case.group for case in new_cases(name, 10, np.random.default_rng(3))]
        assert sum("held-out" in group for group in groups) == sum("seen" in group for group in groups) == 5
    for case in new_cases("image", 20, np.random.default_rng(4)):
        scene = case.truths[0]
        assert isinstance(scene, Scene) and scene.held_out == ("held-out" in case.group)


def test_the_words_are_new():
    """No template and no line is one that training uses."""
    training = {
        *dialogues.PICTURE_ASKS, *dialogues.PICTURE_WISHES, *dialogues.FILM_ASKS, *dialogues.FILM_WISHES,
        *dialogues.SOUND_ASKS, *dialogues.THING_SOUND_ASKS, *smalltalk.QUESTIONS,
        *(line for lines, _ in smalltalk.TALK for line in lines),
    }  # fmt: skip
    ours = {
        *requests.IMAGE_REQUESTS,
        *requests.VIDEO_REQUESTS,
        *requests.SOUND_REQUESTS,
        *requests.PLAIN,
        *requests.OUTSIDE,
    }
    assert not ours & training
    assert min(map(len, (requests.IMAGE_REQUESTS, requests.VIDEO_REQUESTS, requests.SOUND_REQUESTS))) >= 25
    questions = {line for lines in (*requests.DESCRIBE.values(), *requests.ASK.values()) for line in lines}
    asked = set()
    for seed in range(1500):
        starts = {name: 1.0 for name in dialogues.STARTS if name.startswith("given")}
        [question, _] = dialogues.conversation(np.random.default_rng(seed), starts=starts)
        asked |= {part["text"].lower().strip(".!?") for part in question["content"] if part["type"] == "text"}
    assert not {line.strip("?") for line in questions} & asked


def test_measures_a_model(shared_model, tmp_path):
    """A random model is measured to the end, and the results are the same again."""
    options = {"max_new_tokens": 8, "max_media": 1}
    first, _ = measure(shared_model, 2, ("image", "about-depth"), batch_size=2, options=options)
    second, _ = measure(shared_model, 2, ("image", "about-depth"), batch_size=1, options=options)
    assert {name: tally.shares() for name, tally in first.items()} == {
        n: t.shares() for n, t in second.items()
    }
    assert {"image", "image, seen", "image, held-out", "about-depth"} <= set(first)
    write_json(tmp_path / "results.json", {name: tally.summary() for name, tally in first.items()})
    assert set(json.loads((tmp_path / "results.json").read_text())) == set(first)
    lines = table({name: tally.shares() for name, tally in first.items()}).splitlines()
    assert len(lines) == 2 + len(first) and len({line.count("|") for line in lines}) == 1


def test_contact_sheet(tmp_path):
    rng = np.random.default_rng(5)
    items = []
    for case in new_cases("image", 9, rng) + new_cases("video", 3, rng):
        items += check(case, right_answer(case, rng))[2]
    contact_sheet(items, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width >= 8 * 128 and sheet.height >= 2 * 128 + 2 * 64
        assert len(sheet.getcolors(1 << 20) or []) > 20
