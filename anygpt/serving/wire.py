"""Answers on their way out: media as bytes, completions and chunks as OpenAI's clients read them."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from anygpt.media import SUFFIXES, write
from anygpt.messages import Part

if TYPE_CHECKING:
    from encoders.media import Audio

MEDIA_TYPES = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4"}
SOUNDS = {  # format → what soundfile calls it, and its media type
    "wav": ("WAV", "PCM_16", "audio/wav"),
    "flac": ("FLAC", "PCM_16", "audio/flac"),
    "mp3": ("MP3", "MPEG_LAYER_III", "audio/mpeg"),
    "opus": ("OGG", "OPUS", "audio/ogg"),
    "pcm16": ("RAW", "PCM_16", "audio/pcm"),
}
AUDIO_EXPIRES = 3600  # seconds; an answer's sound is never kept, and its id stays good for later turns


def as_file(modality: str, medium: Any, folder: Path) -> bytes:
    """A medium as the bytes of the file that the Python API and the command line write."""
    path = write(modality, medium, folder / f"{uuid4().hex}{SUFFIXES[modality]}")
    try:
        return path.read_bytes()
    finally:
        path.unlink()


def as_picture(image: Any, kind: str, quality: int, folder: Path) -> bytes:
    """A picture as PNG, JPEG or WebP."""
    if kind == "png":
        return as_file("image", image, folder)
    file = io.BytesIO()
    image.save(file, format=kind.upper(), quality=quality)
    return file.getvalue()


def as_sound(audio: Audio, kind: str, folder: Path) -> bytes:
    """A sound in one of the formats of `SOUNDS`."""
    import soundfile

    if kind == "wav":
        return as_file("audio", audio, folder)
    format, subtype, _ = SOUNDS[kind]
    file = io.BytesIO()
    soundfile.write(file, np.clip(audio.samples, -1, 1).T, audio.rate, format=format, subtype=subtype)
    return file.getvalue()


def data_url(media_type: str, data: bytes) -> str:
    """Bytes as a data URL."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


class Wire:
    """How one chat completion is written.

    Args:
        modalities: what the answer may show, text among it.
        sound: the format of sounds.
    """

    def __init__(self, model: str, modalities: list[str] | None, sound: str, folder: Path) -> None:
        self.model = model
        self.modalities = modalities
        self.sound = sound
        self.folder = folder
        self.id = f"chatcmpl-{uuid4().hex}"
        self.created = int(time.time())

    def shows(self, modality: str) -> bool:
        """Whether the client wants parts of this modality, text among them."""
        return self.modalities is None or modality in self.modalities

    def part(self, modality: str, medium: Any, caption: str | None) -> dict[str, Any]:
        """A medium as a part of the content."""
        data = as_file(modality, medium, self.folder)
        part: dict[str, Any] = {
            "type": f"{modality}_url",
            f"{modality}_url": {"url": data_url(MEDIA_TYPES[modality], data)},
        }
        return part | ({"caption": caption} if caption else {})

    def audio(self, medium: Audio, caption: str | None) -> dict[str, Any]:
        """A sound as the message's own."""
        audio = {
            "id": f"audio-{uuid4().hex}",
            "data": base64.b64encode(as_sound(medium, self.sound, self.folder)).decode(),
            "expires_at": self.created + AUDIO_EXPIRES,
            "transcript": "",
        }
        return audio | ({"caption": caption} if caption else {})

    def message(self, content: list[Part]) -> dict[str, Any]:
        """An answer's content as a message; its first sound is the message's audio, others are parts."""
        parts: list[dict[str, Any]] = []
        audio = None
        for part in content:
            modality = part["type"]
            if modality == "text":
                if self.shows("text") and part["text"]:
                    parts.append({"type": "text", "text": part["text"]})
            elif modality == "audio" and audio is None:
                audio = self.audio(part["audio"], part.get("caption"))
            else:
                parts.append(self.part(modality, part[modality], part.get("caption")))
        shown: str | list[dict[str, Any]] | None = parts
        if all(part["type"] == "text" for part in parts):
            shown = "".join(part["text"] for part in parts) if self.shows("text") else None
        message: dict[str, Any] = {"role": "assistant", "content": shown, "refusal": None}
        return message | ({"audio": audio} if audio else {})

    def completion(self, choices: list[tuple[list[Part], str]], usage: dict[str, int]) -> dict[str, Any]:
        """The whole answer: for each choice its content and why it ended."""
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [
                {"index": index, "message": self.message(content), "finish_reason": reason, "logprobs": None}
                for index, (content, reason) in enumerate(choices)
            ],
            "usage": usage,
        }

    def chunk(
        self, index: int, delta: dict[str, Any], finish_reason: str | None = None, **extra: Any
    ) -> dict[str, Any]:
        """A piece of a streamed answer; `extra` goes beside the choices."""
        choice = {"index": index, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return self._head([choice]) | extra

    def usage_chunk(self, usage: dict[str, int]) -> dict[str, Any]:
        """The last piece, where usage was asked for."""
        return self._head([]) | {"usage": usage}

    def progress_chunk(self, index: int, modality: str, number: int, step: int, steps: int) -> dict[str, Any]:
        """How far a medium is, where that was asked for."""
        progress = {"choice": index, "modality": modality, "index": number, "step": step, "steps": steps}
        return self._head([]) | {"progress": progress}

    def _head(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Counts of tokens, as OpenAI names them."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
