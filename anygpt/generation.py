"""Answers, text and media: in one piece, event by event, or over turns."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from anygpt.familiarity import refusal
from anygpt.marks import Caption
from anygpt.media import SUFFIXES, write
from anygpt.messages import Conversation, Message, MessageError, Part, is_batch, normalise
from anygpt.options import Options
from anygpt.processor import Prompt, load
from anygpt.thinking import Memory, Run, think

if TYPE_CHECKING:
    from anygpt.model import AnyGPT

MEDIA_BATCH = 8  # media that are decoded at once, at most


@dataclass
class Reply:
    """An answer.

    Attributes:
        content: its parts in order, {"type": "text", "text": …} or {"type": m, m: object} (see
            `encoders.media`); a medium that was made through a caption has it under "caption".
        seed: the seed it was made with.
        seconds: time spent on "reading" the messages, on "text" and on each modality, and the "total".
    """

    content: list[Part] = field(default_factory=list)
    seed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All text of the answer."""
        return "".join(part["text"] for part in self.content if part["type"] == "text")

    @property
    def images(self) -> list[Any]:
        """The pictures, PIL images."""
        return self._media("image")

    @property
    def audios(self) -> list[Any]:
        """The sounds, `encoders.media.Audio`."""
        return self._media("audio")

    @property
    def videos(self) -> list[Any]:
        """The films, `encoders.media.Video`."""
        return self._media("video")

    @property
    def message(self) -> Message:
        """The answer as a message, to be appended to the conversation."""
        return {"role": "assistant", "content": list(self.content)}

    def save(self, folder: str | Path) -> list[Path]:
        """Write the media as `image_0.png`, `audio_0.wav`, …; their paths, in the answer's order."""
        paths: list[Path] = []
        counts: dict[str, int] = {}
        for part in self.content:
            if (modality := part["type"]) != "text":
                index = counts[modality] = counts.get(modality, -1) + 1
                paths.append(
                    write(modality, part[modality], Path(folder) / f"{modality}_{index}{SUFFIXES[modality]}")
                )
        return paths

    def _media(self, modality: str) -> list[Any]:
        return [part[modality] for part in self.content if part["type"] == modality]

    def add_text(self, delta: str) -> None:
        """More text at the end."""
        if self.content and self.content[-1]["type"] == "text":
            self.content[-1]["text"] += delta
        else:
            self.content.append({"type": "text", "text": delta})

    def add_medium(self, wanted: Run | Caption) -> tuple[Part, int, int]:
        """A part for a medium to come, its index among those of its modality, and its seed."""
        modality = wanted.modality
        index = len(self._media(modality))
        place = sum(part["type"] != "text" for part in self.content)
        part: Part = {"type": modality, modality: None}
        if isinstance(wanted, Caption):
            part["caption"] = wanted.text
        self.content.append(part)
        return part, index, medium_seed(self.seed, place)

    def spend(self, what: str, seconds: float, waited: float | None = None) -> None:
        """Count seconds for `what`, and for the total those that were waited for: all of them unless told otherwise."""
        for name, share in ((what, seconds), ("total", seconds if waited is None else waited)):
            self.seconds[name] = self.seconds.get(name, 0.0) + share


def medium_seed(seed: int, place: int) -> int:
    """The seed of an answer's medium by its place among the media, from 0 on: other media, other noise."""
    return int(np.random.SeedSequence([seed, place]).generate_state(1)[0])


@dataclass(frozen=True)
class TextDelta:
    """Some more text."""

    text: str


@dataclass(frozen=True)
class MediaStarted:
    """A medium is being made; `index` counts those of its modality in the answer."""

    modality: str
    index: int


@dataclass(frozen=True)
class MediaProgress:
    """The decoder has done `step` of `steps`."""

    modality: str
    index: int
    step: int
    steps: int


@dataclass(frozen=True)
class MediaDone:
    """A medium is there, as `encoders.media` has it."""

    modality: str
    index: int
    media: Any
    seconds: float


@dataclass(frozen=True)
class Done:
    """The answer is complete."""

    reply: Reply


Event = TextDelta | MediaStarted | MediaProgress | MediaDone | Done


def chat(model: AnyGPT, messages: Any, given: dict[str, Any]) -> Reply | list[Reply]:
    """See `AnyGPT.chat`."""
    if not is_batch(messages):
        return last(model.stream(messages, **given))
    options = Options.read(given, model.config.outputs)
    replies, wanted = written(model, messages, options)
    for modality, jobs in wanted.items():
        for first in range(0, len(jobs), MEDIA_BATCH):
            _decode(model, modality, jobs[first : first + MEDIA_BATCH], options)
    return replies


class Wanted(NamedTuple):
    """A medium that a reply still lacks: its part of the reply, the seed to make it with, and what the LLM wants made."""

    reply: Reply
    part: Part
    seed: int
    item: Run | Caption


def written(
    model: AnyGPT, messages: Sequence[Any], options: Options
) -> tuple[list[Reply], dict[str, list[Wanted]]]:
    """The LLM's half of answering several conversations: replies whose media are still None, and those by modality.

    Raises:
        MessageError: a message that cannot be used, with the number of its conversation.
    """
    replies = [Reply(seed=options.seed) for _ in messages]
    prompts = []
    for index, (conversation, reply) in enumerate(zip(messages, replies, strict=True)):
        try:
            prompts.append(_read(model, normalise(conversation), reply))
        except MessageError as error:
            raise MessageError(f"conversation {index}: {error}") from error
    waiting: dict[str, list[Wanted]] = {}
    started = time.perf_counter()
    checked = [known(model, prompt) for prompt in prompts]
    for reply, (_, refused) in zip(replies, checked, strict=True):
        if refused:
            reply.add_text(refused)
    open_rows = [row for row, (_, refused) in enumerate(checked) if not refused]
    for place, item in think(model, [checked[row][0] for row in open_rows], options) if open_rows else ():
        reply = replies[open_rows[place]]
        if isinstance(item, str):
            reply.add_text(item)
        else:
            part, _, seed = reply.add_medium(item)
            waiting.setdefault(item.modality, []).append(Wanted(reply, part, seed, item))
    for reply in replies:
        reply.spend("text", (time.perf_counter() - started) / len(replies))
    return replies, waiting


def _decode(model: AnyGPT, modality: str, jobs: list[Wanted], options: Options) -> None:
    """Make media of one modality in one batch, and put each into its part."""
    started = time.perf_counter()
    wanted = [job.item for job in jobs]
    seeds = [job.seed for job in jobs]
    media = model.decode(
        modality, conditioning(model, modality, wanted), seeds, **options.media.get(modality, {})
    )
    for (reply, part, *_), medium in zip(jobs, media, strict=True):
        part[modality] = medium
        reply.spend(modality, (time.perf_counter() - started) / len(jobs))


@torch.no_grad()
def conditioning(model: AnyGPT, modality: str, wanted: Sequence[Run | Caption]) -> torch.Tensor:
    """What the decoder gets for N media of a modality, (N, tokens, dim): all of them go one way."""
    captions = [item.text for item in wanted if isinstance(item, Caption)]
    if captions:
        return model.decoder(modality).encode_text(captions)
    runs = [item for item in wanted if isinstance(item, Run)]
    return model.project(
        modality, torch.stack([run.hidden for run in runs]), torch.stack([run.embeddings for run in runs])
    )


def last(events: Iterator[Event]) -> Reply:
    """The reply at the end of a stream."""
    for event in events:
        if isinstance(event, Done):
            return event.reply
    raise AssertionError("a stream ends with Done")


def _read(model: AnyGPT, conversation: Conversation, reply: Reply) -> Prompt:
    started = time.perf_counter()
    prompt = model.processor(conversation)
    reply.spend("reading", time.perf_counter() - started)
    return prompt


def known(model: AnyGPT, prompt: Prompt) -> tuple[Prompt, str]:
    """The prompt without media of an unknown kind, and what to answer if there are any with the last message, or nothing."""
    unknown = [index for index, medium in enumerate(prompt.media) if not model.knows(medium)]
    latest = [prompt.media[index].modality for index in unknown if index >= len(prompt.media) - prompt.latest]
    return prompt.without(unknown) if unknown else prompt, refusal(latest) if latest else ""


def _answer(model: AnyGPT, prompt: Prompt, reply: Reply, options: Options, memory: Memory) -> Iterator[Event]:
    """Answer one prompt; the making of a medium begins as soon as its run or caption is complete."""
    started = time.perf_counter()
    prompt, refused = known(model, prompt)
    if refused:
        reply.add_text(refused)
        reply.spend("text", time.perf_counter() - started)
        yield TextDelta(refused)
        yield Done(reply)
        return
    maker = MediaMaker(model, reply, options)
    try:
        for _, item in think(model, [prompt], options, memory):
            # the reading of a run of signal tokens is a part of making its medium
            reply.spend("text" if isinstance(item, str) else item.modality, time.perf_counter() - started)
            if isinstance(item, str):
                reply.add_text(item)
                yield TextDelta(item)
            else:
                yield maker.begin(item)
            yield from maker.complete(wait=not overlaps(model))
            started = time.perf_counter()
        reply.spend("text", time.perf_counter() - started)
        yield from maker.complete(wait=True)
    finally:
        maker.stop()
    yield Done(reply)


def overlaps(model: AnyGPT) -> bool:
    """Whether text goes on while media are made: where both run on a GPU. A CPU has no more cores for it, and where LLM and
    decoders take turns there is no room for both."""
    return model.device.type != "cpu" and not model.fitting.takes_turns


class MediaMaker:
    """The media of one answer, made one after the other in a thread of their own."""

    def __init__(self, model: AnyGPT, reply: Reply, options: Options) -> None:
        self.model, self.reply, self.options = model, reply, options
        self._wanted: queue.Queue[tuple[Run | Caption, Part, int, int] | None] = queue.Queue()
        self._news: queue.Queue[MediaProgress | MediaDone | BaseException] = queue.Queue()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiting = 0

    def begin(self, wanted: Run | Caption) -> MediaStarted:
        """Have a medium made after those before it."""
        part, index, seed = self.reply.add_medium(wanted)
        self._waiting += 1
        self._wanted.put((wanted, part, index, seed))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="anygpt-media", daemon=True)
            self._thread.start()
        return MediaStarted(wanted.modality, index)

    def complete(self, wait: bool) -> Iterator[Event]:
        """The media that are there by now, or when `wait` all of them, with what their decoders tell on the way."""
        waited, started = 0.0, time.perf_counter()
        while self._waiting and (wait or not self._news.empty()):
            news = self._news.get()
            waited += time.perf_counter() - started
            if isinstance(news, BaseException):
                raise news
            if isinstance(news, MediaDone):
                self._waiting -= 1
                self.reply.spend(news.modality, news.seconds, min(waited, news.seconds))
                waited = 0.0
            if wait or isinstance(news, MediaDone):
                yield news
            started = time.perf_counter()

    def stop(self) -> None:
        """Make no more, and leave in the middle of what is being made."""
        self._stopped.set()
        self._wanted.put(None)
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            while (job := self._wanted.get()) is not None:
                with _own_stream(self.model.device):
                    self._news.put(self._make(*job))
        except BaseException as error:  # handed over to the caller's thread
            self._news.put(error)

    def _make(self, wanted: Run | Caption, part: Part, index: int, seed: int) -> MediaDone:
        modality, started = wanted.modality, time.perf_counter()

        def progress(step: int, steps: int) -> None:
            if self._stopped.is_set():
                raise InterruptedError("the answer was interrupted")
            self._news.put(MediaProgress(modality, index, step, steps))

        given = conditioning(self.model, modality, [wanted])
        settings = self.options.media.get(modality, {})
        [part[modality]] = self.model.decode(modality, given, [seed], progress, **settings)
        return MediaDone(modality, index, part[modality], time.perf_counter() - started)


@contextmanager
def _own_stream(device: torch.device) -> Iterator[None]:
    """On a GPU, work beside the LLM's rather than between its steps; what has been queued so far comes first."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.default_stream(device))
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


class Session:
    """A conversation over turns. The LLM's key-value cache is kept, so that each turn reads only what is new.

    Attributes:
        messages: the conversation so far, with the media themselves in place of their paths.
    """

    def __init__(self, model: AnyGPT) -> None:
        self.model = model
        self.messages: Conversation = []
        self.memory = Memory(model)

    def chat(self, message: Any, **options: Any) -> Reply:
        """Say something (a string, a list of parts, a message), get the answer; options as `AnyGPT.chat`."""
        return last(self.stream(message, **options))

    def stream(self, message: Any, **options: Any) -> Iterator[Event]:
        """As `chat`, event by event. A turn that is interrupted or fails leaves no trace in `messages`."""
        if isinstance(message, list):
            message = {"role": "user", "content": message}
        return self.continued(message if isinstance(message, str) else [message], **options)

    def continued(self, messages: Any, **options: Any) -> Iterator[Event]:
        """Go on with one or several messages, the last of them the user's; bad ones raise at once."""
        settings = Options.read(options, self.model.config.outputs)
        if is_batch(messages):
            raise MessageError("a stream answers one conversation; `chat` takes a list of them")
        new = [
            {**message, "content": [load(part) for part in message["content"]]}
            for message in normalise(messages)
        ]
        conversation, reply = [*self.messages, *new], Reply(seed=settings.seed)
        return self._turn(conversation, _read(self.model, conversation, reply), reply, settings)

    def _turn(
        self, conversation: Conversation, prompt: Prompt, reply: Reply, options: Options
    ) -> Iterator[Event]:
        for event in _answer(self.model, prompt, reply, options, self.memory):
            if isinstance(event, Done):
                self.messages = [*conversation, reply.message]
            yield event

    def reset(self) -> None:
        """Forget the conversation."""
        self.messages = []
        self.memory = Memory(self.model)
