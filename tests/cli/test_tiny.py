"""The command line on the model that ships, as a person's first minutes with it."""

import json
from pathlib import Path

import pytest
from command_line import Command

from anygpt.checkpoint import ASSETS
from encoders import media

pytestmark = pytest.mark.skipif(
    not (ASSETS / "anygpt-tiny" / "config.json").is_file(), reason="assets/anygpt-tiny is not there"
)


def test_a_first_chat(anygpt: Command, tmp_path: Path) -> None:
    requests = [
        "draw a large red circle",
        "play a low rising tone",
        "make a film of a blue square moving right",
        "hello",
    ]
    answers = [anygpt("chat", "--output-dir", f"out{n}", stdin=text) for n, text in enumerate(requests)]
    assert all(answer.code == 0 and answer.err == "" for answer in answers)
    image = media.read("image", tmp_path / "out0" / "image_0.png")
    assert min(image.size) >= 64
    audio = media.read("audio", tmp_path / "out1" / "audio_0.wav")
    assert audio.rate == 16000 and audio.samples.shape[1] >= 16000
    video = media.read("video", tmp_path / "out2" / "video_0.mp4")
    assert len(video.frames) >= 8 and min(video.frames.shape[1:3]) >= 32
    assert answers[3].out.strip() and not (tmp_path / "out3").exists()


def test_what_it_draws_goes_back_in(anygpt: Command) -> None:
    drawn = json.loads(anygpt("generate", "draw a large blue square", "--json").out)
    (path,) = (part["path"] for part in drawn["content"] if part["type"] == "image")
    asked = json.loads(anygpt("generate", "what colour is it?", "--image", path, "--json").out)
    assert [part["type"] for part in asked["content"]] == ["text"] and "blue" in asked["text"]


def test_info_knows_its_size(anygpt: Command) -> None:
    tree = json.loads(anygpt("info", "--json").out)
    assert set(tree["decoders"]) == {"image", "audio", "video"} and tree["llm"]["frozen"]
