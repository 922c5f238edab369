"""The toy world keeps its contract: names, numbers, drawings, sounds, signals, and what is held out."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
import torch
from numpy.random import Generator

from anygpt.config import INPUT_MODALITIES, OUTPUT_MODALITIES
from anygpt.evaluation.answers import read_answer
from anygpt.messages import normalise
from anygpt.toyworld.boxes import box_of
from anygpt.toyworld.dialogues import STARTS, conversation
from anygpt.toyworld.drawing import (
    BACKGROUND_DISTANCE,
    BACKGROUND_TEMPERATURE,
    DISTANCES,
    TEMPERATURES,
    at_time,
    coverage,
    draw_depth,
    draw_film,
    draw_picture,
    draw_thermal,
)
from anygpt.toyworld.foundations.attributes import UNSAID, AttributeHeads
from anygpt.toyworld.foundations.imagebind import DENSE, Training, patch_targets
from anygpt.toyworld.foundations.language import as_text
from anygpt.toyworld.phrases import (
    SIZE_WORDS,
    caption_film,
    caption_picture,
    caption_sound,
    describe_picture,
    near_captions,
    say_scene,
)
from anygpt.toyworld.scenes import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    PLACES,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    from_top_left,
    overlap,
    random_pair,
    random_scene,
    random_thing,
    relation,
)
from anygpt.toyworld.smalltalk import outside
from anygpt.toyworld.sounds import (
    CONTOURS,
    IMU_RATE,
    PITCHES,
    RATE,
    Tone,
    feel,
    harmonics,
    play,
    random_tone,
    tone_of,
)
from anygpt.toyworld.source import ToyWorld


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(0)


def alone(shape: str, width: float = 0.5) -> Thing:
    return Thing(shape, "red", "large", "centre", width=width)


# ── names and numbers ─────────────────────────────────────────────────────────────────────────────


def test_tables():
    """Their order too: the held-out split depends on it."""
    assert SHAPES == ("circle", "square", "triangle", "diamond", "star", "cross", "ring", "heart")
    assert list(COLOURS.items()) == [
        ("red", (230, 30, 30)),
        ("orange", (255, 140, 0)),
        ("yellow", (250, 220, 0)),
        ("green", (20, 170, 60)),
        ("cyan", (0, 200, 220)),
        ("blue", (30, 70, 230)),
        ("purple", (150, 40, 200)),
        ("pink", (255, 130, 190)),
    ]
    assert list(SIZES.items()) == [("small", 0.25), ("large", 0.45)]
    assert PLACES == (
        "top left",
        "top",
        "top right",
        "left",
        "centre",
        "right",
        "bottom left",
        "bottom",
        "bottom right",
    )
    assert MOTIONS == ("still", "left", "right", "up", "down", "growing", "shrinking", "blinking")
    assert BACKGROUNDS == {"white": (255, 255, 255), "grey": (128, 128, 128), "black": (0, 0, 0)}


def test_held_out_rule():
    for (i, shape), (j, colour), (k, size) in product(
        enumerate(SHAPES), enumerate(COLOURS), enumerate(SIZES)
    ):
        for place, motion in (("top", "still"), ("left", "growing")):
            assert Thing(shape, colour, size, place, motion).held_out == ((i + 2 * j + 3 * k) % 5 == 0)


def test_a_scene_is_held_out_if_one_of_its_things_is():
    held, seen = Thing("circle", "red", "small", "left"), Thing("square", "red", "small", "right")
    assert held.held_out and not seen.held_out
    assert Scene("white", (seen, held)).held_out and not Scene("white", (seen,)).held_out


# ── shapes ────────────────────────────────────────────────────────────────────────────────────────


def test_shape_areas():
    """As shares of the bounding square, from geometry."""
    star = 5 * 0.42 * np.sin(np.pi / 5) / (2 * np.sin(np.radians(72)) * (1 + np.cos(np.radians(36))))
    areas = {
        "circle": np.pi / 4,
        "square": 1.0,
        "triangle": 0.5,
        "diamond": 0.5,
        "star": star,
        "cross": 2 * 0.34 - 0.34**2,
        "ring": np.pi / 4 * (1 - 0.55**2),
    }
    for shape, area in areas.items():
        mask, _ = coverage(alone(shape), 256)
        assert mask.sum() / 128**2 == pytest.approx(area, abs=0.01), shape


def test_shapes_are_distinct():
    masks = {shape: coverage(alone(shape), 128)[0] for shape in SHAPES}
    for first, second in combinations(SHAPES, 2):
        a, b = masks[first], masks[second]
        assert np.minimum(a, b).sum() / np.maximum(a, b).sum() < 0.85, (first, second)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_fill_their_square_upright_and_symmetric(shape):
    mask, (rows, columns) = coverage(alone(shape), 128)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (64, 64)
    edges = [mask[:2], mask[-2:], mask[:, :2], mask[:, -2:]]
    assert all(edge.max() > 0.1 for edge in edges)
    assert np.allclose(mask, mask[:, ::-1])
    if shape in ("triangle", "star"):
        assert mask[:8].sum() < mask[-8:].sum()  # the tip is above
    if shape == "heart":
        assert mask[:16].sum() > mask[-16:].sum()


def test_edges_are_anti_aliased():
    mask, _ = coverage(alone("circle", 0.4), 64)
    assert ((mask > 0) & (mask < 1)).sum() > 20


# ── scenes and pictures ───────────────────────────────────────────────────────────────────────────


def test_sizes_and_places_within_tolerance(rng):
    cells = {place: (0.2 + 0.3 * (i % 3), 0.2 + 0.3 * (i // 3)) for i, place in enumerate(PLACES)}
    for _ in range(300):
        thing = random_thing(rng)
        assert abs(thing.width / SIZES[thing.size] - 1) <= 0.10
        for cell, centre in zip(cells[thing.place], thing.centre, strict=True):
            pushed = np.clip(cell, thing.width / 2, 1 - thing.width / 2)
            assert abs(centre - pushed) <= 0.03 + 1e-9
            assert thing.width / 2 - 1e-9 <= centre <= 1 - thing.width / 2 + 1e-9


def test_pictures_have_exact_colours(rng):
    for colour, background in product(COLOURS, BACKGROUNDS):
        picture = draw_picture(
            Scene(background, (random_thing(rng, colour=colour, shape="square", place="centre"),))
        )
        assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
        assert tuple(picture[32, 32]) == COLOURS[colour] and tuple(picture[0, 0]) == BACKGROUNDS[background]


def test_pairs(rng):
    for _ in range(100):
        first, second = random_pair(rng)
        assert first.size == second.size == "small" and not overlap(first, second)
        assert first.shape != second.shape and first.colour != second.colour
        opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
        assert relation(second, first) == opposite[relation(first, second)]


def test_all_attributes_occur_alike(rng):
    things = [random_scene(rng, moving=True).things[0] for _ in range(2000)]
    for name, values in (
        ("shape", SHAPES),
        ("colour", COLOURS),
        ("size", SIZES),
        ("place", PLACES),
        ("motion", MOTIONS),
    ):
        counts = [sum(getattr(thing, name) == value for thing in things) for value in values]
        assert min(counts) > 0.7 * len(things) / len(counts), name


# ── films ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("motion", MOTIONS)
def test_motions(motion, rng):
    for _ in range(20):
        thing = random_thing(rng, motion=motion)
        first, halfway, last = (at_time(thing, time) for time in (0.0, 0.5, 1.0))
        if motion == "blinking":
            shown = [at_time(thing, i / 7) is not None for i in range(8)]
            assert shown == [True, True, False, False] * 2  # shown and hidden twice
            continue
        assert first is not None and halfway is not None and last is not None
        assert halfway.centre == pytest.approx(thing.centre) and halfway.width == pytest.approx(thing.width)
        dx, dy = np.subtract(last.centre, first.centre)
        ways = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
        way = ways.get(motion, (0, 0))
        along, across = dx * way[0] + dy * way[1], dx * way[1] + dy * way[0]
        assert along >= 1 / 3 if motion in ways else along == 0
        assert across == pytest.approx(0)
        growth = {"growing": 2.0, "shrinking": 0.5}.get(motion, 1.0)
        assert last.width / first.width == pytest.approx(growth)


def test_films(rng):
    scene = random_scene(rng, moving=True)
    film = draw_film(scene)
    assert film.shape == (8, 32, 32, 3) and film.dtype == np.uint8
    assert draw_film(scene, frames=16, side=64).shape == (16, 64, 64, 3)
    still = draw_film(Scene("white", (random_thing(rng),)))
    assert (still == still[0]).all()


# ── depth, thermal, motion signals ────────────────────────────────────────────────────────────────


def test_depth(rng):
    assert (BACKGROUND_DISTANCE, DISTANCES) == (4.0, {"large": 1.0, "small": 2.5})
    for size, distance in DISTANCES.items():
        depth = draw_depth(
            Scene("white", (random_thing(rng, size=size, shape="square", place="centre"),)), rng
        )
        assert depth.dtype == np.float32 and depth[0, 0] == 4.0
        assert abs(depth[32, 32] / distance - 1) <= 0.05 + 1e-6


def test_thermal(rng):
    expected = {
        "blue": 5,
        "cyan": 10,
        "purple": 15,
        "green": 25,
        "pink": 30,
        "yellow": 35,
        "orange": 45,
        "red": 60,
    }
    assert expected == TEMPERATURES and BACKGROUND_TEMPERATURE == 20.0
    for colour, degrees in expected.items():
        warm = draw_thermal(
            Scene("white", (random_thing(rng, colour=colour, shape="square", place="centre"),)), rng
        )
        assert warm.dtype == np.float32 and warm[0, 0] == 20.0
        assert abs(warm[32, 32] - degrees) <= 1 + 1e-5


@pytest.mark.parametrize("motion", MOTIONS)
def test_motion_signals(motion, rng):
    signal = feel(motion, rng)
    assert signal.shape == (6, 2000) and signal.dtype == np.float32
    time = np.arange(2000) / IMU_RATE
    expected = np.zeros((6, 2000))
    axis = {"right": 0, "left": 0, "up": 1, "down": 1, "growing": 2, "shrinking": 2}.get(motion)
    if axis is not None:
        sign = -1 if motion in ("left", "down", "shrinking") else 1
        expected[axis] = sign * 2 * np.sin(2 * np.pi * time / 5)
    if motion == "blinking":
        on = (time // 0.625).astype(int) % 2 == 0
        expected[5] = on * np.sin(2 * np.pi * 10 * time)
    noise = signal - expected
    assert noise.std(axis=1) == pytest.approx(np.full(6, 0.05), rel=0.15)


# ── sounds ────────────────────────────────────────────────────────────────────────────────────────


def strengths(wave: np.ndarray, base: float) -> np.ndarray:
    """The first eight harmonics' strengths relative to the fundamental."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    lines = np.array([spectrum[round(base * n * len(wave) / RATE)] for n in range(1, 9)])
    return lines / lines[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_timbres(shape, rng):
    expected = {
        "circle": [1, 0, 0, 0, 0, 0, 0, 0],
        "square": [1, 0, 1 / 3, 0, 1 / 5, 0, 1 / 7, 0],
        "triangle": [1, 0, 1 / 9, 0, 1 / 25, 0, 1 / 49, 0],
        "star": [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7, 1 / 8],
        "ring": [1, 1, 0, 0, 0, 0, 0, 0],
        "cross": [1, 0, 1, 0, 0, 0, 0, 0],
        "diamond": [1, 1 / 2, 0, 1 / 2, 0, 0, 0, 0],
        "heart": [1, 1 / 2, 1 / 2, 0, 0, 0, 0, 0],
    }[shape]
    for pitch, base in {"low": 220, "middle": 440, "high": 880}.items():
        assert PITCHES[pitch] == base
        wave = play(Tone(shape, pitch, "steady"), rng)
        assert wave.shape == (2 * RATE,) and wave.dtype == np.float32
        assert strengths(wave, base) == pytest.approx(expected, abs=0.01)
    assert {n: s for n, s in enumerate(expected, 1) if s and n > 1} == pytest.approx(
        {n: s for n, s in harmonics(shape).items() if n <= 8}
    )


def test_nothing_above_the_highest_harmonic(rng):
    for contour in ("steady", "rising"):
        power = np.abs(np.fft.rfft(play(Tone("star", "high", contour), rng))) ** 2
        above = np.fft.rfftfreq(2 * RATE, 1 / RATE) > 7_700
        assert power[above].sum() < 1e-3 * power.sum()


@pytest.mark.parametrize(("contour", "ratio"), [("rising", 2.0), ("falling", 0.5), ("steady", 1.0)])
def test_glides_are_exponential(contour, ratio, rng):
    wave = play(Tone("circle", "middle", contour), rng)
    crossings = np.flatnonzero((wave[:-1] < 0) & (wave[1:] >= 0)) / RATE
    frequencies, times = 1 / np.diff(crossings), (crossings[1:] + crossings[:-1]) / 2
    expected = 440 * ratio ** (times / 2)
    assert np.abs(np.log2(frequencies / expected)).max() < 0.08
    assert np.abs(np.log2(frequencies / expected)).mean() < 0.03


def test_loudness_contours(rng):
    def level(contour: str) -> np.ndarray:
        return np.abs(play(Tone("circle", "high", contour), rng)).reshape(40, -1).max(axis=1)

    steady, fading_in, fading_out, pulsing = map(level, ("steady", "fading in", "fading out", "pulsing"))
    assert steady.min() > 0.9 * steady.max()
    assert (np.diff(fading_in[:-1]) > 0).all() and (np.diff(fading_out[1:]) < 0).all()
    on = pulsing > 0.2 * pulsing.max()
    assert (np.diff(np.concatenate([[0], on.astype(int)])) == 1).sum() == 4


def test_things_sound_as_the_contract_says():
    contours = {"still": "steady", "up": "rising", "growing": "rising", "down": "falling", "shrinking": "falling",
                "blinking": "pulsing", "left": "fading out", "right": "fading in"}  # fmt: skip
    assert set(contours) == set(MOTIONS) and set(contours.values()) == set(CONTOURS)
    for motion, contour in contours.items():
        assert tone_of(Thing("star", "red", "small", "top", motion)) == Tone("star", "high", contour)
        assert tone_of(Thing("star", "red", "large", "top", motion)) == Tone("star", "low", contour)


# ── conversations ─────────────────────────────────────────────────────────────────────────────────


def things_of(messages: list[dict]) -> list[Thing]:
    parts = [part for message in messages for part in message["content"]]
    return [thing for part in parts if "scene" in part for thing in part["scene"].things]


def test_held_out_things_are_in_no_part_of_a_conversation():
    """Neither drawn, nor in a caption, nor in what the assistant says."""
    things = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        messages = conversation(rng, turns=1 + seed % 4, accept=lambda scene: not scene.held_out)
        for thing in things_of(messages):
            things += 1
            assert not thing.held_out, messages
        for message in messages:
            for part in message["content"]:
                if message["role"] == "user" or part["type"] != "text":
                    continue
                found = read_answer(part["text"])
                names = [found.get(name, set()) for name in ("shape", "colour", "size")]
                if all(len(values) == 1 for values in names):
                    shape, colour, size = (next(iter(values)) for values in names)
                    assert not Thing(shape, colour, size, "centre").held_out, part["text"]
    assert things > 300


def test_held_out_things_occur_where_all_is_accepted():
    found = [
        thing.held_out
        for seed in range(200)
        for thing in things_of(conversation(np.random.default_rng(seed)))
    ]
    assert 0.1 < np.mean(found) < 0.3


@pytest.mark.parametrize("start", STARTS)
def test_every_kind_of_conversation(start):
    """Roles alternate, media are of the known modalities, and all that an answer's caption tells is said before its medium."""
    for seed in range(40):
        messages = conversation(np.random.default_rng(seed), turns=2, starts={start: 1.0})
        assert [message["role"] for message in messages[:4]] == ["user", "assistant"] * 2
        for message in messages:
            kinds = INPUT_MODALITIES if message["role"] == "user" else OUTPUT_MODALITIES
            content = message["content"]
            assert content and any(part["type"] == "text" for part in content)
            for before, part in zip([None, *content], content, strict=False):
                if part["type"] == "text":
                    assert part["text"].strip() and "{" not in part["text"]
                    continue
                assert part["type"] in kinds
                if message["role"] == "assistant":
                    assert before is not None
                    if part["type"] == "image":
                        assert describe_picture(part["scene"]) in before["text"]
                        assert read_answer(part["caption"]) == read_answer(describe_picture(part["scene"]))
                    else:
                        assert part["caption"] in before["text"]


def test_a_picture_of_two_things_has_one_description():
    first = Thing("circle", "red", "small", "left", "still", 0.25, (0.2, 0.5))
    second = Thing("star", "blue", "small", "centre", "still", 0.25, (0.5, 0.5))
    told = (
        "a small red circle left of a small blue star on a white background, "
        "the circle at the left and the star in the centre"
    )
    scene = Scene("white", (first, second))
    assert describe_picture(scene) == told
    assert from_top_left(scene) == from_top_left(Scene("white", (second, first))) == scene


@pytest.mark.parametrize("start", ["given_pair", "grounding"])
def test_what_the_llm_is_told_of_a_pictures_things(start: str, rng: Generator) -> None:
    """Each thing of a picture in words of its own, two with how they stand, and its box."""
    for _ in range(60):
        messages = conversation(rng, starts={start: 1})
        (scene,) = (part["scene"] for part in messages[0]["content"] if part["type"] == "image")
        said = [piece for piece in as_text(messages)[0][1] if not isinstance(piece, str)]
        things = from_top_left(scene).things
        for shown, thing in zip(said, things, strict=True):
            words = f"{thing.size} {thing.colour} {thing.shape} {thing.place}"
            assert " ".join(shown.words).startswith(words)
            assert shown.edges == box_of(thing).corners
        if len(things) == 2:
            assert [shown.words[-1] for shown in said] == [
                relation(one, other).split()[0] for one, other in (things, things[::-1])
            ]
    assert start != "given_pair" or len(things) == 2


def test_requests_from_outside_get_no_media():
    for seed in range(50):
        messages = conversation(np.random.default_rng(seed), starts={"outside": 1.0})
        assert [part["type"] for part in messages[1]["content"]] == ["text"]
        assert messages[1]["content"][0]["text"].startswith("Sorry")


def test_nothing_from_outside_is_a_thing_of_the_world():
    """No refused request names a shape in a colour that the model knows."""
    rng = np.random.default_rng(0)
    for _ in range(2000):
        text, _ = outside(rng)
        found = read_answer(text)
        assert not {"shape", "colour"} <= set(found), text


def test_same_seed_same_conversation():
    first, second = (conversation(np.random.default_rng(7), turns=3) for _ in range(2))
    assert first == second
    assert first != conversation(np.random.default_rng(8), turns=3)


def test_source_draws_valid_messages():
    data = ToyWorld(120, seed=1, turns=(1, 2, 3), draw_outputs=0.5)
    kinds = set()
    for index in range(len(data)):
        messages = data[index]
        for message in normalise(messages):
            kinds |= {(message["role"], part["type"]) for part in message["content"]}
    assert {("user", modality) for modality in INPUT_MODALITIES} <= kinds
    assert {("assistant", modality) for modality in OUTPUT_MODALITIES} <= kinds
    with pytest.raises(IndexError):
        data[120]


def test_source_depends_on_seed_and_index_alone():
    first, second, other = ToyWorld(10, seed=3), ToyWorld(10, seed=3), ToyWorld(10, seed=4)
    assert [str(first[i]) for i in (5, 2)] == [str(second[i]) for i in (5, 2)]
    assert str(first[5]) != str(other[5])


def test_random_tones_are_all_of_them(rng):
    assert len({random_tone(rng) for _ in range(3000)}) == len(SHAPES) * len(PITCHES) * len(CONTOURS)


def test_near_captions_tell_another_thing_that_differs_in_one_attribute() -> None:
    rng = np.random.default_rng(8)
    values = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "motion": MOTIONS}
    for _ in range(40):
        scene = random_scene(rng, moving=True)
        thing = scene.things[0]
        for caption_of, names in (
            (caption_picture, ("shape", "colour", "size")),
            (caption_film, tuple(values)),
        ):
            others = {
                name: {
                    caption_of(Scene(scene.background, (replace(thing, **{name: value}),)))
                    for value in values[name]
                    if value != getattr(thing, name)
                }
                for name in names
            }
            others["background"] = {caption_of(Scene(ground, scene.things)) for ground in BACKGROUNDS}
            near = near_captions(caption_of(scene))
            assert len(set(near)) == len(near) and caption_of(scene) not in near
            for name, captions in others.items():
                assert len(captions & set(near)) == (1 if name == "size" else 2), name
            assert set(near) <= set().union(*others.values())
    assert near_captions(caption_sound(random_tone(rng))) == []


def test_near_captions_of_two_things_change_one_of_them_or_swap_the_two() -> None:
    caption = "a small red star at the top above a small blue ring at the bottom on a black background"
    near = near_captions(caption)
    assert len(set(near)) == len(near) and caption not in near
    assert {
        "a small red ring at the top above a small blue star at the bottom on a black background",
        "a small blue star at the top above a small red ring at the bottom on a black background",
        "a small red star at the bottom above a small blue ring at the top on a black background",
    } <= set(near)
    changed = [sum(a != b for a, b in zip(caption.split(), other.split(), strict=True)) for other in near]
    assert sorted(changed) == [1] * 6 + [2] * 3


@pytest.mark.parametrize(("said", "times"), [({"shape", "colour"}, 0), ({"shape", "colour", "size"}, 2)])
def test_a_request_for_two_things_says_the_size_of_both_or_of_none(
    said: set[str], times: int, rng: Generator
) -> None:
    for _ in range(50):
        words = say_scene(rng, random_scene(rng, two_things=1), frozenset(said)).replace(",", "").split()
        assert sum(word in SIZE_WORDS["small"] for word in words) == times, words


def test_what_a_medium_does_not_carry_is_not_told() -> None:
    for seed in range(40):
        question, answer = conversation(np.random.default_rng(seed), starts={"untold": 1.0})
        (medium,) = (part["type"] for part in question["content"] if part["type"] != "text")
        assert medium in ("audio", "depth", "thermal", "imu")
        assert answer["content"][0]["text"].startswith("I can't tell that from a")


def test_patches_learn_the_thing_that_covers_them_and_the_background() -> None:
    scene = random_scene(np.random.default_rng(3), two_things=1.0)
    targets = {
        name: values.reshape(8, 8) for name, values in patch_targets(scene).items() if values.ndim == 1
    }
    filled = targets["patch_filled"].astype(bool)
    for thing in scene.things:
        column, row = (int(centre * 8) for centre in thing.centre)
        assert filled[row, column]
        assert list(COLOURS)[targets["patch_colour"][row, column]] == thing.colour
        assert SHAPES[targets["patch_shape"][row, column]] == thing.shape
    for name in ("patch_colour", "patch_shape", "patch_place"):
        assert ((targets[name] != UNSAID) == filled).all()
    assert (targets["patch_ground"] == list(BACKGROUNDS).index(scene.background)).all() and not filled.all()
    # what a depth map or a thermal picture does not carry is not asked of it
    heads = Training().dense
    assert {m: set(DENSE) - set(heads[m]) for m in heads} == {
        "image": set(),
        "depth": {"patch_colour", "patch_ground"},
        "thermal": {"patch_ground"},
    }


def test_linear_heads_teach_what_a_linear_map_reads() -> None:
    torch.manual_seed(0)
    embedding, shape = torch.randn(64, 16), torch.arange(64) % len(SHAPES)
    heads = AttributeHeads(16, ("shape",), linear=True)
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss, _ = heads(embedding, {"shape": shape})
        loss.backward()
        optimizer.step()
    # 64 random points are no trouble for the hidden layer; a linear map gets what it can of them
    assert (heads.heads["shape"](heads.hidden(embedding)).argmax(-1) == shape).all()
    read = heads.linear["shape"](embedding)
    assert 0.3 < (read.argmax(-1) == shape).float().mean() < 1
    assert loss > 0.9 * torch.nn.functional.cross_entropy(read, shape)
