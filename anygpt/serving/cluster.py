"""More than one machine: the LLM and each decoder as deployments of Ray Serve, and an engine that asks them.

    application ──► Cluster ──► LLM replicas: each an engine of its own that leaves media to others
                       └──────► decoder replicas: each makes one medium at a time

The application, its queue and the reading of prompts stay where `anygpt serve --ray` runs (see `front`). What a replica that dies
had begun, another one begins anew; the client is told nothing twice, as the same request is answered in the same way. It needs the
extra `ray`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import torch
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.handle import DeploymentHandle

from anygpt.checkpoint import read_config
from anygpt.fitting import Fitting
from anygpt.generation import Done, MediaProgress, Reply, TextDelta, conditioning
from anygpt.marks import Caption
from anygpt.options import Options
from anygpt.processor import Prompt
from anygpt.serving.engine import Engine, Job, Making, as_mistake
from anygpt.serving.errors import Busy, Closing, Gone, OverTime
from anygpt.serving.limits import Limits
from anygpt.serving.metrics import Metrics
from anygpt.serving.service import Answers, tell
from anygpt.thinking import Row, Run

if TYPE_CHECKING:
    from anygpt.model import AnyGPT

NAME = "anygpt"  # of the Ray Serve application
SWEEP = 0.2  # seconds between two looks for answers that nobody waits for
PATIENCE = 1.0  # seconds before what a dead replica had begun is begun anew
HEALTH = 2.0  # seconds between two looks whether replicas live; one that died is replaced after the next


@dataclass
class Given:
    """What a decoder is given, (tokens, dim)."""

    modality: str
    conditioning: torch.Tensor


@dataclass
class Written:
    """The end of the LLM's part of an answer: see `anygpt.thinking.Row`."""

    ids: list[int]
    tokens: int
    ended: str | None


@dataclass
class Made:
    """A medium, what its decoder was given, (tokens, dim), and the settings that the decoder has unless told otherwise."""

    medium: Any
    given: torch.Tensor
    defaults: dict[str, Any]


class Thinker(Engine):
    """An engine that makes no media, but tells what to give to their decoders."""

    def start(self) -> None:
        """Begin to work, without decoders."""
        self._thread.start()

    def _want(self, job: Job, item: Run | Caption) -> None:
        wanted: Any = item
        if isinstance(item, Run):
            wanted = Given(item.modality, conditioning(self.model, item.modality, [item])[0].cpu())
        job.say(wanted)


class LLM:
    """A replica of the LLM."""

    def __init__(self, folder: str, loading: dict[str, Any], limits: Limits) -> None:
        from anygpt.model import AnyGPT

        self.engine = Thinker(AnyGPT.from_pretrained(folder, **loading), limits, Metrics())
        self.engine.start()

    async def answer(
        self, prompt: Prompt, options: Options, alone: bool, seconds: float
    ) -> AsyncGenerator[TextDelta | Caption | Given | Written, None]:
        """What the LLM writes, as it comes."""
        news: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        said = partial(tell, asyncio.get_running_loop(), news, 0)
        job = Job(prompt, options, said, time.monotonic() + seconds, Reply(), alone)
        self.engine.submit([job])
        async for _, event in Answers([job], 0, news).events():
            if not isinstance(event, Done):
                yield event  # type: ignore[misc]
        assert job.row is not None
        yield Written(job.row.ids, job.row.tokens, job.row.ended)


class DecoderReplica:
    """A replica of one decoder."""

    def __init__(self, folder: str, loading: dict[str, Any], modality: str) -> None:
        from anygpt.decoding import load_decoder

        root = Path(folder)
        self.decoder = load_decoder(
            modality,
            read_config(root).outputs[modality],
            root if root.is_dir() else root.parent,
            device=torch.device(loading.get("device", "cpu")),
            dtype=loading.get("dtype", torch.float32),
            fitting=loading.get("fitting") or Fitting(),
        )

    def rate(self) -> float:
        """As `Engine.rate`."""
        return float(self.decoder.rate or 0)

    async def make(
        self, wanted: Caption | Given, seed: int, settings: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """(step, steps) as the decoder goes, and at the end `Made`."""
        from anygpt.decoding import decode

        loop, stopped = asyncio.get_running_loop(), threading.Event()
        news: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()

        def progress(step: int, steps: int) -> None:
            if stopped.is_set():
                raise InterruptedError("nobody wants the medium any more")
            loop.call_soon_threadsafe(news.put_nowait, (step, steps))

        def work() -> Made:
            if isinstance(wanted, Caption):
                given = self.decoder.encode_text([wanted.text])
            else:
                given = wanted.conditioning[None]
            (medium,) = decode(self.decoder, given, [seed], callback=progress, **settings)
            return Made(medium, given[0].cpu(), self.decoder.defaults)

        made = loop.run_in_executor(None, work)
        made.add_done_callback(lambda _: news.put_nowait(None))
        try:
            while (step := await news.get()) is not None:
                yield step
            yield await made
        finally:
            stopped.set()


@contextlib.contextmanager
def on_ray(processes: int) -> Iterator[None]:
    """Have Ray as long as this lasts: the cluster that RAY_ADDRESS names, without our deployments afterwards, or one of this
    machine alone, with room for so many processes however few CPUs there are.

    Raises:
        ConnectionError: there is no cluster at RAY_ADDRESS.
    """
    alone = "RAY_ADDRESS" not in os.environ
    # the work is no less urgent than any other, as Ray would have it; beside some, replicas would take minutes to start
    os.environ.setdefault("RAY_worker_niceness", "0")
    given = {"address": "local", "num_cpus": processes} if alone else {}
    ray.init(log_to_driver=False, logging_level="error", include_dashboard=False, **given)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        yield
    finally:
        if not alone:
            for name in serve.status().applications:
                if name.startswith(NAME):
                    serve.delete(name)
        ray.shutdown()


def deploy(
    folder: Path,
    loading: dict[str, Any],
    replicas: tuple[int, int],
    model: AnyGPT,
    limits: Limits,
    metrics: Metrics,
) -> Cluster:
    """Have replicas started, and wait until they are there.

    Args:
        folder: the checkpoint; every machine must have it there.
        loading: how replicas load it, as `AnyGPT.from_pretrained` takes it; on a GPU each has one to itself.
        replicas: of the LLM and of each decoder, at least and at most.
        model, limits, metrics: see `Cluster`.
    """
    least, most = replicas
    needs = {"num_cpus": 1, "num_gpus": int(str(loading.get("device", "cpu")).startswith("cuda"))}

    def target(kind: type, name: str, at_once: int, *given: Any) -> serve.RunTarget:
        scaling = {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": at_once}
        deployment = serve.deployment(
            kind,
            name=name,
            max_ongoing_requests=at_once,
            autoscaling_config=scaling,
            health_check_period_s=HEALTH,
            ray_actor_options=needs,
        )
        bound = deployment.bind(str(folder), loading, *given)
        return serve.RunTarget(bound, name=f"{NAME}-{name}", route_prefix=None)

    modalities = list(model.config.outputs)
    targets = [target(LLM, "llm", limits.batch, limits)]
    targets += [target(DecoderReplica, modality, 1, modality) for modality in modalities]
    serve.start(proxy_location="Disabled")  # clients talk to the application
    llm, *decoders = serve.run_many(targets)
    makers = dict(zip(modalities, decoders, strict=True))
    return Cluster(model, limits, metrics, llm, makers, limits.batch * most + limits.queue)


class Cluster:
    """Takes the place of an `Engine`; all but `close` is called in the event loop.

    Args:
        model: what prompts were read with; it need not be able to think (see `front`).
        llm: asks a replica of the LLM.
        decoders: ask a replica of each modality's decoder.
        most: answers that are made or wait, at most.
    """

    def __init__(
        self,
        model: AnyGPT,
        limits: Limits,
        metrics: Metrics,
        llm: DeploymentHandle,
        decoders: dict[str, DeploymentHandle],
        most: int,
    ) -> None:
        self.model = model
        self.limits = limits
        self.metrics = metrics
        self._most = most
        self._llm = llm.options(stream=True)
        self._decoders = {modality: handle.options(stream=True) for modality, handle in decoders.items()}
        asked = {modality: handle.rate.remote() for modality, handle in decoders.items()}
        self._rates = {modality: answer.result() for modality, answer in asked.items()}
        self._held = 0
        self._closing = False
        self._jobs: dict[asyncio.Task[None], Job] = {}
        metrics.running.set_function(lambda: len(self._jobs))

    def start(self) -> None:
        """The replicas are there and at work already."""

    @property
    def alive(self) -> bool:
        """Whether Ray is there."""
        return ray.is_initialized()

    def rate(self, modality: str) -> float:
        """As `Engine.rate`."""
        return self._rates[modality]

    @contextlib.contextmanager
    def places(self, count: int) -> Iterator[None]:
        """As `Engine.places`; a place is free as long as there are fewer answers than the replicas and the queue hold."""
        if self._closing:
            raise Closing
        if len(self._jobs) + self._held + count > self._most:
            raise Busy(1.0)
        self._held += count
        try:
            yield
        finally:
            self._held -= count

    def submit(self, jobs: list[Job]) -> None:
        """As `Engine.submit`."""
        if self._closing:
            raise Closing
        for job in jobs:
            self._jobs[asyncio.create_task(self._answer(job))] = job

    def close(self) -> None:
        """Finish what was taken."""
        self._closing = True
        while self._jobs:
            time.sleep(SWEEP)

    async def _answer(self, job: Job) -> None:
        work = asyncio.ensure_future(self._work(job))
        try:
            while not (await asyncio.wait({work}, timeout=SWEEP))[0]:
                if job.cancelled:
                    self.metrics.cancelled.inc()
                    job.fail(Gone())
                elif time.monotonic() > job.deadline:
                    job.fail(OverTime(self.limits.time))
                if job.over:
                    work.cancel()
            if not work.cancelled():
                work.result()
        except ExceptionGroup as errors:
            job.fail(errors.exceptions[0])
        finally:
            del self._jobs[asyncio.current_task()]  # type: ignore[arg-type]

    async def _work(self, job: Job) -> None:
        """Have an answer written, and its media made meanwhile."""
        left = job.deadline - time.monotonic()
        written = _again_if_it_dies(self._llm.answer, job.prompt, job.options, job.alone, left)
        async with asyncio.TaskGroup() as media, contextlib.aclosing(written):
            async for event in written:
                if isinstance(event, Written):
                    job.row = Row(self.model, job.options, job.prompt.request)
                    job.row.ids, job.row.tokens, job.row.ended = event.ids, event.tokens, event.ended
                    self.metrics.tokens.labels("completion").inc(event.tokens)
                    continue
                if not job.reply.content:
                    self.metrics.first.observe(time.monotonic() - job.begun)
                if isinstance(event, TextDelta):
                    job.reply.add_text(event.text)
                    job.say(event)
                else:
                    media.create_task(self._make(Making.begin(job, event)))
            job.say(Done(job.reply))

    async def _make(self, making: Making) -> None:
        modality, settings = making.kind
        begun = time.perf_counter()
        made = _again_if_it_dies(self._decoders[modality].make, making.wanted, making.seed, settings)
        try:
            async with contextlib.aclosing(made):
                async for event in made:
                    if isinstance(event, Made):
                        last = event
                    elif not making.job.over:
                        making.job.tell(MediaProgress(modality, making.index, *event))
        except Exception as error:
            raise as_mistake(error, modality, settings) from error
        making.finish(last.medium, last.given, last.defaults, time.perf_counter() - begun, 1)
        self.metrics.media.labels(modality).inc()


async def _again_if_it_dies(method: Any, *given: Any) -> AsyncGenerator[Any, None]:
    """The events of a replica's method; where the replica dies, those of another one from there on."""
    told = 0
    while True:
        stream, seen = method.remote(*given), 0
        try:
            async for event in stream:
                seen += 1
                if seen > told:
                    told = seen
                    yield event
            return
        except RayActorError:
            await asyncio.sleep(PATIENCE)
        except RayTaskError as error:  # what the method raised, with a traceback for a message
            raise error.cause from None
        finally:
            stream.cancel()
