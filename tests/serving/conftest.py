"""The shipped model behind a real server, and a random one for the engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_model
import torch
from servers import Server, serving

from anygpt.model import AnyGPT
from anygpt.serving.limits import Limits


@pytest.fixture(scope="session")
def shipped() -> AnyGPT:
    torch.set_num_threads(1)
    return AnyGPT.from_pretrained("anygpt-tiny")


@pytest.fixture(scope="session")
def server(shipped: AnyGPT) -> Iterator[Server]:
    """With small limits, and without a key."""
    limits = Limits(bytes=2**20, pixels=8_000_000, audio_seconds=60, video_seconds=30)
    with serving(shipped, limits) as server:
        yield server


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> AnyGPT:
    torch.set_num_threads(1)
    return AnyGPT.from_pretrained(tiny_model.build_checkpoint(Path(tmp_path_factory.mktemp("model"))))
