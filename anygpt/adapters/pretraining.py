"""BLIP-2's first stage: the Q-Former learns from pictures and their captions, without the LLM.

Three tasks over one model, which differ in who sees whom (arXiv 2301.12597, figure 2):

    itc  image-text contrastive learning   queries see queries, text sees text
    itm  image-text matching               all see all
    itg  image-grounded text generation    queries see queries, text sees queries and the text before
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygpt.adapters.qformer import QFormer

Task = Literal["itc", "itm", "itg"]
LAYER_PARTS = ("attention", "crossattention", "intermediate_query", "output_query")


def attention_mask(task: Task, queries: int, text: Tensor) -> Tensor:
    """Who sees whom: bool (B, queries + L, queries + L), True where a row may look at a column.

    Args:
        text: (B, L), 0 at padding, which nobody sees.
    """
    length = text.shape[1]
    mask = torch.ones(queries + length, queries + length, dtype=torch.bool, device=text.device)
    mask[:queries, queries:] = task == "itm"
    mask[queries:, :queries] = task != "itc"
    if task == "itg":
        mask[queries:, queries:] = mask[queries:, queries:].tril()
    present = torch.cat([text.new_ones(len(text), queries), text], 1).bool()
    return mask & present[:, None]


class QFormerPretraining(nn.Module):
    """The Q-Former with a text part beside its queries, and the three losses.

    The text part (embeddings of its own, and feed-forward layers) shares the self-attention with the queries.
    It is for this stage alone: what it trains of `qformer` is trained in place.

    Args:
        qformer: an adapter's, e.g. `Adapter(…).map[0]`.
        vocabulary: text ids are below it; two more rows stand for the start of a text to be understood, and of
            one to be written.
        longest: text, in tokens.
        width: of the space in which pictures and texts are compared; 256 in the paper.
    """

    def __init__(self, qformer: QFormer, vocabulary: int, longest: int = 64, width: int = 256) -> None:
        super().__init__()
        from transformers import Blip2QFormerModel

        config = copy.deepcopy(qformer.model.config)
        config.use_qformer_text_input = True
        self.model = Blip2QFormerModel(config)
        self.model.layernorm = qformer.model.layernorm
        for mine, shared in zip(self.model.encoder.layer, qformer.model.encoder.layer, strict=True):
            for part in LAYER_PARTS:
                if hasattr(shared, part):
                    setattr(mine, part, getattr(shared, part))
        self.queries, self.norm = qformer.queries, qformer.norm
        hidden = qformer.width
        self.understand, self.write = vocabulary, vocabulary + 1
        self.words = nn.Embedding(vocabulary + 2, hidden)
        self.positions = nn.Embedding(longest + 1, hidden)
        for embedding in (self.words, self.positions):
            nn.init.normal_(embedding.weight, std=config.initializer_range)
        self.image_head = nn.Linear(hidden, width)
        self.text_head = nn.Linear(hidden, width)
        self.match_head = nn.Linear(hidden, 2)
        self.word_head = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden))
        self.scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def forward(self, features: Tensor, ids: Tensor, mask: Tensor) -> dict[Task, Tensor]:
        """The three losses of N pictures with their captions.

        Args:
            features: (N, tokens, dim), of the encoder.
            ids, mask: (N, L) token ids, padded on the right, and 0 at padding. Equal captions count as each
                other's.
        """
        similar = self.similarity(features, ids, mask)
        ids = ids.masked_fill(mask == 0, -1)
        same = (ids[:, None] == ids[None]).all(-1)
        ids = ids.clamp(min=0)
        return {
            "itc": self._contrast(similar, same),
            "itm": self._match(features, ids, mask, similar.detach(), same),
            "itg": self._write(features, ids, mask),
        }

    def similarity(self, features: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """How well each of N pictures and each of N texts fit: (N, N), the best query's cosine, scaled.

        The scale is learned as CLIP's: by its logarithm, so that it stays positive, and at most 100.
        """
        queries, text = self._states("itc", features, ids, mask)
        images = F.normalize(self.image_head(queries), dim=-1)
        texts = F.normalize(self.text_head(text[:, 0]), dim=-1)
        scale = self.scale.exp().clamp(max=100)
        return torch.einsum("iqd,td->itq", images, texts).amax(-1) * scale

    def matching(self, features: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (N, 2) of picture i not belonging, or belonging, to text i."""
        queries, _ = self._states("itm", features, ids, mask)
        return self.match_head(queries).mean(1)

    def _contrast(self, similar: Tensor, same: Tensor) -> Tensor:
        wanted = same.to(similar.dtype)
        wanted = wanted / wanted.sum(1, keepdim=True)
        return (F.cross_entropy(similar, wanted) + F.cross_entropy(similar.T, wanted)) / 2

    def _match(self, features: Tensor, ids: Tensor, mask: Tensor, similar: Tensor, same: Tensor) -> Tensor:
        """Each pair, each picture with a text that looks much like its own, and each text with such a picture."""
        rows = (~same).any(1).nonzero()[:, 0]
        pictures = texts = torch.arange(len(ids), device=ids.device)
        if len(rows):  # otherwise all captions are the same
            near = similar.float().softmax(1), similar.float().T.softmax(1)
            hard = [((each + 1e-6) * ~same)[rows].multinomial(1)[:, 0] for each in near]
            pictures, texts = torch.cat([pictures, rows, hard[1]]), torch.cat([texts, hard[0], rows])
        labels = (torch.arange(len(texts), device=ids.device) < len(ids)).long()
        return F.cross_entropy(self.matching(features[pictures], ids[texts], mask[texts]), labels)

    def _write(self, features: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        _, text = self._states("itg", features, ids, mask)
        logits = F.linear(self.word_head(text[:, :-1]), self.words.weight)
        return F.cross_entropy(logits.transpose(1, 2), ids.masked_fill(mask == 0, -100))

    def _states(self, task: Task, features: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The states of the queries (N, queries, hidden) and of a start token and the text (N, 1 + L, hidden)."""
        start = self.write if task == "itg" else self.understand
        ids, mask = F.pad(ids, (1, 0), value=start), F.pad(mask, (1, 0), value=1)
        text = self.words(ids) + self.positions.weight[: ids.shape[1]]
        queries = self.queries.expand(len(ids), -1, -1)
        sees = attention_mask(task, queries.shape[1], mask)
        # Added to the scores, which every implementation of attention takes; not all take True and False.
        added = torch.zeros_like(sees, dtype=text.dtype).masked_fill(~sees, torch.finfo(text.dtype).min)
        states = self.model(
            query_embeds=torch.cat([queries, text], 1),
            query_length=queries.shape[1],
            attention_mask=added[:, None],
            encoder_hidden_states=self.norm(features),
        ).last_hidden_state
        return states[:, : queries.shape[1]], states[:, queries.shape[1] :]
