"""The server on Ray Serve: the same answers as without, and none lost when replicas die."""

import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray.serve", reason="needs the extra `ray`")

import ray
import tiny_model
from servers import Server, serving

from anygpt.config import OutputConfig, ProjectionConfig
from anygpt.model import AnyGPT
from anygpt.serving.cluster import Cluster
from anygpt.serving.limits import Limits

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
REPLICAS, REQUESTS, CLIENTS, EVERY = 3, 300, 8, 10.0  # seconds
WILD = {"temperature": 2, "max_tokens": 60}  # a random model's talk, with media in it here and there


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one decoder: each replica is a process that must load what it needs."""
    projection = ProjectionConfig(hidden_size=16, num_layers=1, num_heads=2, feedforward=32)
    settings = {"num_inference_steps": 2, "guidance_scale": 2.0}
    image = OutputConfig("image-decoder", 3, projection, generation=settings)
    return tiny_model.build_checkpoint(tmp_path_factory.mktemp("model"), outputs={"image": image})


@pytest.fixture(scope="module")
def server(checkpoint: Path) -> Iterator[Server]:
    """Three replicas of everything; the machine is said to have processors enough."""
    here = Path(__file__).resolve().parents[2]
    environment = {"PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"}
    ray.init(
        num_cpus=32,
        log_to_driver=False,
        include_dashboard=False,
        runtime_env={"env_vars": environment},
        _system_config={
            "worker_niceness": 0
        },  # beside other work, Ray's own 15 leaves replicas no time to start
    )
    model = AnyGPT.from_pretrained(checkpoint)
    engine = partial(Cluster, checkpoint, (REPLICAS, REPLICAS))
    with serving(model, Limits(time=600), engine=engine) as server:
        yield server
    ray.shutdown()


def ask(server: Server, seed: int) -> Any:
    """The content of an answer."""
    body = {"messages": [{"role": "user", "content": "draw a red circle"}], "seed": seed, **WILD}
    status, _, answer = server.ask("POST", CHAT, body)
    assert status == 200, answer
    return json.loads(answer)["choices"][0]["message"]["content"]


def replicas() -> list[str]:
    named = ray.util.list_named_actors(all_namespaces=True)
    return [actor["name"] for actor in named if actor["name"].startswith("SERVE_REPLICA")]


def test_answers_are_those_of_one_process(server: Server, checkpoint: Path) -> None:
    with serving(server.model) as alone:
        expected = [ask(alone, seed) for seed in range(6)]
    assert [ask(server, seed) for seed in range(6)] == expected
    assert any(isinstance(content, list) for content in expected)  # pictures among them


def test_no_request_is_lost_when_replicas_die(server: Server) -> None:
    """Three of the LLM and three of the decoder, one of them killed every ten seconds during 300 requests."""
    over = threading.Event()
    killed: list[str] = []

    def kill() -> None:
        chance = random.Random(0)
        while not over.wait(EVERY if killed else 1):
            if names := replicas():
                killed.append(chance.choice(names))
                ray.kill(ray.get_actor(killed[-1], namespace="serve"), no_restart=True)

    killer = threading.Thread(target=kill)
    killer.start()
    begun = time.monotonic()
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(partial(ask, server), range(REQUESTS)))
    finally:
        over.set()
        killer.join()
    print(
        f"{len(answers)} answers in {time.monotonic() - begun:.0f} s, {len(killed)} replicas killed: {killed}"
    )
    assert len(answers) == REQUESTS and killed
    for seed in range(0, REQUESTS, 30):
        told = server.model.chat("draw a red circle", seed=seed, temperature=2, max_new_tokens=60)
        texts = [part["text"] for part in told.content if part["type"] == "text" and part["text"]]
        got = answers[seed]
        assert (
            [part["text"] for part in got if part["type"] == "text"] == texts
            if isinstance(got, list)
            else got == told.text
        )
