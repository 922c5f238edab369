"""One model at everybody's service: requests become jobs of the engine, and its events come back to the event loop."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from anygpt.generation import Done, Event, Reply, TextDelta, known
from anygpt.messages import Conversation, normalise
from anygpt.options import Options
from anygpt.processor import Prompt
from anygpt.serving.engine import Job
from anygpt.serving.errors import ApiError, Gone, OverTime
from anygpt.serving.intake import Intake
from anygpt.serving.limits import Limits
from anygpt.serving.metrics import Metrics

if TYPE_CHECKING:
    from anygpt.model import AnyGPT

DEFAULT_NEW_TOKENS = Options.max_new_tokens
FETCHERS = 8  # media that are fetched at once


@dataclass
class Reading:
    """A request's prompt.

    Attributes:
        refused: what to answer where a medium is of an unknown kind, or nothing.
        slots: how many of the LLM's slots the prompt takes.
    """

    prompt: Prompt
    refused: str
    slots: int


class Answers:
    """The answers to one request, `n` of them, event by event.

    Attributes:
        jobs: of each answer.
        prompt_tokens: slots of the prompt that they share.
    """

    def __init__(self, jobs: list[Job], prompt_tokens: int, news: asyncio.Queue[tuple[int, Any]]) -> None:
        self.jobs = jobs
        self.prompt_tokens = prompt_tokens
        self._news = news

    @property
    def replies(self) -> list[Reply]:
        """What has been answered so far."""
        return [job.reply for job in self.jobs]

    @property
    def completion_tokens(self) -> int:
        """Tokens of all answers so far."""
        return sum(job.row.tokens for job in self.jobs if job.row is not None)

    def finish_reason(self, index: int) -> str:
        """Why an answer ended: "stop" or "length"."""
        row = self.jobs[index].row
        return (row.ended if row is not None else None) or "stop"

    def inside(self, index: int) -> dict[str, Any]:
        """How an answer came about: its tokens, which of them are signals, what decoders were given, seconds."""
        job = self.jobs[index]
        tokens = []
        if job.row is not None:
            model = job.row.model
            for token in job.row.ids:
                signal = token >= model.signals.base
                name = model.signals.name(token) if signal else model.tokenizer.decode([token])
                tokens.append({"text": name, "signal": signal})
        seconds = {what: round(spent, 3) for what, spent in job.reply.seconds.items()}
        return {"tokens": tokens, "media": job.made, "seconds": seconds, "seed": job.reply.seed}

    async def events(self, gone: Awaitable[None] | None = None) -> AsyncGenerator[tuple[int, Event], None]:
        """(index of the answer, event) until all are done; whatever ends this earlier cancels them.

        Args:
            gone: completes when the client leaves.

        Raises:
            Exception: what an answer failed with; Gone.
        """
        left = asyncio.ensure_future(gone) if gone is not None else None
        if left is not None:
            left.add_done_callback(lambda _: self._news.put_nowait((0, Gone())))
        unfinished = len(self.jobs)
        try:
            while unfinished:
                index, event = await self._news.get()
                if isinstance(event, Exception):
                    raise event
                unfinished -= isinstance(event, Done)
                yield index, event
        finally:
            if left is not None:
                left.cancel()
            self.cancel()

    def cancel(self) -> None:
        """Nobody waits for what is not there yet."""
        for job in self.jobs:
            job.cancel()

    async def all(self, gone: Awaitable[None] | None = None) -> list[Reply]:
        """The complete answers."""
        async for _ in self.events(gone):
            pass
        return self.replies


class Service:
    """One model, its reader and its engine.

    Args:
        name: what the model is called.
        folder: for files that live no longer than a request, and for films that wait to be fetched.
        engine: makes what does the jobs: an `Engine`, or what has its methods.
    """

    def __init__(
        self,
        model: AnyGPT,
        name: str,
        limits: Limits,
        folder: Path,
        allow_remote_media: bool,
        engine: Callable[[AnyGPT, Limits, Metrics], Any],
    ) -> None:
        self.model = model
        self.name = name
        self.limits = limits
        self.folder = folder
        self.metrics = Metrics()
        self.engine = engine(model, limits, self.metrics)
        self.allow_remote_media = allow_remote_media
        self._decoding = threading.Lock()
        self._fetchers = ThreadPoolExecutor(FETCHERS, "anygpt-intake")
        self._reader = ThreadPoolExecutor(1, "anygpt-reader")
        self._longest_token = max(map(len, model.tokenizer.get_vocab()))
        reach = getattr(model.llm.config.get_text_config(), "max_position_embeddings", None)
        self.tokens = min(given for given in (limits.tokens, reach, 2**31) if given is not None)
        self.longest_run = max((len(model.signals.run(m)) for m in model.signals.ids), default=0)

    def start(self) -> None:
        """Load what is loaded lazily, so that no answer waits for it, and begin to work."""
        for modality in self.model.config.inputs:
            self.model.reader(modality)
        self.engine.start()

    def close(self) -> None:
        """Finish what was taken, and stop."""
        self.engine.close()
        self._fetchers.shutdown()
        self._reader.shutdown()

    async def answers(
        self,
        conversation: Callable[[Intake], Conversation],
        options: dict[str, Any],
        *,
        count: int = 1,
        new_tokens: int | None = None,
    ) -> Answers:
        """Read a request, and queue it.

        Args:
            conversation: makes the messages, with an intake for their media; runs in a thread.
            options: as `AnyGPT.chat` takes them; the answers' seeds count up from `seed`. With one they are the Python
                API's to the byte, and so not made together with others; without (None) the server draws it.
            count: so many answers.
            new_tokens: at most so many tokens in each; None takes the usual number, or what there is room for.

        Raises:
            MessageError, MediaError, OptionError: what is wrong with the request.
            ApiError: it is too long.
            OverTime: its media or its turn to be read did not come in time.
            Busy, Closing: no place for it.
        """
        deadline = time.monotonic() + self.limits.time
        loop = asyncio.get_running_loop()
        intake = Intake(self.folder, self.limits, self.allow_remote_media, self._decoding, deadline)
        alone = options["seed"] is not None
        options = options if alone else {**options, "seed": secrets.randbelow(2**31)}
        given = Options.read(options, self.model.config.outputs)
        with self.engine.places(count):
            try:
                async with asyncio.timeout(self.limits.time):
                    messages = await loop.run_in_executor(
                        self._fetchers, lambda: normalise(conversation(intake))
                    )
                    self._check_length(messages)
                    reading = await loop.run_in_executor(self._reader, self._read, messages)
            except TimeoutError:
                raise OverTime(self.limits.time) from None
            tokens = self._room(reading.slots, given, new_tokens)
            news: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
            jobs = []
            for index in range(count):
                seed = (given.seed + index) % 2**63
                own = Options.read(
                    {**options, "seed": seed, "max_new_tokens": tokens}, self.model.config.outputs
                )
                said = partial(tell, loop, news, index)
                jobs.append(Job(reading.prompt, own, said, deadline, Reply(seed=seed), alone))
            self.metrics.tokens.labels("prompt").inc(reading.slots)
            if reading.refused:
                for job in jobs:
                    job.reply.add_text(reading.refused)
                    job.say(TextDelta(reading.refused))
                    job.say(Done(job.reply))
            else:
                self.engine.submit(jobs)
        return Answers(jobs, reading.slots, news)

    @torch.no_grad()
    def _read(self, messages: Conversation) -> Reading:
        """In the reader's thread: the prompt, its media encoded."""
        prompt, refused = known(self.model, self.model.processor(messages))
        slots = len(prompt.ids)
        embeddings = self.model.adapt(prompt.media)
        if self.model.cross_attention is None:
            slots += sum(len(medium) - 1 for medium in embeddings)
        return Reading(prompt, refused, slots)

    def _check_length(self, messages: Conversation) -> None:
        """Refuse texts that are too long whatever their tokens are, before time is spent on tokenising them."""
        letters = sum(
            len(part["text"]) for message in messages for part in message["content"] if part["type"] == "text"
        )
        if letters > self.tokens * self._longest_token:
            raise self._too_long(f"{letters} characters")

    def _room(self, slots: int, options: Options, wanted: int | None) -> int:
        """How many new tokens an answer may have."""
        media = self.longest_run * (options.max_media if options.modalities != () else 0)
        room = self.tokens - slots - media
        tokens = wanted if wanted is not None else min(DEFAULT_NEW_TOKENS, room)
        if not 1 <= tokens <= room:
            raise self._too_long(f"{slots} tokens, and an answer of {max(tokens, 1)} with {media} for media")
        return tokens

    def _too_long(self, what: str) -> ApiError:
        return ApiError(
            400,
            f"the messages are too long: {what}; {self.tokens} tokens is the most for all together",
            param="messages",
            code="context_length_exceeded",
        )


def tell(
    loop: asyncio.AbstractEventLoop,
    news: asyncio.Queue[tuple[int, Any]],
    index: int,
    event: Event | Exception,
) -> None:
    """Bring an event from the engine's thread to the event loop's."""
    loop.call_soon_threadsafe(news.put_nowait, (index, event))
