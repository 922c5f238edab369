"""The page as a browser asks it: what it shows of an answer, and what it sends of a conversation."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from servers import SAMPLES, Server

pytest.importorskip("gradio", reason="the page needs the extra `ui`")

import uvicorn
from fastapi import FastAPI
from gradio_client import Client, handle_file

from anygpt.serving import page


@pytest.fixture(scope="module")
def browser(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    app = FastAPI()
    url = f"http://127.0.0.1:{server.port}/v1"
    page.mount(app, url, "anygpt-tiny", server.model.config, None, tmp_path_factory.mktemp("page"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield Client(f"http://127.0.0.1:{listening.getsockname()[1]}", verbose=False)
        running.should_exit = True
        thread.join()


def said(browser: Client, text: str, *files: Path, media: list[str], seed: int = 0) -> tuple[list[Any], Any]:
    """The parts of the answer, and what the second tab shows of its tokens."""
    message = {"text": text, "files": [handle_file(str(file)) for file in files]}
    told = browser.predict(message, media, seed, 2, 2, api_name="/chat")
    answer, inside = told[0], told[1:]
    return answer["content"] if isinstance(answer, dict) else answer, inside


def test_an_answer_with_media_and_how_it_came_about(server: Server, browser: Client) -> None:
    parts, inside = said(browser, "draw a red circle", media=["image", "audio"])
    assert any("Here is a large red circle" in str(part) for part in parts)
    files = [
        part["path"] if "path" in part else part["file"]["path"] for part in parts if isinstance(part, dict)
    ]
    assert [Path(file).suffix for file in files] == [".png", ".wav", ".png"]  # the last is the spectrogram
    assert "image_7" in str(inside) and "audio_3" in str(inside) and "num_inference_steps" in str(inside)


def test_a_file_is_shown_to_the_model(server: Server, browser: Client) -> None:
    parts, _ = said(browser, "what is this?", SAMPLES / "picture.png", media=[])
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "image", "path": SAMPLES / "picture.png"},
                {"type": "text", "text": "what is this?"},
            ],
        }
    ]
    assert server.model.chat(messages).text in str(parts)


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
