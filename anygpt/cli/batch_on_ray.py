"""A file of requests on Ray Data: processes that think and processes that make media, as many of each as are asked for.

    requests ──► thinkers (LLM, encoders, projections) ──► text, conditioning, captions ──► painters (decoders) ──► results

Ray starts a process anew that has died, and gives its requests to it again; what it had not passed on is made once more, with the
same seeds. The results come to the one process that was started by hand, which alone writes them down: each once.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygpt.checkpoint import read_config
from anygpt.cli.answering import as_json
from anygpt.cli.batch import BATCH, Request, Result, answer, failure
from anygpt.cli.errors import CommandError
from anygpt.cli.loading import be_quiet, load_model
from anygpt.messages import Conversation

if TYPE_CHECKING:
    import numpy as np

    from anygpt.generation import Reply

    Rows = dict[str, np.ndarray]  # one column of pickled objects


@dataclass
class Medium:
    """One to be made: which part of the reply it is, and its conditioning (tokens, dim) or its caption."""

    part: int
    seed: int
    given: Any


@dataclass
class Written:
    """An answer without its media."""

    request: Request
    reply: Reply
    media: list[Medium]


@dataclass(frozen=True)
class Work:
    """What both kinds of processes are told; `place` is the whole path of `output_dir`, as results name it."""

    folder: Path
    output_dir: Path
    place: Path
    options: dict[str, Any]
    loading: dict[str, Any]


def answer_on_ray(
    folder: Path,
    requests: list[Request],
    output_dir: Path,
    options: dict[str, Any],
    loading: dict[str, Any],
    pools: tuple[int, int],
) -> Iterator[Result]:
    """The results as they come, in any order.

    Args:
        folder: the model's; all processes must see it and `output_dir`, on whichever machine Ray starts them.
        pools: how many processes think, and how many make media; with `device=cuda` each has a GPU of its own.

    Raises:
        CommandError: Ray is not installed.
    """
    if not requests:
        return
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is missing; pip install 'anygpt[ray]'") from error
    started = not ray.is_initialized()
    if started:
        # a cluster by RAY_ADDRESS, or this machine alone: then as many "CPUs" as there are processes, however few it has
        alone = {} if "RAY_ADDRESS" in os.environ else {"address": "local", "num_cpus": sum(pools) + 1}
        ray.init(log_to_driver=False, logging_level="error", include_dashboard=False, **alone)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells of each stage
    context.max_errored_blocks = 0
    work = Work(folder.resolve(), output_dir, output_dir.absolute(), options, loading)
    needs = {"num_cpus": 1, "num_gpus": int(str(loading.get("device", "cpu")).startswith("cuda"))}
    rows = [
        {"row": pickle.dumps(replace(request, messages=_absolute(request.messages)))} for request in requests
    ]
    try:
        data = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // BATCH))
        for kind, size in zip((Thinker, Painter), pools, strict=True):
            data = data.map_batches(
                kind,
                batch_size=BATCH,
                compute=ray.data.ActorPoolStrategy(size=size),
                fn_constructor_args=(work,),
                **needs,
            )
        told: set[str | int] = set()
        for row in data.iter_rows():
            result = pickle.loads(row["row"])
            if result["id"] not in told:
                told.add(result["id"])
                yield result
    finally:
        if started:
            ray.shutdown()


def _absolute(messages: Conversation | None) -> Conversation | None:
    """The messages with whole paths: the processes start elsewhere."""
    if messages is None:
        return None
    return [
        {
            **message,
            "content": [
                {**part, "path": str(Path(part["path"]).absolute())} if "path" in part else part
                for part in message["content"]
            ],
        }
        for message in messages
    ]


class Thinker:
    """A process that writes answers: the whole model without its decoders."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.config = read_config(work.folder)
        self.model = load_model(work.folder, self.config, work.loading)

    def __call__(self, rows: Rows) -> Rows:
        """Requests → `Written`, or results that are errors."""
        return _column(answer([pickle.loads(row) for row in rows["row"]], self.config, self._write))

    def _write(self, requests: list[Request], conversations: list[Conversation]) -> list[Any]:
        from anygpt.generation import conditioning, written
        from anygpt.marks import Caption
        from anygpt.options import Options

        options = Options.read(self.work.options, self.model.config.outputs)
        replies, wanted = written(self.model, conversations, options)
        results = {
            id(reply): Written(request, reply, []) for request, reply in zip(requests, replies, strict=True)
        }
        for modality, jobs in wanted.items():
            for reply, part, seed, item in jobs:
                given: Any
                if isinstance(item, Caption):
                    given = item.text
                else:
                    given = conditioning(self.model, modality, [item])[0].float().cpu().numpy()
                place = next(place for place, other in enumerate(reply.content) if other is part)
                results[id(reply)].media.append(Medium(place, seed, given))
        return list(results.values())


class Painter:
    """A process that makes media: decoders alone, each loaded when it is first needed."""

    def __init__(self, work: Work) -> None:
        be_quiet()
        self.work = work
        self.config = read_config(work.folder)
        self.decoders: dict[str, Any] = {}

    def __call__(self, rows: Rows) -> Rows:
        """`Written` → results, their media saved; errors pass."""
        return _column([self._finish(pickle.loads(row)) for row in rows["row"]])

    def _finish(self, written: Any) -> Result:
        if not isinstance(written, Written):
            return written
        request, reply = written.request, written.reply
        try:
            for medium in written.media:
                self._make(reply, medium)
        except ValueError as error:
            return failure(request, error)
        saved = reply.save(self.work.place / request.folder)
        paths = [self.work.output_dir / path.relative_to(self.work.place) for path in saved]
        return {"id": request.id, **as_json(reply, paths)}

    def _make(self, reply: Reply, medium: Medium) -> None:
        import time

        import torch

        from anygpt.decoding import decode, load_decoder

        started = time.perf_counter()
        part = reply.content[medium.part]
        modality = part["type"]
        if modality not in self.decoders:
            loading = self.work.loading
            self.decoders[modality] = load_decoder(
                modality,
                self.config.outputs[modality],
                self.work.folder,
                device=torch.device(loading.get("device", "cpu")),
                dtype=getattr(torch, loading.get("dtype", "float32")),
                fitting=loading["fitting"],
            )
        decoder = self.decoders[modality]
        captioned = isinstance(medium.given, str)
        given = decoder.encode_text([medium.given]) if captioned else torch.from_numpy(medium.given)[None]
        settings = self.work.options.get(modality, {})
        [part[modality]] = decode(decoder, given, [medium.seed], **settings)
        reply.spend(modality, time.perf_counter() - started)


def _column(objects: list[Any]) -> Rows:
    import numpy as np

    column = np.empty(len(objects), dtype=object)
    column[:] = [pickle.dumps(item) for item in objects]
    return {"row": column}
