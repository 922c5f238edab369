"""The page as a browser asks it: what it shows of an answer, and what it sends of a conversation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
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
    files = [Path(part["path"]) for part in shown[-1] if isinstance(part, dict)]
    assert [file.suffix for file in files] == [".png", ".wav", ".png"] and all(map(Path.is_file, files))
    tokens, made, shares = told[-1][1:]
    assert [text for text, kind in tokens if kind] == [f"<image_{i}>" for i in range(12)] + [
        f"<audio_{i}>" for i in range(4)
    ]
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


def test_the_history_is_sent_without_earlier_media_and_spectrograms() -> None:
    def file(path: str, alt: str | None = None) -> dict[str, Any]:
        return {"type": "file", "file": {"path": path}, "alt_text": alt}

    answer = {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "here"},
            file("a.wav"),
            file("a.png", page.SPECTROGRAM),
            file("b.mp4"),
        ],
    }
    kinds = [part["type"] for part in page._as_message(answer)["content"]]  # type: ignore[index]
    assert kinds == ["text", "audio_url", "video_url"]
    given = page._as_message({"role": "user", "content": [file(str(SAMPLES / "imu.npy"))]})
    assert given is not None and given["content"][0]["type"] == "imu_url"
    assert page._as_message({"role": "assistant", "content": []}) is None


def test_a_tone_is_a_line_in_its_spectrogram(tmp_path: Path) -> None:
    heights = []
    for pitch in (500, 4000):
        soundfile.write(tmp_path / "tone.wav", np.sin(2 * np.pi * pitch * np.arange(16000) / 16000), 16000)
        picture = np.asarray(page.spectrogram(tmp_path / "tone.wav"), float)
        heights.append(1 - picture.mean(1).argmax() / len(picture))
    assert heights == pytest.approx([np.sqrt(500 / 8000), np.sqrt(4000 / 8000)], abs=0.03)
