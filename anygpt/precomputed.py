"""Tensors computed once and kept: sharded safetensors in a folder that is named after what produced them.

FOLDER/encoder-features/image-6f0c…/3f2a….safetensors       a file's features, by the file's identity
       caption-embeddings/audio-91be…/77c0….safetensors     a caption's embedding, by the caption
       latents/video-02d4…/9b1c….safetensors                what a decoder's VAE makes of a file, by the file's identity
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from torch import Tensor, nn

from anygpt.checkpoint import find_part
from anygpt.data import containers
from anygpt.data.media import real_path
from anygpt.frozen import fingerprint

if TYPE_CHECKING:
    from anygpt.model import AnyGPT

FEATURES, EMBEDDINGS, LATENTS = "encoder-features", "caption-embeddings", "latents"


class Store:
    """Tensors by name in the shards of one folder. Several processes may write to it; each opens what was there before."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self.folder = folder
        self._shards: list[Any] = []
        self._places: dict[str, int] = {}
        for number, path in enumerate(sorted(folder.glob("[0-9a-f]*.safetensors"))):
            self._shards.append(safe_open(path, "pt"))  # maps the file, reads its header
            self._places |= dict.fromkeys(self._shards[-1].keys(), number)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def get(self, name: str) -> Tensor | None:
        """The tensor of that name, read now; None where there is none."""
        place = self._places.get(name)
        return None if place is None else self._shards[place].get_tensor(name)

    def write(self, tensors: dict[str, Tensor]) -> None:
        """Add a shard, whole or not at all; this store does not look into it."""
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{uuid4().hex[:12]}.safetensors"
        temporary = self.folder / f".{name}.{os.getpid()}"
        try:
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, temporary)
            os.replace(temporary, self.folder / name)
        finally:
            temporary.unlink(missing_ok=True)


def feature_stores(model: AnyGPT, folder: Path) -> dict[str, Store]:
    """For each input modality the features of files, by `file_key`, that the model's encoder made."""
    prints: dict[str, str] = {}
    stores = {}
    for modality, entry in model.config.adapted.items():
        if entry.encoder not in prints:
            prints[entry.encoder] = fingerprint(model.encoder(modality))
        settings = _settings(find_part(entry.encoder, model.root))  # of the preprocessing, too
        key = _hash(modality, entry.features, prints[entry.encoder], *settings)
        stores[modality] = Store(folder / FEATURES / f"{modality}-{key}")
    return stores


def embedding_stores(model: AnyGPT, folder: Path) -> dict[str, Store]:
    """For each output modality the embeddings of captions, by `caption_key`, that the model's decoder made."""
    return {
        modality: Store(folder / EMBEDDINGS / f"{modality}-{_hash(*_decoder(model, modality))}")
        for modality in model.config.outputs
    }


def latent_stores(model: AnyGPT, folder: Path) -> dict[str, Store]:
    """For each output modality the latents of files, by `file_key`, of the size that the model's decoder is set to."""
    return {
        modality: Store(
            folder / LATENTS / f"{modality}-{_hash(*_decoder(model, modality), json.dumps(entry.generation))}"
        )
        for modality, entry in model.config.outputs.items()
    }


def _decoder(model: AnyGPT, modality: str) -> list[str]:
    """What a decoder is, whatever it is called."""
    parts = nn.ModuleDict(model.decoder(modality).modules)
    settings = _settings(find_part(model.config.outputs[modality].decoder, model.root))
    return [modality, fingerprint(parts), *settings]


def file_key(path: Path) -> str:
    """A file's identity: where it is, its size, and when it was changed."""
    if containers.leads_inside(path):
        return _hash(*containers.identity(path))
    status = path.stat()
    return _hash(str(real_path(path)), str(status.st_size), str(status.st_mtime_ns))


def caption_key(caption: str) -> str:
    """A caption's identity."""
    return _hash(caption)


def _settings(part: str) -> list[str]:
    """The JSON files of a frozen part, names and contents: its sizes, its preprocessing, its tokenizer."""
    folder = Path(part)
    if not folder.is_dir():
        from encoders.encoder import find_checkpoint

        folder = find_checkpoint(part)  # in the hub's cache, as the part has been loaded
    files = sorted(folder.rglob("*.json"))
    return [text for file in files for text in (str(file.relative_to(folder)), file.read_text("utf-8"))]


def _hash(*texts: str) -> str:
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=12).hexdigest()
