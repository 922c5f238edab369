"""LLaVA-1.5 and BLIP-2 as transformers has them → a checkpoint folder, whose adapter is a start for one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygpt.checkpoint import WEIGHTS
from anygpt.config import AdapterConfig, AnyGPTConfig, InputConfig
from anygpt.conversion.files import ConversionError, listed, new_folder
from anygpt.conversion.language import VICUNA_TEMPLATE

if TYPE_CHECKING:
    from torch import Tensor

BLIP2_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ 'Question: ' + message['content'] + ' Answer:' }}{% else %}{{ ' ' + message['content'] + eos_token }}"
    "{% endif %}{% endfor %}"
)


def convert_vision_language(source: str, out: Path) -> AnyGPTConfig:
    """Write the folder `out`, which `AnyGPT.from_pretrained` loads: `llm/`, `encoder/` and the adapter's weights.

    Args:
        source: a folder or hub id of a `llava` or `blip-2` checkpoint.

    Raises:
        ConversionError: it is another kind of model, or incomplete, or `out` is taken.
    """
    import transformers

    kinds: dict[str, Any] = {
        "llava": (transformers.LlavaForConditionalGeneration, _llava),
        "blip-2": (transformers.Blip2ForConditionalGeneration, _blip2),
    }
    try:
        settings = transformers.AutoConfig.from_pretrained(source)
        if settings.model_type not in kinds:
            raise ConversionError(
                f"{source} is a {settings.model_type!r} model; {' and '.join(kinds)} can be converted"
            )
        load, split = kinds[settings.model_type]
        model, report = load.from_pretrained(source, dtype="auto", output_loading_info=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        pictures = transformers.AutoImageProcessor.from_pretrained(source, backend="pil")
    except OSError as error:
        raise ConversionError(f"{source} cannot be loaded: {' '.join(str(error).split())[:200]}") from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[problem]:
            raise ConversionError(
                f"{source} has {problem.replace('_', ' ')}: {listed({str(key) for key in report[problem]})}"
            )
    llm, vision, adapter, weights, template = split(model)
    tokenizer.chat_template = template
    entry = InputConfig("encoder", "patches", adapter, dim=vision.config.hidden_size, around=("", "\n"))
    config = AnyGPTConfig("llm", inputs={"image": entry})
    with new_folder(out) as folder:
        llm.generation_config = model.generation_config
        for part in (llm, tokenizer):
            part.save_pretrained(folder / "llm")
        for part in (vision, pictures):
            part.save_pretrained(folder / "encoder")
        _write(folder, config, weights, llm)
    return config


def _write(folder: Path, config: AnyGPTConfig, weights: dict[str, Tensor], llm: Any) -> None:
    import torch
    from safetensors.torch import save_file

    width = llm.get_input_embeddings().weight.shape[1]
    stored = {f"adapters.image.map.{name}": value.detach().clone() for name, value in weights.items()}
    stored |= {f"signals.{name}": torch.zeros(0, width) for name in ("embedding", "head")}
    save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")


def _llava(model: Any) -> tuple[Any, Any, AdapterConfig, dict[str, Tensor], str]:
    """Language model, vision tower up to the layer that LLaVA looks at, adapter and prompt."""
    import torch
    from transformers import AutoModelForCausalLM

    config = model.config
    layer, strategy = config.vision_feature_layer, config.vision_feature_select_strategy
    if (
        not isinstance(layer, int)
        or layer >= 0
        or strategy != "default"
        or config.projector_hidden_act != "gelu"
    ):
        raise ConversionError(
            "this is no LLaVA 1.5: that looks at the patches of one layer counted from the end, and has GELU between its "
            f"two maps; here vision_feature_layer is {layer}, strategy {strategy!r}, act {config.projector_hidden_act!r}"
        )
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(config.text_config)
    setattr(llm, llm.base_model_prefix, model.model.language_model)
    llm.set_output_embeddings(model.lm_head)
    vision = model.model.vision_tower
    for _, part in vision.named_modules():
        if isinstance(layers := getattr(part, "layers", None), torch.nn.ModuleList):
            part.layers = layers[: len(layers) + 1 + layer]
            vision.config.num_hidden_layers = len(part.layers)
            break
    maps = model.model.multi_modal_projector
    weights = {f"0.{name}": value for name, value in maps.linear_1.state_dict().items()}
    weights |= {f"2.{name}": value for name, value in maps.linear_2.state_dict().items()}
    return llm, vision, AdapterConfig("mlp"), weights, VICUNA_TEMPLATE


def _blip2(model: Any) -> tuple[Any, Any, AdapterConfig, dict[str, Tensor], str]:
    """The same of BLIP-2. Its Q-Former looks at the class token as well, here at the patches alone.

    The norm of what it looks at lies in transformers' vision model and here in the Q-Former, where it trains: its scale and
    shift go there, and the encoder keeps the plain norm, which a second one leaves as it is.
    """
    sizes = model.config.qformer_config
    if model.config.text_config.is_encoder_decoder or sizes.cross_attention_frequency != 2:
        raise ConversionError(
            "this BLIP-2 has an encoder-decoder for its language model, or another Q-Former than the published ones; "
            "those with OPT can be converted"
        )
    adapter = AdapterConfig(
        "q-former",
        queries=model.query_tokens.shape[1],
        hidden_size=sizes.hidden_size,
        num_layers=sizes.num_hidden_layers,
        num_heads=sizes.num_attention_heads,
        feedforward=sizes.intermediate_size,
    )
    weights = {f"0.model.{name}": value for name, value in model.qformer.state_dict().items()}
    weights |= {"0.queries": model.query_tokens[0]}
    norm = model.vision_model.post_layernorm
    weights |= {f"0.norm.{name}": value.clone() for name, value in norm.state_dict().items()}
    norm.reset_parameters()
    weights |= {f"1.{name}": value for name, value in model.language_projection.state_dict().items()}
    return model.language_model, model.vision_model, adapter, weights, BLIP2_TEMPLATE
