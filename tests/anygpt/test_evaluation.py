"""Measuring a model: right answers score 1, wrong ones are found out, the questions are new, a run goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.random import Generator
from PIL import Image

from anygpt.evaluation import wordings
from anygpt.evaluation.ceilings import decoder_ceiling, encoder_ceiling
from anygpt.evaluation.conversations import TURNS, Dialogue, dialogue, kinds
from anygpt.evaluation.errors import EvaluationError
from anygpt.evaluation.examples import read_data
from anygpt.evaluation.gallery import as_picture
from anygpt.evaluation.literature import Features, summarise_making
from anygpt.evaluation.matrix import summarise_matrix
from anygpt.evaluation.report import write_report
from anygpt.evaluation.requests import CARRIED, MATRIX, Case, shared
from anygpt.evaluation.running import check, make_record, refuses
from anygpt.evaluation.scoring import SHOWN, Facts, Tally
from anygpt.evaluation.sheets import contact_sheet
from anygpt.evaluation.suites import evaluate
from anygpt.evaluation.switching import summarise_switching
from anygpt.generation import Reply
from anygpt.messages import normalise
from anygpt.toyworld import dialogues, smalltalk
from anygpt.toyworld.drawing import FRAME_RATE, draw_film, draw_picture
from anygpt.toyworld.phrases import motion_phrase, place_phrase
from anygpt.toyworld.scenes import Scene, random_scene, random_thing
from anygpt.toyworld.sounds import CONTOUR_OF_MOTION, CONTOURS, PITCH_OF_SIZE, PITCHES, RATE, Tone, play
from benchmarks.quality import rows
from encoders.media import Audio, Video

SAY = {
    "place": place_phrase,
    "motion": motion_phrase,
    "count": lambda value: f"{value} things",
    "degrees": "{} degrees".format,
}


def key_of(table: dict[str, str], value: str | None) -> str | None:
    return next((key for key, heard in table.items() if heard == value), None)


def medium_of(modality: str, facts: Facts | Scene, rng: Generator):
    """A medium that shows the facts, and anything where they say nothing."""
    if isinstance(facts, Scene):
        return Image.fromarray(draw_picture(facts))
    if modality == "audio":
        names = {
            "shape": "star",
            "pitch": list(PITCHES)[rng.integers(3)],
            "contour": CONTOURS[rng.integers(6)],
        }
        return Audio(
            play(Tone(**{name: facts.get(name, value) for name, value in names.items()}), rng)[None], RATE
        )
    given = {name: facts[name] for name in ("shape", "colour", "size", "place", "motion") if name in facts}
    given |= {
        name: key
        for name, table, heard in (("size", PITCH_OF_SIZE, "pitch"), ("motion", CONTOUR_OF_MOTION, "contour"))
        if name not in given and (key := key_of(table, facts.get(heard)))
    }
    scene = Scene(facts.get("background", "grey"), (random_thing(rng, **given),))
    if modality == "video":
        return Video(draw_film(scene), FRAME_RATE)
    return Image.fromarray(draw_picture(scene))


def right_answer(case: Case, rng: Generator) -> Reply:
    """What a perfect model would answer."""
    if case.refuse:
        return Reply([{"type": "text", "text": smalltalk.UNABLE}])
    words = [SAY.get(name, str)(value) for name, value in case.said.items()]
    content: list[dict] = [{"type": "text", "text": f"It is {', '.join(words)}."}]
    shown = case.shown or [{}] * len(case.media)
    for modality, facts in zip(case.media, shown, strict=True):
        content.append({"type": modality, modality: medium_of(modality, facts, rng) if case.shown else None})
    return Reply(content)


def cases_of(maker, count: int, seed: int = 0) -> list[Case]:
    rng = np.random.default_rng(seed)
    return [maker(rng, index % 2 == 1) for index in range(count)]


@pytest.mark.parametrize("name", MATRIX)
def test_right_answers_score_one(name):
    rng, tally = np.random.default_rng(0), Tally()
    for case in cases_of(MATRIX[name], 12):
        normalise(case.messages)
        checks, seen = check(case, right_answer(case, rng))
        tally.add(checks, wanted=case.wanted, seen=seen)
    assert set(tally.shares().values()) == {1.0}, tally.wrong
    given, made = name.split(" to ")
    if given in CARRIED and made in SHOWN:
        assert set(shared(CARRIED[given], made)) <= set(tally.shares())
    elif given in CARRIED:
        assert set(tally.shares()) - {"media", "all"} <= set(CARRIED[given])


def test_what_a_medium_carries_into_another():
    assert shared(CARRIED["image"], "audio") == ("pitch", "shape")
    assert shared(CARRIED["audio"], "video") == ("shape", "pitch", "contour")
    assert shared(CARRIED["audio"], "image") == ("shape", "pitch")
    assert shared(CARRIED["imu"], "video") == ("motion",)
    assert shared(CARRIED["imu"], "audio") == ("contour",)
    assert shared(CARRIED["imu"], "image") == ()
    assert shared(CARRIED["thermal"], "image") == ("colour", "shape", "place")


@pytest.mark.parametrize(
    "name", ["text to image", "text to video", "text to audio", "image to audio", "audio to video"]
)
def test_wrong_answers_are_found_out(name):
    """The answer to another request has the right media and the wrong things."""
    rng, tally = np.random.default_rng(1), Tally()
    cases = cases_of(MATRIX[name], 20, seed=1)
    for case, other in zip(cases, cases[1:] + cases[:1], strict=True):
        tally.add(check(case, right_answer(other, rng))[0])
    shares = tally.shares()
    assert shares["media"] == 1.0 and shares["all"] < 0.3 and shares["shape"] < 0.5
    assert shares.get("words", 0.0) < 0.3


def test_a_missing_or_a_needless_medium_is_found_out():
    rng = np.random.default_rng(2)
    [picture] = cases_of(MATRIX["text to image"], 1)
    silent, _ = check(picture, Reply([{"type": "text", "text": "Here is a picture."}]))
    assert set(silent) >= {"media", "words", "colour", "shape", "all"} and not any(silent.values())
    [question] = cases_of(MATRIX["image to text"], 1)
    assert not check(question, right_answer(picture, rng))[0]["media"]


def test_two_blobs_are_no_picture_of_one_thing():
    [case] = cases_of(MATRIX["text to image"], 1)
    two = random_scene(np.random.default_rng(3), two_things=1)
    picture = Image.fromarray(draw_picture(two))
    checks, _ = check(case, Reply([{"type": "image", "image": picture}]))
    assert not checks["count"] and not checks["all"]


def test_half_of_the_cases_are_held_out():
    for case in cases_of(MATRIX["text to image of two"], 10):
        assert isinstance(case.shown[0], Scene)
    for index, case in enumerate(cases_of(MATRIX["text to image"], 20)):
        facts = case.shown[0]
        thing = random_thing(
            np.random.default_rng(0), shape=facts["shape"], colour=facts["colour"], size=facts["size"]
        )
        assert thing.held_out == (index % 2 == 1)


def test_the_words_are_new():
    """No template and no line is one that training uses."""
    training = {
        *dialogues.PICTURE_ASKS, *dialogues.PICTURE_WISHES, *dialogues.FILM_ASKS, *dialogues.FILM_WISHES,
        *dialogues.SOUND_ASKS, *dialogues.THING_SOUND_ASKS, *smalltalk.QUESTIONS,
        *(line for lines, _ in smalltalk.TALK for line in lines),
    }  # fmt: skip
    requests = (wordings.IMAGE_REQUESTS, wordings.VIDEO_REQUESTS, wordings.SOUND_REQUESTS)
    ours = {line for lines in (*requests, wordings.PLAIN, wordings.OUTSIDE) for line in lines}
    assert not ours & training
    assert min(map(len, requests)) >= 25
    assert not {thing.removeprefix("a ").removeprefix("an ") for thing in wordings.OUTSIDE_THINGS} & set(
        smalltalk.NOUNS
    )
    assert not set(wordings.OUTSIDE_THINGS) & {*smalltalk.SOUNDS, *smalltalk.SCENES}
    groups = (wordings.DESCRIBE, wordings.ASK, wordings.EDIT, wordings.AS_WELL, wordings.FACTS)
    questions = {line for group in groups for lines in group.values() for line in lines}
    said = set()
    for seed in range(1500):
        starts = {name: 1.0 for name in dialogues.STARTS if name.startswith("given") or name == "knowledge"}
        turns = dialogues.conversation(np.random.default_rng(seed), starts=starts, turns=1 + seed % 2)
        said |= {
            part["text"].lower().strip(".!?")
            for message in turns[::2]
            for part in message["content"]
            if part["type"] == "text"
        }
    values = {
        *dialogues.SHAPES,
        *dialogues.COLOURS,
        *dialogues.SIZES,
        *dialogues.BACKGROUNDS,
        *dialogues.MOTIONS,
        "moving left",
    }
    filled = {line.strip("?").format(x=value) for line in questions for value in values}
    assert not filled & said


def test_dialogues_hang_together():
    """Each turn's words are about the thing as the turns before have made it, and all kinds of turns occur."""
    lengths, seen = set(), set()
    for seed in range(150):
        rng = np.random.default_rng(seed)
        talk = Dialogue(rng, seed % 2 == 1)
        facts: Facts = {}
        turns = talk.turns()
        lengths.add(len(turns))
        for turn in turns:
            normalise(turn.messages)
            seen.add(turn.kind)
            if turn.kind == "an edit":
                changed = {name for name, value in turn.said.items() if facts.get(name, value) != value}
                assert len(changed) <= 1, (turn.wanted, changed)
            if turn.kind == "a question":
                assert all(facts[name] == value for name, value in turn.said.items())
            facts |= turn.said
            record = make_record(turn, right_answer(turn, rng))
            assert all(record["checks"].values()) and record["refused"] == turn.refuse, record
    assert lengths == set(range(TURNS[0], TURNS[1] + 1))
    assert seen == {"one medium", "an edit", "another medium", "a question", "plain talk", "from outside"}


def test_single_requests_of_switching():
    for name, maker in kinds(CARRIED).items():
        for case in cases_of(maker, 12):
            normalise(case.messages)
            assert (case.kind, case.refuse) == (name, name == "from outside")
            assert bool(case.media) == (name in ("one medium", "several media", "from medium to medium"))
    assert set(kinds(())) == {"one medium", "several media", "plain talk", "from outside"}


@pytest.mark.parametrize(
    "text", [smalltalk.UNABLE, smalltalk.UNKNOWN, smalltalk.UNCLEAR, "I cannot draw that."]
)
def test_refusals(text):
    assert refuses(Reply([{"type": "text", "text": text}]))
    assert not refuses(Reply([{"type": "text", "text": text}, {"type": "image", "image": None}]))


def test_plain_talk_is_no_refusal():
    for text in (smalltalk.ABLE, smalltalk.HELLO, smalltalk.WHO, "Here is a red circle.", "You are welcome!"):
        assert not refuses(Reply([{"type": "text", "text": text}]))


def test_switching_in_figures():
    """Of four answers one has the wrong medium; of two requests from outside one gets a picture."""
    rng = np.random.default_rng(4)
    [picture] = cases_of(kinds(())["one medium"], 1)
    outside = cases_of(kinds(())["from outside"], 2)
    right = [make_record(case, right_answer(case, rng)) for case in (picture, outside[0])]
    drawn = Reply([{"type": "image", "image": Image.new("RGB", (64, 64))}])
    wrong = make_record(outside[1], drawn)
    needless = make_record(
        cases_of(kinds(())["plain talk"], 1)[0], Reply([{"type": "text", "text": smalltalk.UNABLE}])
    )
    figures = summarise_switching(
        [
            {"id": "a", "cell": "one", "turns": [right[0]]},
            {"id": "b", "cell": "dialogue", "turns": [right[1], needless]},
            {"id": "c", "cell": "dialogue", "turns": [wrong, needless]},
        ]
    )
    assert figures["right"] == {"share": 0.8, "error": pytest.approx(0.1789), "of": 5}
    assert figures["confusion"]["none"] == {"none": 3, "image": 1}
    assert figures["dialogues"]["2 turns"]["share"] == 0.5
    assert figures["refusals"]["outside"]["share"] == 0.5
    assert figures["refusals"]["inside"] == {
        "share": pytest.approx(0.6667),
        "error": pytest.approx(0.2722),
        "of": 3,
    }


def record(identity: str, split: str, **checks: bool) -> dict:
    return {"id": identity, "split": split, "checks": {"media": True, **checks}, "wanted": "w", "seen": "s"}


def test_matrix_in_figures():
    """A cell beside chance, the ceiling and its halves, which multiply attribute by attribute under their own names."""
    cells = {
        "image to text": [
            record("a", "seen", shape=True, size=True),
            record("b", "held-out", shape=False, size=True),
        ],
        "text to audio": [
            record("c", "seen", shape=True, pitch=True),
            record("d", "seen", shape=True, pitch=False),
        ],
        "image to audio": [
            record("e", "seen", shape=True, pitch=False),
            record("f", "held-out", shape=False, pitch=False),
        ],
        "imu to image": [record("g", "seen")],
    }
    ceilings = {"image to": {"shape": 0.8, "size": 0.5}, "to audio": {"shape": 0.5, "pitch": 1.0}}
    figures = summarise_matrix(cells, ceilings)["cells"]
    cell = figures["image to audio"]
    assert (cell["right"], cell["seen"], cell["held-out"]) == (0.25, 0.5, 0.0)
    assert cell["chance"] == pytest.approx((1 / 8 + 1 / 3) / 2, abs=1e-4)
    assert cell["ceiling"] == pytest.approx((0.8 * 0.5 + 0.5 * 1.0) / 2)
    assert cell["halves"] == pytest.approx((0.5 * 1.0 + 1.0 * 0.5) / 2)
    assert (
        figures["image to text"]["ceiling"] == pytest.approx(0.65)
        and figures["image to text"]["halves"] is None
    )
    assert figures["imu to image"]["right"] is None
    assert figures["image to audio"]["attributes"]["all"]["counts"]["pitch"] == 2


def test_figures_against_their_bars():
    """From medium to medium the bar is what the halves let expect; a figure that is missing is short."""
    cell = {"right": 0.90, "seen": 0.95, "held-out": 0.85, "halves": 0.92, "attributes": {}}
    share = {"share": 0.01, "error": 0.0, "of": 100}
    suites = {"toyworld": {"cells": {"image to audio": cell}}, "switching": {"refusals": {"inside": share}}}
    found = {what: (figure, bar, most) for what, figure, bar, most in rows(suites)}
    assert found["image to audio"] == (0.90, pytest.approx(0.89), False)
    assert found["image to audio: held-out"] == (0.85, pytest.approx(0.90), False)
    assert found["text to image: shape"][0] is None
    assert found["needless refusals inside"] == (0.01, 0.005, True)


def test_ceilings(shared_model):
    """A decoder and an encoder of random weights are measured to the end, and are no good."""
    shares = encoder_ceiling(shared_model, "image", 40, 0, examples=80)
    assert set(shares) == set(CARRIED["image"]) and shares["colour"] < 0.9
    shares = decoder_ceiling(shared_model, "audio", 2, 0)
    assert set(shares) == {"pitch", "contour", "shape", "all"} and shares["all"] == 0


def test_a_run_goes_on(shared_model, tmp_path):
    """Four cases and then ten are the ten of a run in one go; half a line left by a kill does no harm."""
    options = {"max_new_tokens": 6, "max_media": 0}
    for count in (4, 10):
        evaluate(shared_model, ["vqa"], tmp_path / "twice", count=count, options=options)
        with (tmp_path / "twice" / "cases.jsonl").open("a") as file:
            file.write('{"id": "vqa/to')
    first = (tmp_path / "twice" / "cases.jsonl").read_bytes().splitlines()[:4]
    whole = evaluate(shared_model, ["vqa"], tmp_path / "once", count=10, options=options)
    again = evaluate(shared_model, ["vqa"], tmp_path / "twice", count=10, options=options)
    assert whole == again and whole["vqa"]["of"] == 10

    def cases(folder):
        lines = (tmp_path / folder / "cases.jsonl").read_bytes().splitlines()
        return {
            line["id"]: [(t["wanted"], t["text"]) for t in line["turns"]] for line in map(json.loads, lines)
        }

    assert cases("twice") == cases("once") and len(cases("once")) == 10
    assert (tmp_path / "twice" / "cases.jsonl").read_bytes().splitlines()[:4] == first
    with pytest.raises(EvaluationError, match="another seed"):
        evaluate(shared_model, ["vqa"], tmp_path / "twice", count=10, seed=1, options=options)


def test_the_matrix_of_a_model(shared_model, tmp_path):
    """A random model is measured in all cells that it has; ceilings that are known are not measured again."""
    ceilings = {
        "count": 1,
        **{f"{m} to": {} for m in ("image", "audio", "depth")},
        **{f"to {m}": {} for m in SHOWN},
    }
    (tmp_path / "ceilings.json").write_text(json.dumps(ceilings))
    options = {"max_new_tokens": 6, "max_media": 0}
    results = evaluate(shared_model, ["toyworld"], tmp_path, count=1, options=options)
    cells = results["toyworld"]["cells"]
    assert {"text to text", "depth to audio", "image of two to text"} <= set(cells)
    assert not any("thermal" in name or "video to" in name for name in cells)
    evaluate(shared_model, ["vqa"], tmp_path, count=2, options=options)
    report = write_report(tmp_path).read_text()
    assert "| depth |" in report and "## vqa" in report and "Cases of each cell: 2." in report


def test_media_are_compared_by_the_features_given(tmp_path):
    """Pictures of the right colour fit their captions, and the report shows them."""
    pytest.importorskip("torchmetrics", reason="of the extra `eval`")
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}

    def media(modality, paths):
        assert modality == "image"
        return torch.stack(
            [torch.tensor(np.asarray(Image.open(path)), dtype=torch.float).mean((0, 1)) for path in paths]
        )

    features = Features(
        "mean colour", media, lambda texts: torch.tensor([colours[text] for text in texts]).float()
    )
    records = []
    for name, colour in colours.items():
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"image_{name}.png")
        reference = {"texts": [name], "files": {"image": f"image_{name}.png"}}
        made = {"files": [f"image_{name}.png"], "reference": reference, "checks": {"media": True}}
        records.append({"id": name, "wanted": name, "seen": "", **made})
    figures = summarise_making(records, "image", features, tmp_path)
    assert figures["figures"]["CLIPScore"] == pytest.approx(100.0)
    assert figures["figures"]["FID"] == pytest.approx(0.0, abs=1e-3)
    records[0]["files"], records[1]["files"] = [], ["image_blue.png"]
    figures = summarise_making(records, "image", features, tmp_path)
    assert figures["figures"]["CLIPScore"] == pytest.approx(50.0) and figures["figures"]["FID"] > 1
    assert figures["worst"][0]["id"] == "green"


def test_reads_data(tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "real.png")
    picture = {"type": "image", "path": str(tmp_path / "real.png")}
    lines = [
        {"messages": "draw a dog", "reference": ["a dog", "some dog", picture]},
        {
            "id": "q",
            "messages": [{"role": "user", "content": [picture, "what is it?"]}],
            "reference": "a dog",
        },
    ]
    (tmp_path / "data.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    cases = {identity: turns() for identity, turns in read_data(tmp_path / "data.jsonl", ["image"])}
    assert list(cases) == ["1", "q"]
    [drawn], [asked] = cases.values()
    assert (drawn.media, asked.media) == (("image",), ()) and len(asked.messages[0]["content"]) == 2
    assert [part["type"] for part in drawn.reference] == ["text", "text", "image"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 1"),
        ("[]", "is not an object"),
        ('{"messages": "hello"}', "no reference"),
        ('{"messages": "hello", "reference": 5}', "reference"),
        ('{"messages": "hello", "references": "hi"}', "did you mean 'reference'"),
        ('{"reference": "hi"}', "messages must be"),
        ('{"messages": [{"role": "assistant", "content": "a"}], "reference": "b"}', "must be the user's"),
        (
            '{"messages": "a", "reference": [{"type": "image", "path": "none.png"}]}',
            "there is no file none.png",
        ),
        (
            '{"messages": [{"role": "user", "content": [{"type": "imu", "imu": 0}]}], "reference": "b"}',
            "does not take imu",
        ),
        ("", "has no cases"),
    ],
)
def test_bad_data_is_told_line_by_line(tmp_path, line, words):
    (tmp_path / "data.jsonl").write_text(line)
    with pytest.raises(EvaluationError, match="data.jsonl") as caught:
        read_data(tmp_path / "data.jsonl", ["image"])
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_pictures_of_media():
    rng = np.random.default_rng(5)
    high, low = (play(Tone("circle", pitch, "steady"), rng)[None] for pitch in ("high", "low"))
    brightest = []
    for samples in (high, low):
        pixels = np.asarray(as_picture("audio", Audio(samples, RATE)), float)[..., 0]
        brightest.append(pixels.mean(axis=1).argmax())
    assert brightest[0] < brightest[1]  # high sounds are further up
    scene = replace(random_scene(rng, moving=True), background="white")
    strip = as_picture("video", Video(draw_film(scene), FRAME_RATE))
    assert strip.height == 64 and strip.width > 8 * 64
    assert as_picture("image", Image.fromarray(draw_picture(scene))).size == (128, 128)


def test_contact_sheet(tmp_path):
    rng = np.random.default_rng(5)
    items = [("image", Image.fromarray(draw_picture(random_scene(rng))), "words", True) for _ in range(9)]
    items += [("video", draw_film(random_scene(rng, moving=True)), "words", False) for _ in range(3)]
    contact_sheet(items, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width >= 8 * 128 and sheet.height >= 2 * 128 + 2 * 64
        assert len(sheet.getcolors(1 << 20) or []) > 20


def test_the_same_number_is_the_same_dialogue():
    first, second = (dialogue(np.random.default_rng(7), True) for _ in range(2))
    assert [turn.wanted for turn in first] == [turn.wanted for turn in second]
