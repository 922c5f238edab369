"""The transformer projection against recorded outputs of NExT-GPT's own module (see their README)."""

import json
import math
import os
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anygpt.config import ProjectionConfig
from anygpt.projections import TransformerProjection

DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "conformance"
FOLDER = Path(os.environ.get("ANYGPT_CONFORMANCE", DEFAULT)) / "output-projection"
CASES = json.loads((FOLDER / "cases.json").read_text()) if (FOLDER / "cases.json").is_file() else {}
pytestmark = pytest.mark.skipif(not CASES, reason="no recordings: set ANYGPT_CONFORMANCE to their folder")


def formula(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The values that the recordings' README defines for a tensor's name and shape, in float64."""
    steps = torch.arange(math.prod(shape), dtype=torch.float64)
    values = torch.sin(0.7310585786 * steps + zlib.crc32(name.encode()) % 1000).reshape(shape)
    if name.endswith("bias"):
        return 0.1 * values
    if "norm" in name:
        return 1 + 0.1 * values
    if "query_embs" in name or name.startswith("input"):
        return values
    return values * math.sqrt(2 / shape[-1])


def projection(case: dict[str, int]) -> TransformerProjection:
    """NExT-GPT's sizes, with the case's own ends; weights by the formula, in float64."""
    model = (
        TransformerProjection(ProjectionConfig(), case["in_dim"], case["queries"], case["out_dim"])
        .double()
        .eval()
    )
    model.load_state_dict(
        {key: formula(key, tuple(value.shape)) for key, value in model.state_dict().items()}
    )
    return model


@pytest.mark.parametrize("name", sorted(CASES))
def test_conformance_output_projection(name: str) -> None:
    case = CASES[name]
    recorded = load_file(FOLDER / "outputs.safetensors")
    shape = (case["batch"], case["signal_tokens"], case["in_dim"])
    hidden = formula(f"input.hidden.{name}.{case['tag']}", shape)
    embeddings = formula(f"input.embedding.{name}.{case['tag']}", shape) / 2
    model = projection(case)
    assert len(model.state_dict()) == case["keys"]
    for dtype, tag, bound in ((torch.float64, "fp64", 1e-12), (torch.float32, "fp32", 5e-5)):
        with torch.no_grad():
            output = model.to(dtype)(hidden.to(dtype), embeddings.to(dtype))
        expected = recorded[f"{name}.out_{tag}"]
        assert output.shape == expected.shape
        error = (output - expected).abs().max() / expected.abs().max()
        assert error <= bound, f"{tag}: {error:.2e}"


def test_conformance_output_projection_keys() -> None:
    wanted = json.loads((FOLDER / "keys.json").read_text())
    case = next(case for case in CASES.values() if wanted["query_embs"][1] == case["queries"])
    sizes = {"out_dim": wanted["model.weight"][0], "in_dim": wanted["fc.weight"][1]}
    found = {key: list(value.shape) for key, value in projection({**case, **sizes}).state_dict().items()}
    assert found == wanted
