"""What a converted checkpoint's projections and adapters make, against the published definition and against recordings.

Each of the legacy tree's three stages goes the whole way: a file with true names in float64, the converter, the folder, the model.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import published as files
import pytest
import torch
from published import Sizes
from safetensors.torch import load_file

from anygpt.conversion.answers import RECORDED, formula
from anygpt.conversion.nextgpt import convert_nextgpt
from anygpt.model import AnyGPT

DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "conformance"
RECORDINGS = Path(os.environ.get("ANYGPT_CONFORMANCE", DEFAULT)) / "output-projection"
STAGES = (1, 2, 3)
PROJECTORS = {
    "image": "gen_text_hidden_fcs.0.",
    "video": "gen_text_hidden_fcs_video.0.",
    "audio": "gen_text_hidden_fcs_audio.0.",
}
Weights = dict[str, Any]


def convert(folder: Path, stage: int, sizes: Sizes, weights: dict[str, torch.Tensor]) -> AnyGPT:
    """A checkpoint of a stage → the model, in float64; `weights` replace random ones."""
    llm = files.base(sizes)
    llm.save_pretrained(folder / "vicuna")
    files.base_tokenizer().save_pretrained(folder / "vicuna")
    files.save_preset(folder / "preset.yaml", sizes)
    whole = files.numbers(files.legacy(stage, sizes), llm, seed=stage, dtype=torch.float64) | weights
    files.save(folder / "legacy", {"pytorch_model.pt": whole})
    convert_nextgpt([folder / "legacy"], str(folder / "vicuna"), folder / "out", folder / "preset.yaml")
    return AnyGPT.from_pretrained(folder / "out", dtype=torch.float64)


# ── the definition, in plain numbers (NExT-GPT, arXiv 2309.05519; the transformer is that of arXiv 1706.03762, pre-norm) ──


def linear(x: Any, w: Weights, name: str) -> Any:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(x: Any, w: Weights, name: str) -> Any:
    spread = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return (x - x.mean(-1, keepdims=True)) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def attend(x: Any, source: Any, w: Weights, name: str, heads: int) -> Any:
    """(tokens, width) looks at (others, width)."""
    thirds = zip(
        np.split(w[f"{name}.in_proj_weight"], 3), np.split(w[f"{name}.in_proj_bias"], 3), strict=True
    )
    queries, keys, values = (
        np.stack(np.split(given @ weight.T + bias, heads, -1))
        for given, (weight, bias) in zip((x, source, source), thirds, strict=True)
    )
    scores = queries @ keys.transpose(0, 2, 1) / np.sqrt(queries.shape[-1])
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = shares / shares.sum(-1, keepdims=True) @ values
    return linear(np.concatenate(mixed, -1), w, f"{name}.out_proj")


def defined(w: Weights, states: Any, depth: int, heads: int) -> Any:
    """One run's states plus embeddings (tokens, hidden) → conditioning (queries, dim)."""
    source, made = linear(states, w, "fc"), w["query_embs"][0]
    for at in (f"tfm.encoder.layers.{layer}." for layer in range(depth)):
        inner = norm(source, w, f"{at}norm1")
        source = source + attend(inner, inner, w, f"{at}self_attn", heads)
        inner = linear(norm(source, w, f"{at}norm2"), w, f"{at}linear1")
        source = source + linear(inner.clip(0), w, f"{at}linear2")
    source = norm(source, w, "tfm.encoder.norm")
    for at in (f"tfm.decoder.layers.{layer}." for layer in range(depth)):
        inner = norm(made, w, f"{at}norm1")
        made = made + attend(inner, inner, w, f"{at}self_attn", heads)
        made = made + attend(norm(made, w, f"{at}norm2"), source, w, f"{at}multihead_attn", heads)
        inner = linear(norm(made, w, f"{at}norm3"), w, f"{at}linear1")
        made = made + linear(inner.clip(0), w, f"{at}linear2")
    return linear(norm(made, w, "tfm.decoder.norm"), w, "model")


@pytest.mark.parametrize("stage", STAGES)
def test_what_goes_in_and_out_is_what_the_definition_says(tmp_path: Path, stage: int) -> None:
    sizes = Sizes(depth=2)
    shapes = {
        name: shape
        for name, shape in files.legacy(stage, sizes).items()
        if name.startswith(("gen_", "llama_proj"))
    }
    weights = {name: 4 * value for name, value in files.numbers(shapes, seed=9, dtype=torch.float64).items()}
    model = convert(tmp_path, stage, sizes, weights)
    assert model.has_lora == (stage == 3)
    random = np.random.default_rng(stage)
    plain = {name: value.numpy() for name, value in weights.items()}
    for modality, prefix in PROJECTORS.items():
        run = len(model.signals.run(modality))
        hidden, embeddings = random.normal(size=(2, 3, run, sizes.hidden))
        with torch.no_grad():
            made = model.project(modality, torch.from_numpy(hidden), torch.from_numpy(embeddings)).numpy()
        own = {name.removeprefix(prefix): value for name, value in plain.items() if name.startswith(prefix)}
        wanted = np.stack([defined(own, states, sizes.depth, sizes.heads) for states in hidden + embeddings])
        assert made.shape == wanted.shape and wanted.std() > 0.01
        assert np.abs(made - wanted).max() <= 1e-12 * np.abs(wanted).max(), modality
        # ImageBind's scale of what it hears is divided out, as NExT-GPT leaves it out
        heard = random.normal(size=(2, 1, sizes.features))
        with torch.no_grad():
            read = model.adapters[modality](
                torch.from_numpy(heard * (20 if modality == "audio" else 1))
            ).numpy()
        wanted = linear(heard, plain, "llama_proj")
        assert np.abs(read - wanted).max() <= 1e-12 * np.abs(wanted).max(), modality


# ── recordings of NExT-GPT's own module, at its own width ──


def recorded_sizes(cases: dict[str, Any]) -> Sizes:
    ends = {m: (case["queries"], case["out_dim"]) for m, case in cases.items()}
    hidden = cases["image"]["in_dim"]
    return Sizes(hidden, 1, 16, 16, 4, 512, 4, 2048, 4, ends["image"], ends["video"], ends["audio"])


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_projections_answer_as_recorded(tmp_path: Path, stage: int) -> None:
    if not (RECORDINGS / "cases.json").is_file():
        pytest.skip(f"no recordings at {RECORDINGS}; set ANYGPT_CONFORMANCE to the folder above")
    cases = json.loads((RECORDINGS / "cases.json").read_text())
    recorded = load_file(RECORDINGS / "outputs.safetensors")
    sizes = recorded_sizes(cases)
    shapes = {name: shape for name, shape in files.legacy(stage, sizes).items() if name.startswith("gen_")}
    weights = {name: formula(name.partition(".0.")[2], shape) for name, shape in shapes.items()}
    model = convert(tmp_path, stage, sizes, weights)
    for modality, case in cases.items():
        shape = (case["batch"], case["signal_tokens"], case["in_dim"])
        hidden = formula(f"input.hidden.{modality}.{case['tag']}", shape)
        embeddings = formula(f"input.embedding.{modality}.{case['tag']}", shape) / 2
        with torch.no_grad():
            made = model.project(modality, hidden, embeddings)
        wanted = recorded[f"{modality}.out_fp64"]
        assert made.shape == wanted.shape
        assert (made - wanted).abs().max() / wanted.abs().max() <= 1e-12, modality
    assert recorded["audio.out_fp64"][0, 0, :4].tolist() == list(RECORDED)
