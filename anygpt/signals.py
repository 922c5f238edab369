"""Signal tokens: the vocabulary added to the LLM, by which it says *make a picture here*.

Each output modality has a run of them, `<image_0>` … `<image_3>`. They are rows of two small trained
matrices beside the LLM's own, which stay as they are: ids from `base` on read and write here. They are not
in the tokenizer, so nobody can type one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Signals(nn.Module):
    """The rows of all signal tokens.

    Args:
        base: first signal id: the LLM's number of embedding rows.
        hidden: width of the LLM.
        runs: length of each modality's run, in order.
        gap: the LLM's token between every two signal tokens of a run, if there is one.

    Attributes:
        ids: each modality's signal ids.
        embedding: input rows (n, hidden).
        head: output rows (n, hidden).
    """

    def __init__(self, base: int, hidden: int, runs: dict[str, int], gap: int | None = None) -> None:
        super().__init__()
        self.base = base
        self.gap = gap
        self.ids: dict[str, range] = {}
        first = base
        for modality, length in runs.items():
            self.ids[modality] = range(first, first + length)
            first += length
        self.embedding = nn.Parameter(torch.zeros(first - base, hidden))
        self.head = nn.Parameter(torch.zeros(first - base, hidden))

    @torch.no_grad()
    def start_from(self, embedding: Tensor, head: Tensor) -> None:
        """First values: the mean of the LLM's rows plus a little noise, so that none stands out."""
        for rows, like in ((self.embedding, embedding), (self.head, head)):
            like = like.float()
            rows.copy_(like.mean(0) + 0.1 * like.std(0) * torch.randn_like(rows))

    @torch.no_grad()
    def start_as(self, modality: str, rows: Tensor) -> None:
        """First input rows of a modality's run, (length of the run, hidden)."""
        first = self.ids[modality].start - self.base
        self.embedding[first : first + len(rows)] = rows.to(self.embedding)

    def run(self, modality: str) -> list[int]:
        """A modality's whole run as the LLM reads it: its signal ids, and the gaps between them."""
        ids = list(self.ids[modality])
        if self.gap is None:
            return ids
        return [token for signal in ids for token in (signal, self.gap)][:-1]

    def name(self, token: int) -> str:
        """How a signal id is written for people, e.g. `<image_0>`."""
        modality = self.modality(token)
        return f"<{modality}_{token - self.ids[modality].start}>"

    def modality(self, token: int) -> str:
        """The modality of a signal id."""
        return next(modality for modality, ids in self.ids.items() if token in ids)

    def embed(self, ids: Tensor) -> Tensor:
        """Signal ids (…) → their input rows (…, hidden)."""
        return F.embedding(ids - self.base, self.embedding)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (…, hidden) → logits of the signal tokens (…, n), to stand after the LLM's."""
        return hidden @ self.head.T
