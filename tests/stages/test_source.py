"""The toy world as a data source."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from anygpt.config import ConfigError
from anygpt.messages import normalise
from anygpt.toyworld.scenes import Scene
from anygpt.toyworld.source import NAMES, ToyWorld, seen


def parts(conversation: list[dict[str, Any]], role: str) -> list[dict[str, Any]]:
    return [part for message in conversation if message["role"] == role for part in message["content"]]


def test_an_example_depends_on_seed_and_index_alone() -> None:
    starts = {"given_video": 1.0}
    first, again, other = (
        ToyWorld(9, 1, starts=starts),
        ToyWorld(5, 1, starts=starts),
        ToyWorld(9, 2, starts=starts),
    )
    first[0]
    one, same = parts(first[3], "user"), parts(again[3], "user")
    films = [
        next(part["video"].frames for part in content if part["type"] == "video") for content in (one, same)
    ]
    assert np.array_equal(*films)
    texts = [[p["text"] for p in parts(source[3], "assistant")] for source in (first, again)]
    assert texts[0] == texts[1]
    assert [[p["text"] for p in parts(first[i], "assistant")] for i in range(5)] != [
        [p["text"] for p in parts(other[i], "assistant")] for i in range(5)
    ]
    with pytest.raises(IndexError):
        again[5]


def test_every_kind_of_conversation_is_in_the_form_of_messages() -> None:
    given, wanted = set(), set()
    for start in NAMES:
        source = ToyWorld(6, starts={start: 1.0}, turns=(1, 3), draw_outputs=1.0)
        for index in range(len(source)):
            conversation = normalise(source[index])
            given |= {part["type"] for part in parts(conversation, "user")}
            for part in parts(conversation, "assistant"):
                wanted.add(part["type"])
                assert part["type"] == "text" or (part["caption"] and part[part["type"]] is not None)
    assert given == {"text", "image", "audio", "video", "depth", "thermal", "imu"}
    assert wanted == {"text", "image", "audio", "video"}


def test_answers_are_drawn_only_when_asked_for() -> None:
    starts = {"request_picture": 1.0}
    plain = [part for part in parts(ToyWorld(1, starts=starts)[0], "assistant") if part["type"] == "image"]
    drawn = [
        part
        for part in parts(ToyWorld(1, starts=starts, draw_outputs=1.0)[0], "assistant")
        if part["type"] == "image"
    ]
    assert plain[0].keys() == {"type", "caption"}
    assert isinstance(drawn[0]["image"], Image.Image) and drawn[0]["image"].size == (64, 64)
    some = ToyWorld(200, starts=starts, draw_outputs=0.25)
    assert 0.15 < np.mean(["image" in parts(some[i], "assistant")[1] for i in range(200)]) < 0.35


def test_starts_that_there_are_not_are_told() -> None:
    with pytest.raises(ConfigError, match="did you mean 'grounding'"):
        ToyWorld(1, starts={"groundin": 1.0})
    with pytest.raises(ConfigError, match="'plain' must be above 0"):
        ToyWorld(1, starts={"plain": 0.0})


def test_held_out_things_never_appear() -> None:
    scenes: list[Scene] = []

    def accept(scene: Scene) -> bool:
        if seen(scene):
            scenes.append(scene)
        return seen(scene)

    source = ToyWorld(40, turns=(1, 4), accept=accept)
    for index in range(len(source)):
        source[index]
    assert len(scenes) > 40 and not any(scene.held_out for scene in scenes)
    # and in the words of the answers, which name a thing by size, colour and shape
    held_out = {"small red circle", "large red triangle"}
    for index in range(200):
        for part in parts(ToyWorld(200, starts={"given_image": 1.0})[index], "assistant"):
            assert not any(name in part["text"] for name in held_out)
