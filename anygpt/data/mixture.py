"""A mixture of sources as a data set of conversations, in an order that depends on its seed alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from torch.utils.data import Dataset

from anygpt.data import open_source
from anygpt.data.errors import BadItem, DataError
from anygpt.data.media import open_all
from anygpt.data.order import BLOCK, block, permuted, shares
from anygpt.data.reader import Reader
from anygpt.data.skipped import Skip
from anygpt.data.source import Source
from anygpt.messages import Conversation, MessageError
from encoders.media import MediaError

ATTEMPTS = 100  # rows in a row that cannot be used, before giving up
HELD_OUT = 10  # a tenth of a source's rows, at most, is kept for each of the two other splits
FIXED = 7  # not the run's seed: what one stage keeps apart, the next one does not train on
Split = Literal["training", "validation", "measured"]
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Share:
    """One source's part of the mixture, and its rows: first those kept for validation, then for measuring, then the rest."""

    reader: Reader
    weight: float
    validation: int
    measured: int

    def rows(self, split: Split) -> range:
        """Places in the source's fixed order; `row` says which rows they are."""
        first = {"validation": 0, "measured": self.validation, "training": self.validation + self.measured}
        length = {"validation": self.validation, "measured": self.measured}
        start = first[split]
        return range(start, start + length[split] if split in length else len(self.reader))

    def row(self, place: int) -> int:
        return permuted(place, len(self.reader), FIXED)

    @property
    def name(self) -> str:
        return self.reader.source.path


class Mixture(Dataset[Conversation]):
    """Conversations from several sources with their media opened; the i-th depends on the seed, i and the files alone.

    Each source is passed through in a new random order every time; in every 10,000 examples, each has its exact share.
    Some rows of each are kept apart for the splits `validation` and `measured`, which are not mixed: they have each row once.

    Args:
        sources: with a weight each, or without any: then each weighs as much as it has rows.
        size: of `training`, how many examples; of the other splits, how many at most.
        validation, measured: how many rows of all sources to keep apart for the two splits.
        task: what becomes of a medium with a caption, where a source does not say.
        outputs: whether to open what the assistant answers with, too.
        known: what was computed of files before, as `anygpt.data.media.open_all` takes them.

    Raises:
        DataError: a source that cannot be used at all, or is too small.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        split: Split = "training",
        *,
        size: int,
        seed: int = 0,
        validation: int = 0,
        measured: int = 0,
        task: str = "describe",
        outputs: bool = False,
        known: Callable[[str, Path, bool], Any | None] | None = None,
    ) -> None:
        self.split, self.seed, self.outputs, self.known = split, seed, outputs, known
        readers = [open_source(source, task) for source in sources]
        for reader in readers:
            needed = 1 + bool(validation) + bool(measured)
            if len(reader) < needed:
                raise DataError(f"{reader.source.path} has {len(reader)} rows; {needed} is the least")
        given = [source.weight for source in sources]
        if any(given) and not all(given):
            raise DataError("give every source of 'data' a weight, or none")
        weights = [source.weight or float(len(reader)) for source, reader in zip(sources, readers)]
        self.weights = tuple(weight / sum(weights) for weight in weights)
        self.shares = [
            _Share(reader, weight, *(_kept(wanted, weight, len(reader)) for wanted in (validation, measured)))
            for reader, weight in zip(readers, self.weights)
        ]
        held_out = (
            [(share, place) for share in self.shares for place in share.rows(split)]
            if split != "training"
            else []
        )
        self.held_out = held_out[:size]
        self.size = size if split == "training" else len(self.held_out)

    def __len__(self) -> int:
        return self.size

    @property
    def rows(self) -> int:
        """How many rows the sources have for this split."""
        return sum(len(share.rows(self.split)) for share in self.shares)

    def __getitem__(self, index: int) -> Conversation:
        """The i-th conversation.

        Raises:
            BadItem: its row cannot be used; `usable` takes another one then.
        """
        return self._read(*self._origin(index, 0))

    def usable(
        self, index: int, use: Callable[[Conversation], Result]
    ) -> tuple[Result | None, int, list[Skip]]:
        """What `use` makes of the i-th conversation or, where its row cannot be used, of another row of the same source.

        Which other row depends on the seed, i and the files alone. Splits that are not mixed have no other rows: None.

        Returns:
            The result, how many rows were read, and those of them that could not be used.

        Raises:
            DataError: of `ATTEMPTS` rows none can be used.
        """
        skips: list[Skip] = []
        for attempt in range(ATTEMPTS if self.split == "training" else 1):
            share, row = self._origin(index, attempt)
            try:
                return use(self._read(share, row)), attempt + 1, skips
            except (BadItem, MediaError) as error:
                skips.append(Skip(share.name, row, error.reason, str(error)))
            except MessageError as error:  # a modality that the model lacks, or its template refuses
                skips.append(Skip(share.name, row, "not for this model", str(error)))
        if self.split == "training":
            raise DataError(
                f"none of {ATTEMPTS} rows of {share.name} can be used; the last one: {skips[-1].reason}, {skips[-1].detail}"
            )
        return None, 1, skips

    def _origin(self, index: int, attempt: int) -> tuple[_Share, int]:
        if not 0 <= index < self.size:
            raise IndexError(f"conversation {index} of {self.size}")
        if self.split != "training":
            share, place = self.held_out[index]
            return share, share.row(place)
        number, place = divmod(index, BLOCK)
        sources, before = block(number, self.seed, self.weights)
        source = int(sources[place])
        share = self.shares[source]
        rows = share.rows("training")
        # another attempt takes its rows from passes that the run does not come to
        rank = number * shares(self.weights)[source] + int(before[place]) + attempt * 2**40
        turn, index = divmod(rank, len(rows))
        return share, share.row(rows[permuted(index, len(rows), _key(self.seed, source, turn))])

    def _read(self, share: _Share, row: int) -> Conversation:
        return open_all(share.reader.example(row, outputs=self.outputs), self.known)


def _kept(wanted: int, weight: float, rows: int) -> int:
    """How many of a source's rows to keep apart, where `wanted` of all sources are."""
    return min(math.ceil(wanted * weight), max(rows // HELD_OUT, 1)) if wanted else 0


def _key(*numbers: int) -> int:
    text = " ".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big")
