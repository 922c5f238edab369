from collections.abc import Callable
from pathlib import Path

import pytest

from decoders import Decoder
from tests.tiny import save_pipeline


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name of a tiny pipeline → its hub-style folder, made once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = save_pipeline(name, tmp_path_factory.mktemp("pipelines") / name)
        return made[name]

    return folder


@pytest.fixture
def decoder(pipeline_folder: Callable[[str], Path], request: pytest.FixtureRequest) -> Decoder:
    """The decoder of the tiny pipeline that the test is parametrised with."""
    return Decoder.from_pretrained(pipeline_folder(request.param))
