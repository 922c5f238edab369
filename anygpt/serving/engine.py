"""The one thread that thinks and decodes for everybody, several answers at a time.

The LLM's batch is continuous: at each token, answers that are complete leave it and waiting ones join. Media wait for
their decoder, which takes several of a kind in one run; between its steps the LLM goes on, so that nobody's text
stands still while pictures are made for others. What an answer is does not depend on its neighbours, but for the
last digits of floating-point sums: kernels differ with the number of rows. Where even those count, an answer is made
by itself, in a batch of one and decoder runs of one, as the Python API makes it; the others go on in between.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from anygpt.generation import (
    MEDIA_BATCH,
    Done,
    Event,
    MediaDone,
    MediaProgress,
    MediaStarted,
    Reply,
    TextDelta,
    conditioning,
)
from anygpt.marks import Caption
from anygpt.messages import Part
from anygpt.options import OptionError, Options
from anygpt.processor import Prompt
from anygpt.serving.errors import Busy, Closing, Gone, OverTime
from anygpt.serving.limits import Limits
from anygpt.serving.metrics import Metrics
from anygpt.thinking import Batch, Row, Run

if TYPE_CHECKING:
    from anygpt.model import AnyGPT

GATHER = 0.2  # seconds that a medium waits for others of its kind while texts are being written
IN_FLIGHT = 2  # for each place in the LLM's batch, so many answers whose text or media are being made


@dataclass(eq=False)
class Job:
    """One answer to be made.

    Attributes:
        tell: called in the engine's thread with each event, in the answer's order (progress as it comes), the last of
            them `Done` or an exception.
        deadline: when it must be complete, by `time.monotonic()`.
        reply: the answer so far.
        alone: it must be to the last bit what it is without neighbours.
        row: the LLM's part of it, from its first token on.
        made: of each medium what its decoder was given, and how long it took.
    """

    prompt: Prompt
    options: Options
    tell: Callable[[Event | Exception], None]
    deadline: float
    reply: Reply
    alone: bool = False
    row: Row | None = None
    made: list[dict[str, Any]] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    over: bool = False
    cancelled: bool = False
    _outbox: deque[list[Event]] = field(default_factory=deque)

    def cancel(self) -> None:
        """Nobody wants the answer any more; from any thread."""
        self.cancelled = True

    def say(self, event: Event) -> None:
        """Tell an event after those that are still to come before it."""
        self._outbox.append([event])
        self._flush()

    def promise(self) -> list[Event]:
        """A place in the answer for an event to come; see `keep`."""
        place: list[Event] = []
        self._outbox.append(place)
        return place

    def keep(self, promise: list[Event], event: Event) -> None:
        """Put an event into the place that was promised to it."""
        promise.append(event)
        self._flush()

    def fail(self, error: Exception) -> None:
        """End without an answer."""
        if not self.over:
            self.over = True
            self.tell(error)

    def _flush(self) -> None:
        while not self.over and self._outbox and self._outbox[0]:
            (event,) = self._outbox.popleft()
            self.over = isinstance(event, Done)
            self.tell(event)


@dataclass(eq=False)
class Making:
    """A medium that waits for its decoder, or is with it."""

    job: Job
    wanted: Run | Caption
    part: Part
    index: int
    seed: int
    promise: list[Event]
    since: float = field(default_factory=time.monotonic)

    @classmethod
    def begin(cls, job: Job, wanted: Run | Caption) -> Making:
        """Give a medium its place in the answer, and say that it is begun."""
        part, index, seed = job.reply.add_medium(wanted)
        job.say(MediaStarted(wanted.modality, index))
        return cls(job, wanted, part, index, seed, job.promise())

    @property
    def kind(self) -> tuple[str, dict[str, Any]]:
        """What media must have in common to be made in one run: modality and settings."""
        return self.modality, self.job.options.media.get(self.modality, {})

    @property
    def modality(self) -> str:
        """What it is."""
        return self.wanted.modality

    def finish(
        self, medium: Any, given: Tensor, defaults: dict[str, Any], seconds: float, together: int
    ) -> None:
        """Put the medium into the answer, and tell it.

        Args:
            given: what the decoder was given, (tokens, dim).
            defaults: the decoder's settings.
            seconds: of the decoder's run, which made so many `together`.
        """
        self.part[self.modality] = medium
        self.job.reply.spend(self.modality, seconds / together)
        self.job.made.append(
            {
                "modality": self.modality,
                "index": self.index,
                "by": "caption" if isinstance(self.wanted, Caption) else "signals",
                "conditioning": {
                    "shape": list(given.shape),
                    "mean": float(given.mean()),
                    "std": float(given.std()),
                },
                "settings": {**defaults, **self.kind[1]},
                "seed": self.seed,
                "seconds": round(seconds, 3),
                "made_together": together,
            }
        )
        self.job.keep(self.promise, MediaDone(self.modality, self.index, medium, seconds))


def as_mistake(error: Exception, modality: str, settings: dict[str, Any]) -> Exception:
    """A decoder's error; with settings, its word about one of them (a size, say) is for the client."""
    return OptionError(f"{modality}: {error}") if settings and isinstance(error, ValueError) else error


class _Abandoned(Exception):
    """Nobody wants the media of a decoder's run any more."""


class Engine:
    """Takes jobs from any thread and does them in its own."""

    def __init__(self, model: AnyGPT, limits: Limits, metrics: Metrics) -> None:
        self.model = model
        self.limits = limits
        self.metrics = metrics
        self._news = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._held = 0  # places in the queue whose prompts are being read
        self._closing = False
        self._flying: list[Job] = []
        self._shared: Batch | None = None
        self._own: list[Batch] = []  # of those that must be alone
        self._thinking: dict[Row, Job] = {}
        self._media: list[Making] = []
        self._pace = 0.0  # seconds from one complete answer to the next, about
        self._last_end: float | None = None
        self._thread = threading.Thread(target=self._work, name="anygpt-engine", daemon=True)
        metrics.waiting.set_function(lambda: len(self._waiting))
        metrics.running.set_function(lambda: len(self._flying))

    def start(self) -> None:
        """Load the decoders, so that no answer waits for them, and begin to work."""
        for modality in self.model.config.outputs:
            self.model.decoder(modality)
        self._thread.start()

    def rate(self, modality: str) -> float:
        """Of the modality's decoder: frames or samples a second, and 0 for pictures."""
        return float(self.model.decoder(modality).rate or 0)

    @contextmanager
    def places(self, count: int) -> Iterator[None]:
        """Hold so many places in the queue while the request's prompt is read; `submit` within.

        Raises:
            Busy: the queue has no place for them.
            Closing: `close` was called.
        """
        with self._news:
            if self._closing:
                raise Closing
            taken = len(self._waiting) + self._held
            if taken + count > self.limits.queue:
                raise Busy(self._pace * taken)
            self._held += count
        try:
            yield
        finally:
            with self._news:
                self._held -= count

    def submit(self, jobs: list[Job]) -> None:
        """Queue jobs, all or none.

        Raises:
            Closing: `close` was called.
        """
        with self._news:
            if self._closing:
                raise Closing
            self._waiting.extend(jobs)
            self._news.notify()

    @property
    def alive(self) -> bool:
        """Whether the engine works."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Take nothing new, finish what was taken, and return."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()

    # All below runs in the engine's thread.

    def _work(self) -> None:
        while self._wait():
            self._think()
            if media := self._next_media():
                self._decode(media)
            elif not self._thinking and not self._waiting:
                self._sweep()

    def _wait(self) -> bool:
        """Wait until there is something to do; false when all is done and the engine closes."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._thinking or self._media or self._closing)
            return bool(self._waiting or self._thinking or self._media)

    def _give_up(self, error: Exception) -> None:
        """Tell everybody whose answer is being made that it failed, and begin anew."""
        for job in self._flying:
            job.fail(error)
        self._shared, self._own = None, []
        self._thinking.clear()
        self._media.clear()
        self._flying.clear()

    def _think(self) -> bool:
        """Let answers join and leave, and write one token of each; false if there are none."""
        try:
            self._sweep()
            self._admit()
            batches = self._batches()
            for batch in batches:
                self._step(batch)
            self._let_go()
        # no memory for another row, say: those under way are lost, the next are not
        except Exception as error:
            self._give_up(error)
            return False
        return bool(batches)

    def _batches(self) -> list[Batch]:
        return [*([self._shared] if self._shared else []), *self._own]

    def _step(self, batch: Batch) -> None:
        """Write one token of each of a batch's answers."""
        self.metrics.rows.observe(len(batch.rows))
        jobs = {row: self._thinking[row] for row in batch.rows}
        begun = time.perf_counter()
        try:
            for row, item in batch.step():
                self._take(jobs[row], item)
        except Exception as error:
            for job in jobs.values():
                job.fail(error)
        spent = (time.perf_counter() - begun) / len(jobs)
        written = set(batch.rows)
        for row, job in jobs.items():
            job.reply.spend("text", spent)
            if job.over or row not in written:
                del self._thinking[row]
                self._finish(job)

    def _take(self, job: Job, item: str | Run | Caption) -> None:
        """What the LLM added to an answer."""
        if not job.reply.content:
            self.metrics.first.observe(time.monotonic() - job.begun)
        if isinstance(item, str):
            job.reply.add_text(item)
            job.say(TextDelta(item))
        else:
            self._want(job, item)

    def _want(self, job: Job, item: Run | Caption) -> None:
        """Have a medium made."""
        self._media.append(Making.begin(job, item))

    def _finish(self, job: Job) -> None:
        """The text of an answer is complete; its end is told when its media are there."""
        if not job.over and job.row is not None:
            self.metrics.tokens.labels("completion").inc(job.row.tokens)
            job.say(Done(job.reply))

    def _admit(self) -> None:
        """Let waiting answers join, as many as there is room for."""
        if self._shared is not None and not self._shared.memory.can_join:
            return
        with self._news:
            room = min(
                self.limits.batch - len(self._thinking), IN_FLIGHT * self.limits.batch - len(self._flying)
            )
            new = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        self._flying.extend(new)
        self._sweep()
        new = [job for job in new if not job.over]
        if together := [job for job in new if not job.alone]:
            self._read(together)
        for job in new:
            if job.alone:
                self._read([job])

    def _read(self, jobs: list[Job]) -> None:
        """Let the LLM read prompts; one that it cannot read must not take its neighbours with it."""
        try:
            batch = Batch(self.model, [job.prompt for job in jobs], [job.options for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].fail(error)
                return
            for job in jobs:
                self._read([job])
            return
        for row, job in zip(batch.rows, jobs, strict=True):
            job.row = row
            self._thinking[row] = job
        if jobs[0].alone:
            self._own.append(batch)
        elif self._shared is None:
            self._shared = batch
        else:
            self._shared.join(batch)

    def _sweep(self) -> None:
        """Let go of answers that are complete, that took too long, or that nobody waits for."""
        now = time.monotonic()
        with self._news:
            late = [job for job in self._waiting if job.cancelled or now > job.deadline]
            for job in late:
                self._waiting.remove(job)
        for job in [*late, *self._flying]:
            if job.cancelled and not job.over:
                self.metrics.cancelled.inc()
                job.fail(Gone())
            elif now > job.deadline:
                job.fail(OverTime(self.limits.time))
        ended = [job for job in self._flying if job.over]
        if not ended:
            return
        self._keep_pace(now, len(ended))
        self._flying = [job for job in self._flying if not job.over]
        self._media = [making for making in self._media if not making.job.over]
        for row in [row for row, job in self._thinking.items() if job.over]:
            del self._thinking[row]
        self._let_go()

    def _let_go(self) -> None:
        """Drop the rows that are no longer thought about, and batches without any."""
        for batch in self._batches():
            batch.keep([slot for slot, row in enumerate(batch.rows) if row in self._thinking])
        self._own = [batch for batch in self._own if batch.rows]
        if self._shared is not None and not self._shared.rows:
            self._shared = None

    def _keep_pace(self, now: float, ended: int) -> None:
        """Note how fast answers come, for those who are told to come back later."""
        if self._last_end is not None:
            pace = min((now - self._last_end) / ended, self.limits.time)
            self._pace = 0.8 * self._pace + 0.2 * pace if self._pace else pace
        self._last_end = now

    def _next_media(self) -> list[Making]:
        """The media to be made next, all of one kind: those that have waited longest, once they are many or long enough."""
        if not self._media:
            return []
        first = self._media[0]
        if first.job.alone:
            return [first]
        alike = [making for making in self._media if making.kind == first.kind and not making.job.alone]
        alike = alike[:MEDIA_BATCH]
        if self._thinking and len(alike) < MEDIA_BATCH and time.monotonic() - first.since < GATHER:
            return []
        return alike

    def _decode(self, media: list[Making]) -> None:
        """Make media of one kind in one run of their decoder; between its steps the LLM has as much time as a step took."""
        modality, settings = media[0].kind
        self._media = [making for making in self._media if making not in media]
        self.metrics.batch.labels(modality).observe(len(media))
        last = begun = time.perf_counter()

        def progress(step: int, steps: int) -> None:
            nonlocal last
            until = 2 * time.perf_counter() - last
            self._sweep()
            while time.perf_counter() < until and self._think():
                pass
            wanted = [making for making in media if not making.job.over]
            if not wanted:
                raise _Abandoned
            for making in wanted:
                making.job.tell(MediaProgress(modality, making.index, step, steps))
            last = time.perf_counter()

        try:
            given = conditioning(self.model, modality, [making.wanted for making in media])
            seeds = [making.seed for making in media]
            made = self.model.decode(modality, given, seeds, progress, **settings)
            seconds = time.perf_counter() - begun
            defaults = self.model.decoder(modality).defaults
            for making, medium, row in zip(media, made, given, strict=True):
                making.finish(medium, row, defaults, seconds, len(media))
                self.metrics.media.labels(modality).inc()
        except _Abandoned:
            return
        except Exception as error:
            for making in media:
                making.job.fail(as_mistake(error, *making.kind))
        self._sweep()
