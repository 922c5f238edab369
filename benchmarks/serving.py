"""How `anygpt serve` bears load: many clients against one, first tokens, pictures together, and a long mixed run.

    python -m benchmarks.serving [MODEL] [--seconds 20] [--pictures 16] [--requests 2000]

The server is a process of its own, the clients are threads of this one. The mixed run has 10 % clients that leave in the
middle of an answer, 5 % malformed and 2 % oversized requests; every other answer is compared with the one that the same
question got alone. Memory is the server's resident set.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

CLIENTS = 16
ROUNDS = 3
PATIENCE = 300.0  # seconds, after which a request is taken to hang
CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
COLOURS = "red orange yellow green cyan blue purple pink".split()
SHAPES = "circle square triangle diamond star cross ring heart".split()
QUESTIONS = [f"draw a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
CANCELLED, MALFORMED, OVERSIZED = 0.10, 0.05, 0.02


@dataclass
class Server:
    """A server under test."""

    port: int
    process: subprocess.Popen[str]

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and JSON."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("POST", path, json.dumps(body), JSON)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def text(self, question: str, **options: Any) -> tuple[str, int]:
        """The text of an answer, and its number of tokens."""
        messages = [{"role": "user", "content": question}]
        status, answer = self.post(CHAT, {"messages": messages, "modalities": ["text"], **options})
        if status != 200:
            raise RuntimeError(f"{status}: {answer}")
        return answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]

    def first_token(self, question: str) -> float:
        """Seconds to the first text of a streamed answer, which is then left."""
        begun = time.perf_counter()
        for line in self._lines(question):
            if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                break
        return time.perf_counter() - begun

    def leave(self, question: str) -> None:
        """Ask, and hang up in the middle of the answer."""
        for _, _ in zip(range(8), self._lines(question), strict=False):
            pass

    def _lines(self, question: str) -> Iterator[bytes]:
        body = {"messages": [{"role": "user", "content": question}], "modalities": ["text"], "stream": True}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("POST", CHAT, json.dumps(body), JSON)
            yield from connection.getresponse()
        finally:
            connection.close()

    @property
    def memory(self) -> float:
        """MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def serving(model: str, *options: str) -> Iterator[Server]:
    """A server as a person starts it."""
    command = [sys.executable, "-m", "anygpt", "serve", model, "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:  # Ray tells of each death on stdout
        try:
            assert process.stderr is not None
            found = None
            while found is None:
                line = process.stderr.readline()
                if not line:
                    raise RuntimeError("the server did not start")
                found = re.search(r":(\d+)/v1", line)
            server = Server(int(found[1]), process)
            _until_ready(server)
            yield server
        finally:
            process.send_signal(signal.SIGINT)


def _until_ready(server: Server) -> None:
    while True:
        try:
            server.text("hello")
            return
        except OSError:
            time.sleep(0.2)


def tokens_a_second(server: Server, clients: int, seconds: float) -> float:
    """Tokens of all clients' answers, each asking again and again."""
    end = time.perf_counter() + seconds

    def ask(number: int) -> int:
        written = 0
        for turn in range(10**6):
            if time.perf_counter() > end:
                break
            written += server.text(QUESTIONS[(7 * number + turn) % len(QUESTIONS)])[1]
        return written

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        written = sum(pool.map(ask, range(clients)))
    return written / (time.perf_counter() - begun)


def pictures_a_second(server: Server, count: int, together: bool) -> float:
    """Pictures, one after another or all at once."""

    def draw(number: int) -> None:
        status, answer = server.post("/v1/images/generations", {"prompt": QUESTIONS[number % len(QUESTIONS)]})
        if status != 200:
            raise RuntimeError(f"{status}: {answer}")

    begun = time.perf_counter()
    with ThreadPoolExecutor(count if together else 1) as pool:
        list(pool.map(draw, range(count)))
    return count / (time.perf_counter() - begun)


def in_turns(measure: Callable[[bool], float]) -> tuple[float, float]:
    """The medians of a rate without and with company, measured in turns: a shared machine is not always as fast."""
    alone, together = [], []
    for _ in range(ROUNDS):
        alone.append(measure(False))
        together.append(measure(True))
    return statistics.median(alone), statistics.median(together)


@contextmanager
def busy(server: Server, clients: int) -> Iterator[None]:
    """So many clients that ask and ask, a quarter of them for pictures."""
    stop = threading.Event()

    def ask(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            question = QUESTIONS[(7 * number + turn) % len(QUESTIONS)]
            if number % 4 == 0:
                server.post("/v1/images/generations", {"prompt": question})
            else:
                server.text(question)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def first_tokens(server: Server, count: int) -> float:
    """The median of so many first tokens, one after another."""
    return statistics.median(server.first_token(QUESTIONS[number]) for number in range(count))


def mixed(server: Server, requests: int) -> tuple[Counter[str], float, float]:
    """What came of the requests, and MiB after the first and after the second half."""
    right = {question: server.text(question)[0] for question in QUESTIONS}
    draw = random.Random(0)
    outcomes: Counter[str] = Counter()
    memory = []

    def good(question: str) -> str:
        return "right" if server.text(question)[0] == right[question] else "wrong"

    def cancelled(question: str) -> str:
        server.leave(question)
        return "left"

    def malformed(question: str) -> str:
        status, answer = server.post(CHAT, {"messages": question, "sead": 1})
        return "refused" if status == 400 and "error" in answer else "wrong"

    def oversized(_: str) -> str:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
            head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Length: {2**31}\r\n"
            connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode())
            return "refused" if b" 413 " in connection.recv(4096).partition(b"\r\n")[0] else "wrong"

    def one(job: tuple[Callable[[str], str], str]) -> str:
        act, question = job
        try:
            return act(question)
        except TimeoutError:
            return "hung"
        except (OSError, RuntimeError):
            return "lost"

    shares = {cancelled: CANCELLED, malformed: MALFORMED, oversized: OVERSIZED}
    kinds = [*shares, good]
    weights = [*shares.values(), 1 - sum(shares.values())]
    for half in (requests // 2, requests - requests // 2):
        jobs = [(draw.choices(kinds, weights)[0], draw.choice(QUESTIONS)) for _ in range(half)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            outcomes.update(pool.map(one, jobs))
        memory.append(server.memory)
    return outcomes, memory[0], memory[1]


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", default="anygpt-tiny")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement of text")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--requests", type=int, default=2000, help="of the mixed run")
    given = parser.parse_args()
    print("| what | measured | wanted |\n| --- | ---: | ---: |")
    with serving(given.model) as server:
        one, many = in_turns(
            lambda together: tokens_a_second(server, CLIENTS if together else 1, given.seconds)
        )
        print(f"| tokens a second, one client | {one:.0f} | |")
        print(f"| tokens a second, {CLIENTS} clients | {many:.0f} ({many / one:.1f} ×) | ≥ 3 × |", flush=True)
        alone, together = in_turns(lambda together: pictures_a_second(server, given.pictures, together))
        print(f"| pictures a second, one by one | {alone:.2f} | |")
        print(
            f"| pictures a second, {given.pictures} at once | {together:.2f} ({together / alone:.1f} ×) | ≥ 2 × |",
            flush=True,
        )
        idle = first_tokens(server, 20)
        with busy(server, CLIENTS):
            loaded = first_tokens(server, 20)
        print(f"| first token, idle | {idle:.3f} s | |")
        print(
            f"| first token, {CLIENTS} clients | {loaded:.3f} s ({loaded / idle:.1f} ×) | ≤ 5 × |", flush=True
        )
        outcomes, first, second = mixed(server, given.requests)
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        print(f"| {given.requests} mixed requests | {told} | 0 lost, 0 wrong, 0 hung |")
        print(
            f"| memory after each half | {first:.0f}, {second:.0f} MiB ({second / first:.3f} ×) | ≤ 1.05 × |"
        )


if __name__ == "__main__":
    main()
