"""The tiny Llama and its tokenizer: a chat model that knows the toy world from words alone.

It reads and writes text only. Where a conversation of the toy world has media, its training text has a description in
square brackets on the user's side and nothing on its own: it learns to talk, never to make a medium. That is left to
the stages, as it is with a pretrained LLM.

What the stages cannot teach a frozen LLM it has to bring along: to tell two things' attributes apart and compare their
places, to follow examples, to handle boxes. So pictures of two things, lessons and boxes are a good part of the talk.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from anygpt.grounding import render
from anygpt.toyworld.boxes import box_of
from anygpt.toyworld.dialogues import STARTS, Part, conversation
from anygpt.toyworld.foundations.fitting import fit
from anygpt.toyworld.phrases import (
    article,
    caption_film,
    caption_thing,
    describe_sound,
    motion_phrase,
    place_phrase,
)
from anygpt.toyworld.scenes import Scene

VOCABULARY = 1200
TOKENS = 5000  # of a batch, at most
# What is talked about: pictures more than in the stages, and what these have only on request.
TALK = STARTS | {"given_image": 24, "given_pair": 20, "lesson": 4, "grounding": 8}
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['user', 'assistant'] %}{{ raise_exception('this model knows the roles user and assistant only') }}{% endif %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def describe(rng: np.random.Generator, part: Part, boxes: bool = False) -> str:
    """A user's medium in words; of a picture with where its things are in numbers, if asked."""
    match part["type"]:
        case "image":
            return f"[{describe_things(rng, part['scene'], boxes)}]"
        case "video":
            return f"[a film of {caption_film(part['scene'])}]"
        case "audio":
            return f"[{describe_sound(part['tone'])}]"
        case "imu":
            return f"[a motion signal, {motion_phrase(part['motion'])}]"
    thing = part["scene"].things[0]
    kind, seen = ("depth map", thing.size) if part["type"] == "depth" else ("thermal picture", thing.colour)
    return f"[a {kind} of {article(f'{seen} {thing.shape}')} {place_phrase(thing.place)}]"


def describe_things(rng: np.random.Generator, scene: Scene, boxes: bool) -> str:
    """A picture's things one by one, in sentences or in bare words, never how they stand to each other: that is to be worked out."""
    things = [scene.things[i] for i in rng.permutation(len(scene.things))]
    terse = rng.random() < 0.5
    said = [
        f"{thing.size} {thing.colour} {thing.shape} {thing.place}"
        if terse
        else f"{caption_thing(thing)} {place_phrase(thing.place)}"
        for thing in things
    ]
    if boxes:
        said = [
            f"{words} {render([replace(box_of(thing), label='')])}"
            for words, thing in zip(said, things, strict=True)
        ]
    if terse:
        return " ".join([*said, scene.background])
    return f"{' and '.join(said)} on a {scene.background} background"


def as_text(rng: np.random.Generator, messages: list[dict]) -> list[tuple[str, list[str]]]:
    """Role and pieces of text of each message; the assistant's media are left out."""
    boxes = any("[" in part.get("text", "") for message in messages for part in message["content"])
    turns = []
    for message in messages:
        pieces = []
        for part in message["content"]:
            if part["type"] == "text":
                pieces.append(part["text"])
            elif message["role"] == "user":
                pieces.append(describe(rng, part, boxes))
        turns.append((message["role"], pieces))
    return turns


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text can be read, toy-world words are one token, unknown words fall into pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    rng = np.random.default_rng(0)
    # Less from outside the world, so that its words do not get tokens of their own.
    starts = STARTS | {"outside": 0.4, "plain": 0.5}
    texts = [
        piece
        for _ in range(20_000)
        for _, pieces in as_text(rng, conversation(rng, turns=int(rng.integers(1, 4)), starts=starts))
        for piece in pieces
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|end|>", "<|user|>", "<|assistant|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_llm(vocabulary: int) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=160,
            intermediate_size=432,
            num_hidden_layers=5,
            num_attention_heads=5,
            num_key_value_heads=5,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=3,
        )
    )


def encode(
    rng: np.random.Generator, tokenizer: PreTrainedTokenizerFast, messages: list[dict]
) -> tuple[list[int], list[float]]:
    """Token ids and the weight of each as a target: the assistant's words count fully, the user's a little."""
    ids: list[int] = []
    weights: list[float] = []
    marks = {token: int(i) for token, i in tokenizer.get_added_vocab().items()}
    for role, pieces in as_text(rng, messages):
        words = [token for piece in pieces for token in tokenizer.encode(piece, add_special_tokens=False)]
        ids += [marks[f"<|{role}|>"], *words, marks["<|end|>"]]
        weights += [0.0] + [1.0 if role == "assistant" else 0.05] * (len(words) + 1)
    return ids, weights


class Batches:
    """Padded batches of conversations with about the same number of turns."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, size: int = 64) -> None:
        self.tokenizer, self.size = tokenizer, size

    def __call__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng([2, step])
        turns = int(rng.choice([1, 2, 3, 5], p=[0.5, 0.2, 0.2, 0.1]))
        count = max(self.size // turns, 8)
        rows = [
            encode(rng, self.tokenizer, conversation(rng, turns=turns, starts=TALK)) for _ in range(3 * count)
        ]
        # Neighbours in length, so that little is padding.
        rows.sort(key=lambda row: len(row[0]))
        first = int(rng.integers(2 * count + 1))
        rows = rows[first : first + count]
        length = max(len(ids) for ids, _ in rows)
        rows = rows[: max(4, TOKENS // length)]
        length = len(rows[-1][0])
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([row + [pad] * (length - len(row)) for row, _ in rows])
        weights = torch.tensor([w + [0.0] * (length - len(w)) for _, w in rows])
        return ids, weights


def train(work_dir: Path, steps: int = 3000) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    llm = build_llm(len(tokenizer))

    def loss_of(batch: tuple[torch.Tensor, torch.Tensor], step: int) -> torch.Tensor:
        ids, weights = batch
        # Right padding under a causal mask: no real token ever sees a pad.
        logits = llm(input_ids=ids[:, :-1]).logits
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        )
        weight = weights[:, 1:].flatten()
        return (losses * weight).sum() / weight.sum()

    fit(
        "llm",
        llm,
        loss_of,
        Batches(tokenizer),
        steps=steps,
        learning_rate=3e-3,
        work_dir=work_dir,
        ema_decay=0.998,
    )
    return llm, tokenizer
