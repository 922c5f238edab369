"""What the frozen parts make of a stage's data, computed once: encoders' features of files, decoders' embeddings of captions, and
their latents of the files that the assistant makes.

The stage's own settings say what: its model, its data, and in `precomputed` the folder. What is there already is not computed
again, so a run that was stopped goes on; what another encoder, preprocessing or decoder made is never taken. On more than one
machine: `stages.ray_precompute`.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset
from tqdm import tqdm

from anygpt.config import ConfigError
from anygpt.data import Reader, open_source
from anygpt.data.errors import BadItem, DataError
from anygpt.data.formats.nextgpt import NextGPT
from anygpt.data.media import open_medium
from anygpt.model import AnyGPT
from anygpt.precomputed import (
    EMBEDDINGS,
    FEATURES,
    LATENTS,
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


@dataclass
class Work:
    """What there is to compute.

    Attributes:
        what: its name.
        rows: the data's, each as pickled `Found`.
        stores: by modality, where the results go.
        encode: (modality, what `rows` found of it) → a tensor for each.
        workers: processes that read rows.
        found: how many there were elsewhere and are in the stores already, by modality.
    """

    what: str
    rows: ConcatDataset[bytes]
    stores: dict[str, Store]
    encode: Callable[[str, list[Any]], Sequence[Tensor]]
    workers: int
    found: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.written: dict[str, set[str]] = {modality: set() for modality in self.stores}

    def __len__(self) -> int:
        return len(self.rows)

    def run(self, rows: Sequence[int] | None = None) -> dict[str, int]:
        """Compute what the stores lack, of these rows or of all; how many were new, by modality.

        Ctrl-C keeps what was made until then.
        """
        loader = DataLoader(
            self.rows if rows is None else Subset(self.rows, rows),
            batch_size=None,
            num_workers=self.workers,
            worker_init_fn=start_worker,
            prefetch_factor=8 if self.workers else None,
        )
        waiting: dict[str, dict[str, Any]] = {modality: {} for modality in self.stores}
        made: dict[str, dict[str, Tensor]] = {modality: {} for modality in self.stores}
        counts = dict.fromkeys(self.stores, 0)

        def encode(modality: str) -> None:
            found, waiting[modality] = waiting[modality], {}
            if found:
                values = self.encode(modality, list(found.values()))
                made[modality] |= {key: value.cpu() for key, value in zip(found, values, strict=True)}

        def write(modality: str) -> None:
            if made[modality]:
                self.stores[modality].write(made[modality])
                self.written[modality] |= made[modality].keys()
                counts[modality] += len(made[modality])
                made[modality] = {}

        try:
            for data in tqdm(loader, desc=self.what, unit=" rows", delay=2, disable=None):
                for modality, key, found in pickle.loads(data):
                    if key not in self.written[modality] and key not in made[modality]:
                        waiting[modality][key] = found
                    if len(waiting[modality]) >= TOGETHER:
                        encode(modality)
                    if len(made[modality]) >= SHARD:
                        write(modality)
        finally:  # also what was made until Ctrl-C
            for modality in self.stores:
                encode(modality)
                write(modality)
        return counts


class _Rows(Dataset[bytes]):
    """The rows of a source, and in each what a subclass finds that has nothing in the stores yet."""

    def __init__(self, reader: Reader, stores: dict[str, Store]) -> None:
        self.reader, self.stores = reader, stores

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, row: int) -> bytes:
        try:
            return packed(self.found(row))
        except BadItem:  # training names it
            return packed([])

    def found(self, row: int) -> Found:
        raise NotImplementedError

    def new(self, modality: str, key: str) -> bool:
        return modality in self.stores and key not in self.stores[modality]


class _Media(_Rows):
    """A role's media that can be read.

    Args:
        ready: (modality, medium) → what is computed from.
    """

    def __init__(
        self, reader: Reader, stores: dict[str, Store], role: str, ready: Callable[[str, Any], Any]
    ) -> None:
        super().__init__(reader, stores)
        self.role, self.ready = role, ready

    def found(self, row: int) -> Found:
        found: Found = []
        for message in self.reader.example(row, outputs=self.role == "assistant"):
            for part in message["content"]:
                if message["role"] != self.role or "path" not in part:
                    continue
                modality, key = part["type"], file_key(part["path"])
                if self.new(modality, key):
                    with suppress(BadItem, MediaError):  # the row's others are of use all the same
                        found.append(
                            (modality, key, self.ready(modality, open_medium(modality, part["path"])))
                        )
        return found


class _Captions(_Rows):
    """The captions of the media that the assistant makes."""

    def found(self, row: int) -> Found:
        parts = [
            part
            for message in self.reader.example(row, outputs=False)
            for part in message["content"]
            if message["role"] == "assistant" and part.get("caption")
        ]
        keyed = [(part["type"], caption_key(part["caption"]), part["caption"]) for part in parts]
        return [entry for entry in keyed if self.new(*entry[:2])]


def encoder_features(stage: Stage[Any]) -> Work:
    """Every file that people's messages give in the stage's data, through its encoder.

    Raises:
        ConfigError: no `precomputed` or no `data`, or a model that cannot be used.
    """
    model, folder, readers = _opened(stage)
    stores = feature_stores(model, folder)

    def ready(modality: str, medium: Any) -> Tensor:
        return model.encoder(modality).preprocess(modality, medium)

    def encode(modality: str, tensors: list[Any]) -> list[Tensor]:
        media = [Medium(modality, tensor) for tensor in tensors]
        model.encode(media)
        return [medium.features for medium in media if medium.features is not None]

    rows = [_Media(reader, stores, "user", ready) for reader in readers]
    return Work(FEATURES, ConcatDataset(rows), stores, encode, stage.config.workers)


def latents(stage: Stage[Any]) -> Work:
    """Every file that the assistant makes in the stage's data, through its decoder's VAE.

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

    def ready(modality: str, medium: Any) -> Any:
        return bare(medium, rates[modality])

    rows = [_Media(reader, stores, "assistant", ready) for reader in readers]
    return Work(LATENTS, ConcatDataset(rows), stores, encode, stage.config.workers)


def caption_embeddings(stage: Stage[Any]) -> Work:
    """Every caption of the media that the assistant makes in the stage's data, through its decoder's text encoder.

    What a source has in its `embeddings` folder is taken from there, at once.

    Raises:
        ConfigError: as for `encoder_features`, or embeddings of another decoder.
    """
    model, folder, readers = _opened(stage)
    stores = embedding_stores(model, folder)
    captions = Captions()
    read = _read_embeddings(readers, model, captions, stores)
    if any(read.values()):
        stores = embedding_stores(model, folder)  # with what was read

    def encode(modality: str, names: list[Any]) -> Sequence[Tensor]:
        return list(captions(model, modality, names))

    found = {modality: len(values) for modality, values in read.items()}
    rows: ConcatDataset[bytes] = ConcatDataset([_Captions(reader, stores) for reader in readers])
    return Work(EMBEDDINGS, rows, stores, encode, stage.config.workers, found)


PRECOMPUTED = {FEATURES: encoder_features, EMBEDDINGS: caption_embeddings, LATENTS: latents}


def precompute(what: str, stage: Stage[Any]) -> Counter[str]:
    """Compute what the stage's data lack of `what`, a key of `PRECOMPUTED`; how many were new, by modality.

    Several processes (`torchrun`, `accelerate launch`) take turns at the rows. A file that several meet may be computed by each of
    them, and is counted so.
    """
    state = processes()
    with state.main_process_first():  # what is found elsewhere is written by one
        work = PRECOMPUTED[what](stage)
    counts = work.run(range(state.process_index, len(work), state.num_processes))
    return totals([*gather_object([counts]), work.found])


def processes() -> PartialState:
    """Those that compute together, as a run of training takes them: on CPUs where accelerate is told so."""
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


def totals(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """How many of each modality, also where there are none."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total


def _read_embeddings(
    readers: list[Reader], model: AnyGPT, captions: Captions, stores: dict[str, Store]
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


def _opened(stage: Stage[Any]) -> tuple[AnyGPT, Path, list[Reader]]:
    config = stage.config
    if config.precomputed is None:
        raise ConfigError("precomputed is not set: the folder for what is computed")
    if config.data is None:
        raise ConfigError("data is not set: the toy world's media are no files")
    readers = [open_source(source, stage.task) for source in config.data]
    model = open_model(config.model, config.parts).to(processes().device)
    return model, Path(config.precomputed), readers
