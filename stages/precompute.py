"""What the frozen parts make of a stage's data, computed once: encoders' features of files, decoders' embeddings of captions, and
their latents of the files that the assistant makes.

The stage's own settings say what: its model, its data, and in `precomputed` the folder. What is there already is not computed
again, so a run that was stopped goes on; what another encoder, preprocessing or decoder made is never taken.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from anygpt.config import ConfigError
from anygpt.data import open_source
from anygpt.data.errors import BadItem, DataError
from anygpt.data.formats.nextgpt import NextGPT
from anygpt.data.media import open_medium
from anygpt.model import AnyGPT
from anygpt.precomputed import (
    Store,
    caption_key,
    embedding_stores,
    feature_stores,
    file_key,
    latent_stores,
)
from anygpt.processor import Medium
from encoders.media import MediaError
from stages.assembly import open_model
from stages.data import packed, start_worker
from stages.losses import Captions, bare
from stages.stage import Stage

SHARD = 2048  # tensors in a file
TOGETHER = 32  # media that are encoded at once
FAR = 0.05  # of a caption's embedding, in shares of its length: half precision is nearer by far

Found = list[tuple[str, str, Any]]  # modality, key, what is computed from


class _Rows(Dataset[bytes]):
    """Of each row of the sources, pickled, a role's media that have nothing in the stores yet and can be read.

    Args:
        ready: (modality, medium) → what is computed from.
    """

    def __init__(
        self, readers: list[Any], role: str, stores: dict[str, Store], ready: Callable[[str, Any], Any]
    ) -> None:
        self.readers, self.role, self.stores, self.ready = readers, role, stores, ready
        self.rows = [(number, row) for number, reader in enumerate(readers) for row in range(len(reader))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> bytes:
        number, row = self.rows[index]
        found: Found = []
        try:
            conversation = self.readers[number].example(row, outputs=self.role == "assistant")
        except BadItem:  # training names it
            return packed(found)
        for message in conversation:
            for part in message["content"]:
                modality = part["type"]
                if message["role"] != self.role or "path" not in part or modality not in self.stores:
                    continue
                key = file_key(part["path"])
                if key in self.stores[modality]:
                    continue
                try:
                    medium = open_medium(modality, part["path"])
                    found.append((modality, key, self.ready(modality, medium)))
                except (BadItem, MediaError):
                    continue
        return packed(found)


def encoder_features(stage: Stage[Any]) -> dict[str, int]:
    """Encode every file that people's messages give in the stage's data; how many were new, by modality.

    Raises:
        ConfigError: no `precomputed` or no `data`, or a model that cannot be used.
    """
    model, folder, readers = _opened(stage)
    stores = feature_stores(model, folder)

    def ready(modality: str, medium: Any) -> Tensor:
        return model.processor.encoder(modality).preprocess(modality, medium)

    def encode(modality: str, tensors: list[Any]) -> list[Tensor]:
        media = [Medium(modality, tensor) for tensor in tensors]
        model.encode(media)
        return [medium.features for medium in media if medium.features is not None]

    return _computed(stage, "encoder features", _Rows(readers, "user", stores, ready), encode)


def latents(stage: Stage[Any]) -> dict[str, int]:
    """Encode every file that the assistant makes in the stage's data with its decoder's VAE; how many were new, by modality.

    A VAE gives a distribution; one sample of it, always the same, is kept.

    Raises:
        ConfigError: as for `encoder_features`, or a stage that has no use for them.
    """
    if not stage.outputs:
        raise ConfigError(
            "this stage learns from no decoder's latents; decoder-alignment does, with denoising_weight"
        )
    model, folder, readers = _opened(stage)
    stores = {
        modality: store
        for modality, store in latent_stores(model, folder).items()
        if model.decoder(modality).has_denoising_loss
    }

    def encode(modality: str, media: list[Any]) -> list[Tensor]:
        return list(model.decoder(modality).encode_media(media, torch.Generator().manual_seed(0)))

    rates = {modality: model.decoder(modality).rate for modality in stores}
    rows = _Rows(readers, "assistant", stores, lambda modality, medium: bare(medium, rates[modality]))
    return _computed(stage, "latents", rows, encode)


def _computed(
    stage: Stage[Any], what: str, rows: _Rows, encode: Callable[[str, list[Any]], list[Tensor]]
) -> dict[str, int]:
    """Run `encode` on all that `rows` finds, by modality, and write it to its stores; how many were new."""
    stores = rows.stores
    loader = DataLoader(
        rows,
        batch_size=None,
        num_workers=stage.config.workers,
        worker_init_fn=start_worker,
        prefetch_factor=8 if stage.config.workers else None,
    )
    waiting: dict[str, dict[str, Any]] = {modality: {} for modality in stores}
    made: dict[str, dict[str, Tensor]] = {modality: {} for modality in stores}
    seen: dict[str, set[str]] = {modality: set() for modality in stores}

    def run(modality: str) -> None:
        media, waiting[modality] = waiting[modality], {}
        if media:
            made[modality] |= zip(media, encode(modality, list(media.values())), strict=True)

    def write(modality: str) -> None:
        if made[modality]:
            stores[modality].write(made[modality])
            seen[modality] |= made[modality].keys()
            made[modality] = {}

    try:
        for data in tqdm(loader, desc=what, unit=" rows", delay=2):
            for modality, key, medium in pickle.loads(data):
                if key not in seen[modality] and key not in made[modality]:
                    waiting[modality][key] = medium
                if len(waiting[modality]) >= TOGETHER:
                    run(modality)
                if len(made[modality]) >= SHARD:
                    write(modality)
    finally:  # also what was made until Ctrl-C
        for modality in stores:
            run(modality)
            write(modality)
    return {modality: len(keys) for modality, keys in seen.items()}


def caption_embeddings(stage: Stage[Any]) -> dict[str, int]:
    """Embed every caption of the media that the assistant makes in the stage's data; how many were new, by modality.

    What a source has in its `embeddings` folder is taken from there.

    Raises:
        ConfigError: no `precomputed` or no `data`, a model that cannot be used, or embeddings of another decoder.
    """
    model, folder, readers = _opened(stage)
    stores = embedding_stores(model, folder)
    captions = Captions()
    read = _read_embeddings(readers, model, captions, stores)
    waiting: dict[str, dict[str, str]] = {modality: {} for modality in stores}
    seen: dict[str, set[str]] = {modality: set(read[modality]) for modality in stores}

    def write(modality: str) -> None:
        names, waiting[modality] = waiting[modality], {}
        if names:
            made = captions(model, modality, list(names.values()))
            stores[modality].write(dict(zip(names, made, strict=True)))
            seen[modality] |= names.keys()

    try:
        for modality, caption in tqdm(
            _captions(readers), desc="caption embeddings", unit=" captions", delay=2
        ):
            key = caption_key(caption)
            if modality in stores and key not in stores[modality] and key not in seen[modality]:
                waiting[modality][key] = caption
                if len(waiting[modality]) >= SHARD:
                    write(modality)
    finally:
        for modality in stores:
            write(modality)
    return {modality: len(keys) for modality, keys in seen.items()}


def _read_embeddings(
    readers: list[Any], model: AnyGPT, captions: Captions, stores: dict[str, Store]
) -> dict[str, dict[str, Tensor]]:
    """NExT-GPT's files of captions' embeddings, by modality and caption's key, written to the stores.

    The first of each modality must be what the model's own decoder makes of the caption, or they are another's.
    """
    found: dict[str, dict[str, Tensor]] = {modality: {} for modality in stores}
    for reader in readers:
        if reader.source.embeddings is None:
            continue
        if not isinstance(reader, NextGPT):
            raise ConfigError(f"{reader.source.path}: embeddings are read of the format nextgpt alone")
        for row in range(len(reader)):
            with suppress(BadItem, KeyError, TypeError):  # training names it
                for modality, caption, name in reader.embeddings(row):
                    key = caption_key(caption)
                    if modality not in stores or key in stores[modality] or key in found[modality]:
                        continue
                    shape = model.decoder(modality).conditioning_shape
                    value = _numbers(Path(reader.source.embeddings, name))
                    if value is not None and value.numel() == shape[0] * shape[1]:
                        found[modality][key] = value.reshape(shape)
                        if len(found[modality]) == 1:
                            _check_embedding(
                                value.reshape(shape), captions(model, modality, [caption])[0], name
                            )
    for modality, values in found.items():
        if values:
            stores[modality].write(values)
    return found


def _numbers(path: Path) -> Tensor | None:
    """A `.npy` file's; None where it is missing or damaged: the caption is embedded instead."""
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
    except (OSError, ValueError):
        return None


def _check_embedding(value: Tensor, own: Tensor, name: str) -> None:
    apart = float((value - own.float().cpu()).norm() / own.float().norm())
    if apart > FAR:
        raise DataError(
            f"{name} is not what this model's decoder makes of its caption ({apart:.0%} apart); leave 'embeddings' out"
        )


def _captions(readers: list[Any]) -> Iterator[tuple[str, str]]:
    for reader in readers:
        for row in range(len(reader)):
            try:
                conversation = reader.example(row, outputs=False)
            except BadItem:
                continue
            parts = [p for m in conversation if m["role"] == "assistant" for p in m["content"]]
            yield from ((part["type"], part["caption"]) for part in parts if part.get("caption"))


def _opened(stage: Stage[Any]) -> tuple[AnyGPT, Path, list[Any]]:
    config = stage.config
    if config.precomputed is None:
        raise ConfigError("precomputed is not set: the folder for what is computed")
    if config.data is None:
        raise ConfigError("data is not set: the toy world's media are no files")
    readers = [open_source(source, stage.task) for source in config.data]
    return open_model(config.model, config.parts), Path(config.precomputed), readers
