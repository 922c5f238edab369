"""The server on Ray Serve: the same answers as without, also when replicas die; how many do, `benchmarks.serving_ray` measures."""

import asyncio
import base64
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray.serve", reason="needs the extra `ray`")

import ray
import tiny_model
from PIL import Image
from ray import serve
from servers import SAMPLES, Server, serving

from anygpt.config import OutputConfig, ProjectionConfig
from anygpt.marks import Caption
from anygpt.model import AnyGPT
from anygpt.serving.cluster import HEALTH, NAME, _again_if_it_dies, deploy, on_ray
from anygpt.serving.front import load_front
from anygpt.serving.limits import Limits

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
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
    """Two replicas of everything."""
    engine = partial(deploy, checkpoint, {}, (2, 2))
    with on_ray(5), serving(load_front(checkpoint), Limits(time=300), engine=engine) as server:
        yield server


def ask(server: Server, seed: int, **more: Any) -> Any:
    """The content of an answer."""
    body = {"messages": [{"role": "user", "content": "draw a red circle"}], "seed": seed, **WILD, **more}
    status, _, answer = server.ask("POST", CHAT, body)
    assert status == 200, answer
    return json.loads(answer)["choices"][0]["message"]["content"]


def assert_alike(contents: list[Any], expected: list[Any]) -> None:
    """The same texts, and pictures that differ by rounding at most: a replica has fewer threads, which sum in another order."""
    for parts, others in zip(contents, expected, strict=True):
        if isinstance(others, str):
            assert parts == others
            continue
        assert [part.get("text") for part in parts] == [part.get("text") for part in others]
        pictures, wanted = (
            [pixels(part) for part in each if part["type"] == "image_url"] for each in (parts, others)
        )
        for picture, other in zip(pictures, wanted, strict=True):
            np.testing.assert_allclose(picture, other, rtol=0, atol=1)


def pixels(part: dict[str, Any]) -> np.ndarray:
    data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)), dtype=int)


def replicas() -> list[str]:
    named = ray.util.list_named_actors(all_namespaces=True)
    return [actor["name"] for actor in named if actor["name"].startswith("SERVE_REPLICA")]


def test_answers_are_those_of_one_process(server: Server, checkpoint: Path) -> None:
    assert next(server.model.llm.parameters()).is_meta  # the front has no weights of the LLM
    with serving(AnyGPT.from_pretrained(checkpoint)) as alone:
        expected = [ask(alone, seed) for seed in range(6)]
    assert_alike([ask(server, seed) for seed in range(6)], expected)
    assert any(isinstance(content, list) for content in expected)  # pictures among them


def test_a_picture_goes_in_as_with_one_process(server: Server, checkpoint: Path) -> None:
    """The front reads it, and the LLM elsewhere sees it."""
    url = f"data:image/png;base64,{base64.b64encode((SAMPLES / 'picture.png').read_bytes()).decode()}"
    shown = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what is this?"}]
    messages = {"messages": [{"role": "user", "content": shown}]}
    with serving(AnyGPT.from_pretrained(checkpoint)) as alone:
        expected = [ask(alone, seed, **messages) for seed in range(2)]
    assert_alike([ask(server, seed, **messages) for seed in range(2)], expected)
    assert expected != [ask(server, seed) for seed in range(2)]


def test_a_decoders_word_about_a_setting_is_for_the_client(server: Server) -> None:
    """And not the traceback that Ray makes of it."""
    make = serve.get_app_handle(f"{NAME}-image").options(stream=True).make

    async def drawn() -> None:
        async for _ in _again_if_it_dies(make, Caption("image", "draw"), 0, {"height": 13, "width": 13}):
            pass

    with pytest.raises(ValueError, match="13") as caught:
        asyncio.run(drawn())
    assert "Traceback" not in str(caught.value) and "ray" not in str(caught.value)


def test_a_client_that_leaves_stops_the_decoder(server: Server) -> None:
    more: dict[str, Any] = {
        "modalities": ["image"],
        "num_inference_steps": 200,
        "height": 256,
        "width": 256,
        "stream_options": {"include_progress": True},
    }
    with server.client() as client:
        for _ in range(2):  # both replicas are taken
            with client.chat.completions.create(
                model="anygpt-tiny",
                messages=[{"role": "user", "content": "draw"}],
                max_tokens=1,
                stream=True,
                extra_body=more,
            ) as stream:
                next(chunk for chunk in stream if not chunk.choices)
    begun = time.monotonic()
    assert isinstance(ask(server, 0, modalities=["image"], max_tokens=1), list)
    assert time.monotonic() - begun < 20  # all their steps would take minutes


def test_what_a_replica_had_begun_another_one_begins_anew(server: Server) -> None:
    """All replicas but one of each kind die in the midst of answers; those that follow find two of each again."""
    expected = {seed: ask(server, seed) for seed in range(12)}
    with ThreadPoolExecutor(12) as pool:
        answers = {seed: pool.submit(ask, server, seed) for seed in expected}
        time.sleep(0.5)
        before = replicas()
        for app in ("llm", "image"):
            first = next(name for name in before if f"{NAME}-{app}" in name)
            ray.kill(ray.get_actor(first, namespace="serve"), no_restart=True)
        assert {seed: answer.result() for seed, answer in answers.items()} == expected
    deadline = time.monotonic() + 120
    while len(replicas()) < 4 or set(replicas()) == set(before):
        assert time.monotonic() < deadline
        time.sleep(HEALTH)
