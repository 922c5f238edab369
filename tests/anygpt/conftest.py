"""One tiny random model for all tests of this room: built once, loaded anew for each test."""

from pathlib import Path

import pytest
import tiny_model
import torch

from anygpt.model import AnyGPT


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_model.build_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(checkpoint: Path) -> AnyGPT:
    return AnyGPT.from_pretrained(checkpoint)


@pytest.fixture(scope="session")
def shared_model(checkpoint: Path) -> AnyGPT:
    """For tests that change nothing."""
    return AnyGPT.from_pretrained(checkpoint)
