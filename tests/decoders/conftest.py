from collections.abc import Callable
from pathlib import Path

import pytest

from decoders import Decoder
from tests.tiny import save_pipeline

# for pipelines that do not take their denoiser's size for a default
SIZES = {
    "flux": {"height": 16, "width": 16},
    "wan": {"height": 16, "width": 16, "num_frames": 5},
    "ltx-video": {"height": 32, "width": 32, "num_frames": 9},
}


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
    decoder = Decoder.from_pretrained(pipeline_folder(request.param))
    decoder.defaults = dict(SIZES.get(request.param, {}))
    return decoder
