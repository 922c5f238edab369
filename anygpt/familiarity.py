"""Whether a medium is of the kind that the model was trained on, by a calibrated score of its encoder.

A model of a small world answers questions about a photograph as if it were a drawing of that world. An encoder's
features tell the difference: those of its own world lie in a small cloud. The score is the Mahalanobis distance to it
(Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples", with one class), for the
pooled features and for the patches; beyond a limit that the world's own media hardly ever reach, the model says that
it does not know such things. A model without the file `familiarity.safetensors` takes everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anygpt.checkpoint import replacing

if TYPE_CHECKING:
    from encoders.encoder import Encoder

FILE = "familiarity.safetensors"
RIDGE = 1e-4  # added to the variances, in shares of their mean: some directions hardly occur
NOUNS = {
    "image": "picture",
    "audio": "sound",
    "video": "film",
    "depth": "depth map",
    "thermal": "thermal picture",
    "imu": "motion",
}


class Familiarity:
    """The clouds of features of each modality's own media.

    Attributes:
        clouds: by "modality.view", the view being "pooled" or "patches".
    """

    def __init__(self, clouds: dict[str, Cloud]) -> None:
        self.clouds = clouds

    def knows(self, encoder: Encoder, modality: str, tensor: Tensor) -> bool:
        """Whether a medium, as `Encoder.preprocess` gives it, lies in its modality's clouds, as far as there are any."""
        return all(
            float(cloud.score(features)) <= cloud.limit
            for view, run in views(encoder).items()
            if (cloud := self.clouds.get(f"{modality}.{view}")) is not None
            for features in run(modality, tensor[None])
        )

    @classmethod
    def load(cls, folder: Path) -> Familiarity | None:
        """From a checkpoint's folder; None where it has no such file."""
        from safetensors.torch import load_file

        path = folder / FILE
        if not path.is_file():
            return None
        stored = load_file(path)
        names = sorted({key.rpartition(".")[0] for key in stored})
        return cls({name: Cloud.unpack(*(stored[f"{name}.{part}"] for part in PARTS)) for name in names})

    def save(self, folder: Path) -> None:
        """Into a checkpoint's folder, in fp16 but for the limits."""
        from safetensors.torch import save_file

        stored = {
            f"{name}.{part}": value
            for name, cloud in self.clouds.items()
            for part, value in zip(PARTS, cloud.pack(), strict=True)
        }
        with replacing(folder / FILE) as path:
            save_file(stored, path, metadata={"format": "pt"})


PARTS = ("mean", "whitening", "limit")


class Cloud:
    """A normal distribution of features of width d, and how far from it is too far.

    Attributes:
        mean: (d,).
        whitening: (d, d), lower triangular; (features - mean) @ whitening has unit covariance.
        limit: the highest score that counts as known.
    """

    def __init__(self, mean: Tensor, whitening: Tensor, limit: float) -> None:
        self.mean, self.whitening, self.limit = mean, whitening, limit

    def score(self, features: Tensor) -> Tensor:
        """Features (…, tokens, d) → the mean distance (…) of their tokens from the middle."""
        return ((features.cpu() - self.mean) @ self.whitening).norm(dim=-1).mean(-1)

    @classmethod
    def fit(cls, features: Tensor, apart: Tensor, turned_away: float) -> Cloud:
        """From media of the world: `features` (N, tokens, d) for the cloud, others `apart` for the limit.

        Args:
            turned_away: the share of the world's own media that may lie beyond the limit.
        """
        rows = features.double().flatten(0, 1)
        covariance = torch.cov(rows.T)
        covariance += RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
        whitening = torch.linalg.cholesky(torch.linalg.inv(covariance))
        # as it will be read back: the limit is for the stored numbers
        cloud = cls.unpack(*cls(rows.mean(0), whitening, 0.0).pack())
        cloud.limit = float(cloud.score(apart.float()).quantile(1 - turned_away))
        return cloud

    def pack(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, the whitening's triangle row by row, and limit, for a file."""
        rows, columns = torch.tril_indices(*self.whitening.shape)
        return self.mean.half(), self.whitening[rows, columns].half(), torch.tensor(self.limit)

    @classmethod
    def unpack(cls, mean: Tensor, triangle: Tensor, limit: Tensor) -> Cloud:
        whitening = torch.zeros(len(mean), len(mean))
        whitening[tuple(torch.tril_indices(*whitening.shape))] = triangle.float()
        return cls(mean.float(), whitening, float(limit))


def views(encoder: Encoder) -> dict[str, Callable[[str, Tensor], Tensor]]:
    """The two ways of looking at a batch of one modality's media: (modality, batch) → (B, tokens, d)."""
    return {"pooled": encoder.pooled, "patches": encoder.features}


def refusal(modalities: Iterable[str]) -> str:
    """What the model says of media that it does not know."""
    nouns = list(dict.fromkeys(NOUNS[modality] for modality in modalities))
    return f"This {' and this '.join(nouns)} is not from the world that I know, so I cannot say anything about it."
