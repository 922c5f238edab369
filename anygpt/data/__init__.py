"""Data that people have: readers of the formats in the field, all of which give conversations as `anygpt.messages` has them.

    Source ──► reader (formats/) ──► conversation with paths ──► media.open_all ──► mixture ──► the stages
    (YAML)     rows of a file        checked, or a BadItem       objects, or a BadItem

Nothing here imports torch, but for `anygpt.data.mixture`.
"""

from __future__ import annotations

from anygpt.config import unknown
from anygpt.data.errors import BadItem, DataError
from anygpt.data.formats.alpaca import Alpaca
from anygpt.data.formats.audiocaps import AudioCaps
from anygpt.data.formats.cc3m import CC3M
from anygpt.data.formats.coco import CocoCaptions
from anygpt.data.formats.datasets import DataSet
from anygpt.data.formats.gqa import GQA
from anygpt.data.formats.llava import Llava
from anygpt.data.formats.messages import Messages
from anygpt.data.formats.mimicit import MimicIT
from anygpt.data.formats.mmc4 import MMC4
from anygpt.data.formats.mosit import Mosit
from anygpt.data.formats.nextgpt import NextGPT
from anygpt.data.formats.nlvr2 import NLVR2
from anygpt.data.formats.refcoco import RefCoco
from anygpt.data.formats.vqa import VQA
from anygpt.data.formats.webdataset import WebDataset
from anygpt.data.formats.webvid import WebVid
from anygpt.data.reader import Reader
from anygpt.data.source import Source

FORMATS: dict[str, type[Reader]] = {
    "messages": Messages,
    "nextgpt": NextGPT,
    "mosit": Mosit,
    "llava": Llava,
    "cc3m": CC3M,
    "webvid": WebVid,
    "audiocaps": AudioCaps,
    "alpaca": Alpaca,
    "coco-captions": CocoCaptions,
    "vqav2": VQA,
    "ok-vqa": VQA,
    "gqa": GQA,
    "nlvr2": NLVR2,
    "refcoco": RefCoco,
    "mmc4": MMC4,
    "mimic-it": MimicIT,
    "webdataset": WebDataset,
    "datasets": DataSet,
}


def open_source(source: Source, task: str = "describe") -> Reader:
    """The reader of a source.

    Args:
        task: what becomes of a medium with a caption, where the source does not say.

    Raises:
        DataError: an unknown format, or files that are missing or not of it.
    """
    if source.format not in FORMATS:
        raise DataError(unknown("format", source.format, FORMATS))
    return FORMATS[source.format](source, task)


__all__ = ["FORMATS", "BadItem", "DataError", "Reader", "Source", "open_source"]
