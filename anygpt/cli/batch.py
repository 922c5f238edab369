"""`anygpt generate --batch`: a file of requests, answered several at a time, in order, and to be gone on with."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
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
    file: Path, *, model: str, output_dir: Path, options: dict[str, Any], loading: dict[str, Any]
) -> None:
    """Answer the requests in `file`; the results that an earlier run left are kept where they still fit."""
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
            anygpt = (
                load_model(folder, config, loading) if any(request.messages for request in waiting) else None
            )
            groups = iter(waiting)
            while group := list(islice(groups, BATCH)):
                for result in answer(anygpt, config, group, output_dir, options):
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


def answer(
    model: AnyGPT | None,
    config: AnyGPTConfig,
    requests: list[Request],
    output_dir: Path,
    options: dict[str, Any],
) -> list[Result]:
    """The results of some requests, in order; the media of each are saved in a folder of its own."""
    results: dict[int, Result] = {}
    good: list[tuple[int, Conversation]] = []
    for index, request in enumerate(requests):
        try:
            if request.messages is None:
                raise CommandError(request.error)
            good.append((index, with_media(request.messages, config)))
        except (ValueError, OSError) as error:
            results[index] = _failure(request, error)
    if good:
        assert model is not None, "it is loaded where a request has messages"
        results |= _answer_good(model, requests, good, output_dir, options)
    return [results[index] for index in range(len(requests))]


def _answer_good(
    model: AnyGPT,
    requests: list[Request],
    good: list[tuple[int, Conversation]],
    output_dir: Path,
    options: dict[str, Any],
) -> dict[int, Result]:
    try:
        replies = model.chat([conversation for _, conversation in good], **options)
    except ValueError as error:
        if len(good) == 1:
            return {good[0][0]: _failure(requests[good[0][0]], error)}
        # One of them cannot be answered, which only the model could tell: each for itself, then.
        singles = [_answer_good(model, requests, [item], output_dir, options) for item in good]
        return {index: result for single in singles for index, result in single.items()}
    assert isinstance(replies, list)
    results = {}
    for (index, _), reply in zip(good, replies, strict=True):
        paths = reply.save(output_dir / requests[index].folder)
        results[index] = {"id": requests[index].id, **as_json(reply, paths)}
    return results


def _failure(request: Request, error: BaseException) -> Result:
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
