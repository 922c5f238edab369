"""One tiny random model for all tests of this room: built once, loaded anew for each test."""

from pathlib import Path
from typing import Any

import pytest
import tiny_model
import torch
from short_runs import INPUTS

from anygpt.model import AnyGPT


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_model.build_checkpoint(tmp_path_factory.mktemp("model"), inputs=INPUTS)


@pytest.fixture
def model(checkpoint: Path) -> AnyGPT:
    return AnyGPT.from_pretrained(checkpoint)


@pytest.fixture
def preset() -> dict[str, Any]:
    """A new model on that one's frozen parts, as the keys of a config.json."""
    sizes: dict[str, dict[str, Any]] = {"image": {}, "audio": {"seconds": 0.5}, "video": {"num_frames": 4}}
    projection = {
        "kind": "transformer",
        "hidden_size": 16,
        "num_layers": 1,
        "num_heads": 2,
        "feedforward": 32,
    }
    return {
        "llm": "llm",
        "inputs": {m: {"encoder": "imagebind", "adapter": {"kind": "linear"}} for m in INPUTS},
        "outputs": {
            modality: {
                "decoder": f"{modality}-decoder",
                "signal_tokens": 3,
                "projection": projection,
                "generation": {"num_inference_steps": 1, **size}
                | ({} if modality == "audio" else {"height": 32, "width": 32}),
            }
            for modality, size in sizes.items()
        },
    }
