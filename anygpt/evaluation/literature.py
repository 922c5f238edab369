"""Answers and media against references, by the metrics of the literature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anygpt.evaluation.errors import EvaluationError
from anygpt.evaluation.metrics.captions import bleu_4, cider, rouge_l
from anygpt.evaluation.metrics.vqa import vqa_accuracy
from anygpt.evaluation.running import Record
from anygpt.evaluation.switching import share

if TYPE_CHECKING:
    from torch import Tensor

    from encoders.encoder import Encoder

ENCODED_AT_ONCE = 16
WORST = 20


@dataclass(frozen=True)
class Features:
    """What media and captions are compared by.

    Attributes:
        name: for the reader: figures of other features cannot be compared.
        media: paths of one modality → (N, dim).
        captions: texts → (N, dim) in the same space; None where there is none, and no CLIPScore then.
    """

    name: str
    media: Callable[[str, Sequence[Path]], Tensor]
    captions: Callable[[Sequence[str]], Tensor] | None


def features_of(encoder: Encoder, name: str) -> Features:
    """An encoder's pooled features, the mean over tokens."""
    import torch
    from tqdm import tqdm

    def encode(modality: str, items: Sequence[Any]) -> Tensor:
        device = next(encoder.parameters()).device
        rows = []
        for start in tqdm(
            range(0, len(items), ENCODED_AT_ONCE), desc=f"encoding {modality}", leave=False, disable=None
        ):
            inputs = [encoder.preprocess(modality, item) for item in items[start : start + ENCODED_AT_ONCE]]
            with torch.no_grad():  # one at a time where sounds or films are of other lengths
                alike = len({tensor.shape for tensor in inputs}) == 1
                groups = [torch.stack(inputs)] if alike else [tensor[None] for tensor in inputs]
                rows += [
                    encoder.pooled(modality, group.to(device)).mean(dim=1).float().cpu() for group in groups
                ]
        return torch.cat(rows)

    takes_text = "text" in encoder.modalities and getattr(encoder, "tokenizer", None) is not None
    return Features(name, encode, (lambda texts: encode("text", texts)) if takes_text else None)


def summarise_captions(records: Sequence[Record]) -> dict[str, Any]:
    """BLEU-4, ROUGE-L and CIDEr-D of the answers' words; the worst are those of the least CIDEr."""
    answers = [record["text"] for record in records]
    references = [record["reference"]["texts"] for record in records]
    _check_references(records)
    mean, each = cider(answers, references)
    figures = {"BLEU-4": bleu_4(answers, references), "ROUGE-L": rouge_l(answers, references), "CIDEr": mean}
    return {"figures": _rounded(figures), "of": len(records), "worst": _worst(records, each)}


def summarise_vqa(records: Sequence[Record]) -> dict[str, Any]:
    """The mean VQA accuracy with its standard error."""
    _check_references(records)
    each = [vqa_accuracy(record["text"], record["reference"]["texts"]) for record in records]
    figures = {
        "VQA accuracy": float(np.mean(each)),
        "standard error": float(np.std(each) / np.sqrt(len(each))),
    }
    return {"figures": _rounded(figures), "of": len(records), "worst": _worst(records, each)}


def summarise_making(
    records: Sequence[Record], made: str, features: Features, folder: Path
) -> dict[str, Any]:
    """The media of modality `made`: are they there, how well do they fit their captions, how far are they from real ones.

    Returns:
        "figures": "media" (the share of answers with the right set of media), "CLIPScore" where references have a caption and
        the features a text encoder, and "FID" ("FAD" of sounds, "FVD" of films) where references have media.
    """
    from anygpt.evaluation.metrics.features import clip_score, frechet_distance

    figures: dict[str, float] = {"media": share(record["checks"]["media"] for record in records)["share"]}
    scores: list[float] = [float(record["checks"]["media"]) for record in records]
    there = [i for i, record in enumerate(records) if _file(record, made, folder) is not None]
    if there:
        rows = features.media(made, [_path(records[i], made, folder) for i in there])
        captioned = [place for place, i in enumerate(there) if records[i]["reference"]["texts"]]
        if captioned and features.captions:
            captions = features.captions(
                [records[there[place]]["reference"]["texts"][0] for place in captioned]
            )
            each = clip_score(rows[captioned], captions)
            figures["CLIPScore"] = float(each.mean())
            for place, score in zip(captioned, each.tolist(), strict=True):
                scores[there[place]] = score
        real = [
            folder / record["reference"]["files"][made]
            for record in records
            if made in record["reference"]["files"]
        ]
        if min(len(real), len(rows)) >= 2:
            name = {"image": "FID", "audio": "FAD", "video": "FVD"}[made]
            figures[name] = frechet_distance(features.media(made, real), rows)
    return {
        "figures": _rounded(figures),
        "features": features.name,
        "of": len(records),
        "worst": _worst(records, scores),
    }


def _file(record: Record, made: str, folder: Path) -> Path | None:
    """The first medium of the modality that the answer holds."""
    return next((folder / file for file in record["files"] if Path(file).name.startswith(made)), None)


def _path(record: Record, made: str, folder: Path) -> Path:
    path = _file(record, made, folder)
    assert path is not None, "asked for where there is one"
    return path


def _check_references(records: Sequence[Record]) -> None:
    for record in records:
        if not record["reference"]["texts"]:
            raise EvaluationError(f"{record['id']}: its reference has no text to compare the answer with")


def _worst(records: Sequence[Record], scores: Sequence[float]) -> list[dict[str, Any]]:
    order = sorted(range(len(records)), key=lambda i: scores[i])[:WORST]
    return [
        {
            "id": records[i]["id"],
            "wanted": records[i]["wanted"],
            "seen": records[i]["seen"],
            "score": round(scores[i], 4),
        }
        for i in order
    ]


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}
