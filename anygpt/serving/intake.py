"""People's media on their way in: a URL or an upload becomes a checked object."""

from __future__ import annotations

import base64
import binascii
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from anygpt.serving.inspection import inspect
from anygpt.serving.limits import MAX_MEDIA, MAX_SAMPLES, Limits
from anygpt.serving.remote import fetch
from encoders import media
from encoders.media import MediaError


class Intake:
    """Reads the media of one request, within its limits.

    Args:
        folder: where a medium's bytes lie while they are read.
        allow_remote: whether http and https URLs are fetched.
        decoding: held while a medium is decoded, so that the largest of them do not fill the memory together.
        deadline: of what is fetched, by `time.monotonic()`.
    """

    def __init__(
        self, folder: Path, limits: Limits, allow_remote: bool, decoding: threading.Lock, deadline: float
    ) -> None:
        self.folder = folder
        self.limits = limits
        self.allow_remote = allow_remote
        self.decoding = decoding
        self.deadline = deadline
        self.bytes = limits.bytes
        self.pixels = limits.pixels
        self.samples = MAX_SAMPLES
        self.media = MAX_MEDIA

    def from_url(self, modality: str, url: str) -> Any:
        """The medium at a data URL or, where that is allowed, at a remote one.

        Raises:
            MediaError: saying what is wrong with it.
        """
        scheme = url[:16].partition(":")[0].lower()
        if scheme == "data":
            return self.from_bytes(modality, _data(url))
        if scheme not in ("http", "https"):
            raise MediaError(f"{modality}: a medium's URL must be data:…;base64,… or http(s)://…")
        if not self.allow_remote:
            raise MediaError(
                f"{modality}: this server fetches nothing (--allow-remote-media); send the medium as a data: URL"
            )
        data = fetch(url, self.bytes, self.deadline)
        self.bytes -= len(data)
        return self.from_bytes(modality, data)

    def from_base64(self, modality: str, text: str) -> Any:
        """The medium in a bare base64 text."""
        return self.from_bytes(modality, _decode(text))

    def from_bytes(self, modality: str, data: bytes) -> Any:
        """The medium in a file's bytes."""
        self.media -= 1
        if self.media < 0:
            raise MediaError(f"more than {MAX_MEDIA} media in one request")
        path = self.folder / uuid4().hex
        try:
            path.write_bytes(data)
            self._count(modality, inspect(modality, path, self.limits))
            with self.decoding:
                return media.read(modality, path)
        except MediaError as error:
            text = str(error).replace(f"{modality} file {path}", modality)
            raise MediaError(
                text if text.startswith(modality) else f"{modality}: {text}", error.reason
            ) from None
        finally:
            path.unlink(missing_ok=True)

    def _count(self, modality: str, size: int) -> None:
        """Note how large a medium will be when it is read; all of a request together have a limit."""
        if modality == "audio":
            self.samples -= size
        else:
            self.pixels -= size
        if self.samples < 0 or self.pixels < 0:
            raise MediaError(
                f"the request's media are too large together: {self.limits.pixels // 10**6} megapixels of pictures "
                f"and films and {MAX_SAMPLES // 10**6} million samples of sound are the most",
                "wrong size",
            )


def _data(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma:
        raise MediaError("a data URL has a comma before its data: data:image/png;base64,…")
    return _decode(body) if head.lower().endswith(";base64") else unquote_to_bytes(body)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MediaError("the medium's base64 is damaged") from None
