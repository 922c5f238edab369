"""Any format → our own schema, JSON Lines: {"id": …, "messages": […]}, paths relative to the media folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tqdm import tqdm

from anygpt.data.errors import BadItem
from anygpt.data.reader import Reader
from anygpt.data.skipped import Skip, Skipped
from anygpt.messages import Conversation

TOLD_EVERY = 100  # rows, whose share is looked at


def convert(reader: Reader, output: Path, most: float) -> Skipped:
    """Write all rows whose files exist to `output`, and name the others in OUTPUT.skipped.jsonl.

    Files are looked for, not opened; `anygpt.data.check` opens them.

    Args:
        most: the share of rows that may be left out.

    Raises:
        DataError: more cannot be used; nothing is written then but their names.
    """
    skipped = Skipped(skipped_beside(output), most, len(reader))
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    skips: list[Skip] = []
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for row in tqdm(range(len(reader)), desc="converting", unit=" rows", delay=2, disable=None):
                try:
                    messages = as_json(reader.example(row), reader.source.folder)
                    file.write(json.dumps({"id": str(row), "messages": messages}, ensure_ascii=False) + "\n")
                except BadItem as error:
                    skips.append(Skip(reader.source.path, row, error.reason, str(error)))
                if (row + 1) % TOLD_EVERY == 0 or row + 1 == len(reader):
                    skipped.add(row + 1 - skipped.read, skips)
                    skips = []
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    return skipped


def skipped_beside(output: Path) -> Path:
    """OUTPUT.skipped.jsonl, without what an earlier conversion left there."""
    path = output.with_name(f"{output.stem}.skipped.jsonl")
    path.unlink(missing_ok=True)
    return path


def as_json(conversation: Conversation, folder: Path) -> list[dict[str, Any]]:
    """Messages with paths as text, relative to `folder`."""
    return [
        {
            **message,
            "content": [
                {**part, "path": part["path"].relative_to(folder).as_posix()} if "path" in part else part
                for part in message["content"]
            ],
        }
        for message in conversation
    ]
