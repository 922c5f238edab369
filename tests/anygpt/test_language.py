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
    assert padded[1, len(shorter[0]) :, 0].eq(tokenizer.pad_token_id).all() or len(shorter[0]) > len(tokens)
    assert padded_weights[0, : len(weights)].tolist() == pytest.approx(weights)
