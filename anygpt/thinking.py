"""The LLM's part of an answer: token by token, with a key-value cache, for one or several conversations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anygpt.attention import block_ids
from anygpt.marks import Caption, Marks
from anygpt.options import Options
from anygpt.own_senses import Places, leap
from anygpt.processor import MEDIUM, Prompt

if TYPE_CHECKING:
    from anygpt.model import AnyGPT


@dataclass
class Run:
    """A run of signal tokens that the LLM has been through: `hidden` and `embeddings` are (T, hidden)."""

    modality: str
    hidden: Tensor
    embeddings: Tensor


class Memory:
    """What the LLM has read so far: a key-value cache of one or several rows, each padded on the left of
    every step.

    With a single row there is no padding, and `entries` tells what lies in the cache: an id or a medium's
    fingerprint, and how many slots it takes. So a conversation that goes on reads only what is new (see
    `recall`).
    """

    def __init__(self, model: AnyGPT, rows: int = 1) -> None:
        self.model = model
        self.entries: list[tuple[int | str, int]] = []
        self.fed = 0  # slots that went through the LLM, over all time
        self._empty(rows)

    def _empty(self, rows: int) -> None:
        from transformers import DynamicCache

        self.cache = DynamicCache(config=self.model.llm.config)
        self.entries.clear()
        self.mask = torch.zeros(rows, 0, dtype=torch.long, device=self.model.device)
        self.blocks = self.mask.clone()  # which medium each slot belongs to, -1 for text
        self.media: list[list[Tensor]] = [[] for _ in range(rows)]
        # of an LLM with eyes: its tokens' places, and what each entry's are fewer than its slots
        self.places = Places(rows, self.model.device) if self.model.senses is not None else None
        self.leaps: list[int] = []

    def recall(self, keys: Sequence[int | str]) -> int:
        """Keep of the single row what it shares with `keys` from the start, and say how many keys that is.

        The last key is never among them, as the LLM must read something to go on from.
        """
        shared = 0
        for (known, _), key in zip(self.entries, keys[:-1], strict=False):
            if known != key:
                break
            shared += 1
        length = sum(slots for _, slots in self.entries[:shared])
        if not self.cache.is_croppable:  # such as a sliding window: only to be read on from, or given up
            if shared < len(self.entries) or self.cache.get_seq_length() != length:
                self._empty(1)
                return 0
        else:
            layers: list[Any] = self.cache.layers
            for layer in layers:  # an interrupted step may have left more in some than in others
                layer.crop(min(length - layer.get_seq_length(), 0))
        del self.entries[shared:], self.leaps[shared:]
        if self.places is not None:
            self.places.ahead.fill_(sum(self.leaps))
        self.mask = self.mask.new_ones(1, length)
        self.blocks = self.blocks[:, :length]
        self.media = [self.media[0][: sum(isinstance(key, str) for key, _ in self.entries)]]
        return shared

    def feed(
        self,
        rows: Sequence[Sequence[Tensor]],
        keys: Sequence[int | str],
        media: Sequence[dict[int, Tensor]] = (),
        seen: Sequence[dict[int, Tensor]] = (),
    ) -> tuple[Tensor, list[Tensor]]:
        """Let the LLM read on.

        Args:
            rows: for each row the embeddings (slots, hidden) of what comes next.
            keys: of the single row's embeddings; not looked at with several rows.
            media: for each row, which of its embeddings are media's, and the media as `AnyGPT.adapt` gives them.
            seen: for each row, which of its embeddings are media that the LLM takes in with its own senses, and the places of
                their tokens (see `OwnSenses.places`).

        Returns:
            Logits (rows, vocabulary) of the next token, and for each row the states (slots, hidden) of what
            was fed.
        """
        joined = [torch.cat(list(row)) for row in rows]
        width = max(len(row) for row in joined)
        new = self.mask.new_zeros(len(joined), width)
        blocks = torch.full_like(new, -1)
        embeddings = joined[0].new_zeros(len(joined), width, joined[0].shape[-1])
        for index, row in enumerate(joined):
            new[index, width - len(row) :] = 1
            embeddings[index, width - len(row) :] = row
        for index, found in enumerate(media):
            sizes = [len(slot) for slot in rows[index]]
            own = block_ids(sizes, [place in found for place in range(len(sizes))], len(self.media[index]))
            blocks[index, width - len(own) :] = own
            self.media[index].extend(found.values())
        mask, self.blocks = torch.cat([self.mask, new], 1), torch.cat([self.blocks, blocks], 1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -width:]
        if self.places is not None:
            begun = [_starts(row, width, seen[index] if seen else {}) for index, row in enumerate(rows)]
            positions = self.places(positions, begun)
        logits, hidden = self.model.think(
            embeddings,
            mask,
            self.blocks,
            self.media,
            position_ids=positions,
            cache=self.cache,
            use_cache=True,
        )
        self.mask = mask
        self.fed += int(new.sum())
        if len(rows) == 1:
            self.entries.extend((key, len(slot)) for key, slot in zip(keys, rows[0], strict=True))
            sensed = seen[0] if seen else {}
            self.leaps.extend(leap(sensed[at]) if at in sensed else 0 for at in range(len(rows[0])))
        return logits[:, -1], [states[width - len(row) :] for states, row in zip(hidden, joined, strict=True)]

    def keep(self, rows: list[int]) -> None:
        """Forget all rows but these."""
        index = torch.tensor(rows, device=self.mask.device)
        self.cache.batch_select_indices(index)
        self.mask, self.blocks = self.mask[index], self.blocks[index]
        self.media = [self.media[row] for row in rows]
        if self.places is not None:
            self.places.ahead = self.places.ahead[index]

    @property
    def can_join(self) -> bool:
        """Whether rows can join while others go on: not with a sliding window, whose cache has let slots go."""
        return self.cache.is_croppable

    def join(self, other: Memory) -> None:
        """Take in the rows of another memory; the shorter of the two is padded on the left."""
        used = self.mask.any(0)  # slots that only rows which have left had use for
        for layer in self._layers():
            layer.keys, layer.values = layer.keys[:, :, used], layer.values[:, :, used]
        self.mask, self.blocks = self.mask[:, used], self.blocks[:, used]
        width = max(self.mask.shape[1], other.mask.shape[1])
        for mine, its in zip(self._layers(), other._layers(), strict=True):
            mine.keys = torch.cat([_widen(mine.keys, 2, width), _widen(its.keys, 2, width)])
            mine.values = torch.cat([_widen(mine.values, 2, width), _widen(its.values, 2, width)])
        self.mask = torch.cat([_widen(self.mask, 1, width), _widen(other.mask, 1, width)])
        self.blocks = torch.cat([_widen(self.blocks, 1, width, -1), _widen(other.blocks, 1, width, -1)])
        self.media.extend(other.media)
        if self.places is not None and other.places is not None:
            self.places.ahead = torch.cat([self.places.ahead, other.places.ahead])
        self.fed += other.fed
        self.entries.clear()

    def _layers(self) -> list[Any]:
        return self.cache.layers


def _starts(row: Sequence[Tensor], width: int, seen: dict[int, Tensor]) -> list[tuple[int, Tensor]]:
    """Where each medium of `seen` begins in a row that is padded on the left to `width` slots, with its tokens' places."""
    ends = list(accumulate((len(slot) for slot in row), initial=width - sum(map(len, row))))
    return [(ends[place], own) for place, own in seen.items()]


def _widen(values: Tensor, dim: int, width: int, filler: int = 0) -> Tensor:
    """Values with `filler` before them, `width` long along `dim`."""
    shape = list(values.shape)
    shape[dim] = width - shape[dim]
    return torch.cat([values.new_full(shape, filler), values], dim)


class Detokeniser:
    """Token ids → text as it grows: never half a character, and with the spaces of the decoded whole.

    Attributes:
        stopped: one of the texts that end an answer has come; it is not shown, and neither is what follows.
    """

    def __init__(self, tokenizer: Any, strip: bool, stops: Sequence[str] = ()) -> None:
        self.tokenizer = tokenizer
        self.strip = strip  # an answer does not begin with a space
        self.stops = stops
        self.stopped = False
        self.ids: list[int] = []
        self.shown = 0

    def push(self, token: int) -> str:
        """What the token adds to the text; empty while a character, or what may become a stop, is incomplete."""
        self.ids.append(token)
        text = self._text()
        if text.endswith("\ufffd"):
            return ""
        ends = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            return self._show(text[: min(ends)])
        begun = [n for stop in self.stops for n in range(1, len(stop)) if text.endswith(stop[:n])]
        return self._show(text[: len(text) - max(begun, default=0)])

    def flush(self) -> str:
        """What is still held back; the next token begins a new text."""
        rest = "" if self.stopped else self._show(self._text())
        self.ids, self.shown, self.strip = [], 0, False
        return rest

    def _text(self) -> str:
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.lstrip() if self.strip else text

    def _show(self, text: str) -> str:
        new = text[self.shown :]
        self.shown = max(self.shown, len(text))
        return new


class Chooser:
    """Chooses one answer's tokens, with a random generator of its own: alone and in a batch the same."""

    def __init__(self, model: AnyGPT, options: Options) -> None:
        self.options = options
        self.base = model.signals.base
        self.allowed = model.config.outputs if options.modalities is None else options.modalities
        starts = [
            ids.start
            for m, ids in model.signals.ids.items()
            if m in self.allowed and m not in model.config.captioned
        ]
        self.starts = torch.tensor(starts, dtype=torch.long)
        self.media = 0
        self.random = torch.Generator().manual_seed(options.seed)

    def __call__(self, logits: Tensor) -> int:
        """Logits (vocabulary) → a token id: of the LLM, or the first of a run of signal tokens."""
        logits = logits.float().cpu()
        allowed = torch.zeros_like(logits, dtype=torch.bool)
        allowed[: self.base] = True
        if self.media < self.options.max_media:
            allowed[self.starts] = True
        logits = logits.masked_fill(~allowed, -torch.inf)
        if self.options.temperature == 0:
            token = int(logits.argmax())
        else:
            shares, order = torch.softmax(logits / self.options.temperature, -1).sort(
                descending=True, stable=True
            )
            shares = shares.masked_fill(shares.cumsum(-1) - shares >= self.options.top_p, 0)
            token = int(order[torch.multinomial(shares, 1, generator=self.random)])
        self.media += token >= self.base
        return token

    def admit(self, parts: Iterable[str | Caption]) -> Iterator[str | Caption]:
        """The parts without captions of media that the answer may not have."""
        for part in parts:
            if isinstance(part, Caption):
                if part.modality not in self.allowed or self.media >= self.options.max_media:
                    continue
                self.media += 1
            yield part


class Row:
    """One answer in the making.

    Args:
        request: what was asked, for a caption where a medium must be made and the LLM wrote none.

    Attributes:
        ids: all that was chosen, whole runs of signal tokens among it, and the stop token.
        tokens: how many it has so far; a whole run of signal tokens counts as one.
        ended: why the LLM is asked for no more, "stop" or "length"; None while it goes on.
    """

    def __init__(self, model: AnyGPT, options: Options, request: str) -> None:
        self.model = model
        self.options = options
        self.request = request
        self.ids: list[int] = []
        self.tokens = 0
        self.ended: str | None = None
        self._chooser = Chooser(model, options)
        self._text = Detokeniser(model.tokenizer, strip=True, stops=(*model.stop_strings, *options.stop))
        self._marks = Marks(model.config.captioned)
        self._missing = list(options.modalities or ())

    def push(self, logits: Tensor) -> tuple[list[str | Caption], list[int]]:
        """Logits (vocabulary) of the next token → what can now be told, and the ids to be read; none at the end."""
        parts, ids = self._next(logits) if self.ended is None else ([], [])
        while self.ended is not None and self._missing and not ids:
            modality = self._missing.pop(0)
            if modality in self.model.config.captioned:
                parts.append(Caption(modality, self.request))
            else:
                ids = self.model.signals.run(modality)
                self.ids += ids
        return parts, ids

    def _next(self, logits: Tensor) -> tuple[list[str | Caption], list[int]]:
        signals, token = self.model.signals, self._chooser(logits)
        self.tokens += 1
        signal, stop = token >= signals.base, token in self.model.stops
        whole = signal or stop  # the text before it
        parts = list(self._marks.push(self._text.flush() if whole else self._text.push(token)))
        if stop or self._text.stopped:
            self.ended = "stop"
        elif self.tokens == self.options.max_new_tokens:
            self.ended = "length"
            parts.extend(self._marks.push(self._text.flush()))
        if signal or self.ended is not None:
            parts.extend(self._marks.end())
        parts = list(self._chooser.admit(parts))
        modality = signals.modality(token) if signal else None
        ids = [token] if modality is None else signals.run(modality)
        self.ids += ids
        for made in (modality, *(part.modality for part in parts if isinstance(part, Caption))):
            if made in self._missing:
                self._missing.remove(made)
        return parts, [] if self.ended and not signal else ids


class Batch:
    """Answers in the making, a row each, a token at a time; rows can join and leave while others go on.

    Args:
        options: of each prompt.
        memory: of the single prompt's conversation, to be read on from; a fresh one otherwise.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: AnyGPT,
        prompts: Sequence[Prompt],
        options: Sequence[Options],
        memory: Memory | None = None,
    ) -> None:
        self.model = model
        self.memory = memory or Memory(model, len(prompts))
        self.rows = [Row(model, own, prompt.request) for prompt, own in zip(prompts, options, strict=True)]
        rows, keys, media, seen = [], [], [], []
        for prompt in prompts:
            waiting = iter(prompt.media)
            keys = [next(waiting).fingerprint if token == MEDIUM else token for token in prompt.ids]
            known = self.memory.recall(keys) if len(prompts) == 1 else 0
            fresh, ids = prompt.media[prompt.ids[:known].count(MEDIUM) :], prompt.ids[known:]
            adapted = model.adapt(fresh)
            rows.append(model.embed(ids, adapted))
            places = [place for place, token in enumerate(ids) if token == MEDIUM]
            media.append(dict(zip(places, adapted, strict=True)))
            sensed = [
                (at, m) for at, m in zip(places, fresh, strict=True) if m.modality not in model.config.adapted
            ]
            seen.append(
                {at: model.senses.places(m.modality, m.tensor) for at, m in sensed}
                if model.senses is not None
                else {}
            )
            keys = keys[known:]
        self.logits, _ = self.memory.feed(rows, keys, media, seen)

    @torch.no_grad()
    def step(self) -> Iterator[tuple[Row, str | Run | Caption]]:
        """One token for each row: (row, text) as text grows, and (row, Run) or (row, Caption) where a medium belongs.

        When the first token of a run is chosen, the run is read whole in this step; text goes on after it.
        """
        going, chosen = [], []
        for slot, row in enumerate(self.rows):
            parts, ids = row.push(self.logits[slot])
            for part in parts:
                yield row, part
            if ids:
                going.append(slot)
                chosen.append(ids)
        self.keep(going)
        if not going:
            return
        slots = [self.model.embed(ids) for ids in chosen]
        self.logits, hidden = self.memory.feed(slots, chosen[0])
        for row, ids, own, states in zip(self.rows, chosen, slots, hidden, strict=True):
            if ids[0] >= self.model.signals.base:
                yield row, Run(self.model.signals.modality(ids[0]), states, torch.cat(own))

    def keep(self, slots: list[int]) -> None:
        """Go on with the rows in these places alone."""
        if 0 < len(slots) < len(self.rows):
            self.memory.keep(slots)
            self.logits = self.logits[slots]
        self.rows = [self.rows[slot] for slot in slots]

    def join(self, other: Batch) -> None:
        """Take in the rows of another batch, after this one's."""
        self.memory.join(other.memory)
        self.logits = torch.cat([self.logits, other.logits])
        self.rows.extend(other.rows)


def think(
    model: AnyGPT, prompts: Sequence[Prompt], options: Options, memory: Memory | None = None
) -> Iterator[tuple[int, str | Run | Caption]]:
    """Answer prompts, yielding (index, item) as `Batch.step` gives items.

    Args:
        memory: of the single prompt's conversation, to be read on from; a fresh one otherwise.
    """
    batch = Batch(model, prompts, [options] * len(prompts), memory)
    places = {id(row): place for place, row in enumerate(batch.rows)}
    while batch.rows:
        for row, item in batch.step():
            yield places[id(row)], item
