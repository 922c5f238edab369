"""Examples in context: lessons of the toy world, files of shots, the two forms, RICES, and what is measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anygpt.evaluation.in_context import plan_lessons, summarise_lessons
from anygpt.evaluation.running import make_record
from anygpt.generation import Reply
from anygpt.messages import MessageError, normalise
from anygpt.model import AnyGPT
from anygpt.shots import ShotError, as_document, as_turns, nearest, read_shots
from anygpt.toyworld import lessons, topics
from anygpt.toyworld.dialogues import STARTS
from anygpt.toyworld.drawing import draw_picture
from anygpt.toyworld.scenes import random_scene
from anygpt.toyworld.source import ToyWorld, seen


def text_of(message: dict) -> str:
    return "".join(part["text"] for part in message["content"] if part["type"] == "text")


@pytest.mark.parametrize("shots", [0, 1, 2, 5, 8])
def test_a_made_up_word_can_be_known_from_the_shots_alone(shots: int) -> None:
    for seed in range(40):
        lesson = lessons.made_up_word(np.random.default_rng(seed), shots, seen)
        assert len(lesson.shots) == shots and len(lesson.messages) == 2 * shots + 2
        right, wrong = lesson.answers[0], lesson.wrong
        question, answer = map(text_of, lesson.last)
        assert (
            right != wrong
            and not lessons.names_word(question, right)
            and not lessons.names_word(question, wrong)
        )
        assert lessons.names_word(answer, right) and not lessons.names_word(answer, wrong)
        told = [lessons.names_word(text_of(shot[1]), right) for shot in lesson.shots]
        assert shots < 2 or set(told[-2:]) == {True, False}
        # things that share the attribute share the word
        things = [shot[0]["content"][0]["scene"].things[0] for shot in (*lesson.shots, lesson.last)]
        name = "shape" if " a " in answer else "colour"
        values = {(flag, getattr(thing, name)) for flag, thing in zip([*told, True], things, strict=True)}
        assert len(values) == len({flag for flag, _ in values})
        assert all(seen(message["content"][0]["scene"]) for message in lesson.messages[::2])


def test_words_kept_for_measurements_are_never_trained_on() -> None:
    rng = np.random.default_rng(0)
    trained = {lessons.nonsense_word(rng) for _ in range(3000)}
    kept = {lessons.nonsense_word(rng, kept=True) for _ in range(3000)}
    assert len(trained) > 2000 and len(kept) > 2000 and not trained & kept


def test_an_answer_style_is_that_of_the_shots() -> None:
    styles = set()
    for seed in range(60):
        lesson = lessons.answer_style(np.random.default_rng(seed), 3, seen)
        assert (
            text_of(lesson.last[1]) == lesson.answers[0]
            and len(set(lesson.answers)) == len(lesson.answers) > 1
        )
        found = [
            style
            for style in lessons.STYLES.values()
            if all(
                any(text_of(s[1]) == lessons.say(style, n, v) for n, vs in lessons.VALUES.items() for v in vs)
                for s in (*lesson.shots, lesson.last)
            )
        ]
        assert len(found) == 1
        styles |= set(found)
    assert styles == set(lessons.STYLES.values())


def test_a_question_of_lessons_that_opens_the_talk_is_answered_as_any_other() -> None:
    asked = {question for questions in lessons.STYLE_QUESTIONS.values() for question in questions}
    for seed in range(30):
        rng = np.random.default_rng(seed)
        shown, answered = lessons.first_question(rng, seen)
        scene = shown["content"][0]["scene"]
        assert text_of(shown) in asked and seen(scene)
        assert text_of(answered) in {topics.of_scene(rng, scene, "image")[1] for _ in range(200)}
    picture, text = ToyWorld(1, 3, starts={"first_question": 1.0})[0][0]["content"]
    assert isinstance(picture["image"], Image.Image) and text["text"] in asked


def test_lessons_wait_for_a_mixture_that_names_them() -> None:
    assert "lesson" not in STARTS
    source = ToyWorld(12, 3, starts={"lesson": 1.0})
    lengths = {len(normalise(source[i])) for i in range(12)}
    longest = 2 * (lessons.MOST + 1)
    assert all(4 <= length <= longest and length % 2 == 0 for length in lengths) and len(lengths) > 2
    pictures = [part for m in source[0] for part in m["content"] if part["type"] == "image"]
    assert isinstance(pictures[0]["image"], Image.Image) and len(pictures) == len(source[0]) // 2


def test_what_nobody_could_know_is_not_learned_from_a_lesson() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        messages = lessons.lesson(rng, lambda scene: True).messages
        answers = [m["content"][0]["text"] for m in messages if m["role"] == "assistant"]
        learned = [m.get("weight", 1) == 1 for m in messages if m["role"] == "assistant"]
        new = [text not in answers[:place] for place, text in enumerate(answers)]
        if answers[0].startswith("We call"):
            assert learned[:-1] == [not first for first in new[:-1]]
        else:
            assert not learned[0] and all(learned[1:])
        assert learned[-1]


def test_most_lessons_are_short_and_some_are_as_long_as_those_that_are_measured() -> None:
    shots = [len(lessons.lesson(np.random.default_rng(seed), seen).shots) for seed in range(400)]
    assert set(range(1, 9)) <= set(shots) and min(shots) == 1 and 28 < max(shots) <= 32
    assert 0.05 < sum(count > 8 for count in shots) / len(shots) < 0.15


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(json.dumps(line) if not isinstance(line, str) else line for line in lines))
    return path


def test_shots_are_read_from_a_file(tmp_path: Path) -> None:
    picture = {"type": "image", "path": "a.png"}
    file = write(
        tmp_path / "shots.jsonl",
        {"messages": "hello", "reference": "hi"},
        "",
        {
            "id": 3,
            "messages": [{"role": "user", "content": [picture, "what?"]}],
            "reference": ["a dax", "dax"],
        },
        {"messages": "draw", "reference": ["here", {"type": "image", "path": "b.png"}]},
    )
    first, second, third = read_shots(file)
    assert [message["role"] for message in first] == ["user", "assistant"] and text_of(first[1]) == "hi"
    assert text_of(second[1]) == "a dax" and second[0]["content"][0]["path"] == Path("a.png")
    assert [part["type"] for part in third[1]["content"]] == ["text", "image"]
    for line, problem in (
        ("{", "line 1: "),
        ([1], "is not an object"),
        ({"messages": "a"}, "has no reference"),
        ({"messages": "a", "answer": "b"}, "unknown key 'answer'"),
        ({"messages": [], "reference": "b"}, "at least one message"),
        ({"messages": [{"role": "assistant", "content": "x"}], "reference": "b"}, "must be the user's"),
        ({"messages": "a", "reference": [{"type": "depth"}]}, "reference: "),
        ("", "has no examples"),
    ):
        with pytest.raises(ShotError, match=problem):
            read_shots(write(tmp_path / "bad.jsonl", line))
    with pytest.raises(ShotError, match="does not exist"):
        read_shots(tmp_path / "none.jsonl")


PIXELS = [draw_picture(random_scene(np.random.default_rng(seed)), 32) for seed in range(4)]
PICTURES = [{"type": "image", "image": Image.fromarray(pixels)} for pixels in PIXELS]


def shot(picture: dict, answer: object) -> list[dict]:
    return normalise(
        [
            {"role": "user", "content": [picture, "what?"]},
            {"role": "assistant", "content": answer},
        ]
    )


SHOTS = [shot(picture, f"number {i}") for i, picture in enumerate(PICTURES)]
REQUEST = [{"role": "user", "content": [PICTURES[2], "and this?"]}]


def test_shots_as_turns_and_as_a_document(shared_model: AnyGPT) -> None:
    turns = as_turns(SHOTS[:2], REQUEST)
    assert [message["role"] for message in turns] == ["user", "assistant"] * 2 + ["user"]
    document = as_document(SHOTS[:2], REQUEST)
    assert len(document) == 1
    words = "".join(f"[{p['type']}]" if p["type"] != "text" else p["text"] for p in document[0]["content"])
    assert words == "[image]what?\nnumber 0\n\n[image]what?\nnumber 1\n\n[image]and this?"
    for form in (as_turns, as_document):
        assert len(shared_model.processor(normalise(form(SHOTS[:2], REQUEST))).media) == 3
        assert form([], REQUEST) == normalise(REQUEST) and form([], "hello") == normalise("hello")
        assert shared_model.chat(form(SHOTS, REQUEST), max_new_tokens=3).seed == 0
    drawn = as_document([shot(PICTURES[0], ["here", {**PICTURES[1], "caption": "a thing"}])], "hello")
    assert [p["type"] for p in drawn[0]["content"]].count("image") == 2
    with pytest.raises(MessageError, match="must be a file or an object"):
        as_document([shot(PICTURES[0], [{"type": "image", "caption": "a thing"}])], "hello")


def test_rices_takes_the_most_alike_and_puts_the_nearest_last(shared_model: AnyGPT) -> None:
    mixed = [normalise([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]), *SHOTS]
    for count in (1, 2, 5, 9):
        chosen = nearest(shared_model, mixed, REQUEST, count)
        assert len(chosen) == min(count, 5) and text_of(chosen[-1][1]) == "number 2"
        assert count < 5 or text_of(chosen[0][1]) == "ho"  # without a picture, least alike
    assert nearest(shared_model, SHOTS, REQUEST, 0) == []
    assert nearest(shared_model, SHOTS, "hello", 2) == SHOTS[:2]
    earlier = [*REQUEST, {"role": "assistant", "content": "x"}, {"role": "user", "content": "hm"}]
    assert text_of(nearest(shared_model, SHOTS, earlier, 1)[0][1]) == "number 2"


def test_a_lesson_is_the_same_at_every_number_of_shots() -> None:
    cells = plan_lessons(4, 0, (0, 2, 8))
    assert len(cells) == 6 and all(len(items) == 4 for items in cells.values())
    for task in ("made-up word", "answer style"):
        for i in range(4):
            none, two, eight = (cells[f"{task}, {n} shots"][i].turns()[0] for n in (0, 2, 8))
            assert [len(case.messages) for case in (none, two, eight)] == [1, 5, 17]
            assert none.wanted == two.wanted == eight.wanted
            texts = [[text_of(m) for m in case.messages] for case in (two, eight)]
            assert texts[0] == texts[1][-5:]
            assert eight.split == ("held-out" if i % 2 else "seen")


def test_answers_are_judged_by_word_and_by_style() -> None:
    cells = plan_lessons(10, 0, (0, 2))
    records: dict[str, list[dict]] = {}
    for name, items in cells.items():
        for item in items:
            case = item.turns()[0]
            wanted = case.wanted.rpartition("? (")[2].removesuffix(")")
            # what a model says that looks at its shots, and what one says that has none
            said = wanted if "2 shots" in name else "It is a thing."
            reply = Reply([{"type": "text", "text": said}])
            records.setdefault(name, []).append({"id": item.id, **make_record(case, reply)})
    figures = summarise_lessons(records)
    tasks = figures["tasks"]
    assert tasks["made-up word"]["2"]["shares"] == {"word": 1.0}
    assert tasks["made-up word"]["0"]["shares"] == {"word": 0.0}
    assert tasks["answer style"]["2"]["shares"] == {"style": 1.0, "style and value": 1.0}
    assert tasks["answer style"]["0"]["shares"] == {"style": 0.0, "style and value": 0.0}
    assert len(figures["worst"]) == 20 and figures["chance"]["made-up word"] == {"word": 0.5}
    case = cells["made-up word, 0 shots"][0].turns()[0]
    assert case.judge is not None
    both = case.wanted.partition("?")[0]  # the question names both words
    assert case.judge(both) == {"word": False}
