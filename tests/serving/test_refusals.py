"""What is not done, and how that is told: raw requests against a real server."""

import base64
import io
import json
import logging
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from servers import SAMPLES, Server, serving

from anygpt.media import write
from anygpt.model import AnyGPT
from anygpt.serving import remote
from anygpt.serving.inspection import inspect
from anygpt.serving.intake import Intake
from anygpt.serving.limits import Limits
from encoders.media import MediaError, Video

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


def with_part(modality: str, url: str) -> dict[str, Any]:
    part = {"type": f"{modality}_url", f"{modality}_url": {"url": url}}
    return {"messages": [{"role": "user", "content": [part]}]}


def as_url(data: bytes) -> str:
    return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"


def bomb() -> bytes:
    """A PNG of 900 megapixels in a few bytes."""
    size = struct.pack(">II5B", 30_000, 30_000, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def boastful_sound() -> bytes:
    """A WAV of a tenth of a second whose header says ten hours."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(1600), 16000, format="WAV", subtype="PCM_16")
    data = bytearray(file.getvalue())
    struct.pack_into("<I", data, data.index(b"data") + 4, 36_000 * 32_000)
    return bytes(data)


def silence() -> bytes:
    """A FLAC of 15 s of silence in eight channels at 655 kHz: 78 million samples in a few bytes."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 655_350, 8, "PCM_16", format="FLAC") as sound:
        for _ in range(15):
            sound.write(np.zeros((655_350, 8), np.int16))
    return file.getvalue()


def film(folder: Path, seconds: float) -> bytes:
    frames = np.zeros((round(8 * seconds), 32, 32, 3), np.uint8)
    return write("video", Video(frames, 8.0), folder / "film.mp4").read_bytes()


def lying_film(folder: Path, factor: float) -> bytes:
    """A film of five seconds whose header says `factor` times as much."""
    data = bytearray(film(folder, 5))
    for atom, place in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
        at = data.index(atom) + place
        struct.pack_into(">I", data, at, round(struct.unpack_from(">I", data, at)[0] * factor))
    return bytes(data)


BAD: list[tuple[str, Any, int, str]] = [
    ("no messages", {}, 400, "messages: Field required"),
    ("empty messages", {"messages": []}, 400, "messages"),
    ("another role", {"messages": [{"role": "king", "content": "hello"}]}, 400, "messages.0.role"),
    ("no content", {"messages": [{"role": "user"}]}, 400, "content is missing"),
    ("another part", {"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, 400, "smell"),
    ("the answer is last", {"messages": [*HELLO, {"role": "assistant", "content": "hi"}]}, 400, "last message"),
    ("unknown field", {"messages": HELLO, "sead": 1}, 400, "sead: unknown field"),
    ("unknown extra", {"messages": HELLO, "extra_body": {"stepps": 1}}, 400, "stepps: unknown field"),
    ("another model", {"messages": HELLO, "model": "gpt-7"}, 404, "no model 'gpt-7'"),
    ("tools", {"messages": HELLO, "tools": [{"type": "function"}]}, 400, "tools is not supported"),
    ("a negative seed", {"messages": HELLO, "seed": -1}, 400, "seed"),
    ("too hot", {"messages": HELLO, "temperature": 3}, 400, "temperature"),
    ("too many choices", {"messages": HELLO, "n": 1000}, 400, "n:"),
    ("too many steps", {"messages": HELLO, "num_inference_steps": 10**6}, 400, "num_inference_steps"),
    ("too large a picture", {"messages": HELLO, "height": 10**6}, 400, "height"),
    ("no number", {"messages": HELLO, "temperature": "NaN"}, 400, "temperature"),
    ("a role that this LLM lacks", {"messages": [{"role": "developer", "content": "be short"}, *HELLO]}, 400, "user and assistant only"),
    ("too long an answer", {"messages": HELLO, "max_tokens": 10**6}, 400, "too long"),
    ("a file", with_part("image", "file:///etc/passwd"), 400, "must be data:"),
    ("a path", with_part("image", "/etc/passwd"), 400, "must be data:"),
    ("ftp", with_part("image", "ftp://example.com/a.png"), 400, "must be data:"),
    ("the web", with_part("image", "https://example.com/a.png"), 400, "--allow-remote-media"),
    ("no base64", with_part("image", "data:image/png;base64,%%%"), 400, "base64 is damaged"),
    ("no comma", with_part("image", "data:image/png;base64"), 400, "comma"),
    ("no picture", with_part("image", as_url(b"hello, I am a text")), 400, "message 0, part 0: image: is text"),
    ("a torn picture", with_part("image", as_url((SAMPLES / "picture.png").read_bytes()[:200])), 400, "image: is damaged"),
    ("a bomb", with_part("image", as_url(bomb())), 400, "pixels"),
    ("much silence", with_part("audio", as_url(silence())), 400, "million samples"),
    ("a boastful sound", with_part("audio", as_url(boastful_sound())), 400, "lasts 36000 s by its header"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "words"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_request_is_told_what_is_wrong(
    server: Server, body: Any, status: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("uvicorn.error")
    log.addHandler(caplog.handler)
    got, error = server.error("POST", CHAT, body)
    server.ask("GET", "/health")  # what the first request leaves in the log comes before its answer
    log.removeHandler(caplog.handler)
    assert (got, error["type"]) == (status, "invalid_request_error")
    assert words in error["message"] and "/tmp" not in error["message"]
    assert not caplog.records  # it is the client's affair


def test_other_routes_methods_and_forms(server: Server) -> None:
    assert server.error("GET", "/v1/nothing")[0] == 404
    assert server.error("GET", CHAT)[0] == 405
    assert (
        server.error("POST", CHAT, b"{", {"Content-Type": "application/json"})[1]["message"]
        == "the body is not JSON"
    )
    assert server.error("POST", CHAT, b"[1]", {"Content-Type": "application/json"})[0] == 400
    assert server.error("POST", CHAT, b"messages=1", {"Content-Type": "text/plain"})[0] in (400, 415)
    assert server.error("POST", "/v1/images/edits", {"prompt": "a"})[0] == 415
    assert server.error("POST", "/v1/images/generations", {"prompt": ""})[1]["param"] == "prompt"
    assert server.error("POST", "/v1/audio/generate", {"input": "a", "speed": 2})[0] == 400
    assert server.error("POST", "/v1/videos", {"prompt": "a", "seconds": "1000"})[0] == 400
    for route in ("", "/content"):
        assert server.error("GET", f"/v1/videos/video_1{route}")[0] == 404


def test_a_million_characters_are_refused_before_they_are_read(server: Server) -> None:
    begun = time.process_time()
    status, error = server.error("POST", CHAT, {"messages": [{"role": "user", "content": "a " * 500_000}]})
    assert (status, error["code"]) == (400, "context_length_exceeded") and "1000000 characters" in error[
        "message"
    ]
    assert time.process_time() - begun < 1.0
    status, error = server.error(
        "POST", CHAT, {"messages": [{"role": "user", "content": "red circle " * 1000}]}
    )
    assert (status, error["code"]) == (400, "context_length_exceeded") and "tokens" in error["message"]


def test_a_body_of_two_gigabytes_is_refused_before_it_comes(server: Server) -> None:
    """By its announced length, and without one as soon as it is too long."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(f"{head}Content-Length: {2**31}\r\n\r\n{{".encode())
        answer = connection.recv(2**16)
        assert answer.startswith(b"HTTP/1.1 413") and b"request_too_large" in answer + connection.recv(2**16)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"10000\r\n" + b" " * 2**16 + b"\r\n"
        with pytest.raises(OSError):  # the server has hung up after 1 MiB
            for _ in range(2000):
                connection.sendall(piece)


def test_a_body_that_does_not_come_is_not_waited_for(shipped: AnyGPT) -> None:
    with serving(shipped, Limits(time=1)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            connection.sendall(f'{head}Content-Length: 1000\r\n\r\n{{"messages"'.encode())
            assert connection.recv(2**16).startswith(b"HTTP/1.1 408")


def test_a_full_queue_says_when_to_come_again(shipped: AnyGPT) -> None:
    with serving(shipped, Limits(queue=1)) as server:
        status, headers, told = server.ask("POST", CHAT, {"messages": HELLO, "n": 2})
        assert status == 429 and int(headers["retry-after"]) >= 1
        assert json.loads(told)["error"]["code"] == "queue_full"
        assert server.ask("POST", CHAT, {"messages": HELLO})[0] == 200


def test_lying_and_long_films(server: Server, tmp_path: Path) -> None:
    status, error = server.error("POST", CHAT, with_part("video", as_url(lying_film(tmp_path, 4))))
    assert status == 400 and "says that it lasts 20.0 s, and holds 5.0 s" in error["message"]
    limits = Limits(video_seconds=30)
    path = tmp_path / "sent.mp4"
    for data, words in (
        (lying_film(tmp_path, 4), "says that it lasts 20.0 s, and holds 5.0 s"),
        (lying_film(tmp_path, 0.2), "says that it lasts 1.0 s, and holds 5.0 s"),
        (lying_film(tmp_path, 1000), "lasts 5000 s by its header"),
        (film(tmp_path, 40), "longer than 30 s"),
    ):
        path.write_bytes(data)
        with pytest.raises(MediaError, match=words):
            inspect("video", path, limits)
    path.write_bytes(film(tmp_path, 5))
    assert inspect("video", path, limits) == 40 * 128 * 128  # small ones are written larger


def test_a_request_has_one_measure_of_pixels(server: Server) -> None:
    large = io.BytesIO()
    from PIL import Image

    Image.new("L", (2000, 2000)).save(large, "PNG")
    part = with_part("image", as_url(large.getvalue()))["messages"][0]["content"][0]
    for count, status in ((2, 200), (3, 400)):
        content = [*[part] * count, {"type": "text", "text": "what is this?"}]
        body = {"messages": [{"role": "user", "content": content}], "modalities": ["text"]}
        got, _, answer = server.ask("POST", CHAT, body)
        assert got == status, answer
    assert b"8 megapixels" in answer


def test_fetched_media_have_one_measure_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = (SAMPLES / "picture.png").read_bytes()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(picture)

    monkeypatch.setattr(remote, "is_public", lambda address: address == "127.0.0.1")
    with web(answer) as port:
        limits = Limits(bytes=3 * len(picture) - 1)
        intake = Intake(tmp_path, limits, True, threading.Lock(), time.monotonic() + 60)
        for _ in range(2):
            intake.from_url("image", f"http://127.0.0.1:{port}/")
        with pytest.raises(MediaError, match=f"more than {len(picture) - 1} bytes"):
            intake.from_url("image", f"http://127.0.0.1:{port}/")
    assert list(tmp_path.iterdir()) == []


def test_file_names_are_not_looked_at_and_files_do_not_stay(server: Server, tmp_path: Path) -> None:
    picture = (SAMPLES / "picture.png").read_bytes()
    for name in ("../../../../tmp/anygpt-was-here.png", "/etc/passwd", "a\\..\\b"):
        body = (
            b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\ndraw this in blue\r\n'
            b'--x\r\nContent-Disposition: form-data; name="num_inference_steps"\r\n\r\n1\r\n'
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="' + name.encode() + b'"\r\n'
            b"Content-Type: image/png\r\n\r\n" + picture + b"\r\n--x--\r\n"
        )
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        status, _, answer = server.ask("POST", "/v1/images/edits", body, headers)
        assert status == 200, answer
    assert not Path("/tmp/anygpt-was-here.png").exists()


def test_the_folder_of_files_is_empty_between_requests_and_gone_at_the_end(
    shipped: AnyGPT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serving(shipped) as server:
        body = with_part("audio", as_url((SAMPLES / "sound.wav").read_bytes()))
        for sent in (body | {"modalities": ["text"]}, with_part("audio", as_url(b"RIFF....WAVEnonsense"))):
            server.ask("POST", CHAT, sent)
            (folder,) = tmp_path.iterdir()
            assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_the_key(shipped: AnyGPT) -> None:
    with serving(shipped, api_key="söçret") as server:
        right = "Bearer söçret".encode().decode("latin-1")
        assert server.ask("GET", "/v1/models", headers={"Authorization": right})[0] == 200
        for headers in (
            {},
            {"Authorization": "Bearer secret"},
            {"Authorization": "Basic söçret".encode().decode("latin-1")},
        ):
            status, error = server.error("GET", "/v1/models", headers=headers)
            assert (status, error["type"], error["code"]) == (401, "authentication_error", "invalid_api_key")
        assert server.error("POST", CHAT, {"messages": HELLO})[0] == 401
        assert server.ask("GET", "/health")[0] == 200


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert remote.is_public(address) is public


@contextmanager
def web(answer: Any) -> Iterator[int]:
    """A web server of its own; `answer` writes what is answered to a path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield httpd.server_port
        httpd.shutdown()


def test_private_addresses_are_refused_by_name_number_redirect_and_dns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def fetch(url: str, most: int) -> bytes:
        return remote.fetch(url, most, time.monotonic() + 60)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        if handler.path.startswith("/to/"):
            handler.send_response(302)
            handler.send_header("Location", handler.path.removeprefix("/to/"))
            handler.end_headers()
            return
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x" * (100 if handler.path == "/small" else 10_000))

    with web(answer) as port:
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0", "2130706433", "127.1"):
            with pytest.raises(MediaError, match="private address|could not be fetched"):
                fetch(f"http://{host}:{port}/small", 1000)
        assert asked == []
        # From here on one private address counts as public: the rest is as it is in the world.
        monkeypatch.setattr(remote, "is_public", lambda address: address == "127.0.0.1")
        here = f"http://127.0.0.1:{port}"
        assert fetch(f"{here}/small", 1000) == b"x" * 100
        assert fetch(f"{here}/to//small", 1000) == b"x" * 100
        with pytest.raises(MediaError, match="more than 1000 bytes"):
            fetch(f"{here}/large", 1000)
        for target, words in (
            (f"http://127.0.0.2:{port}/small", "private address"),
            ("http://169.254.169.254/latest", "private address"),
            ("file:///etc/passwd", "must be data:"),
            (f"{here}/to/{here}/to/{here}/to/{here}/to/{here}/small", "redirects"),
        ):
            with pytest.raises(MediaError, match=words):
                fetch(f"{here}/to/{target}", 1000)
        with pytest.raises(MediaError, match="must be data:"):
            fetch(f"http://me:pass@127.0.0.1:{port}/small", 1000)
        # a name that has a public address and a private one
        entries = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.0.0.1", "10.0.0.1")
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
        with pytest.raises(MediaError, match="private address"):
            fetch(f"http://pictures.example:{port}/small", 1000)
        # a name is looked up once: a second answer could be another one
        answers = [entries[:1], entries[1:]]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.pop(0))
        assert fetch(f"http://pictures.example:{port}/small", 1000) == b"x" * 100
        assert len(answers) == 1


def test_a_server_that_dribbles_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its head or its body, a byte now and then."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if handler.path == "/body" else b"A: "))
        with suppress(OSError):
            for _ in range(100):
                time.sleep(0.05)
                handler.wfile.write(b"a")

    monkeypatch.setattr(remote, "is_public", lambda address: address == "127.0.0.1")
    for path in ("/head", "/body"):
        with web(answer) as port:
            begun = time.monotonic()
            with pytest.raises(MediaError, match="took too long"):
                remote.fetch(f"http://127.0.0.1:{port}{path}", 1000, time.monotonic() + 0.5)
            assert time.monotonic() - begun < 3


def test_remote_media_where_they_are_allowed(shipped: AnyGPT, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write((SAMPLES / "picture.png").read_bytes())

    with serving(shipped, allow_remote_media=True) as server, web(answer) as port:
        body = with_part("image", f"http://127.0.0.1:{port}/a.png") | {"modalities": ["text"]}
        assert "private address" in server.error("POST", CHAT, body)[1]["message"]
        monkeypatch.setattr(remote, "is_public", lambda address: address == "127.0.0.1")
        status, _, answer_bytes = server.ask("POST", CHAT, body)
        assert status == 200 and json.loads(answer_bytes)["choices"][0]["message"]["content"]
