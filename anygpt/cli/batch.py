"""`anygpt generate --batch`: a file of requests, answered several at a time, in order, and to be gone on with."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from anygpt.cli.answering import as_json
from anygpt.cli.errors import CommandError, is_mistake, one_line
from anygpt.cli.files import check_output_dir, write_text
from anygpt.cli.loading import find_model, load_model, with_media
from anygpt.config import AnyGPTConfig, unknown
from anygpt.messages import Conversation, normalise
from anygpt.options import Options

if TYPE_CHECKING:
    from anygpt.model import AnyGPT

BATCH = 8  # requests that the model answers at once
RESULTS = "results.jsonl"
REQUESTS = ".requests.json"  # id → digest of the request that its result answers
KEYS = ("id", "messages")
Result = dict[str, Any]


@dataclass
class Request:
    """One line of the file.

    Attributes:
        id: the line's own, or its number.
        digest: of all that its answer depends on.
        messages: checked; None if the line is bad, and then `error` says why.
    """

    id: str | int
    digest: str
    messages: Conversation | None
    error: str = ""

    @property
    def folder(self) -> str:
        """The name of the folder of its media: the id where that is a safe name, otherwise made of it."""
        name = str(self.id)
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80]
        if safe == name and name[:1] not in ("", ".") and name != RESULTS:
            return safe
        return f"{safe.lstrip('.')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def generate_batch(
    file: Path,
    *,
    model: str,
    output_dir: Path,
    options: dict[str, Any],
    loading: dict[str, Any],
    pools: tuple[int, int] | None = None,
) -> None:
    """Answer the requests in `file`; the results that an earlier run left are kept where they still fit.

    Args:
        loading: how the model is loaded (see `anygpt.fitting.read_loading`).
        pools: on Ray, how many processes think and how many make media; None answers in this one.
    """
    check_output_dir(output_dir)
    folder, config = find_model(model)
    Options.read(options, config.outputs)
    requests = list(read_requests(file, {"model": str(folder), **options}))
    results = Results(output_dir, requests)
    waiting = [request for request in requests if request.id not in results.kept]
    failed = 0
    with tqdm(
        total=len(requests), initial=len(requests) - len(waiting), unit=" requests", disable=None
    ) as bar:
        try:
            if pools is None:
                answers = _here(folder, config, waiting, output_dir, options, loading)
            else:
                from anygpt.cli.batch_on_ray import answer_on_ray

                answers = answer_on_ray(folder, waiting, output_dir, options, loading, pools)
            for result in answers:
                results.append(result)
                failed += "error" in result
                bar.update()
            results.sort()
        except KeyboardInterrupt:
            bar.close()
            print(f"stopped; {bar.n} of {len(requests)} are done, the same command goes on", file=sys.stderr)
            raise
    answered, kept = len(waiting) - failed, len(requests) - len(waiting)
    print(f"{answered} answered, {failed} failed, {kept} kept: {output_dir / RESULTS}", file=sys.stderr)


def read_requests(file: Path, settings: dict[str, Any]) -> Iterator[Request]:
    """The file's lines as requests, bad ones among them; empty lines do not count."""
    if not file.is_file():
        raise CommandError(f"--batch {file}: {'is not a file' if file.exists() else 'does not exist'}")
    first: dict[str, int] = {}  # where an id was seen first
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        if line.strip():
            request = _read_request(line, number, settings)
            seen = first.setdefault(str(request.id), number)
            if seen != number:
                error = f"line {number}: the id {request.id!r} is that of line {seen} already"
                request = Request(number, "", None, error)
            yield request


def _read_request(line: bytes, number: int, settings: dict[str, Any]) -> Request:
    identity: str | int = number
    try:
        try:
            values = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CommandError(f"is not JSON ({error})") from error
        if not isinstance(values, dict):
            raise CommandError('is not an object such as {"id": …, "messages": […]}')
        given = values.get("id", number)
        if isinstance(given, bool) or not isinstance(given, str | int):
            raise CommandError(f"the id must be a string or a whole number, not {given!r}")
        identity = given
        for key in values:
            if key not in KEYS:
                raise CommandError(unknown("key", key, KEYS))
        messages = normalise(values.get("messages"))
        if messages[-1]["role"] != "user":
            raise CommandError(f"the last message must be the user's, not the {messages[-1]['role']}'s")
    except ValueError as error:
        if not is_mistake(error):
            raise
        return Request(identity, "", None, f"line {number}: {one_line(error)}")
    text = json.dumps([values["messages"], settings], sort_keys=True)
    return Request(identity, hashlib.sha256(text.encode()).hexdigest()[:16], messages)


def _here(
    folder: Path,
    config: AnyGPTConfig,
    waiting: list[Request],
    output_dir: Path,
    options: dict[str, Any],
    loading: dict[str, Any],
) -> Iterator[Result]:
    """The results one after the other, made in this process."""
    model: AnyGPT | None = None
    if any(request.messages for request in waiting):
        model = load_model(folder, config, loading)

    def work(requests: list[Request], conversations: list[Conversation]) -> list[Result]:
        assert model is not None, "it is loaded where a request has messages"
        replies = model.chat(conversations, **options)
        assert isinstance(replies, list)
        return [
            {"id": request.id, **as_json(reply, reply.save(output_dir / request.folder))}
            for request, reply in zip(requests, replies, strict=True)
        ]

    groups = iter(waiting)
    while group := list(islice(groups, BATCH)):
        yield from answer(group, config, work)


def answer(
    requests: list[Request],
    config: AnyGPTConfig,
    work: Callable[[list[Request], list[Conversation]], list[Any]],
) -> list[Any]:
    """What `work` makes of requests and their conversations with media read, in order, and errors where it cannot."""
    results: dict[int, Any] = {}
    good: list[tuple[int, Conversation]] = []
    for index, request in enumerate(requests):
        try:
            if request.messages is None:
                raise CommandError(request.error)
            good.append((index, with_media(request.messages, config)))
        except (ValueError, OSError) as error:
            results[index] = failure(request, error)

    def answer_good(items: list[tuple[int, Conversation]]) -> None:
        asked = [requests[index] for index, _ in items]
        try:
            made = work(asked, [conversation for _, conversation in items])
        except ValueError as error:
            if len(items) == 1:
                results[items[0][0]] = failure(asked[0], error)
                return
            for item in items:  # one of them cannot be answered, which only the model could tell
                answer_good([item])
            return
        results.update(zip((index for index, _ in items), made, strict=True))

    if good:
        answer_good(good)
    return [results[index] for index in range(len(requests))]


def failure(request: Request, error: BaseException) -> Result:
    """The result of a request that the person has to mend; other errors are raised."""
    if not is_mistake(error):
        raise error
    return {"id": request.id, "error": one_line(error)}


class Results:
    """`results.jsonl`, to which results are appended as they come; what an earlier run left there is kept if its
    request is still the same and its media are there."""

    def __init__(self, folder: Path, requests: list[Request]) -> None:
        self.path = folder / RESULTS
        self.order = {request.id: place for place, request in enumerate(requests)}
        digests = {request.id: request.digest for request in requests}
        old = self._read()
        foreign = [result["id"] for result in old if "error" not in result and result["id"] not in self.order]
        if foreign:
            raise CommandError(
                f"{self.path} has the result of another request, with the id {foreign[0]!r}; "
                "choose another --output-dir"
            )
        known = self._read_digests(folder / REQUESTS)
        self.kept: dict[str | int, Result] = {
            result["id"]: result
            for result in old
            if "error" not in result
            and known.get(str(result["id"])) == digests[result["id"]]
            and all(Path(part["path"]).is_file() for part in result["content"] if "path" in part)
        }
        self.written = list(self.kept.values())
        folder.mkdir(parents=True, exist_ok=True)
        self._write()
        write_text(folder / REQUESTS, json.dumps({str(key): value for key, value in digests.items()}))

    def append(self, result: Result) -> None:
        """Add a line at once: a run that is stopped keeps it."""
        self.written.append(result)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(result))

    def sort(self) -> None:
        """Bring the lines into the requests' order, where kept ones came first."""
        ordered = sorted(self.written, key=lambda result: self.order[result["id"]])
        if ordered != self.written:
            self.written = ordered
            self._write()

    def _write(self) -> None:
        write_text(self.path, "".join(map(_line, self.written)))

    def _read(self) -> list[Result]:
        if not self.path.exists():
            return []
        # After the last line break there is nothing, or half a line of a run that was killed.
        lines = self.path.read_bytes().split(b"\n")[:-1]
        results = []
        for number, line in enumerate(lines, start=1):
            try:
                result = json.loads(line)
                ours = isinstance(result["id"], str | int) and ("error" in result or "content" in result)
            except (ValueError, TypeError, KeyError):
                ours = False
            if not ours:
                raise CommandError(
                    f"{self.path}, line {number} is no result of this command; choose another --output-dir"
                )
            results.append(result)
        return results

    @staticmethod
    def _read_digests(path: Path) -> dict[str, str]:
        try:
            return dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):  # none, or not ours: then no result is known to fit
            return {}


def _line(result: Result) -> str:
    return json.dumps(result, ensure_ascii=False) + "\n"
