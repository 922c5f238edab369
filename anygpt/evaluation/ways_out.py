"""Three ways from an answer to the decoders, on the same model, the same requests and the same noise.

- signals: the model's own; signal tokens become the conditioning through the output projections.
- captions: the answer's words before a medium are read by the decoder's own text encoder.
- router: keywords of the request choose the media, and its own words go to their text encoders, past the LLM. Where a
  medium is given, the LLM describes it, and its description goes there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anygpt.evaluation.matrix import share_right
from anygpt.evaluation.running import QUICK, Record
from anygpt.evaluation.scoring import Tally
from anygpt.evaluation.switching import share
from anygpt.messages import Conversation

if TYPE_CHECKING:
    from anygpt.generation import Reply
    from anygpt.model import AnyGPT

SUITE = "ways-out"
CELLS = (
    "text to image",
    "text to audio",
    "text to video",
    "image to image",
    "image to audio",
    "audio to image",
    "imu to video",
)
# Words of a request that ask for a modality.
KEYWORDS = {
    "image": re.compile(r"\b(?:draw|drawing|paint|painting|picture|image|sketch|see)\b"),
    "audio": re.compile(r"\b(?:sounds?|tone|play|hear|listen|audio)\b"),
    "video": re.compile(r"\b(?:film|video|movie|animate|animation|watch|(?<!audio )clip)\b"),
}
DESCRIBE = "describe it"
OPENING = re.compile(r"^(?:(?:and )?here is|i see|i hear|it is) (?:a film of )?", re.IGNORECASE)

Options = dict[str, Any]
Way = Callable[["AnyGPT", Conversation, Options], "Reply"]


def by_signals(model: AnyGPT, conversation: Conversation, options: Options) -> Reply:
    reply: Any = model.chat(conversation, **options)
    return reply


def by_captions(model: AnyGPT, conversation: Conversation, options: Options) -> Reply:
    """The model's answer, its media made anew of the words before each."""
    from anygpt.generation import Reply

    # That a medium belongs here is for the LLM to say; what its signal tokens make is thrown away.
    own: Any = model.chat(conversation, **{**options, **dict.fromkeys(model.config.outputs, QUICK)})
    reply = Reply(seed=own.seed, seconds={what: own.seconds[what] for what in ("reading", "text")})
    words = ""
    for part in own.content:
        if part["type"] == "text":
            words = part["text"]
            reply.content.append(part)
        else:
            _make(model, reply, part["type"], caption_of(words), options)
    return reply


def by_router(model: AnyGPT, conversation: Conversation, options: Options) -> Reply:
    """What the keywords of the last message ask for, made of its words or of a description of what it gives."""
    from anygpt.generation import Reply

    content = conversation[-1]["content"]
    words = " ".join(part["text"] for part in content if part["type"] == "text")
    given = [part for part in content if part["type"] != "text"]
    media = route(words)
    reply = Reply(seed=options["seed"])
    if given and media:
        question = [{"role": "user", "content": [*given, {"type": "text", "text": DESCRIBE}]}]
        told: Any = model.chat(question, **{**options, "max_media": 0})
        reply.content += told.content
        reply.seconds |= {what: told.seconds[what] for what in ("reading", "text")}
        words = caption_of(told.text)
    for modality in media:
        if modality in model.config.outputs:
            _make(model, reply, modality, words, options)
    return reply


WAYS: dict[str, Way] = {"signals": by_signals, "captions": by_captions, "router": by_router}


def route(words: str) -> list[str]:
    """The modalities that a request's words ask for."""
    return [modality for modality, pattern in KEYWORDS.items() if pattern.search(words.lower())]


def caption_of(words: str) -> str:
    """What a sentence such as "Here is a film of a red circle." says there is: "a red circle"."""
    return OPENING.sub("", words.strip()).rstrip(".")


def _make(model: AnyGPT, reply: Reply, modality: str, words: str, options: Options) -> None:
    """Add a medium made of words, with the noise that the model's own would have in its place."""
    from anygpt.generation import medium_seed

    started = time.perf_counter()
    place = sum(part["type"] != "text" for part in reply.content)
    conditioning = model.decoder(modality).encode_text([words])
    seeds = [medium_seed(reply.seed, place)]
    [medium] = model.decode(modality, conditioning, seeds, **options.get(modality, {}))
    reply.content.append({"type": modality, modality: medium})
    reply.seconds[modality] = reply.seconds.get(modality, 0.0) + time.perf_counter() - started


def answer(model: AnyGPT, cell: str, conversations: Sequence[Conversation], **options: Any) -> list[Reply]:
    """The cell's way with each conversation, one after the other: so their seconds are what one would wait.

    Args:
        cell: "text to image, captions".
        options: of `AnyGPT.chat`, the seed among them.
    """
    way = WAYS[cell.rpartition(", ")[2]]
    return [way(model, conversation, options) for conversation in conversations]


def summarise_ways(cells: dict[str, list[Record]]) -> dict[str, Any]:
    """Figures over the cells, each "text to image, captions" and the like, with one turn a record.

    Returns:
        "cells": cell → "media", the share of answers with the right set; "right", the mean share of attributes right, with
        its "error"; its "difference" to the model's own way on the same requests, with the error of that in
        "difference error"; the median seconds until the "text" is there and of each "medium" beyond it, None where there
        are none; "attributes", a summary one by one.
    """
    return {
        "cells": {
            name: _figures(records, cells[f"{name.rpartition(', ')[0]}, signals"])
            for name, records in cells.items()
        }
    }


def _figures(records: Sequence[Record], own: Sequence[Record]) -> dict[str, Any]:
    right = np.array([share_right(record["checks"]) for record in records])
    difference = right - np.array([share_right(record["checks"]) for record in own])
    tally = Tally()
    for record in records:
        checks = {name: good for name, good in record["checks"].items() if name not in ("media", "words")}
        tally.add(checks, id=record["id"], wanted=record["wanted"], seen=record["seen"])
    text = [record["seconds"].get("reading", 0.0) + record["seconds"].get("text", 0.0) for record in records]
    media = [
        sum(record["seconds"][modality] for modality in set(record["given"])) / len(record["given"])
        for record in records
        if record["given"]
    ]
    return {
        "media": share(record["checks"]["media"] for record in records)["share"],
        **_with_error("right", right),
        **_with_error("difference", difference),
        "text": round(float(np.median(text)), 3),
        "medium": round(float(np.median(media)), 3) if media else None,
        "attributes": tally.summary(5),
    }


def _with_error(name: str, values: np.ndarray) -> dict[str, float]:
    error = "error" if name == "right" else f"{name} error"
    return {name: round(float(values.mean()), 4), error: round(float(values.std() / np.sqrt(len(values))), 4)}
