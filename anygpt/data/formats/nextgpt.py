"""NExT-GPT's JSON, of its first tree (`caption`, `conversation`) and of its present one (`conversations`).

    {"image_name": "7.jpg", "caption": "a red kite"}                                 cc3m.json, webvid.json, audiocap.json
    {"mm_name": "q1.wav", "output_modality": "audio", "conversation": [turns]}       *_t2x.json
    {"image_name": "9.jpg", "output_modality": "text", "conversation": [turns]}      llava.json, alpaca.json
    {"input_video": "7.mp4", "conversations": [turns]}                               *_comprehension.json
    {"output_image": "7.jpg", "image_captions": "a red kite", "conversations": [turns]}     *_generation.json

The captions' embeddings are `.npy` files, in the last form by name, in the others by the medium's name with `.npy` behind it;
`anygpt precompute caption-embeddings` reads them from the source's `embeddings` folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anygpt.config import OUTPUT_MODALITIES
from anygpt.data.errors import BadItem
from anygpt.data.reader import TableReader, assistant, interleave, medium, names, pair, text, turns_of, user
from anygpt.messages import Conversation, Message, Part


class NextGPT(TableReader):
    """A JSON list whose rows may be of any of the forms above."""

    def conversation(self, record: Any, row: int) -> Conversation:
        if "conversations" in record:
            return _present(record)
        if "conversation" in record:
            return _first(record)
        for modality in OUTPUT_MODALITIES:
            if (name := record.get(f"{modality}_name")) is not None:
                return pair(modality, names(name), record["caption"], self.task, row)
        raise BadItem("malformed row", f"has none of the known keys, but {', '.join(map(str, record))[:80]}")

    def embeddings(self, row: int) -> Iterator[tuple[str, str, str]]:
        """Modality, caption and file name of each embedding that a row should have one of; the file may be missing."""
        record = self.table[row]
        for message in self.read(row):
            made = [part for part in message["content"] if isinstance(part, dict) and part.get("caption")]
            for modality in OUTPUT_MODALITIES:
                parts = [part for part in made if part["type"] == modality]
                named = names(record.get(f"{modality}_caption_embeddings") or [])
                files = named or [f"{part['path'][0]}.npy" for part in parts if "path" in part]
                yield from (
                    (modality, part["caption"], Path(file).name)
                    for part, file in zip(parts, files, strict=False)
                )


def _present(record: dict[str, Any]) -> Conversation:
    given = {
        m: [medium(m, name) for name in names(record.get(f"input_{m}") or [])] for m in OUTPUT_MODALITIES
    }
    made = {m: _made(record, m) for m in OUTPUT_MODALITIES}
    messages: Conversation = []
    for role, content in turns_of(record["conversations"], given):
        messages.append(
            {"role": role, "content": interleave(content, made) if role == "assistant" else content}
        )
    messages[-1]["content"] += [
        part for m in OUTPUT_MODALITIES for part in made[m]
    ]  # what has no placeholder
    return messages


def _made(record: dict[str, Any], modality: str) -> list[Part]:
    """What the assistant makes: files, captions, or both; as many of one as of the other."""
    files, captions = (names(record.get(key) or []) for key in (f"output_{modality}", f"{modality}_captions"))
    if files and captions and len(files) != len(captions):
        raise BadItem("malformed row", f"has {len(files)} {modality} files and {len(captions)} captions")
    count = max(len(files), len(captions))
    return [
        medium(modality, *files[i : i + 1], caption=captions[i].strip() if captions else None)
        for i in range(count)
    ]


def _first(record: dict[str, Any]) -> Conversation:
    messages: list[Message] = []
    for turn in record["conversation"]:
        if turn["from"] in ("human", "user"):
            modality = turn.get("input_modality", "text")
            parts: list[str | Part] = [text(turn["value"])]
            if modality in OUTPUT_MODALITIES:
                parts.insert(0, medium(modality, _file_name(record, modality)))
            messages.append(user(*parts))
        else:
            modality = turn.get("output_modality", "text")
            parts = [turn["value"].strip()] if turn["value"].strip() else []
            if modality in OUTPUT_MODALITIES:
                parts.append(medium(modality, _file_name(record, modality), caption=text(turn["caption"])))
            messages.append(assistant(*parts))
    return messages


def _file_name(record: dict[str, Any], modality: str) -> str:
    """The row's file, under whichever of the keys that the readers and builders of that tree use."""
    for key in ("mm_name", f"{modality}_name", "image_name", "source_data"):
        value = record.get(key)
        if isinstance(value, dict):  # where the present tree's script takes it from
            if (number := value.get("audiocap_id")) is not None:
                return f"{number}.wav"
            value = next(
                (value[k] for k in ("mm_name", f"{modality}_name", "image_name") if k in value), None
            )
        if isinstance(value, str) and value:
            return value
    raise BadItem("malformed row", "names no file under mm_name, image_name or source_data")
