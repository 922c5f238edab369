"""Orders that need no memory: which row, and which source, comes at a place, from the place and a seed alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

BLOCK = 10_000  # examples in which each source has its exact share
ROUNDS = 4
WORD = 2**64 - 1


def permuted(index: int, size: int, key: int) -> int:
    """Where `index` goes in a permutation of range(size) that `key` chooses.

    A Feistel network on as many bits as the size needs, applied until it falls within (Black and Rogaway 2002, "Ciphers with
    arbitrary finite domains"): a million rows in random order cost no list of a million numbers.
    """
    half = max(((size - 1).bit_length() + 1) // 2, 1)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for turn in range(ROUNDS):
            left, right = right, left ^ (_mixed(right + (key * ROUNDS + turn << 32)) & mask)
        index = left << half | right
        if index < size:
            return index


def _mixed(value: int) -> int:
    """SplitMix64's finaliser: each bit of the result depends on each bit of the value."""
    value = (value * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & WORD
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & WORD
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & WORD
    return value ^ value >> 31


@lru_cache(maxsize=16)
def shares(weights: tuple[float, ...]) -> tuple[int, ...]:
    """How many of a block's examples each source has, by largest remainders, and one at least."""
    quotas = np.array(weights) / sum(weights) * BLOCK
    counts = np.maximum(np.floor(quotas), 1).astype(int)
    by_remainder = np.argsort(-(quotas - counts), kind="stable")
    while (short := BLOCK - int(counts.sum())) != 0:
        if short > 0:
            counts[by_remainder[:short]] += 1
        else:
            counts[int(counts.argmax())] += short
    return tuple(counts.tolist())


@lru_cache(maxsize=4)
def block(number: int, seed: int, weights: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """For each place of a block: its source, and how many examples of that source came before it in the block."""
    counts = shares(weights)
    sources = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng([seed, number]).shuffle(sources)
    before = np.empty(BLOCK, dtype=np.int64)
    for source in range(len(counts)):
        places = np.flatnonzero(sources == source)
        before[places] = np.arange(len(places))
    return sources, before
