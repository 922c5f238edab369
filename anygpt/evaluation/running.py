"""Asking the model, and keeping what came of it, case by case: a run that is interrupted goes on where it was.

A report's folder holds `settings.json` (what the run depends on), `cases.jsonl` (a line a conversation) and `media/`.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygpt.evaluation.answers import read_answer
from anygpt.evaluation.errors import EvaluationError
from anygpt.evaluation.requests import Case
from anygpt.evaluation.scoring import Checks, judge, write_json
from anygpt.messages import Message, MessageError, Part
from anygpt.toyworld.scenes import Scene
from encoders.media import MediaError

if TYPE_CHECKING:
    from tqdm import tqdm

    from anygpt.generation import Reply

BATCH = 8  # conversations that are answered at once
SETTINGS, CASES, MEDIA = "settings.json", "cases.jsonl", "media"
QUICK = {"num_inference_steps": 1}  # a decoder's settings where it counts only which media come
REFUSAL = re.compile(
    r"\b(?:can't|cannot|can not|unable|don't know|do not know|did not understand|didn't understand|only know)\b"
)

Record = dict[str, Any]
Answer = Callable[..., Any]  # as `AnyGPT.chat`: a list of conversations, and its options → their replies


@dataclass(frozen=True)
class Item:
    """A conversation to be had: its id, "suite/cell/number", and what makes its turns when they are needed."""

    id: str
    turns: Callable[[], tuple[Case, ...]]


class Log:
    """What is known so far: one record a conversation, appended as soon as it is over.

    Args:
        settings: what the answers depend on; a folder with others is refused.

    Raises:
        EvaluationError: the folder has another run's results, or something else under their names.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.path = folder, folder / CASES
        self.records: dict[str, Record] = {}
        if self.path.exists():
            self._check(settings)
            self.records = {record["id"]: record for record in self._read()}
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / SETTINGS, settings)

    def add(self, record: Record) -> None:
        """Append a line at once, so that a run which is stopped keeps it."""
        self.records[record["id"]] = record
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def _check(self, settings: dict[str, Any]) -> None:
        try:
            old = json.loads((self.folder / SETTINGS).read_bytes())
        except (OSError, ValueError):
            old = {}
        for name, value in settings.items():
            if old.get(name) != value:
                raise EvaluationError(
                    f"{self.folder} holds a run with another {name} ({old.get(name)!r}, not {value!r}); "
                    "choose another --report"
                )

    def _read(self) -> list[Record]:
        # After the last line break there is nothing, or half a line of a run that was killed: it is cut off.
        whole, _, rest = self.path.read_bytes().rpartition(b"\n")
        if rest:
            os.truncate(self.path, len(whole) + 1 if whole else 0)
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise EvaluationError(f"{self.path} is damaged ({error}); choose another --report") from error


def run(
    answer: Answer,
    items: Sequence[Item],
    log: Log,
    bar: tqdm[Any],
    *,
    seed: int,
    keep: bool,
    options: dict[str, Any],
) -> None:
    """Have the conversations that the log does not hold yet, and log them.

    Args:
        answer: who is asked.
        items: of one cell.
        bar: goes on by one for each conversation, whether had now or before.
        seed: of the first `BATCH` items; the next have the next one.
        keep: the media, as files beside the log.
        options: of `AnyGPT.chat`.
    """
    # Chunks by place, not by what is missing, so that a run that goes on draws the same noise.
    for start in range(0, len(items), BATCH):
        chunk = items[start : start + BATCH]
        missing = [item for item in chunk if item.id not in log.records]
        if missing:
            seeded = {**options, "seed": seed + start // BATCH}
            try:
                answered = _converse(answer, missing, log.folder, seeded, keep)
            except (MessageError, MediaError) as error:
                raise EvaluationError(f"{missing[0].id} or one soon after it: {error}") from error
            for item, turns in zip(missing, answered, strict=True):
                log.add({"id": item.id, "turns": turns})
        bar.update(len(chunk))


def _converse(
    answer: Answer, items: Sequence[Item], folder: Path, options: dict[str, Any], keep: bool
) -> list[list[Record]]:
    """All conversations side by side, turn by turn, each with the model's own answers before it."""
    plans = [item.turns() for item in items]
    histories: list[list[Message]] = [[] for _ in items]
    records: list[list[Record]] = [[] for _ in items]
    for turn in range(max(map(len, plans))):
        active = [i for i, plan in enumerate(plans) if turn < len(plan)]
        for i in active:
            histories[i] += plans[i][turn].messages
        replies = answer([histories[i] for i in active], **options)
        for i, reply in zip(active, replies, strict=True):
            histories[i].append(reply.message)
            record = make_record(plans[i][turn], reply)
            if keep:
                place = Path(MEDIA) / folder_name(items[i].id)
                paths = reply.save(folder / place)
                record["files"] = [str(path.relative_to(folder)) for path in paths]
                record["reference"] = _save_reference(plans[i][turn].reference, folder, place)
            records[i].append(record)
    return records


def make_record(case: Case, reply: Reply) -> Record:
    """One turn: what was wanted, what came, and what is right in it."""
    checks, seen = check(case, reply)
    return {
        "kind": case.kind,
        "split": case.split,
        "wanted": case.wanted,
        "asked": sorted(case.media),
        "given": sorted(part["type"] for part in reply.content if part["type"] != "text"),
        "refuse": case.refuse,
        "refused": refuses(reply),
        "checks": checks,
        "seen": seen,
        "text": reply.text,
        "seconds": {what: round(seconds, 3) for what, seconds in reply.seconds.items()},
    }


def refuses(reply: Reply) -> bool:
    """Whether an answer is nothing but a "can't": without media, and in such words."""
    return all(part["type"] == "text" for part in reply.content) and bool(REFUSAL.search(reply.text.lower()))


def check(case: Case, reply: Reply) -> tuple[Checks, str]:
    """What is right in an answer, and what is in it in words."""
    made = [part["type"] for part in reply.content if part["type"] != "text"]
    checks: Checks = {"media": Counter(made) == Counter(case.media)}
    found = read_answer(reply.text)
    said = {name: found.get(name) == {value} for name, value in case.said.items()}
    if case.media:
        checks |= {"words": all(said.values())} if said else {}
    else:
        checks |= {**said, "all": all(said.values())} if said else {}
    if case.judge is not None:
        checks |= case.judge(reply.text)
    words = []
    for modality, truth in zip(case.media, case.shown, strict=False):
        medium = next((part[modality] for part in reply.content if part["type"] == modality), None)
        if medium is None:  # nothing of what was wanted is shown
            names = [*truth, "count"] if isinstance(truth, dict) else ["colour", "shape", "relation"]
            checks |= dict.fromkeys([*names, "all"], False)
            continue
        bare = {"audio": lambda m: m.samples, "video": lambda m: m.frames}.get(modality, lambda m: m)(medium)
        results, seen = judge(modality, bare, getattr(medium, "rate", None), truth)
        if isinstance(truth, Scene):  # of two things; their places are not said
            results = {name: good for name, good in results.items() if name not in ("place", "all")}
            results["all"] = all(results.values())
        checks |= results
        words.append(seen)
    return checks, " | ".join([*words, f"{', '.join(made) or 'no media'}: {reply.text.strip()}"])


def folder_name(identity: str) -> str:
    """An item's id as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", identity)


def _save_reference(reference: Sequence[Part], folder: Path, place: Path) -> dict[str, Any]:
    """The right answer as JSON has it: its texts, and the file of each modality, written where it is an object."""
    from anygpt.media import SUFFIXES, write

    kept: dict[str, Any] = {
        "texts": [part["text"] for part in reference if part["type"] == "text"],
        "files": {},
    }
    for part in reference:
        modality = part["type"]
        if "path" in part:
            kept["files"][modality] = str(Path(part["path"]).resolve())
        elif modality != "text" and modality in part:
            path = place / f"reference{SUFFIXES[modality]}"
            write(modality, part[modality], folder / path)
            kept["files"][modality] = str(path)
    return kept
