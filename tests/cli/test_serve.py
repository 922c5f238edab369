"""`anygpt serve` as a person starts and stops it."""

import json
import re
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
from command_line import Command, environment, hear_ctrl_c, names


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serve", "no-such-model"), "no-such-model"),
        (("serve", "--port", "70000"), "--port"),
        (("serve", "--api-key", " "), "--api-key is empty"),
        (("serve", "--max-queue", "0"), "--max-queue"),
    ],
)
def test_mistakes(anygpt: Command, arguments: tuple[str, ...], words: str) -> None:
    done = anygpt(*arguments)
    assert done.code == 2 and words in done.err and done.err.count("\n") == 1


def test_a_port_in_use_is_told_before_the_model_is_loaded(anygpt: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = anygpt("serve", "--port", port)
    assert done.code == 2 and f"--port {port}" in done.err and "in use" in done.err


@pytest.mark.slow
def test_ctrl_c_finishes_what_runs_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "anygpt", "serve", "--port", "0", "--api-key", "secret"]
    variables = {**environment(), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=variables, preexec_fn=hear_ctrl_c
    ) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:(\d+)/v1", process.stderr.readline())
            assert found is not None
            connection = HTTPConnection("127.0.0.1", int(found[1]), timeout=300)
            body = {"messages": [{"role": "user", "content": "draw a red circle"}], "stream": True}
            headers = {"Content-Type": "application/json", "Authorization": "Bearer secret"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            lines = [response.readline() for _ in range(4)]
            process.send_signal(signal.SIGINT)
            rest = b"".join(lines) + response.read()
            assert b"image_url" in rest and rest.endswith(b"data: [DONE]\n\n") and b'"error"' not in rest
            assert process.wait(timeout=120) == 130
        finally:
            process.kill()
    assert not [name for name in names(tmp_path) if "anygpt-serve" in name]
