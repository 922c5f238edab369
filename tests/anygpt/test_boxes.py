"""Boxes in the toy world: what is taught about them, and what is measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anygpt.evaluation import grounding
from anygpt.evaluation.metrics.boxes import intersection_over_union
from anygpt.evaluation.report import write_report
from anygpt.evaluation.running import make_record
from anygpt.evaluation.suites import evaluate
from anygpt.generation import Reply
from anygpt.grounding import Box, parse, render
from anygpt.messages import normalise
from anygpt.model import AnyGPT
from anygpt.toyworld import boxes
from anygpt.toyworld.drawing import draw_picture
from anygpt.toyworld.scenes import Scene, random_scene
from anygpt.toyworld.source import ToyWorld, seen


def text_of(message: dict) -> str:
    return "".join(part["text"] for part in message["content"] if part["type"] == "text")


@pytest.mark.parametrize("side", [64, 200])
def test_a_box_is_what_the_drawn_thing_fills(side: int) -> None:
    """To a pixel, whatever its shape: all shapes fill their squares."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        scene = random_scene(rng)
        colour = draw_picture(Scene(scene.background, ()), side)
        rows, columns = np.nonzero((draw_picture(scene, side) != colour).any(-1))
        box = boxes.box_of(scene.things[0])
        drawn = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.abs(np.multiply(box.corners, side) - drawn).max() <= 1.5
        assert scene.things[0].shape in box.label and scene.things[0].colour in box.label


def test_talk_about_boxes_tells_the_truth() -> None:
    asked, sizes, counts, firsts = set(), set(), set(), set()
    for seed in range(300):
        messages = boxes.talk(np.random.default_rng(seed), seen)
        scene = messages[0]["content"][0]["scene"]
        assert seen(scene)
        truth = {box.label: box for box in map(boxes.box_of, scene.things)}
        counts.add((len(scene.things), len(messages) // 2))
        sizes |= {thing.size for thing in scene.things}
        names = []
        for question, reply in zip(messages[::2], messages[1::2], strict=True):
            given, told = parse(text_of(question)), parse(text_of(reply))
            assert not given.problems and not told.problems
            assert len(given.boxes) + len(told.boxes) == 1  # either in the question or in the answer
            if told.boxes:
                [box] = told.boxes
                assert box.corners == tuple(round(corner, 2) for corner in truth[box.label].corners)
                asked.add("where")
                # of two things, what was asked for by its shape is named before it is told
                named, shape = text_of(reply).partition(box.label)[0], box.label.split()[-1]
                assert named in ("", f"The {shape} is {box.label.split()[-2]}, ") and (
                    not named or len(scene.things) == 2
                )
                firsts.add(bool(named))
            else:
                label = text_of(reply).removeprefix("It is ").removesuffix(".")
                [box] = given.boxes
                assert intersection_over_union(box.corners, truth[label].corners) > 0.6
                asked.add("what")
            names.append(told.boxes[0].label if told.boxes else label)
        assert len(set(names)) == len(names)  # no answer can be read from an earlier turn
    assert asked == {"where", "what"} and sizes == {"small", "large"} and counts == {(1, 1), (2, 1), (2, 2)}
    assert firsts == {False, True}


def test_grounding_is_a_start_like_others() -> None:
    source = ToyWorld(40, 3, starts={"grounding": 1.0, "plain": 1.0})
    pictures = [
        part["image"]
        for i in range(40)
        for part in normalise(source[i])[0]["content"]
        if part["type"] == "image"
    ]
    assert 8 < len(pictures) < 32 and all(isinstance(picture, Image.Image) for picture in pictures)
    for index in range(5):
        first, again = (text_of(ToyWorld(40, 3, starts={"grounding": 1.0})[index][1]) for _ in range(2))
        assert first == again


def test_the_questions_are_new() -> None:
    training = {*boxes.WHERE_ASKS, *boxes.WHAT_ASKS}
    assert not training & {*grounding.WHERE, *grounding.WHAT}
    bare = {" ".join(line.strip("?.").split()) for line in training}
    assert not bare & {" ".join(line.strip("?.").split()) for line in (*grounding.WHERE, *grounding.WHAT)}


def record(case, text: str) -> dict:
    return {"id": "x", **make_record(case, Reply([{"type": "text", "text": text}]))}


@pytest.mark.parametrize("cell", grounding.CELLS)
def test_right_answers_score_one_and_others_what_they_deserve(cell: str) -> None:
    rng, maker = np.random.default_rng(1), grounding.CELLS[cell]
    cases = [maker(rng, index % 2 == 1) for index in range(20)]
    for case in cases:
        normalise(case.messages)
    right = grounding.summarise_grounding({cell: [record(case, case.reference[0]["text"]) for case in cases]})
    figures = right["cells"][cell]
    assert set(figures["attributes"]["shares"].values()) == {1.0} and not right["worst"]
    if cell.startswith("what"):
        wrong = grounding.summarise_grounding({cell: [record(case, "It is a thing.") for case in cases]})
        assert wrong["cells"][cell]["attributes"]["shares"] == {"shape": 0.0, "colour": 0.0}
        return
    assert figures["IoU"] == 1.0
    thirds = []
    for case in cases:
        [box] = parse(case.reference[0]["text"]).boxes
        third = Box(box.x1, box.y1, box.x1 + (box.x2 - box.x1) / 3, box.y2, "a thing")
        thirds.append(record(case, render([third])))
    off = grounding.summarise_grounding({cell: thirds})["cells"][cell]
    assert off["IoU"] == pytest.approx(1 / 3, abs=0.02)
    assert off["attributes"]["shares"] == {"one box": 1.0, "IoU > 0.5": 0.0, "label": 0.0}
    for text in ("no idea", "a star: [0.1, 0.2]", "[2, 0, 1, 1]", ""):
        none = grounding.summarise_grounding({cell: [record(cases[0], text)]})["cells"][cell]
        assert none["IoU"] == 0 and set(none["attributes"]["shares"].values()) == {0.0}


def test_the_suite_runs_and_is_reported(model: AnyGPT, tmp_path: Path) -> None:
    results = evaluate(model, ["grounding"], tmp_path, count=2, options={"max_new_tokens": 4})
    cells = results["grounding"]["cells"]
    assert cells.keys() == {"where", "what", *grounding.CELLS}
    assert cells["where"]["attributes"]["counts"] == {"one box": 6, "IoU > 0.5": 6, "label": 6}
    assert json.loads((tmp_path / "results.json").read_text())["suites"]["grounding"] == results["grounding"]
    assert "| where, one of two |" in write_report(tmp_path).read_text()
