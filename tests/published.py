"""Files as NExT-GPT's two source trees write them: true names, reduced width, random numbers.

Names and shapes are written out here from those trees, and share nothing with `anygpt.conversion`.

    python tests/published.py DIR     # a base, a checkpoint of each stage of both trees, a preset of their sizes
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
LLAMA = {
    "▁###": 835, "##": 2277, "▁": 29871, "#": 29937, ":": 29901, "▁Human": 12968, "▁Ass": 4007, "istant": 22137,
    "▁hello": 22172, "▁▁": 259, "▁Here": 2266, "▁it": 372, "▁is": 338,
}  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """Of a whole system; the defaults are the smallest that tell all parts apart."""

    hidden: int = 32
    layers: int = 2
    feedforward: int = 48
    features: int = 16
    rank: int = 4
    width: int = 16  # of projectors, as the next four
    depth: int = 1
    inner: int = 32
    heads: int = 2
    image: tuple[int, int] = (7, 24)
    video: tuple[int, int] = (7, 40)
    audio: tuple[int, int] = (1, 16)


FULL = Sizes(4096, 32, 11008, 1024, 32, 512, 4, 2048, 4, (77, 768), (77, 1024), (1, 512))


def preset(sizes: Sizes, imagebind: str = "imagebind") -> dict[str, Any]:
    """The content of a preset of these sizes."""
    projection = {
        "hidden_size": sizes.width,
        "num_layers": sizes.depth,
        "num_heads": sizes.heads,
        "feedforward": sizes.inner,
    }
    return {
        "llm": "llm",
        "inputs": {m: {"encoder": imagebind, "dim": sizes.features} for m in ("image", "audio", "video")},
        "outputs": {
            m: {
                "decoder": f"{m}-decoder",
                "signal_tokens": tokens,
                "conditioning": list(getattr(sizes, m)),
                "projection": projection,
            }
            for m, tokens in (("image", 4), ("audio", 8), ("video", 24))
        },
    }


def projector(
    prefix: str, sizes: Sizes, made: tuple[int, int], fc: str = "fc", model: str = "model"
) -> Shapes:
    d, f = sizes.width, sizes.inner
    shapes: Shapes = {
        f"{fc}.weight": (d, sizes.hidden),
        f"{fc}.bias": (d,),
        f"{model}.weight": (made[1], d),
        f"{model}.bias": (made[1],),
        "query_embs": (1, made[0], d),
    }
    for side, attentions, norms in (
        ("encoder", ["self_attn"], 2),
        ("decoder", ["self_attn", "multihead_attn"], 3),
    ):
        for layer in range(sizes.depth):
            at = f"tfm.{side}.layers.{layer}."
            for attention in attentions:
                shapes |= {
                    f"{at}{attention}.in_proj_weight": (3 * d, d),
                    f"{at}{attention}.in_proj_bias": (3 * d,),
                }
                shapes |= {f"{at}{attention}.out_proj.weight": (d, d), f"{at}{attention}.out_proj.bias": (d,)}
            shapes |= {f"{at}linear1.weight": (f, d), f"{at}linear1.bias": (f,)}
            shapes |= {f"{at}linear2.weight": (d, f), f"{at}linear2.bias": (d,)}
            for n in range(1, norms + 1):
                shapes |= {f"{at}norm{n}.weight": (d,), f"{at}norm{n}.bias": (d,)}
        shapes |= {f"tfm.{side}.norm.weight": (d,), f"tfm.{side}.norm.bias": (d,)}
    return {prefix + name: shape for name, shape in shapes.items()}


def lora(sizes: Sizes, start: str, end: str, all_linear: bool = False) -> Shapes:
    h, f = sizes.hidden, sizes.feedforward
    maps = {f"self_attn.{m}_proj": (h, h) for m in "qkvo"}
    if all_linear:
        maps |= {"mlp.gate_proj": (f, h), "mlp.up_proj": (f, h), "mlp.down_proj": (h, f)}
    shapes: Shapes = {}
    for layer in range(sizes.layers):
        for name, (out, into) in maps.items():
            at = f"{start}model.layers.{layer}.{name}."
            shapes |= {f"{at}lora_A{end}": (sizes.rank, into), f"{at}lora_B{end}": (out, sizes.rank)}
    return shapes


def legacy(stage: int, sizes: Sizes = Sizes(), rows: int = 32_038) -> Shapes:
    """pytorch_model.pt of a stage."""
    top = "llama_model.base_model.model." if stage == 3 else "llama_model."
    h = sizes.hidden
    shapes: Shapes = {f"{top}model.embed_tokens.weight": (rows, h), f"{top}lm_head.weight": (rows, h)}
    if stage == 3:
        shapes |= lora(sizes, top, ".default.weight")
    shapes |= {"llama_proj.weight": (h, sizes.features), "llama_proj.bias": (h,)}
    for prefix, made in (("", sizes.image), ("_video", sizes.video), ("_audio", sizes.audio)):
        shapes |= projector(f"gen_text_hidden_fcs{prefix}.0.", sizes, made)
    return shapes


def current(sizes: Sizes = Sizes(), kind: str = "mlp") -> dict[str, Shapes]:
    """The files of the current tree's three steps."""
    h = sizes.hidden
    rows: Shapes = {"model.embed_tokens.weight": (32_036, h), "lm_head.weight": (32_036, h)}
    into: Shapes = {
        "model.mm_input_projector.weight": (h, sizes.features),
        "model.mm_input_projector.bias": (h,),
    }
    if kind == "mlp":
        into = {}
        for layer, width in ((0, sizes.features), (2, h)):
            at = f"model.mm_input_projector.layer.{layer}."
            into |= {f"{at}weight": (h, width), f"{at}bias": (h,)}
    out: Shapes = {}
    for short, made in (("img", sizes.image), ("vid", sizes.video), ("aud", sizes.audio)):
        out |= projector(f"model.mm_output_{short}_projector.", sizes, made, "in_fc", "out_fc")
    return {
        "mm_input_projector.bin": into | rows,
        "mm_output_projector.bin": out | rows,
        "non_lora_trainables.bin": {f"base_model.model.{name}": shape for name, shape in into.items()},
        "adapter_model.bin": lora(sizes, "base_model.model.", ".weight", all_linear=True),
    }


def numbers(
    shapes: Shapes, base: Any = None, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Random tensors; the LLM's rows are the base's, hardly trained, and new ones after them."""
    random = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        value = 0.05 * torch.randn(shape, generator=random, dtype=torch.float64)
        for rows, own in (("embed_tokens", "get_input_embeddings"), ("lm_head", "get_output_embeddings")):
            if base is not None and rows in name:
                value *= 0.02
                weight = getattr(base, own)().weight.detach().double()
                value[: len(weight)] += weight[: len(value)]
                value[len(weight) :] *= 100
        weights[name] = value.to(dtype)
    return weights


def base_tokenizer() -> Any:
    """32,000 tokens, those that the prompts are made of where LLaMA has them, and each letter."""
    from transformers import LlamaTokenizer

    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    vocabulary |= LLAMA
    merges = [("▁", "▁"), ("#", "#"), ("▁", "##"), ("▁##", "#")]
    for word in ("▁Human", "▁Ass", "▁hello", "▁Here", "▁it", "▁is", "istant"):
        for end in range(1, len(word)):
            if (pair := (word[:end], word[end])) not in merges:
                merges.append(pair)
    letters = [chr(code) for code in range(33, 127)]
    free = iter(sorted(set(range(32_000)) - set(vocabulary.values())))
    for token in [*letters, *(left + right for left, right in merges)]:
        if token not in vocabulary:
            vocabulary[token] = next(free)
    vocabulary |= {f"<unused{index}>": index for index in free}
    return LlamaTokenizer(vocab=vocabulary, merges=merges, legacy=True)


def base(sizes: Sizes = Sizes(), rows: int = 32_000, seed: int = 0) -> Any:
    """A random LLaMA of these sizes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.feedforward,
        num_hidden_layers=sizes.layers,
        num_attention_heads=4,
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config)


def save(folder: Path, files: dict[str, dict[str, Tensor]]) -> Path:
    """Write files as the trees do, with the settings of a PEFT folder where there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, weights in files.items():
        parameters = OrderedDict((key, torch.nn.Parameter(value)) for key, value in weights.items())
        torch.save(parameters, folder / name)
        if name.startswith("adapter_model"):
            rank = next(value.shape[0] for key, value in weights.items() if "lora_A" in key)
            targets = sorted({key.split(".")[-3] for key in weights})
            settings = {"r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.05, "target_modules": targets}
            (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **settings}))
    return folder


def save_preset(path: Path, sizes: Sizes = Sizes(), imagebind: str = "imagebind") -> Path:
    path.write_text(yaml.safe_dump(preset(sizes, imagebind), sort_keys=False))
    return path


def main(folder: Path) -> None:
    llm = base()
    llm.save_pretrained(folder / "vicuna")
    base_tokenizer().save_pretrained(folder / "vicuna")
    save_preset(folder / "preset.yaml")
    for stage in (1, 2, 3):
        save(folder / f"legacy-{stage}", {"pytorch_model.pt": numbers(legacy(stage), llm)})
    for name, shapes in current().items():
        step = {"mm_input": "1", "mm_output": "2"}.get(name.rsplit("_", 1)[0], "3")
        save(folder / f"current-{step}", {name: numbers(shapes, llm)})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
