"""Mixtures: shares, orders, splits and stand-ins that depend on the seed alone."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from command_line import picture
from data_files import write_json

from anygpt.data import BadItem, DataError, Source
from anygpt.data.mixture import Mixture
from anygpt.data.order import BLOCK, permuted, shares
from anygpt.messages import Conversation


def numbers(folder: Path, name: str, count: int) -> str:
    rows = [{"instruction": "say", "input": "", "output": f"{name}{i}"} for i in range(count)]
    return write_json(folder / f"{name}.json", rows)


def answer(conversation: Conversation) -> str:
    return conversation[-1]["content"][0]["text"]


def drawn(mixture: Mixture) -> list[str]:
    return [answer(mixture[i]) for i in range(len(mixture))]


def test_a_permutation_has_each_place_once() -> None:
    for size in (1, 2, 3, 10, 64, 1000):
        orders = {tuple(permuted(i, size, key) for i in range(size)) for key in range(3)}
        assert all(sorted(order) == list(range(size)) for order in orders)
        assert size < 10 or len(orders) == 3
    order = [permuted(i, 1000, 7) for i in range(1000)]
    assert sum(abs(a - b) for a, b in pairwise(order)) / 999 == pytest.approx(333, rel=0.15)  # as by chance


def test_shares_add_up() -> None:
    for weights in ((1.0,), (1.0, 2.0), (1 / 3, 1 / 3, 1 / 3), (1.0, 1e-9), tuple(map(float, range(1, 40)))):
        counts = shares(weights)
        assert sum(counts) == BLOCK and min(counts) >= 1
        assert all(abs(c - w / sum(weights) * BLOCK) <= 1 for c, w in zip(counts, weights))


def test_sources_come_by_weight_and_each_row_once_a_pass(tmp_path: Path) -> None:
    sources = [
        Source("alpaca", numbers(tmp_path, "a", 300), weight=3.0),
        Source("alpaca", numbers(tmp_path, "b", 5000), weight=1.0, limit=400),
    ]
    rows = drawn(Mixture(sources, size=2 * BLOCK))
    assert Counter(row[0] for row in rows) == {"a": 2 * 7500, "b": 2 * 2500}
    for name, count in (("a", 300), ("b", 400)):
        mine = [row for row in rows if row[0] == name]
        passes = [mine[i : i + count] for i in range(0, len(mine) - count, count)]
        assert all(sorted(one) == sorted(f"{name}{i}" for i in range(count)) for one in passes)
        assert passes[0] != passes[1]  # in another order
    ones = Counter(row[0] for row in drawn(Mixture([Source("alpaca", s.path) for s in sources], size=BLOCK)))
    assert ones["a"] == round(BLOCK * 300 / 5300)  # without weights, by size
    with pytest.raises(DataError, match="a weight, or none"):
        Mixture([sources[0], Source("alpaca", sources[1].path)], size=4)


def test_the_order_depends_on_the_seed_alone(tmp_path: Path) -> None:
    sources = [Source("alpaca", numbers(tmp_path, name, 50)) for name in "ab"]
    rows = drawn(Mixture(sources, size=200, seed=5))
    again = Mixture(sources, size=120, seed=5)
    assert [answer(again[i]) for i in reversed(range(120))] == rows[119::-1]
    assert drawn(Mixture(sources, size=200, seed=6)) != rows
    with pytest.raises(IndexError):
        again[120]


def test_splits_share_no_row_and_are_the_same_in_every_stage(tmp_path: Path) -> None:
    sources = [Source("alpaca", numbers(tmp_path, "a", 100)), Source("alpaca", numbers(tmp_path, "b", 30))]

    def split(name: Any, seed: int = 0) -> list[str]:
        return drawn(
            Mixture(
                sources, name, size=10 if name != "training" else 1000, seed=seed, validation=10, measured=10
            )
        )

    training, validation, measured = split("training"), split("validation"), split("measured")
    assert len(validation) == len(set(validation)) == 10 and {row[0] for row in validation} == {"a", "b"}
    assert not set(training) & set(validation) and not set(training) & set(measured)
    assert not set(validation) & set(measured)
    assert split("validation", seed=1) == validation
    assert len(set(training)) + len(set(validation)) + len(set(measured)) >= 128
    tiny = [Source("alpaca", numbers(tmp_path, "c", 2))]
    with pytest.raises(DataError, match="has 2 rows; 3 is the least"):
        Mixture(tiny, size=4, validation=1, measured=1)


def test_another_row_stands_in_for_a_bad_one(tmp_path: Path) -> None:
    rows = [{"image_name": f"{i}.png", "caption": f"number {i}"} for i in range(20)]
    for i in range(0, 20, 2):
        picture(tmp_path / f"{i}.png")
    source = Source("nextgpt", write_json(tmp_path / "pairs.json", rows))
    first, second = (Mixture([source], size=40, seed=3) for _ in range(2))
    seen: set[int] = set()
    for index in range(40):
        text, read, skips = first.usable(index, answer)
        assert (text, read, skips) == second.usable(index, answer)
        assert text is not None and int(text.split()[1]) % 2 == 0 and read == 1 + len(skips)
        assert all(skip.row % 2 == 1 and skip.reason == "missing" for skip in skips)
        seen |= {skip.row for skip in skips}
    assert seen == set(range(1, 20, 2))
    with pytest.raises(BadItem):
        [first[index] for index in range(20)]
    held_out = Mixture([source], "validation", size=20, validation=2)
    assert {held_out.usable(i, answer)[0] is None for i in range(len(held_out))} <= {True, False}
    for i in range(0, 20, 2):
        (tmp_path / f"{i}.png").unlink()
    with pytest.raises(
        DataError, match="none of 100 rows of .*pairs.json can be used; the last one: missing"
    ):
        first.usable(0, answer)
