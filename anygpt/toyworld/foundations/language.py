"""The tiny Llama and its tokenizer: a chat model that knows the toy world from words alone.

It reads and writes text only. Where a conversation of the toy world has media, its training text has a description in
square brackets on the user's side and nothing on its own: it learns to talk, never to make a medium. That is left to
the stages, as it is with a pretrained LLM.

What the stages cannot teach a frozen LLM it has to bring along: to tell two things' attributes apart, to follow
examples. So it also reads batches of nothing but questions about pictures of two things, of lessons, and of words told
twice, from which it learns to go on from a word as it went on before; in talk alone all that is too rare to be learned.

A picture's thing is one token, the sum of its words' embeddings. An LLM of this size learns to find such a thing by any
of its words, and did not learn it from the words one after the other (docs/anygpt-tiny.md). It is also what an adapter
can say well. To the sum comes where the thing is: for each edge of its box the two nearest of `Edges`' embeddings, in
shares. In numbers one after the other a box would be what no adapter says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from anygpt.frozen import weight_of
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
from anygpt.toyworld.scenes import Scene, from_top_left, relation

VOCABULARY = 1200
SPECIAL = 4  # tokens of the template, the first of the vocabulary
TOKENS = 5000  # of a batch, at most
STEPS = 20  # of a picture's side, between which an edge's place is told
# What is talked about: pictures more than in the stages, and what these have only on request.
TALK = STARTS | {"given_image": 24, "given_pair": 24, "lesson": 8, "grounding": 8}
# How often a batch is of which kind.
KINDS = {"talk": 0.4, "pairs": 0.2, "boxes": 0.15, "lessons": 0.2, "words": 0.05}
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['user', 'assistant'] %}{{ raise_exception('this model knows the roles user and assistant only') }}{% endif %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


class Shown(NamedTuple):
    """A picture's thing as one token: its words, and the edges of its box, left, top, right and bottom as shares of the sides."""

    words: tuple[str, ...]
    edges: tuple[float, float, float, float]


Piece = str | Shown


def describe(part: Part) -> list[Piece]:
    """A user's medium in words."""
    match part["type"]:
        case "image":
            return ["[", *show(part["scene"]), f" {part['scene'].background}]"]
        case "video":
            return [f"[a film of {caption_film(part['scene'])}]"]
        case "audio":
            return [f"[{describe_sound(part['tone'])}]"]
        case "imu":
            return [f"[a motion signal, {motion_phrase(part['motion'])}]"]
    thing = part["scene"].things[0]
    kind, seen = ("depth map", thing.size) if part["type"] == "depth" else ("thermal picture", thing.colour)
    return [f"[a {kind} of {article(f'{seen} {thing.shape}')} {place_phrase(thing.place)}]"]


def show(scene: Scene) -> list[Shown]:
    """A picture's things as one reads a page; each of two also says how it stands to the other."""
    things = from_top_left(scene).things
    said = [(thing.size, thing.colour, thing.shape, *thing.place.split()) for thing in things]
    if len(things) == 2:
        hows = relation(*things), relation(*things[::-1])
        said = [(*words, how.split()[0]) for words, how in zip(said, hows, strict=True)]
    return [Shown(words, box_of(thing).corners) for words, thing in zip(said, things, strict=True)]


def as_text(messages: list[dict]) -> list[tuple[str, list[Piece]]]:
    """Role and pieces of text of each message; the assistant's media are left out."""
    turns = []
    for message in messages:
        pieces: list[Piece] = []
        for part in message["content"]:
            if part["type"] == "text":
                pieces.append(part["text"])
            elif message["role"] == "user":
                pieces += describe(part)
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
        piece if isinstance(piece, str) else " ".join(piece.words)
        for _ in range(20_000)
        for _, pieces in as_text(conversation(rng, turns=int(rng.integers(1, 4)), starts=starts))
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


Token = list[tuple[int, float]]  # the rows of a table whose sum it is, and how much of each


class Edges(torch.nn.Embedding):
    """Where the edges of a box are: a row for each of the four at each of `STEPS` + 1 places. No part of the LLM.

    An adapter has to find such rows' sums for itself; these are thrown away.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(4 * (STEPS + 1), dim)
        # places a tenth apart begin alike, as what is seen of them is
        places = torch.linspace(0, 1, STEPS + 1)
        alike = torch.exp(-0.5 * ((places[:, None] - places) / 0.1) ** 2)
        rows = torch.nn.functional.normalize(alike, dim=1) @ torch.randn(4, STEPS + 1, dim)
        self.weight.data.copy_(0.08 * rows.flatten(0, 1))


def edge_rows(edges: Sequence[float], first: int) -> Token:
    """The rows of `Edges`, which begin at `first`, that tell where four edges are."""
    rows: Token = []
    for side, edge in enumerate(edges):
        place = min(int(edge * STEPS), STEPS - 1)
        share = edge * STEPS - place
        row = first + side * (STEPS + 1) + place
        rows += [(row, 1 - share), (row + 1, share)]
    return rows


def encode(tokenizer: PreTrainedTokenizerFast, messages: list[dict]) -> tuple[list[Token], list[float]]:
    """Tokens, and the weight of each as a target: the assistant's words count fully, the user's a little, things not."""
    tokens: list[Token] = []
    weights: list[float] = []
    marks = {token: int(i) for token, i in tokenizer.get_added_vocab().items()}
    for role, pieces in as_text(messages):
        words: list[Token] = []
        for piece in pieces:
            if isinstance(piece, str):
                words += [[(word, 1.0)] for word in tokenizer.encode(piece, add_special_tokens=False)]
            else:
                own = tokenizer.encode(f" {' '.join(piece.words)}", add_special_tokens=False)
                words.append([(word, 1.0) for word in own] + edge_rows(piece.edges, len(tokenizer)))
        tokens += [[(marks[f"<|{role}|>"], 1.0)], *words, [(marks["<|end|>"], 1.0)]]
        weight = 1.0 if role == "assistant" else 0.05
        weights += [0.0, *(weight * (len(word) == 1) for word in words), weight]
    return tokens, weights


def embed(llm: LlamaForCausalLM, edges: Edges, rows: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Embeddings (batch, length, dim) of padded tokens (batch, length, rows of each) and the shares of their rows."""
    table = torch.cat([weight_of(llm.get_input_embeddings()), edges.weight])
    sums = torch.nn.functional.embedding_bag(
        rows.flatten(0, 1), table, per_sample_weights=shares.flatten(0, 1), mode="sum"
    )
    return sums.unflatten(0, rows.shape[:2])


Batch = tuple[
    torch.Tensor, torch.Tensor, torch.Tensor
]  # rows and shares of tokens, as `embed` takes them, and weights


def pad(rows: list[tuple[list[Token], list[float]]], token: int) -> Batch:
    """Texts in a batch, the shorter ones filled up with `token`."""
    length = max(len(tokens) for tokens, _ in rows)
    most = max(len(parts) for tokens, _ in rows for parts in tokens)
    numbers = np.zeros((len(rows), length, most), np.int64)
    numbers[..., 0] = token
    shares = np.zeros((len(rows), length, most), np.float32)
    shares[..., 0] = 1
    weights = np.zeros((len(rows), length), np.float32)
    for row, (tokens, own) in enumerate(rows):
        for place, parts in enumerate(tokens):
            numbers[row, place, : len(parts)], shares[row, place, : len(parts)] = zip(*parts, strict=True)
        weights[row, : len(own)] = own
    return torch.from_numpy(numbers), torch.from_numpy(shares), torch.from_numpy(weights)


def loss_of(llm: LlamaForCausalLM, edges: Edges, batch: Batch) -> torch.Tensor:
    """The weighted mean of the tokens' cross-entropies."""
    rows, shares, weights = batch
    # Right padding under a causal mask: no real token ever sees a pad.
    logits = llm(inputs_embeds=embed(llm, edges, rows[:, :-1], shares[:, :-1])).logits
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), rows[:, 1:, 0].flatten(), reduction="none"
    )
    weight = weights[:, 1:].flatten()
    return (losses * weight).sum() / weight.sum()


def words_told_twice(rng: Generator, vocabulary: int) -> tuple[list[Token], list[float]]:
    """Random words, and the same again from one of them on, where each but the first can be known."""
    words = rng.choice(np.arange(SPECIAL, vocabulary), int(rng.integers(6, 20)), replace=False).tolist()
    first = int(rng.integers(len(words)))
    again = words[first:] + words[:first]
    return [[(word, 1.0)] for word in (*words, *again)], [0.0] * (len(words) + 1) + [1.0] * (len(words) - 1)


class Batches:
    """Padded batches of one of `KINDS`, of conversations with about the same number of turns."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, size: int = 64) -> None:
        self.tokenizer, self.size = tokenizer, size

    def __call__(self, step: int) -> Batch:
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

    def _row(self, rng: Generator, kind: str, turns: int) -> tuple[list[Token], list[float]]:
        if kind == "words":
            return words_told_twice(rng, len(self.tokenizer))
        starts = {
            "talk": TALK,
            "pairs": {"given_pair": 1.0},
            "boxes": {"grounding": 1.0},
            "lessons": {"lesson": 1.0},
        }[kind]
        return encode(self.tokenizer, conversation(rng, turns=turns, starts=starts))


def train(work_dir: Path, steps: int = 6000) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    llm = build_llm(len(tokenizer))
    edges = Edges(llm.config.hidden_size)
    fit(
        "llm",
        torch.nn.ModuleDict({"llm": llm, "edges": edges}),
        lambda batch, step: loss_of(llm, edges, batch),
        Batches(tokenizer),
        steps=steps,
        learning_rate=3e-3,
        work_dir=work_dir,
        ema_decay=0.998,
    )
    return llm, tokenizer
