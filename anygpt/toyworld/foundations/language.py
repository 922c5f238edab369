"""The tiny Llama and its tokenizer: a chat model that knows the toy world from words alone.

It reads and writes text only. Where a conversation of the toy world has media, its training text has a description in
square brackets on the user's side and nothing on its own: it learns to talk, never to make a medium. That is left to
the stages, as it is with a pretrained LLM.

What the stages cannot teach a frozen LLM it has to bring along: to tell two things' attributes apart, to follow
examples. So it also reads batches of nothing but questions about pictures of two things, of lessons, and of words told
twice, from which it learns to go on from a word as it went on before; in talk alone all that is too rare to be learned.

A picture's thing is one token, the sum of its words' embeddings. An LLM of this size learns to find such a thing by any
of its words, and did not learn it from the words one after the other (docs/anygpt-tiny.md). It is also what an adapter
can say well.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    describe_sound,
    motion_phrase,
    place_phrase,
)
from anygpt.toyworld.scenes import Scene, Thing, from_top_left, relation

VOCABULARY = 1200
SPECIAL = 4  # tokens of the template, the first of the vocabulary
TOKENS = 5000  # of a batch, at most
# What is talked about: pictures more than in the stages, and what these have only on request.
TALK = STARTS | {"given_image": 24, "given_pair": 24, "lesson": 8, "grounding": 8}
# How often a batch is of which kind.
KINDS = {"talk": 0.5, "pairs": 0.25, "lessons": 0.15, "words": 0.1}
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['user', 'assistant'] %}{{ raise_exception('this model knows the roles user and assistant only') }}{% endif %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


Piece = str | tuple[str, ...]  # a text; or the words of a thing, which is one token


def describe(rng: np.random.Generator, part: Part, boxes: bool = False) -> list[Piece]:
    """A user's medium in words; of a picture with where its things are in numbers, if asked."""
    match part["type"]:
        case "image":
            return describe_things(part["scene"], boxes)
        case "video":
            return [f"[a film of {caption_film(part['scene'])}]"]
        case "audio":
            return [f"[{describe_sound(part['tone'])}]"]
        case "imu":
            return [f"[a motion signal, {motion_phrase(part['motion'])}]"]
    thing = part["scene"].things[0]
    kind, seen = ("depth map", thing.size) if part["type"] == "depth" else ("thermal picture", thing.colour)
    return [f"[a {kind} of {article(f'{seen} {thing.shape}')} {place_phrase(thing.place)}]"]


def words_of(things: Sequence[Thing]) -> list[tuple[str, ...]]:
    """The words of a picture's things; of two things each with how it stands to the other."""
    said = [(thing.size, thing.colour, thing.shape, *thing.place.split()) for thing in things]
    if len(things) == 2:
        hows = relation(*things), relation(*things[::-1])
        return [(*words, how.split()[0]) for words, how in zip(said, hows, strict=True)]
    return said


def describe_things(scene: Scene, boxes: bool) -> list[Piece]:
    """A picture: its things as one reads a page, maybe each with its box, and the background."""
    things = from_top_left(scene).things
    pieces: list[Piece] = ["["]
    for thing, words in zip(things, words_of(things), strict=True):
        pieces.append(words)
        if boxes:
            pieces.append(f" {render([replace(box_of(thing), label='')])}")
    return [*pieces, f" {scene.background}]"]


def as_text(rng: np.random.Generator, messages: list[dict]) -> list[tuple[str, list[Piece]]]:
    """Role and pieces of text of each message; the assistant's media are left out."""
    boxes = any("[" in part.get("text", "") for message in messages for part in message["content"])
    turns = []
    for message in messages:
        pieces: list[Piece] = []
        for part in message["content"]:
            if part["type"] == "text":
                pieces.append(part["text"])
            elif message["role"] == "user":
                pieces += describe(rng, part, boxes)
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
        piece if isinstance(piece, str) else " ".join(piece)
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


Tokens = list[list[int]]  # of each place in a text its token, or several whose embeddings are added up


def encode(
    rng: np.random.Generator, tokenizer: PreTrainedTokenizerFast, messages: list[dict]
) -> tuple[Tokens, list[float]]:
    """Tokens, and the weight of each as a target: the assistant's words count fully, the user's a little, things not."""
    tokens: Tokens = []
    weights: list[float] = []
    marks = {token: int(i) for token, i in tokenizer.get_added_vocab().items()}
    for role, pieces in as_text(rng, messages):
        words: Tokens = []
        for piece in pieces:
            if isinstance(piece, str):
                words += [[token] for token in tokenizer.encode(piece, add_special_tokens=False)]
            else:
                words.append(tokenizer.encode(f" {' '.join(piece)}", add_special_tokens=False))
        tokens += [[marks[f"<|{role}|>"]], *words, [marks["<|end|>"]]]
        weight = 1.0 if role == "assistant" else 0.05
        weights += [0.0, *(weight * (len(word) == 1) for word in words), weight]
    return tokens, weights


def embed(llm: LlamaForCausalLM, tokens: torch.Tensor) -> torch.Tensor:
    """Embeddings of padded tokens (batch, length, words): sums over those words that are not negative."""
    there = (tokens >= 0)[..., None]
    return (llm.get_input_embeddings()(tokens.clamp(min=0)) * there).sum(2)


def pad(rows: list[tuple[Tokens, list[float]]], token: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as tokens (batch, length, words), -1 where a place has fewer words, and weights (batch, length)."""
    length = max(len(tokens) for tokens, _ in rows)
    most = max(len(words) for tokens, _ in rows for words in tokens)
    padded = torch.full((len(rows), length, most), -1)
    padded[..., 0] = token
    weights = torch.zeros(len(rows), length)
    for row, (tokens, own) in enumerate(rows):
        for place, words in enumerate(tokens):
            padded[row, place, : len(words)] = torch.tensor(words)
        weights[row, : len(own)] = torch.tensor(own)
    return padded, weights


def words_told_twice(rng: np.random.Generator, vocabulary: int) -> tuple[Tokens, list[float]]:
    """Random words, and the same again from one of them on, where each but the first can be known."""
    words = rng.choice(np.arange(SPECIAL, vocabulary), int(rng.integers(6, 20)), replace=False).tolist()
    first = int(rng.integers(len(words)))
    again = words[first:] + words[:first]
    return [[word] for word in (*words, *again)], [0.0] * (len(words) + 1) + [1.0] * (len(words) - 1)


class Batches:
    """Padded batches of one of `KINDS`, of conversations with about the same number of turns."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, size: int = 64) -> None:
        self.tokenizer, self.size = tokenizer, size

    def __call__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng([2, step])
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        turns = int(rng.choice([1, 2, 3, 5], p=[0.5, 0.2, 0.2, 0.1])) if kind == "talk" else 1
        count = max(self.size // turns, 8)
        rows = [self._row(rng, kind, turns) for _ in range(3 * count)]
        # Neighbours in length, so that little is padding.
        rows.sort(key=lambda row: len(row[0]))
        first = int(rng.integers(2 * count + 1))
        rows = rows[first : first + count]
        length = max(len(tokens) for tokens, _ in rows)
        return pad(rows[: max(4, TOKENS // length)], self.tokenizer.pad_token_id)

    def _row(self, rng: np.random.Generator, kind: str, turns: int) -> tuple[Tokens, list[float]]:
        if kind == "words":
            return words_told_twice(rng, len(self.tokenizer))
        starts = {"talk": TALK, "pairs": {"given_pair": 1.0}, "lessons": {"lesson": 1.0}}[kind]
        return encode(rng, self.tokenizer, conversation(rng, turns=turns, starts=starts))


def train(work_dir: Path, steps: int = 6000) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    llm = build_llm(len(tokenizer))

    def loss_of(batch: tuple[torch.Tensor, torch.Tensor], step: int) -> torch.Tensor:
        tokens, weights = batch
        # Right padding under a causal mask: no real token ever sees a pad.
        logits = llm(inputs_embeds=embed(llm, tokens[:, :-1])).logits
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:, 0].flatten(), reduction="none"
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
