"""Where examples come from: one data set of a mixture, as a stage's YAML or the command line names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anygpt.config import ConfigError

Task = Literal["describe", "make", "both"]


@dataclass(frozen=True)
class Source:
    """One data set.

    Attributes:
        format: a key of `anygpt.data.FORMATS`.
        path: its file of rows; of CC3M's image-text form and the like, a folder.
        media: the folder that the rows' media are in; the one of `path` unless said. No path may leave it.
        weight: how often examples come from it, relative to the other sources; each by its number of rows unless said.
        limit: the first so many rows alone.
        task: what becomes of a medium with a caption: the model shall `describe` it, `make` it, or, row by row, one of
            `both`. Unless said, what the stage is for. Rows that are dialogues say so themselves.
        annotations: of formats of two files, the second: VQAv2's and OK-VQA's answers, RefCOCO's `instances.json`.
        embeddings: of NExT-GPT's, the folder of its captions' embeddings, `.npy` files; `anygpt precompute` reads them.
    """

    format: str
    path: str
    media: str | None = None
    weight: float | None = None
    limit: int | None = None
    task: Task | None = None
    annotations: str | None = None
    embeddings: str | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and not self.weight > 0:
            raise ConfigError(f"{self.path}: weight must be above 0, not {self.weight}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"{self.path}: limit must be at least 1, not {self.limit}")

    @property
    def folder(self) -> Path:
        """The folder of its media."""
        if self.media is not None:
            return Path(self.media)
        path = Path(self.path)
        return path if path.is_dir() else path.parent
