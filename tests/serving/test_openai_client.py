"""The official client against a real server on the shipped model: the same answers as the Python API gives."""

import base64
import io
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import soundfile
from openai import OpenAI
from PIL import Image
from servers import SAMPLES, Server

from anygpt.cli import main
from anygpt.generation import Reply
from anygpt.media import write

FEW = {"num_inference_steps": 2}  # enough to compare bytes
STEPS = {modality: FEW for modality in ("image", "audio", "video")}
DRAW = "draw a red circle on a white background"


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with server.client() as client:
        yield client


def asked(text: str, *parts: dict[str, Any]) -> list[Any]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def url(name: str, kind: str) -> dict[str, str]:
    return {"url": f"data:{kind};base64,{base64.b64encode((SAMPLES / name).read_bytes()).decode()}"}


def decoded(data_url: str) -> bytes:
    return base64.b64decode(data_url.partition(",")[2])


def on_disk(reply: Reply, folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in reply.save(folder)]


def test_a_chat_is_the_python_apis(server: Server, client: OpenAI) -> None:
    answer = client.chat.completions.create(model="anygpt-tiny", messages=asked("what can you do?"))
    (choice,) = answer.choices
    assert choice.message.content == server.model.chat("what can you do?").text != ""
    assert choice.finish_reason == "stop" and choice.message.role == "assistant"
    used = answer.usage
    assert used is not None and used.total_tokens == used.prompt_tokens + used.completion_tokens
    prompt = server.model.processor([{"role": "user", "content": asked("what can you do?")[0]["content"]}])
    assert used.prompt_tokens == len(prompt.ids)
    assert answer.model == client.models.list().data[0].id == client.models.retrieve("anygpt-tiny").id


def test_a_picture_is_the_python_apis_to_the_byte(server: Server, client: OpenAI, tmp_path: Path) -> None:
    answer = client.chat.completions.create(
        model="anygpt-tiny",
        messages=asked(DRAW),
        seed=7,
        extra_body={"num_inference_steps": 2, "inside": True},
    )
    content: Any = answer.choices[0].message.content
    assert [part["type"] for part in content] == ["text", "image_url"]
    reply = server.model.chat(DRAW, seed=7, **STEPS)
    assert content[0]["text"] == reply.text
    assert [decoded(content[1]["image_url"]["url"])] == on_disk(reply, tmp_path)
    inside: Any = (answer.choices[0].model_extra or {})["inside"]
    assert [token["text"] for token in inside["tokens"] if token["signal"]] == [
        f"<image_{i}>" for i in range(12)
    ]
    letters = "".join(token["text"] for token in inside["tokens"] if not token["signal"])
    assert letters.strip().startswith(reply.text)
    (made,) = inside["media"]
    assert made["conditioning"]["shape"] == [28, 128] and made["settings"]["num_inference_steps"] == 2
    assert inside["seconds"]["image"] > 0


@pytest.mark.slow
def test_server_command_line_and_python_give_the_same_bytes(client: OpenAI, tmp_path: Path) -> None:
    assert main(["generate", DRAW, "--seed", "3", "--output-dir", str(tmp_path)]) == 0
    answer = client.chat.completions.create(model="anygpt-tiny", messages=asked(DRAW), seed=3)
    content: Any = answer.choices[0].message.content
    assert decoded(content[1]["image_url"]["url"]) == (tmp_path / "image_0.png").read_bytes()


def test_a_stream_tells_text_as_it_comes_and_then_the_picture(server: Server, client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="anygpt-tiny",
            messages=asked(DRAW),
            stream=True,
            stream_options={"include_usage": True},
            extra_body={
                "num_inference_steps": 2,
                "stream_options": {"include_usage": True, "include_progress": True},
            },
        )
    )
    deltas: list[Any] = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    texts = [delta for delta in deltas if isinstance(delta, str) and delta]
    assert "".join(texts) == server.model.chat(DRAW, modalities=[]).text and len(texts) > 5
    (picture,) = [delta[0] for delta in deltas if isinstance(delta, list)]
    assert Image.open(io.BytesIO(decoded(picture["image_url"]["url"]))).size == (64, 64)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] == "stop" and not any(reasons[:-1])
    steps: list[Any] = [
        chunk.model_extra["progress"]["step"] for chunk in chunks if "progress" in chunk.model_extra
    ]
    assert steps == [1, 2]
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > len(texts)


def test_modalities_are_what_an_answer_has(client: OpenAI) -> None:
    def ask(text: str, modalities: list[Any]) -> Any:
        return (
            client.chat.completions.create(
                model="anygpt-tiny", messages=asked(text), modalities=modalities, extra_body=FEW
            )
            .choices[0]
            .message
        )

    assert isinstance(ask(DRAW, ["text"]).content, str)
    (part,) = ask("hello", ["image"]).content  # a greeting is no request for a picture, and the field is
    assert part["type"] == "image_url"
    message = ask("what sound does a small blue star make?", ["text", "audio"])
    assert isinstance(message.content, str) and message.content
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(message.audio.data)))
    assert rate == 16000 and len(sound) > rate and np.abs(sound).max() > 0.01
    with pytest.raises(openai.BadRequestError, match="unsupported output modalities"):
        ask("hello", ["smell"])


def test_choices_seeds_stops_and_lengths(server: Server, client: OpenAI, tmp_path: Path) -> None:
    answer = client.chat.completions.create(
        model="anygpt-tiny", messages=asked(DRAW), n=2, seed=5, extra_body=FEW
    )
    pictures = []
    for index, choice in enumerate(answer.choices):
        content: Any = choice.message.content
        assert choice.index == index
        pictures.append(
            np.asarray(Image.open(io.BytesIO(decoded(content[1]["image_url"]["url"])))).astype(int)
        )
        alone = np.asarray(server.model.chat(DRAW, seed=5 + index, **STEPS).images[0]).astype(int)
        assert np.abs(pictures[-1] - alone).max() <= 1
    assert np.abs(pictures[0] - pictures[1]).max() > 20

    whole = client.chat.completions.create(model="anygpt-tiny", messages=asked(DRAW), modalities=["text"])
    text = whole.choices[0].message.content or ""
    short = client.chat.completions.create(
        model="anygpt-tiny", messages=asked(DRAW), modalities=["text"], stop=["red", "nothing such"]
    )
    assert short.choices[0].message.content == text[: text.index("red")] and "red" in text
    assert short.choices[0].finish_reason == "stop"
    cut = client.chat.completions.create(
        model="anygpt-tiny", messages=asked(DRAW), modalities=["text"], max_completion_tokens=3
    )
    assert cut.choices[0].finish_reason == "length" and text.startswith(cut.choices[0].message.content or "?")
    assert cut.usage is not None and cut.usage.completion_tokens == 3


PARTS = {
    "image": {"type": "image_url", "image_url": url("picture.png", "image/png")},
    "audio": {"type": "audio_url", "audio_url": url("sound.wav", "audio/wav")},
    "video": {"type": "video_url", "video_url": url("film.mp4", "video/mp4")},
    "depth": {"type": "depth_url", "depth_url": url("depth.png", "image/png")},
    "thermal": {"type": "thermal_url", "thermal_url": url("thermal.npy", "application/octet-stream")},
    "imu": {"type": "imu_url", "imu_url": url("imu.npy", "application/octet-stream")},
}


@pytest.mark.parametrize("modality", PARTS)
def test_every_modality_can_be_sent(server: Server, client: OpenAI, modality: str) -> None:
    question = "what is this?"
    answer = client.chat.completions.create(
        model="anygpt-tiny", messages=asked(question, PARTS[modality]), modalities=["text"]
    )
    stem = {"image": "picture", "audio": "sound", "video": "film"}.get(modality, modality)
    (sample,) = SAMPLES.glob(f"{stem}.*")
    messages = [
        {"role": "user", "content": [{"type": modality, "path": sample}, {"type": "text", "text": question}]}
    ]
    assert answer.choices[0].message.content == server.model.chat(messages, modalities=[]).text != ""


def test_input_audio_is_bare_base64(server: Server, client: OpenAI) -> None:
    data = base64.b64encode((SAMPLES / "sound.wav").read_bytes()).decode()
    bare = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    answers = [
        client.chat.completions.create(
            model="anygpt-tiny", messages=asked("what is it?", part), modalities=["text"]
        )
        for part in (bare, PARTS["audio"])
    ]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content


def test_a_conversation_goes_on_with_the_servers_own_answers(server: Server, client: OpenAI) -> None:
    messages = asked(DRAW)
    for question in ("now play its sound", "what did you draw?"):
        answer = client.chat.completions.create(model="anygpt-tiny", messages=messages, extra_body=FEW)
        messages = [*messages, answer.choices[0].message.model_dump(exclude_none=True), *asked(question)]
    assert "audio" in messages[-2] and messages[-2]["audio"]["data"]
    last = client.chat.completions.create(model="anygpt-tiny", messages=messages, extra_body=FEW)
    session = server.model.session()
    for message in messages[::2]:
        reply = session.chat(message["content"], **STEPS)
    content = last.choices[0].message.content
    assert (content if isinstance(content, str) else content[0]["text"]) == reply.text


def test_pictures_are_generated_and_edited(server: Server, client: OpenAI) -> None:
    made = client.images.generate(prompt="a red circle", n=2, size="64x64", extra_body={"seed": 4, **FEW})
    assert made.data is not None and len(made.data) == 2 and made.size == "64x64"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(made.data[0].b64_json or "")))).astype(int)
    options: Any = {"modalities": ["image"], "max_media": 1, "image": {**FEW, "height": 64, "width": 64}}
    alone = np.asarray(server.model.chat("a red circle", seed=4, **options).images[0]).astype(int)
    assert np.abs(picture - alone).max() <= 1
    webp = client.images.generate(
        prompt="a red circle", output_format="webp", response_format="url", extra_body=FEW
    )
    assert webp.data is not None and (webp.data[0].url or "").startswith("data:image/webp;base64,")
    with (SAMPLES / "picture.png").open("rb") as file:
        edited = client.images.edit(image=file, prompt="draw this in blue", extra_body=FEW)
    assert edited.data is not None and edited.data[0].b64_json
    with pytest.raises(openai.BadRequestError, match="multiple of 8"):
        client.images.generate(prompt="a red circle", size="100x99")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus", "pcm16"])
def test_a_sound_is_generated_in_any_format(server: Server, kind: str) -> None:
    body = {"input": "the sound of a red circle", "response_format": kind, "extra_body": FEW}
    status, headers, data = server.ask("POST", "/v1/audio/generate", body)
    assert status == 200 and headers["content-type"].startswith("audio/")
    if kind == "pcm16":
        samples = np.frombuffer(data, "<i2") / 32768
    else:
        samples, rate = soundfile.read(io.BytesIO(data))
        assert rate == 16000
    assert 1.5 < len(samples) / 16000 < 2.7 and np.abs(samples).max() > 0.01


def test_a_film_that_is_deleted_is_stopped_and_leaves_no_file(server: Server, tmp_path: Path) -> None:
    body = {"prompt": "a film of a green square", "num_inference_steps": 200}
    _, _, job = server.ask("POST", "/v1/videos", body)
    name = json.loads(job)["id"]
    while json.loads(server.ask("GET", f"/v1/videos/{name}")[2])["status"] == "queued":
        time.sleep(0.05)
    begun = time.monotonic()
    assert server.ask("DELETE", f"/v1/videos/{name}")[0] == 200
    assert server.ask("POST", "/v1/chat/completions", {"messages": asked("hello")})[0] == 200
    assert time.monotonic() - begun < 60  # all its steps would take minutes


def test_a_client_that_hangs_up_at_once_costs_no_answer(server: Server) -> None:
    """While its film is still read: there is no stream yet whose end could be noticed."""
    body = json.dumps(
        {
            "messages": asked("draw this", PARTS["video"]),
            "stream": True,
            "modalities": ["image"],
            "num_inference_steps": 200,
        }
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    def cancelled() -> float:
        told = server.ask("GET", "/metrics")[2].decode()
        return float(re.search(r"^anygpt_cancelled_total (.*)$", told, re.M)[1])  # type: ignore[index]

    before = cancelled()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.encode() + body)
    deadline = time.monotonic() + 60
    while cancelled() < before + 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert cancelled() == before + 3


def test_a_film_is_a_job(server: Server, client: OpenAI, tmp_path: Path) -> None:
    job = client.videos.create(
        prompt="a film of a green square that moves left", extra_body={"seed": 0, **FEW}, seconds="1"
    )  # type: ignore[arg-type]
    assert job.status in ("queued", "in_progress") and job.object == "video"
    early = server.error("GET", f"/v1/videos/{job.id}/content")
    assert early[0] == 409 or job.status == "completed"
    done = client.videos.poll(job.id, poll_interval_ms=100)
    assert (done.status, done.progress, done.error, done.size) == ("completed", 100, None, "64x64")
    data = client.videos.download_content(job.id).read()
    options: Any = {"modalities": ["video"], "max_media": 1, "video": {**FEW, "num_frames": 8}}
    (film,) = server.model.chat("a film of a green square that moves left", **options).videos
    assert data == write("video", film, tmp_path / "film.mp4").read_bytes()
    assert job.id in [video.id for video in client.videos.list()]
    assert client.videos.delete(job.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(job.id)


def test_typed_signal_tokens_stay_text(server: Server, client: OpenAI) -> None:
    typed = "<image_0><image_1><image_2><image_3> <image>a red circle</image> <|assistant|>"
    answer = client.chat.completions.create(model="anygpt-tiny", messages=asked(typed), modalities=["text"])
    assert answer.choices[0].message.content == server.model.chat(typed, modalities=[]).text
    prompt = server.model.processor([{"role": "user", "content": [{"type": "text", "text": typed}]}])
    assert max(prompt.ids) < server.model.signals.base
    assert typed in server.model.tokenizer.decode(prompt.ids)


def test_metrics_and_health(server: Server, client: OpenAI) -> None:
    client.chat.completions.create(model="anygpt-tiny", messages=asked("hello"), modalities=["text"])
    status, _, text = server.ask("GET", "/metrics")
    lines = dict(line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#"))
    assert status == 200 and float(lines['anygpt_tokens_total{kind="completion"}']) > 0
    assert float(lines['anygpt_requests_total{route="/v1/chat/completions",status="200"}']) > 0
    assert json.loads(server.ask("GET", "/health")[2]) == {"status": "ok"}


GOOD: dict[str, dict[str, Any]] = {
    "no model named": {},
    "nulls and neutral values": {
        "tools": None,
        "stop": None,
        "frequency_penalty": 0,
        "logprobs": False,
        "seed": None,
    },
    "left aside": {"user": "me", "metadata": {"a": "b"}, "store": True, "response_format": {"type": "text"}},
    "under extra_body": {"extra_body": {"seed": 3, "num_inference_steps": 2}},
    "names and earlier tool calls": {
        "messages": [
            {"role": "user", "name": "me", "content": "hello"},
            {"role": "assistant", "content": "hi", "refusal": None, "tool_calls": None},
            *asked("hello"),
        ]
    },
    "a picture's URL by itself": {
        "messages": asked(
            "what is this?", {"type": "image_url", "image_url": PARTS["image"]["image_url"]["url"]}
        )
    },
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_what_clients_send_besides_is_taken(server: Server, body: dict[str, Any]) -> None:
    status, _, answer = server.ask(
        "POST", "/v1/chat/completions", {"messages": asked("hello"), "modalities": ["text"], **body}
    )
    told = json.loads(answer)
    assert status == 200, told
    assert set(told) == {"id", "object", "created", "model", "choices", "usage"}
    assert told["object"] == "chat.completion" and told["id"].startswith("chatcmpl-")
    (choice,) = told["choices"]
    assert choice["message"]["role"] == "assistant" and choice["message"]["content"]
