"""What the tiny LLM is trained on."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from anygpt.checkpoint import ASSETS
from anygpt.toyworld.dialogues import conversation
from anygpt.toyworld.foundations import language


def test_a_thing_of_a_picture_is_one_token_for_the_llm():
    """The sum of its words' embeddings and its edges', and nothing to be predicted; all else is as the tokenizer has it."""
    rng = np.random.default_rng(0)
    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "anygpt-tiny" / "llm")
    llm, edges = language.build_llm(len(tokenizer)), language.Edges(160)
    messages = conversation(rng, starts={"given_pair": 1})
    tokens, weights = language.encode(tokenizer, messages)
    shorter = language.encode(tokenizer, conversation(rng, starts={"plain": 1}))
    rows, shares, padded_weights = language.pad([(tokens, weights), shorter], tokenizer.pad_token_id)
    embedded = language.embed(llm, edges, rows, shares)[0, : len(tokens)]
    table = torch.cat([llm.get_input_embeddings().weight, edges.weight])
    wanted = [sum(share * table[row] for row, share in token) for token in tokens]
    assert torch.allclose(embedded, torch.stack(wanted), atol=1e-5)
    assert sum(len(token) > 1 for token in tokens) == 2
    assert all(weight == 0 for token, weight in zip(tokens, weights, strict=True) if len(token) > 1)
    assert len(shorter[0]) < len(tokens)
    assert rows[1, len(shorter[0]) :, 0].eq(tokenizer.pad_token_id).all()
    assert not padded_weights[1, len(shorter[0]) :].any()
    assert padded_weights[0, : len(weights)].tolist() == pytest.approx(weights)


def test_edges_can_be_read_from_their_rows():
    for edges in ((0.0, 0.05, 0.5, 1.0), (0.123, 0.456, 0.789, 0.999)):
        rows = language.edge_rows(edges, 1200)
        places = language.STEPS + 1
        for side, edge in enumerate(edges):
            own = [(row - 1200 - side * places, share) for row, share in rows[2 * side : 2 * side + 2]]
            assert all(0 <= place < places for place, _ in own)
            assert sum(share for _, share in own) == pytest.approx(1)
            assert sum(place * share for place, share in own) == pytest.approx(edge * language.STEPS)


def test_words_told_twice_can_be_known_the_second_time():
    rng = np.random.default_rng(0)
    firsts = set()
    for _ in range(50):
        tokens, weights = language.words_told_twice(rng, 1200)
        words = [word for ((word, _),) in tokens]
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
    brackets = int(tokenizer.convert_tokens_to_ids("["))
    kinds = set()
    step = 0
    while len(kinds) < len(language.KINDS) and step < 100:
        rows, shares, weights = batches(step)
        assert rows.shape == shares.shape and rows.shape[:2] == weights.shape
        assert rows.shape[0] * rows.shape[1] <= max(language.TOKENS, 4 * rows.shape[1])
        assert torch.equal(rows, batches(step)[0])
        step += 1
        turns = (rows[..., 0] == users).sum(1)
        pictures = (shares > 0).sum(2).gt(1).sum(1)
        if turns.max() == 0:
            kinds.add("words")
        elif (turns > 1).all() and torch.equal(turns, pictures):
            kinds.add("lessons")
        elif (turns == 1).all() and (pictures == 2).all():
            kinds.add("pairs")
        elif turns.max() <= 2 and (pictures >= 1).all() and (rows[..., 0] == brackets).any(1).all():
            kinds.add("boxes")
        else:
            kinds.add("talk")
    assert kinds == set(language.KINDS)
