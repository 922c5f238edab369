"""What is measured on features: FID and FAD (one formula, other features), inception score, CLIPScore."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygpt.evaluation.errors import EvaluationError


class _Given(nn.Module):
    """Stands where torchmetrics wants a feature extractor: the features are there already."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Tensor, made: Tensor) -> float:
    """Distance of two clouds of features as if they were Gaussians; 0 is best.

    With features of Inception-v3 it is the FID (Heusel et al., 2017), with VGGish's the FAD (Kilgour et al., 2019).
    Figures of other features, or of another number of items, cannot be compared.

    Args:
        real, made: (N, dim), two rows at least; many more than dim, or the distance is biased.

    Raises:
        EvaluationError: fewer than two rows, or torchmetrics is missing.
    """
    if min(len(real), len(made)) < 2:
        raise EvaluationError("a distance of distributions needs two items at least on either side")
    metric = _torchmetrics("fid").FrechetInceptionDistance(_Given(real.shape[1])).set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(made.double(), real=False)
    return max(float(metric.compute()), 0.0)


def inception_score(logits: Tensor) -> float:
    """exp of the mean divergence of a classifier's answers from their mean (Salimans et al., 2016); in [1, classes].

    Args:
        logits: (N, classes), the classifier's, one row a picture. All are taken as one split.
    """
    metric = _torchmetrics("inception").InceptionScore(_Given(logits.shape[1]), splits=1)
    metric.update(logits.double())
    return float(metric.compute()[0])


def clip_score(media: Tensor, captions: Tensor) -> Tensor:
    """100 · max(cosine, 0) of each medium and its caption, (N,) (Hessel et al., 2021, with torchmetrics' factor).

    Args:
        media, captions: (N, dim), in one space: CLIP's for pictures, CLAP's for sounds, ImageBind's for all.
    """
    return 100 * F.cosine_similarity(media, captions).clamp(min=0)


def _torchmetrics(module: str) -> Any:
    import importlib
    import warnings

    warnings.filterwarnings("ignore", message=".*will save all extracted features in buffer.*")
    try:
        return importlib.import_module(f"torchmetrics.image.{module}")
    except ImportError as error:
        raise EvaluationError("FID, FAD and IS need torchmetrics: pip install 'anygpt[eval]'") from error
