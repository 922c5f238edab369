"""The page as a browser asks it: what it shows of an answer, and what it sends of a conversation."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from servers import SAMPLES, Server

pytest.importorskip("gradio", reason="the page needs the extra `ui`")

from anygpt.serving import page

FEW = {"seed": "0", "steps": "2", "guidance": ""}


def test_an_answer_with_media_and_how_it_came_about(server: Server, tmp_path: Path) -> None:
    message = {"text": "draw a red circle", "files": []}
    with server.client() as client:
        told = list(page.answer(client, "anygpt-tiny", message, [], ["image", "audio"], **FEW))
    shown = [step[0]["content"] for step in told]
    texts = [content[0] for content in shown if content]
    assert len(set(texts)) > 5 and texts[-1].startswith("Here is a large red circle")
    assert any("drawing a picture … 1/2" in str(content[-1:]) for content in shown)
    files = [
        (Path(part["path"]).suffix, part.get("alt_text")) for part in shown[-1] if isinstance(part, dict)
    ]
    assert files == [(".png", None), (".wav", None), (".png", "spectrogram")]
    tokens, made, shares = told[-1][1:]
    runs = [" ".join(f"<{what}_{i}>" for i in range(count)) for what, count in (("image", 12), ("audio", 4))]
    assert [text for text, kind in tokens if kind] == runs
    assert [medium["modality"] for medium in made] == ["image", "audio"] and sum(
        shares.values()
    ) == pytest.approx(1)


def test_a_file_is_shown_to_the_model_and_the_talk_goes_on(server: Server, tmp_path: Path) -> None:
    sample = SAMPLES / "picture.png"
    first = {"text": "what is this?", "files": [str(sample)]}
    with server.client() as client:
        *_, (answer, *_) = page.answer(client, "anygpt-tiny", first, [], [], **FEW)
        content = [{"type": "text", "text": first["text"]}, {"type": "file", "file": {"path": str(sample)}}]
        history = [{"role": "user", "content": content}, {"role": "assistant", "content": answer["content"]}]
        again = {"text": "what colour is it?", "files": []}
        *_, (second, *_) = page.answer(client, "anygpt-tiny", again, history, [], **FEW)
    session = server.model.session()
    asked = [{"type": "image", "path": sample}, {"type": "text", "text": "what is this?"}]
    assert answer["content"] == [session.chat(asked).text]
    assert "red" in second["content"][0]


def test_the_page_can_be_built(tmp_path: Path) -> None:
    built = page.build("http://127.0.0.1:1/v1", "anygpt-tiny", None, ["image"], ["image", "audio"])
    labels = [getattr(block, "label", None) for block in built.blocks.values()]
    assert {"Chat", "Inside", "Media", "Seed", "Steps", "Guidance"} <= set(labels)


def file(path: str, alt: str | None = None) -> dict[str, Any]:
    return {"type": "file", "file": {"path": path}, "alt_text": alt}


def test_the_history_is_sent_without_earlier_media_and_spectrograms() -> None:
    answer = {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "here"},
            file("a.wav"),
            file("a.png", "spectrogram"),
            file("b.mp4"),
        ],
    }
    kinds = [part["type"] for part in page._as_message(answer)["content"]]  # type: ignore[index]
    assert kinds == ["text", "audio_url", "video_url"]
    given = page._as_message({"role": "user", "content": [file(str(SAMPLES / "imu.npy"))]})
    assert given is not None and given["content"][0]["type"] == "imu_url"
    assert page._as_message({"role": "assistant", "content": []}) is None


def test_boxes_are_drawn_on_the_picture_that_they_are_about(tmp_path: Path) -> None:
    given = [{"role": "user", "content": [file(str(SAMPLES / "picture.png"))]}]
    shown: list[Any] = ["Here is a star: [0.100, 0.200, 0.400, 0.500]"]
    page._add_boxes(shown, given, tmp_path)
    assert shown[1]["alt_text"] == "boxes"
    drawn = Image.open(shown[1]["path"])
    plain = Image.open(SAMPLES / "picture.png").convert("RGB").resize(drawn.size)
    changed = np.argwhere((np.asarray(drawn) != np.asarray(plain)).any(-1)) / drawn.height
    assert changed.min(0) == pytest.approx([0.2, 0.1], abs=0.1) and changed.max() < 0.6
    for text, history in (("no box in it", given), ("a star: [0.1, 0.2, 0.4, 0.5]", [])):
        page._add_boxes(shown := [text], history, tmp_path)
        assert shown == [text]


def test_a_conversation_is_exported_as_the_python_api_takes_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    history = [
        {
            "role": "user",
            "content": [file(str(SAMPLES / "picture.png")), {"type": "text", "text": "what is it?"}],
        },
        {"role": "assistant", "content": ["a star", file(str(SAMPLES / "picture.png"), "boxes")]},
        {"role": "user", "content": "what colour is it?"},
    ]
    with zipfile.ZipFile(page.export(history)) as archive:
        archive.extractall(tmp_path)
    messages = json.loads((tmp_path / "conversation.json").read_text())
    assert messages[1]["content"] == [{"type": "text", "text": "a star"}]
    monkeypatch.chdir(tmp_path)
    assert "red" in server.model.chat(messages).text


def test_a_tone_is_a_line_in_its_spectrogram(tmp_path: Path) -> None:
    heights = []
    for pitch in (250, 2000):
        soundfile.write(tmp_path / "tone.wav", np.sin(2 * np.pi * pitch * np.arange(16000) / 16000), 16000)
        picture = np.asarray(page.spectrogram(tmp_path / "tone.wav"), float).sum(-1)
        heights.append(1 - picture.mean(1).argmax() / len(picture))
    octaves = np.log2(8000 / page.LOWEST)
    assert heights[1] - heights[0] == pytest.approx(3 / octaves, abs=0.03)
    assert heights[1] == pytest.approx(1 - 2 / octaves, abs=0.03)
