"""The judge reads exact drawings, films and sounds right, also after what files and blur do to them."""

import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from anygpt.evaluation.answers import read_answer
from anygpt.evaluation.hearing import hear_sound
from anygpt.evaluation.judge import see_film, see_picture
from anygpt.evaluation.scoring import Tally, check_film, check_picture, check_sound
from anygpt.media import write
from anygpt.toyworld.drawing import FRAME_RATE, draw_film, draw_picture
from anygpt.toyworld.phrases import caption_film, caption_picture, caption_sound, describe_sound
from anygpt.toyworld.scenes import Scene, random_scene
from anygpt.toyworld.sounds import RATE, play, random_tone
from encoders.media import Video, read


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return np.asarray(Image.open(file))


def blurred(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1.0)))


def all_right(tally: Tally) -> None:
    low = {name: share for name, share in tally.shares().items() if share < 0.99}
    assert not low, f"{low}; {tally.wrong[:5]}"


@pytest.mark.parametrize(
    ("side", "change", "count"),
    [
        (64, np.copy, 300),
        (32, np.copy, 100),
        (200, np.copy, 100),
        (64, as_jpeg, 100),
        (64, blurred, 100),
    ],
)
def test_pictures(side, change, count):
    rng, tally = np.random.default_rng(0), Tally()
    for _ in range(count):
        scene = random_scene(rng)
        tally.add(check_picture(see_picture(change(draw_picture(scene, side))), scene), scene=scene)
    all_right(tally)


def test_two_things():
    rng, tally = np.random.default_rng(1), Tally()
    for _ in range(100):
        scene = random_scene(rng, two_things=1)
        tally.add(check_picture(see_picture(draw_picture(scene)), scene), scene=scene)
    all_right(tally)


def test_films():
    rng, tally = np.random.default_rng(2), Tally()
    for _ in range(300):
        scene = random_scene(rng, moving=True)
        tally.add(check_film(see_film(draw_film(scene)), scene), scene=scene)
    all_right(tally)


def test_films_from_files(tmp_path):
    rng, tally = np.random.default_rng(3), Tally()
    for _ in range(100):
        scene = random_scene(rng, moving=True)
        path = write("video", Video(draw_film(scene), FRAME_RATE), tmp_path / "film.mp4")
        tally.add(check_film(see_film(read("video", path).frames), scene), scene=scene)
    all_right(tally)


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_sounds(noise):
    rng, tally = np.random.default_rng(4), Tally()
    for _ in range(300):
        tone = random_tone(rng)
        wave = play(tone, rng) + rng.normal(0, noise, RATE * 2)
        tally.add(check_sound(hear_sound(wave, RATE), tone), tone=tone)
    all_right(tally)


def test_sees_what_is_wrong():
    """Each attribute that differs is reported, and no other."""
    rng = np.random.default_rng(5)
    changes = {"shape": "heart", "colour": "green", "size": "large", "place": "centre"}
    scene = random_scene(rng, accept=lambda s: all(getattr(s.things[0], n) != v for n, v in changes.items()))
    for name, value in changes.items():
        thing = replace(scene.things[0], **{name: value})
        if name == "size":  # the place's tolerance allows for it, the frame does not: keep it inside
            thing = replace(
                thing, width=0.45, centre=tuple(float(np.clip(c, 0.225, 0.775)) for c in thing.centre)
            )
        if name == "place":
            thing = replace(thing, centre=(0.5, 0.5))
        checks = check_picture(see_picture(draw_picture(Scene(scene.background, (thing,)))), scene)
        assert {n for n, good in checks.items() if not good} == {name, "all"}


def test_reports_none_for_what_it_cannot_read():
    empty = see_picture(np.full((64, 64, 3), 255, np.uint8))
    assert empty.background == "white" and empty.things == ()
    assert see_picture(np.full((64, 64, 3), (250, 120, 190), np.uint8)).background is None
    nothing = see_film(np.zeros((8, 32, 32, 3), np.uint8))
    assert (nothing.background, nothing.shape, nothing.motion) == ("black", None, None)
    silence = hear_sound(np.zeros(RATE), RATE)
    assert (silence.pitch, silence.contour, silence.shape) == (None, None, None)
    noise = hear_sound(np.random.default_rng(0).normal(0, 0.3, RATE), RATE)
    assert noise.shape is None
    with pytest.raises(ValueError, match="too small"):
        see_picture(np.zeros((16, 16, 3), np.uint8))


def test_reads_captions():
    """A canonical caption names exactly the attributes of what it describes."""
    rng = np.random.default_rng(6)
    for _ in range(200):
        scene = random_scene(rng, moving=True)
        thing = scene.things[0]
        expected = {name: {getattr(thing, name)} for name in ("shape", "colour", "size", "place", "motion")}
        expected["background"] = {scene.background}
        assert read_answer(f"Here is a film of {caption_film(scene)}.") == expected
        del expected["motion"]
        assert read_answer(f"I see {caption_picture(scene)}.") == expected
        tone = random_tone(rng)
        expected = {"shape": {tone.shape}, "pitch": {tone.pitch}, "contour": {tone.contour}}
        assert read_answer(f"Here is {caption_sound(tone)}.") == expected
        found = read_answer(f"I hear {describe_sound(tone)}.")
        assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is 2.5 metres away.", {"metres": {"2.5"}}),
        ("It is at about 60 degrees.", {"degrees": {"60"}}),
        (
            "It is in the upper left corner, a big disc.",
            {"place": {"top left"}, "size": {"large"}, "shape": {"circle"}},
        ),
        (
            "It is at the left, above the blue square.",
            {"place": {"left"}, "relation": {"above"}, "shape": {"square"}, "colour": {"blue"}},
        ),
        ("Hello! What shall I draw?", {}),
        ("It is red or blue.", {"colour": {"red", "blue"}}),
    ],
)
def test_reads_words(text, found):
    assert read_answer(text) == found


def test_tally_keeps_what_went_wrong():
    tally = Tally()
    tally.add({"shape": True, "colour": True, "all": True}, wanted="a")
    tally.add({"shape": False, "colour": False, "all": False}, wanted="b")
    tally.add({"shape": False, "colour": True, "all": False}, wanted="c")
    assert tally.shares() == {"shape": 1 / 3, "colour": 2 / 3, "all": 1 / 3}
    assert [case["wanted"] for case in tally.summary()["worst"]] == ["b", "c"]
    assert Counter(name for case in tally.wrong for name in case["wrong"]) == {"shape": 2, "colour": 1}
