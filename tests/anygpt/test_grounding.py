"""Boxes written and read back, in every form, and whatever a model may write instead."""

import random

import numpy as np
import pytest
from PIL import Image

from anygpt.grounding import FORMS, Box, GroundingError, draw, form_of, parse, render

LABELS = ["", "star", "a red circle", "the dog's left ear", "étoile 星", "x-1 (big)"]


def random_boxes(form: str, count: int, seed: int) -> list[Box]:
    """Boxes with corners that the form can keep: thousandths, or centres and edges of cells."""
    chance = random.Random(seed)
    boxes = []
    for _ in range(count):
        label = chance.choice(LABELS)
        if form != "kosmos":
            x1, x2 = sorted(chance.choices(range(1001), k=2))
            y1, y2 = sorted(chance.choices(range(1001), k=2))
            boxes.append(Box(x1 / 1000, y1 / 1000, x2 / 1000, y2 / 1000, label))
            continue
        left, right = sorted(chance.choices(range(32), k=2))
        top, bottom = sorted(chance.choices(range(32), k=2))
        near, far = (0, 1) if left == right or top == bottom else (0.5, 0.5)
        boxes.append(
            Box((left + near) / 32, (top + near) / 32, (right + far) / 32, (bottom + far) / 32, label)
        )
    return boxes


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_read_back_exactly(form: str) -> None:
    boxes = random_boxes(form, 10_000, seed=1)
    for box in boxes:
        found = parse(render([box], form), form)
        assert found.boxes == [box] and not found.problems
    for start in range(0, 1000, 10):
        some = boxes[start : start + 10]
        found = parse(render(some, form), form)
        assert found.boxes == some and not found.problems


@pytest.mark.parametrize("form", FORMS)
def test_any_box_is_kept_as_well_as_the_form_can(form: str) -> None:
    chance = random.Random(2)
    near = 0.0005 if form != "kosmos" else 1 / 32
    for _ in range(10_000):
        x1, x2 = sorted((chance.random(), chance.random()))
        y1, y2 = sorted((chance.random(), chance.random()))
        box = Box(x1, y1, x2, y2, "star")
        text = render([box], form)
        (read,) = parse(text, form).boxes
        assert max(abs(a - b) for a, b in zip(box.corners, read.corners, strict=True)) <= near + 1e-9
        assert render([read], form) == text
    for corners in ((0, 0, 1, 1), (1, 1, 1, 1), (0, 0, 0, 0), (0.5, 0, 0.5, 1)):
        assert len(parse(render([Box(*corners)], form), form).boxes) == 1


def test_the_forms_are_those_of_the_models() -> None:
    box = Box(0.1, 0.2, 0.4, 0.5, "a star")
    assert render([box]) == "a star: [0.100, 0.200, 0.400, 0.500]"
    assert render([box], "integers") == "a star: [100, 200, 400, 500]"
    assert render([box], "qwen") == '[{"bbox_2d": [100, 200, 400, 500], "label": "a star"}]'
    assert (
        render([box], "kosmos")
        == "<phrase>a star</phrase><object><patch_index_0195><patch_index_0492></object>"
    )
    assert render([Box(0, 0, 1, 1)]) == "[0.000, 0.000, 1.000, 1.000]"


def test_kosmos_reads_what_its_own_processor_reads() -> None:
    from transformers.models.kosmos2.processing_kosmos2 import (
        coordinate_to_patch_index,
        patch_index_to_coordinate,
    )

    for box in random_boxes("qwen", 500, seed=3):
        if box.x1 < box.x2 and box.y1 < box.y2:
            cells = coordinate_to_patch_index(box.corners, 32)
            text = "".join(f"<patch_index_{cell:04}>" for cell in cells)
            assert text in render([box], "kosmos")
            (read,) = parse(f"<object>{text}</object>", "kosmos").boxes
            assert read.corners == pytest.approx(patch_index_to_coordinate(*cells, 32))
    text = (
        "an image of<phrase> two stars</phrase><object><patch_index_0000><patch_index_0033>"
        "</delimiter_of_multi_objects/><patch_index_0044><patch_index_0863></object> at night"
    )
    assert [box.label for box in parse(text, "kosmos").boxes] == ["two stars", "two stars"]


@pytest.mark.parametrize(
    ("form", "text", "boxes"),
    [
        ("fractions", "Here it is. a star: [0.1, 0.2, 0.4, 0.5], I think.", [Box(0.1, 0.2, 0.4, 0.5, "a star")]),
        ("fractions", "what is at [0.1,.2, 0.4,1]?", [Box(0.1, 0.2, 0.4, 1)]),
        ("fractions", "[see] nothing: there", []),
        ("integers", "star: [1, 2, 3, 4]; ring:[5, 6, 7, 1000]", [Box(0.001, 0.002, 0.003, 0.004, "star"), Box(0.005, 0.006, 0.007, 1, "ring")]),
        ("qwen", '```json\n[\n\t{"bbox_2d": [0, 0, 1000, 500], "label": "a \\"star\\" {x}"}\n]\n```', [Box(0, 0, 1, 0.5, 'a "star" {x}')]),
        ("kosmos", "a <phrase>star</phrase> alone", []),
    ],
)  # fmt: skip
def test_boxes_are_found_among_other_text(form: str, text: str, boxes: list[Box]) -> None:
    found = parse(text, form)
    assert found.boxes == boxes and not found.problems


@pytest.mark.parametrize(
    ("form", "text", "problem"),
    [
        ("fractions", "star: [0.1, 0.2, 0.4]", "has 3 numbers"),
        ("fractions", "star: [0.1, 0.2, 0.4, 0.5, 0.6]", "has 5 numbers"),
        ("fractions", "star: [0.1, 0.2, 0.4, 1.2]", "beyond the picture"),
        ("fractions", "star: [-0.1, 0.2, 0.4, 0.5]", "beyond the picture"),
        ("fractions", "star: [0.4, 0.2, 0.1, 0.5]", "ends before it begins"),
        ("fractions", "star: [0.1, 0.2, a, 0.5]", "no number"),
        ("fractions", "star: [0.1, 0.2, nan, 0.5]", "no number"),
        ("fractions", "star: [0.1, 0.2, 1e-1, 0.5]", "no number"),
        ("fractions", "star: [0.1, 0.2, ٣, 0.5]", "no number"),
        ("fractions", "star: [0.1, 0.2, 0.4", "not closed"),
        ("fractions", "star: [" + "9" * 5000 + ", 0, 1, 1]", "no number"),
        ("integers", "star: [0.1, 0.2, 0.4, 0.5]", "no whole number"),
        ("integers", "star: [1, 2, 3, 1001]", "beyond the picture"),
        ("qwen", '[{"bbox_2d": [1, 2, 3], "label": "star"}]', "has 3 numbers"),
        ("qwen", '[{"bbox_2d": [1, 2, "3", 4]}]', "no number"),
        ("qwen", '[{"bbox_2d": [1, 2, true, 4]}]', "no number"),
        ("qwen", '[{"bbox_2d": [1, 2, NaN, 4]}]', "beyond the picture"),
        ("qwen", '[{"bbox_2d": [1, 2, Infinity, 4]}]', "beyond the picture"),
        ("qwen", '[{"bbox_2d": 5}]', "no list"),
        ("qwen", '[{"box": [1, 2, 3, 4]}]', "no list"),
        ("qwen", '[{"bbox_2d": [1, 2, 3, 4], "label": 5}]', "no text"),
        ("qwen", '[{"bbox_2d": [1, 2, 3, 4], "lab', "no JSON"),
        ("qwen", '{"bbox_2d": ' + "[" * 100_000, "no JSON"),
        ("qwen", '{"bbox_2d": [' + "9" * 5000 + "]}", "no JSON"),
        ("kosmos", "<object><patch_index_0001></object>", "no pair"),
        ("kosmos", "<object><patch_index_0001> or <patch_index_0002></object>", "no pair"),
        ("kosmos", "<object></object>", "no pair"),
        ("kosmos", "<object><patch_index_0001><patch_index_1024></object>", "beyond the picture"),
        ("kosmos", "<object><patch_index_0100><patch_index_0001></object>", "ends before it begins"),
        ("kosmos", "<object><patch_index_0005><patch_index_0004></object>", "ends before it begins"),
        ("kosmos", "<object><patch_index_0001><patch_index_0100>", "not closed"),
    ],
)  # fmt: skip
def test_what_is_no_box_is_told(form: str, text: str, problem: str) -> None:
    found = parse(text, form)
    assert not found.boxes
    assert len(found.problems) == 1 and problem in found.problems[0]
    assert len(found.problems[0]) < 120 and "\n" not in found.problems[0]


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_that_was_cut_off_gives_its_first_boxes(form: str) -> None:
    boxes = [box for box in random_boxes(form, 20, seed=4) if box.label][:3]
    text = render(boxes, form)
    found = parse(text[:-3], form)
    assert found.boxes == boxes[:2] and len(found.problems) == 1


@pytest.mark.parametrize("form", FORMS)
def test_no_malformed_string_raises(form: str) -> None:
    """Texts with boxes that were cut, mixed, doubled, and peppered with the forms' own marks and any character."""
    chance = random.Random(5)
    marks = [
        "[",
        "]",
        "{",
        "}",
        '"',
        ",",
        ":",
        "<",
        ">",
        "\\",
        "\n",
        "\0",
        "é",
        "🎈",
        "\ud800",
        "-",
        "1e9",
        "nan",
        "null",
        "0",
        "9" * 400,
    ]
    marks += ["<object>", "</object>", "<phrase>", "</delimiter_of_multi_objects/>", "<patch_index_9999>", '"bbox_2d"']  # fmt: skip
    boxes = {name: random_boxes(name, 50, seed=6) for name in FORMS}
    told = 0
    for _ in range(10_000):
        source = form if chance.random() < 0.8 else chance.choice(list(FORMS))
        text = render(chance.sample(boxes[source], 2), source)
        for _ in range(chance.randint(1, 4)):
            start, end = sorted(chance.choices(range(len(text) + 1), k=2))
            end = min(end, start + 8)
            text = text[:start] + "".join(chance.choices(marks, k=chance.randint(0, 3))) + text[end:]
        found = parse(text, form)
        told += bool(found.problems)
        for box in found.boxes:
            assert 0 <= box.x1 <= box.x2 <= 1 and 0 <= box.y1 <= box.y2 <= 1
    assert told > 3000


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(GroundingError, match="beyond the picture"):
        render([Box(0, 0, 1.1, 1)])
    with pytest.raises(GroundingError, match="beyond the picture"):
        render([Box(0, 0, float("nan"), 1)])
    with pytest.raises(GroundingError, match="ends before"):
        render([Box(0.5, 0, 0.4, 1)])
    with pytest.raises(GroundingError, match="cannot carry the label 'a, b'"):
        render([Box(0, 0, 1, 1, "a, b")])
    with pytest.raises(GroundingError, match="cannot carry"):
        render([Box(0, 0, 1, 1, "<x>")], "kosmos")
    for function in (lambda: render([], "fraction"), lambda: parse("", "fraction")):
        with pytest.raises(GroundingError, match="did you mean 'fractions'"):
            function()


def test_boxes_are_drawn_where_they_are() -> None:
    image = Image.new("RGB", (101, 51), (255, 255, 255))
    drawn = np.asarray(draw(image, [Box(0.2, 0.2, 0.8, 0.6)]))
    rows, columns = np.nonzero((drawn != 255).any(-1))
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (20, 10, 80, 30)
    assert (drawn[11:30, 21:80] == 255).all()  # an outline
    assert (np.asarray(image) == 255).all()  # on a copy
    named = np.asarray(draw(image, [Box(0.2, 0.2, 0.8, 0.6, "star"), Box(0, 0, 1, 1, "all")]))
    assert (named != 255).any(-1).sum() > (drawn != 255).any(-1).sum()
    assert not (named[0, 0] == drawn[10, 20]).all()  # each in a colour of its own


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_text_is_told_by_its_marks(form: str) -> None:
    right = sum(
        form_of(f"Here: {render([box], form)}") == form
        for box in random_boxes(form, 500, seed=7)
        if max(box.corners) > 0.001
    )
    assert right == sum(max(box.corners) > 0.001 for box in random_boxes(form, 500, seed=7))
    assert form_of("hello") == form_of("[0, 0, 1, 1]") == "fractions"
    assert form_of("[0, 0, 1000, 1200]") == "integers" and form_of("[0.1, 0, 1, 1.2]") == "fractions"


def test_ten_thousand_answers_are_drawn_or_told() -> None:
    """From any text to a picture with boxes on it: nothing raises, and labels may be anything."""
    chance = random.Random(8)
    marks = "[]{}<>,:.\"'\\\n\0\u200b\ud800é星🎈-0123456789eE "
    image = Image.new("RGB", (40, 24), (255, 255, 255))
    boxes = {name: random_boxes(name, 50, seed=9) for name in FORMS}
    drawn = told = 0
    for number in range(10_000):
        form = chance.choice(list(FORMS))
        text = render(chance.sample(boxes[form], 2), form)
        start = chance.randrange(len(text) + 1)
        noise = "".join(chance.choices(marks, k=chance.randint(0, 6)))
        text = text[:start] + noise + text[start + chance.randint(0, 4) :]
        found = parse(text, form_of(text))
        told += bool(found.problems)
        if number % 5 == 0:
            drawn += draw(image, found.boxes).tobytes() != image.tobytes()
    assert told > 2000 and drawn > 1000
    for label in ("\ud800", "\0\0", "\u200b", "a\nb\nc", "星" * 500, "🎈"):
        draw(image, [Box(0.1, 0.1, 0.9, 0.9, label)])


def test_a_box_beyond_the_picture_is_not_drawn_but_refused() -> None:
    image = Image.new("RGB", (40, 24))
    for corners in ((0, 0, 1.2, 1), (0.5, 0, 0.4, 1), (float("nan"), 0, 1, 1), (0, float("-inf"), 1, 1)):
        with pytest.raises(GroundingError, match="beyond the picture|ends before"):
            draw(image, [Box(*corners)])
    for corners in ((1, 1, 1, 1), (0, 0, 0, 0), (0, 0, 1, 1)):
        draw(image, [Box(*corners, "edge")])
