"""A whole AnyGPT at toy sizes with random weights, from the real classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny
import torch

PIPELINES = {"image": "stable-diffusion", "audio": "audio-ldm-hifi-gan", "video": "text-to-video"}

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('no system messages here') }}{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
WORDS = (
    "hello what is this? draw a red circle and play its sound, please. Here it is: one two three – übung 🎈"
)


def tiny_tokenizer(chat_template: str | None = CHAT_TEMPLATE, words: str = WORDS, size: int = 300):
    """A byte-level BPE tokenizer of about `size` tokens, with the special tokens of the toy LLM."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|end|>", "<|user|>", "<|assistant|>"]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        [words] * 4,
        trainers.BpeTrainer(
            vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|end|>",
        pad_token="<|end|>",
        additional_special_tokens=special[1:],
        chat_template=chat_template,
    )


def build_llm(
    folder: Path, chat_template: str | None = CHAT_TEMPLATE, words: str = WORDS, size: int = 300
) -> None:
    """Save a random Llama of two layers and width 32, with its tokenizer of about `size` tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer(chat_template, words, size)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.3,  # random as it is, it should say different things to different questions
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def build_imagebind(folder: Path) -> None:
    """Save a random ImageBind of width 16 that takes pictures of 32 pixels."""
    from encoders.imagebind import ImageBindConfig, ImageBindEncoder, ImageBindModel

    blocks = {f"{m}_num_blocks": 1 for m in ("vision", "text", "audio", "depth", "thermal", "imu")}
    widths = {f"{m}_embed_dim": 16 for m in ("vision", "text", "audio", "depth", "thermal", "imu")}
    heads = {f"{m}_num_heads": 2 for m in ("vision", "text", "audio", "depth", "thermal", "imu")}
    torch.manual_seed(0)
    config = ImageBindConfig(
        **blocks, **widths, **heads, out_embed_dim=16, kernel_size=(2, 8, 8), image_size=32, vocab_size=300
    )
    ImageBindEncoder(ImageBindModel(config).eval()).save_pretrained(folder)


def build_checkpoint(folder: Path, chat_template: str | None = CHAT_TEMPLATE, **changes: Any) -> Path:
    """Save a whole random model, frozen parts inside, and return `folder`; `changes` go into its config."""
    from anygpt.config import AdapterConfig, AnyGPTConfig, InputConfig, OutputConfig, ProjectionConfig
    from anygpt.model import AnyGPT

    build_llm(folder / "llm", chat_template)
    build_imagebind(folder / "imagebind")
    for modality, pipeline in PIPELINES.items():
        tiny.save_pipeline(pipeline, folder / f"{modality}-decoder")
    projection = ProjectionConfig(hidden_size=16, num_layers=1, num_heads=2, feedforward=32)
    steps = {"num_inference_steps": 2, "guidance_scale": 2.0}
    sizes = {"image": {}, "audio": {"seconds": 0.16}, "video": {"num_frames": 3}}
    settings: dict[str, Any] = {
        "inputs": {
            "image": InputConfig("imagebind", "patches", AdapterConfig("mlp")),
            "audio": InputConfig("imagebind", "pooled", AdapterConfig("linear", tokens=2)),
            "depth": InputConfig("imagebind", "pooled", AdapterConfig("linear")),
        },
        "outputs": {
            modality: OutputConfig(
                f"{modality}-decoder", tokens, projection, generation={**steps, **sizes[modality]}
            )
            for modality, tokens in (("image", 3), ("audio", 1), ("video", 4))
        },
    }
    torch.manual_seed(1)
    AnyGPT.from_config(AnyGPTConfig("llm", **{**settings, **changes}), folder).save_pretrained(folder)
    return folder
