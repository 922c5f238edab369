"""What was left out: a line an item in `skipped.jsonl`, and a stop once it is too much."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from anygpt.data.errors import DataError

SKIPPED = "skipped.jsonl"
SAMPLE = 1000  # items, before which a share means little


@dataclass(frozen=True)
class Skip:
    """One item that was left out.

    Attributes:
        source: the path of its source.
        row: its number there, from 0.
        reason: one of `anygpt.data.errors.REASONS`.
        detail: what exactly, for the person who will mend it.
    """

    source: str
    row: int
    reason: str
    detail: str


class Skipped:
    """The items left out of a run. Each is written once, however often it is met; processes may share the file.

    Args:
        path: where they are written; what is there already is kept.
        most: the share of the items read that may be left out.
        planned: how many items will be read in all.
        read, left_out: how many were before, in a run that goes on.

    Attributes:
        read, left_out: how many until now.
        reasons: how often each came.
    """

    def __init__(self, path: Path, most: float, planned: int, *, read: int = 0, left_out: int = 0) -> None:
        self.path, self.most, self.planned = path, most, planned
        self.read, self.left_out = read, left_out
        self.reasons: Counter[str] = Counter()
        self._written = _written(path)

    def note(self, skips: Iterable[Skip]) -> None:
        """Write items down, without a look at their share."""
        new = [skip for skip in dict.fromkeys(skips) if (skip.source, skip.row) not in self._written]
        self._written |= {(skip.source, skip.row) for skip in new}
        if new:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                # a lone surrogate in a name could not be written otherwise
                file.writelines(json.dumps(asdict(skip)) + "\n" for skip in new)

    def add(self, read: int, skips: list[Skip]) -> None:
        """Note items among `read` ones.

        Raises:
            DataError: more than the share that may be left out: of what was read, as soon as this says something, or of all
                that there is to read.
        """
        self.note(skips)
        self.read += read
        self.left_out += len(skips)
        self.reasons.update(skip.reason for skip in skips)
        if self.left_out > self.most * max(self.read, min(self.planned, SAMPLE)):
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())
            raise DataError(
                f"{self.left_out} of {self.read} items cannot be used ({reasons}), more than max_skipped {self.most:.2%} "
                f"allows; {self.path} names them"
            )


def _written(path: Path) -> set[tuple[str, int]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return set()
    found = set()
    for line in lines:
        try:
            values = json.loads(line)
            found.add((values["source"], values["row"]))
        except (ValueError, KeyError, TypeError):
            continue  # half a line of a run that was killed
    return found
