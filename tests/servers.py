"""Real servers in threads, for the tests of what clients see."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import uvicorn
from openai import OpenAI

from anygpt.model import AnyGPT
from anygpt.serving import application
from anygpt.serving.limits import Limits

SAMPLES = Path(__file__).resolve().parents[1] / "assets" / "samples"


@dataclass
class Server:
    port: int
    model: AnyGPT
    app: Any

    def client(self, key: str = "none") -> OpenAI:
        return OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, max_retries=0, timeout=300)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """A raw request: (status, headers, body); what is neither bytes nor None is sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return response.status, told, response.read()
        finally:
            connection.close()

    def error(
        self, method: str, path: str, body: Any = None, headers: Any = None
    ) -> tuple[int, dict[str, Any]]:
        """A raw request that is refused: (status, the error)."""
        status, _, answer = self.ask(method, path, body, headers)
        told = json.loads(answer)
        assert set(told) == {"error"} and set(told["error"]) == {"message", "type", "param", "code"}, told
        return status, told["error"]


@contextmanager
def serving(model: AnyGPT, limits: Limits | None = None, **settings: Any) -> Iterator[Server]:
    """Serve a model as long as this lasts."""
    app = application.create(model, "anygpt-tiny", limits=limits, **settings)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield Server(listening.getsockname()[1], model, app)
        finally:
            server.should_exit = True
            thread.join()
