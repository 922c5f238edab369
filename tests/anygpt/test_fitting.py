"""Models that are fitted into memory answer as they do anyway; what this machine cannot do is said."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
import torch
from PIL import Image

from anygpt import AnyGPT
from anygpt.cli import main
from anygpt.config import AdapterConfig, InputConfig
from anygpt.fitting import Fitting, FittingError, read_loading
from anygpt.generation import Reply

DRAW = {"modalities": ["image", "audio", "video"], "max_new_tokens": 4}
BITSANDBYTES = importlib.util.find_spec("bitsandbytes") is not None


def on_meta(module: torch.nn.Module) -> bool:
    return all(parameter.device.type == "meta" for parameter in module.parameters())


def arrays(reply: Any) -> list[Any]:
    """What an answer is made of, to be compared."""
    found = [part[part["type"]] for part in reply.content]
    return [np.asarray(getattr(m, "samples", getattr(m, "frames", m))).tolist() for m in found]


def test_what_is_offloaded_to_disk_answers_the_same(
    checkpoint: Path, shared_model: AnyGPT, tmp_path: Path
) -> None:
    look = [
        {"role": "user", "content": [{"type": "image", "image": Image.new("RGB", (40, 40), "red")}, "hello"]}
    ]
    model = AnyGPT.from_pretrained(checkpoint, fitting=Fitting(offload="disk", offload_folder=str(tmp_path)))
    assert on_meta(model.llm) and model.device.type == "cpu"
    for asked in ("one two", look):
        reply, wanted = (one.chat(asked, **DRAW) for one in (model, shared_model))
        for made, meant in zip(reply.content, wanted.content, strict=True):
            if made["type"] == "audio":
                # weights from a file lie elsewhere in memory: on some processors, other last digits
                sounds = [part["audio"].samples for part in (made, meant)]
                assert np.allclose(*sounds, rtol=0, atol=1e-7)
            else:
                assert arrays(Reply([made])) == arrays(Reply([meant]))
    assert on_meta(model.decoder("image").pipeline.unet) and on_meta(model.encoder("image"))
    assert on_meta(model.llm)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.dat")) > 4 * sum(
        p.numel() for p in shared_model.llm.parameters()
    )


PARTLY = {
    **dict.fromkeys(("model.embed_tokens", "model.layers.0"), "disk"),
    **dict.fromkeys(("model.layers.1", "model.norm", "model.rotary_emb", "lm_head"), "cpu"),
}


@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}, PARTLY])
def test_a_device_map_is_transformers_own(
    checkpoint: Path, shared_model: AnyGPT, tmp_path: Path, device_map: Any
) -> None:
    fitting = Fitting(device_map=device_map, offload_folder=str(tmp_path))
    model = AnyGPT.from_pretrained(checkpoint, fitting=fitting)
    if device_map is PARTLY:
        assert on_meta(model.llm.model.layers[0]) and not on_meta(model.llm.model.layers[1])
        fresh = AnyGPT.from_config(
            model.config, checkpoint, fitting=fitting
        )  # starts from rows that lie on disk
        assert torch.isfinite(fresh.signals.embedding).all() and fresh.signals.embedding.std() > 0
    reply, wanted = (one.chat("one two", max_new_tokens=12) for one in (model, shared_model))
    assert reply.text == wanted.text


def test_sizes_that_a_config_leaves_out_are_found_with_parts_on_disk(tmp_path: Path) -> None:
    folder = tiny_model.build_checkpoint(tmp_path / "model")
    model = AnyGPT.from_pretrained(folder)
    inputs = {"image": InputConfig("imagebind", "patches", AdapterConfig("mlp"))}
    outputs = {
        "image": model.config.outputs["image"].__class__(
            "image-decoder", generation={"num_inference_steps": 1}
        )
    }
    config = model.config.__class__("llm", inputs=inputs, outputs=outputs)
    fitted = AnyGPT.from_config(config, folder, fitting=Fitting(offload="disk"))
    assert fitted.config.inputs["image"].dim == 16 and on_meta(fitted.encoder("image"))
    assert on_meta(fitted.decoder("image").pipeline.unet)


def test_a_vae_that_goes_piece_by_piece(checkpoint: Path) -> None:
    model = AnyGPT.from_pretrained(checkpoint, fitting=Fitting(vae_tiling=True))
    vae: Any = model.decoder("image").pipeline.vae
    assert vae.use_slicing and vae.use_tiling


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_what_needs_a_gpu_says_so(checkpoint: Path) -> None:
    with pytest.raises(FittingError, match="finds no GPU here; leave the device out"):
        AnyGPT.from_pretrained(checkpoint, device="cuda")
    with pytest.raises(FittingError, match="needs device='cuda'; without a GPU, offload='disk'"):
        AnyGPT.from_pretrained(checkpoint, fitting=Fitting(offload="cpu"))


@pytest.mark.skipif(BITSANDBYTES, reason="it is installed")
def test_bitsandbytes_is_asked_for(checkpoint: Path) -> None:
    with pytest.raises(FittingError, match="pip install bitsandbytes"):
        AnyGPT.from_pretrained(checkpoint, fitting=Fitting(quantization="nf4"))


def test_wrong_ways_are_named() -> None:
    with pytest.raises(FittingError, match="did you mean 'disk'"):
        Fitting(offload="disc")  # type: ignore[arg-type]
    with pytest.raises(FittingError, match="accepted: 'int8', 'nf4'"):
        Fitting(quantization="fp4")  # type: ignore[arg-type]
    with pytest.raises(FittingError, match="offload='cpu' goes with them"):
        Fitting(quantization="nf4", offload="disk")


def test_bits_are_asked_of_both_libraries() -> None:
    fitting = Fitting(quantization="nf4")
    given = fitting.llm_arguments(torch.device("cpu"), torch.bfloat16)
    assert given["device_map"] == {"": torch.device("cpu")}
    config = given["quantization_config"]
    assert (
        config.load_in_4bit
        and config.bnb_4bit_quant_type == "nf4"
        and config.bnb_4bit_compute_dtype == torch.bfloat16
    )
    assert (
        Fitting(quantization="int8")
        .llm_arguments(torch.device("cpu"), torch.float32)["quantization_config"]
        .load_in_8bit
    )


@pytest.mark.skipif(not BITSANDBYTES, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("bits", ["int8", "nf4"])
def test_weights_in_fewer_bits(checkpoint: Path, shared_model: AnyGPT, bits: Any) -> None:
    model = AnyGPT.from_pretrained(checkpoint, fitting=Fitting(quantization=bits))
    kinds = {type(layer).__name__ for layer in model.llm.modules()}
    assert ("Linear8bitLt" if bits == "int8" else "Linear4bit") in kinds
    reply = model.chat("one two", **DRAW)
    assert len(reply.images) == 1  # type: ignore[union-attr]


@pytest.mark.skipif(not BITSANDBYTES, reason="bitsandbytes is not installed")
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_decoders_ask_diffusers_for_fewer_bits(checkpoint: Path) -> None:
    """As far as the library goes without a GPU."""
    from decoders import Decoder, DecoderError

    given = Fitting(quantization="nf4").pipeline_arguments(torch.device("cuda"), torch.float16)
    assert given["quantization_config"].quant_kwargs["bnb_4bit_compute_dtype"] == torch.float16
    with pytest.raises(DecoderError, match="A GPU is needed for quantization"):
        Decoder.from_pretrained(checkpoint / "image-decoder", **given)


def test_keys_of_the_command_line() -> None:
    given = read_loading(["device=cpu", "dtype=bfloat16", "offload=disk", "vae_tiling=true"])
    assert given == {
        "device": "cpu",
        "dtype": "bfloat16",
        "fitting": Fitting(offload="disk", vae_tiling=True),
    }
    for text, told in (
        ("ofload=cpu", "did you mean 'offload'"),
        ("dtype=float8", "unknown number format"),
        ("device", "a value is missing"),
        ("vae_tiling=yes", "true or false"),
    ):
        with pytest.raises(FittingError, match=told):
            read_loading([text])


def test_the_command_line_loads_as_it_is_told(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "generate",
        "hello",
        "--model",
        str(checkpoint),
        "--output-dir",
        str(tmp_path),
        "--max-new-tokens",
        "3",
    ]
    assert main([*command, "--load", "offload=disk", "--load", "dtype=bfloat16"]) == 0
    assert capsys.readouterr().out
    assert main([*command, "--load", "device=cuda"]) == (0 if torch.cuda.is_available() else 2)
    assert main([*command, "--load", "speed=high"]) == 2
    assert "unknown key 'speed'" in capsys.readouterr().err
