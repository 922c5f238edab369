"""The presets of published systems: they parse, and build at their real sizes without any weights."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_encoders
import tiny_model
import torch
from PIL import Image
from torch import nn

from anygpt.adapters.pretraining import QFormerPretraining
from anygpt.config import AnyGPTConfig, ConfigError
from anygpt.model import AnyGPT
from anygpt.outline import Outline, outline
from decoders import Decoder
from encoders.media import Audio, Video
from stages.assembly import read_preset

PRESETS = Path(__file__).parents[2] / "assets" / "presets"
SYSTEMS = sorted(path.stem for path in PRESETS.glob("*.yaml") if path.stem != "anygpt-tiny")
# in millions, as published or as counted in the published files
PARAMETERS = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": {"unet": 859.52, "vae": 83.65, "text_encoder": 123.06},
    "stabilityai/stable-diffusion-2": {"unet": 865.91, "text_encoder": 340.39},
    "stabilityai/stable-audio-open-1.0": {"transformer": 1056.9, "vae": 156.1, "text_encoder": 109.63},
    "cvssp/audioldm-l-full": {"unet": 739.14},
    "cvssp/audioldm": {"unet": 185.04},
    "cerspense/zeroscope_v2_576w": {"unet": 1411.23, "text_encoder": 340.39},
    "stabilityai/stable-diffusion-3.5-medium": {"text_encoder_2": 694.66, "text_encoder_3": 4762.31},
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": {"transformer": 1419.0, "text_encoder": 5680.91, "vae": 126.89},
    "Lightricks/LTX-Video": {"transformer": 1923.39},
}
LLMS = {"Qwen/Qwen3-1.7B": 1.72e9, "Qwen/Qwen3-8B": 8.19e9, "lmsys/vicuna-7b-v1.5": 6.738e9}


@cache
def laid_out(name: str) -> Outline:
    return outline(read_preset(PRESETS / f"{name}.yaml"))


def build(name: str) -> AnyGPT:
    """The preset at its real size, on the meta device: shapes, and no numbers."""
    return laid_out(name).model


def size(module: nn.Module | None) -> int:
    assert module is not None
    return sum(parameter.numel() for parameter in module.parameters())


def tokens(model: AnyGPT, patches: int, modality: str = "image") -> tuple[int, ...]:
    """The shape of what the adapter makes of one medium."""
    features = torch.zeros(1, patches, model.config.inputs[modality].dim, device="meta")
    return tuple(model.adapters[modality](features).shape[1:])


def test_llava() -> None:
    model = build("llava")
    assert tokens(model, 576) == (576, 4096)
    assert size(model.adapters) == 1024 * 4096 + 4096 + 4096 * 4096 + 4096


def test_blip2() -> None:
    model = build("blip2")
    assert tokens(model, 256) == (32, 2560)
    with torch.device("meta"):
        stage = QFormerPretraining(model.adapters["image"].map[0], vocabulary=30522, longest=512)
    assert size(stage) == pytest.approx(188e6, rel=0.01)  # the paper: 188 million


def test_flamingo() -> None:
    model = build("flamingo")
    assert tokens(model, 256) == tokens(model, 8 * 256, "video") == (64, 4096)
    assert model.cross_attention is not None and len(model.cross_attention.layers) == 8
    # OpenFlamingo-9B: 8 gated layers of a feed-forward four times the LLM's width
    assert 8 * 8 * 4096**2 < size(model.cross_attention) < 1.2e9


def test_nextgpt() -> None:
    model = build("nextgpt")
    assert all(tokens(model, 1, modality) == (1, 4096) for modality in ("image", "audio", "video"))
    assert size(model.adapters["image"]) == 4_198_400
    assert [len(model.signals.ids[modality]) for modality in ("image", "audio", "video")] == [4, 8, 24]
    # as in the published weights
    sizes = {modality: size(part) for modality, part in model.projections.items()}
    assert sizes == {"image": 31_958_784, "audio": 31_788_544, "video": 32_090_112}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_preset_is_laid_out_without_a_number(name: str) -> None:
    started = time.perf_counter()
    whole = outline(read_preset(PRESETS / f"{name}.yaml"))
    assert time.perf_counter() - started < 60
    modules = [whole.model, *whole.encoders.values()]
    modules += [part for decoder in whole.decoders.values() for part in decoder.modules.values()]
    assert {p.device.type for module in modules for p in module.parameters()} == {"meta"}
    if (llm := whole.model.config.llm) in LLMS:
        assert size(whole.model.llm) == pytest.approx(LLMS[llm], rel=0.002)
    for modality, decoder in whole.decoders.items():
        wanted = PARAMETERS.get(whole.model.config.outputs[modality].decoder, {})
        counted = {part: size(decoder.modules[part]) / 1e6 for part in wanted}
        assert counted == pytest.approx(wanted, rel=1e-3)


def denoise(decoder: Decoder, conditioning: torch.Tensor) -> torch.Tensor:
    """One step of the denoiser at its real width, from a conditioning as the pipeline's call passes it on."""
    network, given = decoder._denoiser, decoder.conditioning.to_kwargs(decoder.pipeline, conditioning)
    sequence = given["prompt_embeds"]

    def noise(*shape: int) -> torch.Tensor:
        return torch.zeros(1, *shape, device="meta")

    time = noise().long()
    if decoder.has_denoising_loss:
        channels = network.config.in_channels
        latents = noise(*([channels, 4] if decoder.modality == "video" else [channels]), 16, 16)
        kwargs = decoder.conditioning.denoiser_kwargs(decoder.pipeline, conditioning, latents)
        return network(latents, timestep=time, **kwargs).sample
    kind = type(network).__name__
    if kind == "WanTransformer3DModel":
        return network(noise(16, 1, 8, 8), time, sequence).sample
    if kind == "FluxTransformer2DModel":
        places = {"img_ids": noise(3)[0].expand(16, 3), "txt_ids": noise(3)[0].expand(sequence.shape[1], 3)}
        pooled = given["pooled_prompt_embeds"]
        return network(noise(16, 64), sequence, pooled_projections=pooled, timestep=time, **places).sample
    if kind == "LTXVideoTransformer3DModel":
        mask, sides = given["prompt_attention_mask"], {"num_frames": 1, "height": 4, "width": 4}
        return network(noise(16, 128), sequence, time, encoder_attention_mask=mask, **sides).sample
    assert kind == "StableAudioDiTModel"
    seconds = noise(2, network.config.cross_attention_input_dim)  # start and end, which the pipeline adds
    text = torch.cat(
        [decoder.pipeline.projection_model(text_hidden_states=sequence).text_hidden_states, seconds], 1
    )
    turns = (noise(8 + 1, 32)[0], noise(8 + 1, 32)[0])
    whole = seconds.flatten(1)[:, None]
    return network(
        noise(64, 8), time, encoder_hidden_states=text, global_hidden_states=whole, rotary_embedding=turns
    ).sample


@pytest.mark.parametrize("name", ["anygpt-base", "anygpt-small", "nextgpt", "nextgpt-current"])
def test_projections_give_what_the_denoisers_take(name: str) -> None:
    whole = laid_out(name)
    for modality, decoder in whole.decoders.items():
        run = len(whole.model.signals.run(modality))
        states = torch.zeros(1, run, whole.model.signals.embedding.shape[1], device="meta")
        conditioning = whole.model.project(modality, states, states)
        assert tuple(conditioning.shape[1:]) == decoder.conditioning_shape
        assert denoise(decoder, conditioning).shape[0] == 1


def test_another_decoder_is_one_line() -> None:
    config = read_preset(PRESETS / "anygpt-base.yaml")
    image = replace(
        config.outputs["image"], decoder="black-forest-labs/FLUX.1-schnell", conditioning=(513, 4096)
    )
    whole = outline(replace(config, outputs={"image": image}))
    assert size(whole.decoders["image"].modules["transformer"]) == pytest.approx(11.9e9, rel=0.01)
    denoise(whole.decoders["image"], torch.zeros(1, 513, 4096, device="meta"))
    wrong = replace(config, outputs={"image": replace(image, conditioning=(512, 4096))})
    with pytest.raises(ConfigError, match=r"conditioning is \(512, 4096\).*takes \(513, 4096\)"):
        outline(wrong)
    with pytest.raises(ConfigError, match="sizes of 'someone/unheard-of' are not known here"):
        outline(replace(config, llm="someone/unheard-of"))


def test_parts_in_folders_are_laid_out_from_their_own_files() -> None:
    tiny = PRESETS.parent / "anygpt-tiny"
    config = read_preset(PRESETS / "anygpt-tiny.yaml")
    whole = outline(config, tiny)
    loaded = AnyGPT.from_pretrained(tiny)
    assert size(whole.model.projections) == size(loaded.projections)
    assert size(whole.model.llm) == sum(
        p.numel() for n, p in loaded.llm.named_parameters() if "lora_" not in n
    )
    for modality, decoder in whole.decoders.items():
        own = loaded.decoder(modality).modules
        assert {k: size(v) for k, v in decoder.modules.items()} == {k: size(v) for k, v in own.items()}


# ── at reduced width, with random parts of the same classes ───────────────────────────────────────────

NARROW = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
NARROW_LLMS: dict[str, dict[str, Any]] = {
    "Qwen3ForCausalLM": {**NARROW, "num_key_value_heads": 2, "head_dim": 8},
    "LlamaForCausalLM": NARROW,
    "OPTForCausalLM": {**NARROW, "word_embed_proj_dim": 32, "ffn_dim": 48, "max_position_embeddings": 1024},
    "MptForCausalLM": {"d_model": 32, "n_layers": 4, "n_heads": 4, "max_seq_len": 1024},
}
ENCODERS: dict[str, Callable[[Path], None]] = {
    "ImageBindModel": tiny_model.build_imagebind,
    "CLIPVisionModel": tiny_encoders.clip_vision_alone,
    "Blip2VisionModel": tiny_encoders.blip2_vision,
    "ClapAudioModel": tiny_encoders.clap,
}
# each pipeline's reduced one, and the settings of the preset that are too large for it
PIPELINES: dict[str, tuple[str, dict[str, Any]]] = {
    "StableDiffusionPipeline": ("stable-diffusion", {}),
    "StableDiffusion3Pipeline": ("stable-diffusion-3", {}),
    "StableAudioPipeline": ("stable-audio", {"seconds": 0.05}),
    "AudioLDMPipeline": ("audio-ldm-hifi-gan", {"seconds": 0.16}),
    "TextToVideoSDPipeline": ("text-to-video", {"num_frames": 3, "height": 16, "width": 16}),
    "WanPipeline": ("wan", {"num_frames": 9, "height": 32, "width": 32}),
    "LTXPipeline": ("ltx-video", {"num_frames": 9, "height": 32, "width": 32}),
}
GIVEN: dict[str, Any] = {
    "image": Image.linear_gradient("L").convert("RGB"),
    "audio": Audio(np.random.default_rng(0).normal(0, 0.1, (1, 16_000)), 16_000),
    "video": Video(np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8), 4.0),
}


def save_llm(kind: type[Any], folder: Path) -> None:
    """A random LLM of a class, that says different things to different questions."""
    tokenizer = tiny_model.tiny_tokenizer()
    ids = {
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(0)
    settings = NARROW_LLMS[kind.__name__] | ids | {"vocab_size": len(tokenizer), "initializer_range": 0.3}
    kind(kind.config_class(**settings)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def reduced(name: str, folder: Path) -> AnyGPTConfig:
    """The preset's own config with its parts, of the same classes, made small and saved in `folder`."""
    published = laid_out(name)
    save_llm(type(published.model.llm), folder / "llm")
    inputs: dict[str, Any] = {}
    for modality, entry in published.model.config.inputs.items():
        own = type(published.encoders[entry.encoder]).__name__
        if not (folder / own).exists():
            ENCODERS[own](folder / own)
        sizes = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "feedforward": 24}
        adapter = replace(entry.adapter, **{k: v for k, v in sizes.items() if getattr(entry.adapter, k)})
        inputs[modality] = replace(entry, encoder=own, dim=None, adapter=adapter)
    outputs: dict[str, Any] = {}
    projection = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "feedforward": 32}
    for modality, output in published.model.config.outputs.items():
        pipeline, settings = PIPELINES[type(published.decoders[modality].pipeline).__name__]
        tiny.save_pipeline(pipeline, folder / f"{modality}-decoder")
        outputs[modality] = replace(
            output,
            decoder=f"{modality}-decoder",
            conditioning=None,
            projection=replace(output.projection, **projection),
            generation={**output.generation, **settings, "num_inference_steps": 2},
        )
    return replace(published.model.config, llm="llm", inputs=inputs, outputs=outputs)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_preset_answers_at_reduced_width(name: str, tmp_path: Path) -> None:
    """Given all that it takes, with all that it makes, by signal tokens and through captions."""
    published, config = laid_out(name), reduced(name, tmp_path)
    parts = [{"type": modality, modality: GIVEN[modality]} for modality in config.inputs]
    asked = [{"role": "user", "content": [*parts, {"type": "text", "text": "hello"}]}]
    ways: tuple[Any, ...] = ("signals", "captions") if config.outputs else ("signals",)
    for way in ways:
        outputs = {modality: replace(output, way=way) for modality, output in config.outputs.items()}
        model = AnyGPT.from_config(replace(config, outputs=outputs), tmp_path)
        assert type(model.llm) is type(published.model.llm)
        reply: Any = model.chat(asked, modalities=list(outputs), max_new_tokens=6)
        assert reply.text
        for modality in outputs:
            assert type(model.decoder(modality).pipeline) is type(published.decoders[modality].pipeline)
            made = [part for part in reply.content if part["type"] == modality]
            assert len(made) >= 1 and ("caption" in made[0]) == (way == "captions")
            medium = made[0][modality]
            values = np.asarray(getattr(medium, "samples", getattr(medium, "frames", medium)), dtype=float)
            assert np.isfinite(values).all() and values.std() > 0


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_preset_survives_its_config_json(name: str) -> None:
    config = read_preset(PRESETS / f"{name}.yaml")
    assert type(config).from_dict(config.to_dict()) == config
