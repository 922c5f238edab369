"""NExT-GPT's published weights → a checkpoint folder of this project."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anygpt.checkpoint import ASSETS, WEIGHTS, find_part, read_preset
from anygpt.config import AdapterConfig, AnyGPTConfig, InputConfig, LoraConfig, OutputConfig, SignalsConfig
from anygpt.conversion.files import ConversionError, new_folder
from anygpt.conversion.language import check_alike, gap, open_base, write_llm, write_lora
from anygpt.conversion.published import BASE_ROWS, LEGACY, MODALITIES, Published, check, read
from encoders.imagebind.model import LOGIT_SCALES

if TYPE_CHECKING:
    from torch import Tensor

PRESETS = {"legacy": "nextgpt.yaml", "current": "nextgpt-current.yaml"}
INPUTS = ("image", "audio", "video")


def convert_nextgpt(
    checkpoints: Sequence[Path],
    llm: str,
    out: Path,
    preset: Path | None = None,
    say: Callable[[str], None] = lambda step: None,
) -> Published:
    """Write the folder `out`, which `AnyGPT.from_pretrained` loads. Nothing is written before all has been checked.

    Args:
        checkpoints: `pytorch_model.pt` of any stage, or the current tree's files, or folders of them; of what several
            hold, the last one's is taken.
        llm: the base that they were trained on, a folder or a hub id.
        preset: names encoder and decoders, and has the sizes; None takes the tree's own parts.
        say: is told each step, as it begins.

    Returns:
        What was read; its `left_over` are the tensors that are not in `out`.

    Raises:
        ConversionError: a checkpoint or a base that is not what it should be, or `out` is taken.
        ConfigError: a preset or a base that cannot be read.
    """
    say("reading the checkpoint")
    published = read(checkpoints)
    plan = read_preset(preset or ASSETS / "presets" / PRESETS[published.tree.name])
    if absent := {*MODALITIES} - plan.outputs.keys() | {*INPUTS} - plan.inputs.keys():
        raise ConversionError(f"the preset lacks {', '.join(sorted(absent))}, which NExT-GPT takes and makes")
    say("reading the base")
    base, tokenizer = open_base(find_part(llm, None))
    check(published, plan, base)
    check_alike(published, base, llm)
    config = _config(published, plan, gap(published.tree))
    if not config.outputs:
        published.left_over.append("the signal tokens' rows, as no output projector is there")
    with new_folder(out) as folder:
        say("writing the language model")
        write_llm(published, base, tokenizer, folder / "llm")
        if published.lora:
            write_lora(published, folder / LoraConfig().path)
        say("writing the trained parts")
        _write_trained(published, config, folder / WEIGHTS)
        (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")
    return published


def _config(published: Published, plan: AnyGPTConfig, gap: int | None) -> AnyGPTConfig:
    """The converted model's configuration: the preset's parts, with the tree's prompt and the checkpoint's sizes."""
    legacy = published.tree is LEGACY
    adapter = published.under("adapter.")
    kind = AdapterConfig("mlp" if "0.weight" in adapter else "linear")

    def given(modality: str) -> InputConfig:
        return replace(
            plan.inputs[modality],
            # The current tree shows the LLM every patch, though it was written of as one token.
            features="pooled" if legacy else "patches",
            adapter=kind,
            around=("<Img>", "</Img>") if legacy else ("", "\n"),
        )

    outputs: dict[str, OutputConfig] = {}
    if published.under("projections."):
        outputs = {modality: plan.outputs[modality] for modality in MODALITIES}  # in the order of their ids
    return AnyGPTConfig(
        llm="llm",
        inputs={modality: given(modality) for modality in INPUTS} if adapter else {},
        outputs=outputs,
        lora=LoraConfig() if published.lora else None,
        signals=SignalsConfig(strip=True) if legacy else SignalsConfig(gap=gap),
    )


def trained_weights(published: Published, config: AnyGPTConfig) -> dict[str, Tensor]:
    """The tensors of model.safetensors by name."""
    weights: dict[str, Tensor] = {}
    for modality, entry in config.inputs.items():
        for name, value in published.under("adapter.").items():
            # ImageBind multiplies what it hears by a constant, which NExT-GPT leaves out.
            if modality == "audio" and entry.features == "pooled" and name == "weight":
                value = value / LOGIT_SCALES["audio"]
            weights[f"adapters.{modality}.map.{name}"] = value
    if config.outputs:
        weights |= {name: v for name, v in published.weights.items() if name.startswith("projections.")}
        first = BASE_ROWS + len(published.tree.added)
        weights["signals.embedding"] = published.weights["embedding"][first:]
        weights["signals.head"] = published.weights["head"][first:]
    return weights


def _write_trained(published: Published, config: AnyGPTConfig, path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    weights = trained_weights(published, config)
    if not config.outputs:  # `Signals` of no modality
        width = published.weights["embedding"].shape[1]
        weights |= {f"signals.{name}": torch.zeros(0, width) for name in ("embedding", "head")}
    # A tensor of its own for each: safetensors does not write shared memory.
    save_file({name: value.clone() for name, value in weights.items()}, path, metadata={"format": "pt"})
