"""What the tiny LLM is trained on."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from anygpt.checkpoint import ASSETS
from anygpt.toyworld.dialogues import conversation
from anygpt.toyworld.foundations import language


def test_a_thing_of_a_picture_is_one_token_for_the_llm():
    """The sum of its words' embeddings, and nothing to be predicted; all else is as the tokenizer has it."""
    rng = np.random.default_rng(0)
    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "anygpt-tiny" / "llm")
    llm = language.build_llm(len(tokenizer))
    messages = conversation(rng, starts={"given_pair": 1})
    tokens, weights = language.encode(rng, tokenizer, messages)
    shorter = language.encode(rng, tokenizer, conversation(rng, starts={"plain": 1}))
    padded, padded_weights = language.pad([(tokens, weights), shorter], tokenizer.pad_token_id)
    embedded = language.embed(llm, padded)[0, : len(tokens)]
    table = llm.get_input_embeddings().weight
    assert torch.allclose(embedded, torch.stack([table[words].sum(0) for words in tokens]), atol=1e-6)
    assert sum(len(words) > 1 for words in tokens) == 2
    assert all(weight == 0 for words, weight in zip(tokens, weights, strict=True) if len(words) > 1)
    assert len(shorter[0]) < len(tokens)
    assert padded[1, len(shorter[0]) :, 0].eq(tokenizer.pad_token_id).all()
    assert not padded_weights[1, len(shorter[0]) :].any()
    assert padded_weights[0, : len(weights)].tolist() == pytest.approx(weights)


def test_words_told_twice_can_be_known_the_second_time():
    rng = np.random.default_rng(0)
    firsts = set()
    for _ in range(50):
        tokens, weights = language.words_told_twice(rng, 1200)
        words = [word for (word,) in tokens]
        half = len(words) // 2
        first = words.index(words[half])
        firsts.add(first)
        assert words[half:] == words[first:half] + words[:first] and len(set(words)) == half
        assert weights == [0.0] * (half + 1) + [1.0] * (half - 1) and min(words) >= language.SPECIAL
    assert len(firsts) > 5


def test_batches_are_of_every_kind_and_not_too_large():
    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "anygpt-tiny" / "llm")
    batches = language.Batches(tokenizer)
    users = int(tokenizer.convert_tokens_to_ids("<|user|>"))
    kinds = set()
    step = 0
    while len(kinds) < len(language.KINDS) and step < 100:
        tokens, weights = batches(step)
        assert tokens.shape[:2] == weights.shape and tokens.shape[0] * tokens.shape[1] <= max(
            language.TOKENS, 4 * tokens.shape[1]
        )
        assert torch.equal(tokens, batches(step)[0])
        step += 1
        turns = (tokens[..., 0] == users).sum(1)
        pictures = (tokens >= 0).sum(2).gt(1).sum(1)
        if turns.max() == 0:
            kinds.add("words")
        elif (pictures == 2).all() and (turns == 1).all():
            kinds.add("pairs")
        elif (turns > 1).all() and torch.equal(turns, pictures):
            kinds.add("lessons")
        else:
            kinds.add("talk")
    assert kinds == set(language.KINDS)
