"""Whether `anygpt serve --ray` loses a request when replicas die: one is killed every ten seconds while clients ask.

    python -m benchmarks.serving_ray [MODEL] [--replicas 3] [--requests 300] [--rate 3]

The server is a process of its own, and so is each replica; in turn one of the LLM's and one of the picture decoder's, whether it
serves or is still starting, gets SIGKILL. Every third request is for a picture. Each answer is compared with the one that its question
got before anything was killed. The machine must be Linux.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.serving import CHAT, QUESTIONS, Server, serving

CLIENTS = 16
EVERY = 10.0  # seconds from one kill to the next
ASKED = QUESTIONS[::8]
KILLED = ("llm", "image")


def answer(server: Server, number: int) -> Any:
    """The content of the answer to the question of a request's number."""
    question = {"role": "user", "content": ASKED[number // 3 % len(ASKED)]}
    body: dict[str, Any] = {"messages": [question], "modalities": ["text"]}
    if number % 3 == 0:
        # a seed, so that the picture is the same to the byte
        body |= {"modalities": ["text", "image"], "seed": 0, "num_inference_steps": 4}
    status, told = server.post(CHAT, body)
    if status != 200:
        raise RuntimeError(f"{status}: {told}")
    return told["choices"][0]["message"]["content"]


def replicas(server: Server) -> Iterator[tuple[int, str]]:
    """(process, its name) of each replica that may be killed, among the server's children's children."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, name = (folder / "stat").read_text(), (folder / "cmdline").read_text()
        except OSError:  # it has just ended
            continue
        parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1])
        names[int(folder.name)] = name.split("\0")[0]
    for process, name in names.items():
        kind = name.partition("ServeReplica:anygpt-")[2].partition(":")[0]
        if kind in KILLED and parents.get(parents[process]) == server.process.pid:
            yield process, kind


def kill(server: Server, over: threading.Event, killed: list[str]) -> None:
    """Kill a replica every ten seconds."""
    lot = random.Random(0)
    while not over.wait(EVERY):
        kind = KILLED[len(killed) % len(KILLED)]
        if found := sorted(process for process, its in replicas(server) if its == kind):
            os.kill(lot.choice(found), signal.SIGKILL)
            killed.append(kind)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", default="anygpt-tiny")
    parser.add_argument("--replicas", type=int, default=3, help="of the LLM and of each decoder")
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--rate", type=float, default=3.0, help="requests a second")
    given = parser.parse_args()
    begun = time.perf_counter()
    count = str(given.replicas)
    with serving(given.model, "--ray", "--min-replicas", count, "--max-replicas", count) as server:
        ready = time.perf_counter() - begun
        right = [answer(server, number) for number in range(3 * len(ASKED))]

        def one(number: int) -> tuple[str, float]:
            time.sleep(max(0.0, begun + number / given.rate - time.perf_counter()))
            asked = time.perf_counter()
            try:
                same = answer(server, number) == right[number % len(right)]
                outcome = "right" if same else "wrong"
            except TimeoutError:
                outcome = "hung"
            except (OSError, RuntimeError) as error:
                outcome = "lost"
                print(f"request {number}: {error}", flush=True)
            return outcome, time.perf_counter() - asked

        over, killed = threading.Event(), list[str]()
        killer = threading.Thread(target=kill, args=(server, over, killed))
        killer.start()
        begun = time.perf_counter()
        try:
            with ThreadPoolExecutor(CLIENTS) as pool:
                outcomes, seconds = zip(*pool.map(one, range(given.requests)), strict=True)
        finally:
            over.set()
            killer.join()
        lasted = time.perf_counter() - begun
    told = ", ".join(f"{n} {outcome}" for outcome, n in sorted(Counter(outcomes).items()))
    dead = ", ".join(f"{n} of {kind}" for kind, n in sorted(Counter(killed).items()))
    print("| what | measured | wanted |\n| --- | ---: | ---: |")
    print(f"| {given.requests} requests in {lasted:.0f} s | {told} | {given.requests} right |")
    print(f"| replicas killed, of {given.replicas} of each kind | {len(killed)} ({dead}) | one in 10 s |")
    print(
        f"| seconds of an answer, middle and longest | {sorted(seconds)[len(seconds) // 2]:.1f}, {max(seconds):.1f} | |"
    )
    print(f"| seconds until the server was ready | {ready:.0f} | |")


if __name__ == "__main__":
    main()
