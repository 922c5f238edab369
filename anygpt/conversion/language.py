"""The language model of a converted NExT-GPT: LLaMA with the rows and the prompt of the tree that trained it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygpt.conversion.files import ConversionError, listed
from anygpt.conversion.published import BASE_ROWS, LEGACY, Published, Tree
from anygpt.processor import BREAK

if TYPE_CHECKING:
    from torch import Tensor

# Where LLaMA's vocabulary has what the prompts are made of.
KNOWN_TOKENS = {
    "<unk>": 0,
    "<s>": 1,
    "</s>": 2,
    "<0x0A>": 13,
    "▁###": 835,
    "##": 2277,
    "▁": 29871,
    "#": 29937,
}
# The legacy tree tokenises a conversation piece by piece, and each piece begins as a text does.
LEGACY_TEMPLATE = (
    "{{ '<s>' }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('NExT-GPT has learned no system messages') }}"
    "{% elif message['role'] == 'user' %}"
    "{{ ('### Human: BREAK' if loop.first else 'Human: ') + message['content'] + '\\n### Assistant: BREAK' }}"
    "{% else %}{{ message['content'] + '\\n###BREAK' }}{% endif %}{% endfor %}"
).replace("BREAK", BREAK)
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
VICUNA_TEMPLATE = (
    (
        "{{ '<s>BREAK' }}{% if messages[0]['role'] != 'system' %}{{ SYSTEM + ' ' }}{% endif %}{% for message in messages %}"
        "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}"
        "{% elif message['role'] == 'system' %}{{ message['content'] + ' ' }}"
        "{% else %}{{ 'ASSISTANT: ' + message['content'] + '</s>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
    )
    .replace("SYSTEM", json.dumps(SYSTEM))
    .replace("BREAK", BREAK)
)
LEGACY_STOPS = ["\n###", "###"]  # after text and after signal tokens; 835 alone would miss the first
ALIKE = 0.5  # cosine; rows that were hardly trained stay as they were, so the right base is near 1, another near 0


def open_base(name: str) -> tuple[Any, Any]:
    """The base model, in the precision of its files, and its tokenizer.

    Raises:
        ConversionError: it is not LLaMA with its 32,000 tokens.
        ConfigError: there is no such model.
    """
    from anygpt.frozen import load_llm

    llm, tokenizer = load_llm(name, "auto")
    rows = len(llm.get_input_embeddings().weight)
    if rows == BASE_ROWS + 1:
        raise ConversionError(
            f"the base {name!r} has 32,001 rows: a Vicuna that carries a [PAD] token. Every added token's id would shift by "
            "one; take the weights whose vocabulary is LLaMA's own 32,000"
        )
    if rows != BASE_ROWS:
        raise ConversionError(f"the base {name!r} has {rows:,} rows, and LLaMA's are {BASE_ROWS:,}")
    vocabulary = tokenizer.get_vocab()
    for token, index in KNOWN_TOKENS.items():
        if vocabulary.get(token) != index:
            raise ConversionError(
                f"the base {name!r} has another tokenizer than LLaMA's: {token!r} is {vocabulary.get(token)} there, "
                f"and {index} in LLaMA's"
            )
    if sorted(vocabulary.values()) != list(range(BASE_ROWS)):
        more = [token for token, index in vocabulary.items() if index >= BASE_ROWS]
        raise ConversionError(
            f"the base {name!r} has a tokenizer of {len(vocabulary):,} tokens, and LLaMA's has {BASE_ROWS:,}; "
            + (f"take away what was added to it: {listed(more)}" if more else "some of LLaMA's are missing")
        )
    return llm, tokenizer


def check_alike(published: Published, llm: Any, name: str) -> None:
    """Make sure that the checkpoint was trained on this base: its rows must have stayed near the base's.

    Raises:
        ConversionError: they are not.
    """
    from torch.nn.functional import cosine_similarity

    if (trained := published.weights.get("embedding")) is None:
        return
    own = llm.get_input_embeddings().weight.detach()
    alike = float(cosine_similarity(trained[:BASE_ROWS].float(), own.float()).median())
    if alike < ALIKE:
        raise ConversionError(
            f"the base {name!r} is not the one that {published.source} was trained on: their token embeddings have nothing "
            f"in common (median cosine {alike:.2f}). The published weights want Vicuna-7B v0, made of LLaMA 1"
        )


def gap(tree: Tree) -> int | None:
    """The token that the tree's tokenizer makes of the space between two signal tokens; legacy strips it away."""
    return None if tree is LEGACY else KNOWN_TOKENS["▁"]


def write_llm(published: Published, llm: Any, tokenizer: Any, folder: Path) -> None:
    """Write the base with the rows that training has changed, and the tokenizer with the tree's prompt.

    The signal tokens' rows are not among them: they are the checkpoint's own (`anygpt.signals`).
    """
    from torch import nn
    from transformers import GenerationConfig

    tree = published.tree
    rows = BASE_ROWS + len(tree.added)
    old = llm.get_input_embeddings().weight

    def trained(weight: Tensor) -> Tensor:
        return weight[:rows].to(old.dtype).clone()

    if "embedding" in published.weights:
        llm.set_input_embeddings(nn.Embedding.from_pretrained(trained(published.weights["embedding"])))
        head = nn.Linear(old.shape[1], rows, bias=False, device="meta")
        head.weight = nn.Parameter(trained(published.weights["head"]), requires_grad=False)
        llm.set_output_embeddings(head)
    llm.config.vocab_size, llm.config.tie_word_embeddings = rows, False
    llm.config.pad_token_id = None
    llm.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=2, stop_strings=LEGACY_STOPS if tree is LEGACY else None
    )
    llm.save_pretrained(folder)
    if tree is LEGACY:
        tokenizer = legacy_tokenizer(tokenizer)
    else:
        tokenizer.chat_template = VICUNA_TEMPLATE
    tokenizer.save_pretrained(folder)


def legacy_tokenizer(base: Any) -> Any:
    """LLaMA's vocabulary with the ways of transformers 4.29's own code, in which the published weights were trained.

    Every piece of text begins with a space, and <Img> and </Img> take away the white space on both sides.
    """
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    settings = json.loads(base.backend_tokenizer.to_str())
    settings |= {"pre_tokenizer": None, "post_processor": None, "added_tokens": []}
    settings["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(settings)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
        clean_up_tokenization_spaces=False,
        chat_template=LEGACY_TEMPLATE,
    )
    marks = [
        AddedToken(mark, lstrip=True, rstrip=True, normalized=False, special=True) for mark in LEGACY.added
    ]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    return tokenizer


def write_lora(published: Published, folder: Path) -> None:
    """Write a PEFT folder."""
    from safetensors.torch import save_file

    folder.mkdir()
    weights = {name: value.contiguous() for name, value in published.under("lora.").items()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "llm",
        "bias": "none",
    }
    settings |= {**published.lora, "inference_mode": True}
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
