"""Three ways from an answer to the decoders: the same requests and noise, and each with its own conditioning."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anygpt.evaluation.report import write_report
from anygpt.evaluation.requests import MATRIX
from anygpt.evaluation.suites import evaluate, plan
from anygpt.evaluation.ways_out import (
    CELLS,
    WAYS,
    by_captions,
    by_router,
    by_signals,
    caption_of,
    route,
    summarise_ways,
)
from anygpt.generation import medium_seed
from anygpt.model import AnyGPT

OPTIONS = {"seed": 3, "max_new_tokens": 24}
REQUEST = [{"role": "user", "content": [{"type": "text", "text": "Draw a red circle"}]}]


def samples(part: dict[str, Any]) -> np.ndarray:
    """The numbers of a message's medium."""
    medium = part[part["type"]]
    return np.asarray(getattr(medium, "samples", getattr(medium, "frames", medium)))


def media_of(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [part for part in content if part["type"] != "text"]


@pytest.mark.parametrize("cell", CELLS)
def test_keywords_find_the_medium_that_is_asked_for(cell: str) -> None:
    rng = np.random.default_rng(0)
    for index in range(60):
        case = MATRIX[cell](rng, index % 2 == 1)
        words = case.messages[-1]["content"][-1]["text"]
        assert route(words) == list(case.media), words


def test_keywords_of_several_media_and_of_none() -> None:
    assert route("Draw a red circle, and play its sound") == ["image", "audio"]
    assert route("hello, how are you?") == [] and route("the animal is overseen") == []


def test_captions_are_what_is_there() -> None:
    assert caption_of("Here is a film of a red circle moving up.") == "a red circle moving up"
    assert caption_of(" And here is a low steady ring sound.") == "a low steady ring sound"
    assert caption_of("I see a red circle.") == caption_of("a red circle") == "a red circle"


def test_signals_and_captions_differ_in_the_conditioning_alone(
    model: AnyGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the projections give what the text encoders would, the two ways' media are the same to the last pixel."""
    # at a high temperature, a random model draws as readily as it talks
    wild = {"temperature": 50.0, "max_new_tokens": 60, "max_media": 2}
    replies = (by_signals(model, REQUEST, {**wild, "seed": seed}) for seed in range(50))
    own = next(
        reply for reply in replies if len(media_of(reply.content)) == 2 == len(media_of(reply.content[1:4:2]))
    )
    options = {**wild, "seed": own.seed}
    captions = by_captions(model, REQUEST, options)
    assert captions.text == own.text
    assert [part["type"] for part in captions.content] == [part["type"] for part in own.content]
    pairs = list(zip(media_of(own.content), media_of(captions.content), strict=True))
    assert not any(np.array_equal(samples(one), samples(other)) for one, other in pairs)

    words = iter([own.content[0]["text"], own.content[2]["text"]])
    monkeypatch.setattr(
        model, "project", lambda modality, *_: model.decoder(modality).encode_text([caption_of(next(words))])
    )
    likened = media_of(by_signals(model, REQUEST, options).content)
    for one, other in zip(likened, media_of(captions.content), strict=True):
        assert np.array_equal(samples(one), samples(other))


def test_the_router_hands_on_the_words_of_the_request(model: AnyGPT) -> None:
    reply = by_router(model, REQUEST, OPTIONS)
    [part] = reply.content
    conditioning = model.decoder("image").encode_text(["Draw a red circle"])
    [wanted] = model.decode("image", conditioning, [medium_seed(3, 0)])
    assert part["type"] == "image" and np.array_equal(samples(part), np.asarray(wanted))
    assert set(reply.seconds) == {"image"}  # the LLM was not asked
    nothing = by_router(model, [{"role": "user", "content": [{"type": "text", "text": "hello"}]}], OPTIONS)
    assert nothing.content == []


def test_the_router_hands_on_a_description_of_what_is_given(model: AnyGPT) -> None:
    given = {"type": "image", "image": Image.new("RGB", (64, 64), (230, 30, 30))}
    told: Any = model.chat(
        [{"role": "user", "content": [given, "describe it"]}], **OPTIONS | {"max_media": 0}
    )
    request = [{"role": "user", "content": [given, {"type": "text", "text": "play its sound"}]}]
    reply = by_router(model, request, OPTIONS)
    assert reply.text == told.text and {"text", "audio"} <= set(reply.seconds)
    conditioning = model.decoder("audio").encode_text([caption_of(told.text)])
    [wanted] = model.decode("audio", conditioning, [medium_seed(3, 0)])
    assert np.array_equal(samples(reply.content[-1]), wanted.samples)


def test_the_suite_runs_and_goes_on(shared_model: AnyGPT, tmp_path: Path) -> None:
    """A random model is measured in the cells that it has; each way gets the requests of the matrix."""
    options = {"max_new_tokens": 8, "max_media": 1, "image": {"height": 32, "width": 32}}
    options |= {"video": {"height": 32, "width": 32, "num_frames": 4}, "audio": {"seconds": 0.5}}
    results = evaluate(shared_model, ["ways-out"], tmp_path, count=2, options=options)
    cells = results["ways-out"]["cells"]
    assert list(cells) == [f"{cell}, {way}" for cell in CELLS if "imu" not in cell for way in WAYS]
    assert all(cell["media"] == 1 for name, cell in cells.items() if name.endswith("router"))
    assert all(cell["difference"] == 0 for name, cell in cells.items() if name.endswith("signals"))
    before = (tmp_path / "cases.jsonl").read_bytes()
    turns = {(line := json.loads(text))["id"]: line["turns"][0] for text in before.splitlines()}
    asked = plan("toyworld", shared_model.config, 2, 0, None)["text to image"]
    for index, item in enumerate(asked):
        wanted = {turns[f"ways-out/text to image, {way}/{index}"]["wanted"] for way in WAYS}
        assert wanted == {item.turns()[0].wanted}
    again = evaluate(shared_model, ["ways-out"], tmp_path, count=2, options=options)
    assert again == results and (tmp_path / "cases.jsonl").read_bytes() == before
    report = write_report(tmp_path).read_text()
    assert "| text to image | captions | " in report and "text-to-image-router" in report


def test_ways_in_figures() -> None:
    def record(good: bool, seconds: float, given: list[str]) -> dict[str, Any]:
        checks = {"media": bool(given), "words": False, "shape": good, "pitch": True, "all": good}
        spent = {"reading": 0.25, "text": 1.0, "audio": seconds, "total": 9.0}
        return {"id": "i", "wanted": "w", "seen": "s", "checks": checks, "given": given, "seconds": spent}

    cells = {
        "text to audio, signals": [record(True, 2.0, ["audio"]), record(True, 4.0, ["audio"])],
        "text to audio, captions": [record(False, 6.0, ["audio", "audio"]), record(True, 8.0, [])],
    }
    figures = summarise_ways(cells)["cells"]
    own, captions = figures.values()
    assert (own["media"], own["right"], own["text"], own["medium"]) == (1.0, 1.0, 1.25, 3.0)
    assert (captions["media"], captions["right"], captions["medium"]) == (0.5, 0.75, 3.0)
    assert captions["difference"] == -0.25 and captions["difference error"] == pytest.approx(0.1768, abs=1e-4)
    assert set(captions["attributes"]["shares"]) == {"shape", "pitch", "all"}
