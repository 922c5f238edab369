"""The interface of every encoder: media in, features out."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """A pretrained model that turns media into features.

    Media are what `encoders.media.load` takes: paths, or objects in memory. `batch` is always the
    `torch.stack` of what `preprocess` returned for media of one modality.
    """

    modalities: tuple[str, ...]

    @abstractmethod
    def preprocess(self, modality: str, media: Any) -> Tensor:
        """One medium → the model's input, without batch axis.

        Raises:
            MediaError: a file or an object that cannot be used.
            ValueError: a modality that is not in `modalities`.
        """

    @abstractmethod
    def features(self, modality: str, batch: Tensor) -> Tensor:
        """Features per patch, (B, tokens, dim)."""

    @abstractmethod
    def pooled(self, modality: str, batch: Tensor) -> Tensor:
        """Pooled features, (B, tokens, dim): one token, or one per clip or frame if these are kept."""

    def both(self, modality: str, batch: Tensor) -> Tensor:
        """Of each clip or frame its pooled features, then its patches, (B, tokens, dim)."""
        return frame_by_frame(self.pooled(modality, batch), self.features(modality, batch))

    @abstractmethod
    def dim(self, modality: str) -> int:
        """The last axis of `features` and `pooled`."""

    @classmethod
    @abstractmethod
    def from_pretrained(cls, path_or_id: str | Path) -> Self:
        """The encoder in a local folder or on the hub, in evaluation mode and float32.

        Raises:
            ValueError: there is no such checkpoint, or it is incomplete or of another kind.
        """

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> None:
        """Writes what `from_pretrained` reads."""

    def check_modality(self, modality: str) -> None:
        """Raises ValueError for a modality this encoder does not take."""
        if modality not in self.modalities:
            raise ValueError(f"{type(self).__name__} takes {', '.join(self.modalities)}, not {modality!r}")


def frame_by_frame(pooled: Tensor, patches: Tensor) -> Tensor:
    """(B, frames, dim) and (B, frames · patches, dim) → (B, frames · (1 + patches), dim), each frame's together."""
    own = patches.unflatten(1, (pooled.shape[1], -1))
    return torch.cat([pooled.unsqueeze(2), own], 2).flatten(1, 2)


def find_checkpoint(path_or_id: str | Path) -> Path:
    """A local folder or file as it is, a hub id as the folder of its download.

    Raises:
        ValueError: neither exists.
    """
    path = Path(path_or_id).expanduser()
    if path.exists():
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(str(path_or_id), allow_patterns=["*.json", "*.txt", "*.safetensors"]))
    except HFValidationError:
        raise ValueError(f"there is no encoder at {path_or_id}: no such folder") from None
    except Exception as error:  # no network, no such repository, no permission: each has its own exception
        problem = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"there is no encoder at {path_or_id}: no such folder, and the hub says: {problem}"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError says which file has none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file, whole or not at all."""
    write_whole(
        path, lambda temporary: temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    )


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` make a file beside `path`, then puts it in its place: a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
