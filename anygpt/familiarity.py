"""Whether a medium is of the kind that the model was trained on, by a calibrated score of its encoder.

A model of a small world answers questions about a photograph as if it were a drawing of that world. An encoder's
features tell the difference: those of its own world lie in a small cloud. The score is the Mahalanobis distance to it
(Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples", with one class), the mean over
the pooled features and the patches; beyond a limit that the world's own media hardly ever reach, the model says that
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
    """The clouds of features of each modality's own media, and how far from them is too far.

    Attributes:
        clouds: by modality, and by view: "pooled" or "patches".
        limits: by modality, the highest score that counts as known.
    """

    def __init__(self, clouds: dict[str, dict[str, Cloud]], limits: dict[str, float]) -> None:
        self.clouds, self.limits = clouds, limits

    @classmethod
    def fit(cls, features: dict[str, dict[str, Tensor]], apart: int, turned_away: float) -> Familiarity:
        """From features (N, tokens, d) of media of the world, by modality and view.

        Args:
            apart: how many of them, the first ones, are for the limit; the clouds are fitted to the others.
            turned_away: the share of the world's own media that may lie beyond the limit.
        """
        clouds = {m: {v: Cloud.fit(rows[apart:]) for v, rows in of.items()} for m, of in features.items()}
        known = cls(clouds, {})
        for modality, of in features.items():
            scores = known.score(modality, {view: rows[:apart] for view, rows in of.items()})
            known.limits[modality] = float(scores.quantile(1 - turned_away))
        return known

    def score(self, modality: str, features: dict[str, Tensor]) -> Tensor:
        """The features (…, tokens, d) of each of the modality's views → their mean distance (…)."""
        return torch.stack(
            [cloud.distance(features[view]) for view, cloud in self.clouds[modality].items()]
        ).mean(0)

    def knows(self, encoder: Encoder, modality: str, tensor: Tensor) -> bool:
        """Whether a medium, as `Encoder.preprocess` gives it, lies in its modality's clouds, if there are any."""
        if modality not in self.limits:
            return True
        runs = views(encoder)
        features = {view: runs[view](modality, tensor[None])[0] for view in self.clouds[modality]}
        return float(self.score(modality, features)) <= self.limits[modality]

    @classmethod
    def load(cls, folder: Path) -> Familiarity | None:
        """From a checkpoint's folder; None where it has no such file."""
        from safetensors.torch import load_file

        path = folder / FILE
        if not path.is_file():
            return None
        stored = load_file(path)
        clouds: dict[str, dict[str, Cloud]] = {}
        for name in (key.removesuffix(".mean") for key in stored if key.endswith(".mean")):
            modality, _, view = name.partition(".")
            clouds.setdefault(modality, {})[view] = Cloud.unpack(
                stored[f"{name}.mean"], stored[f"{name}.whitening"]
            )
        return cls(clouds, {modality: float(stored[f"{modality}.limit"]) for modality in clouds})

    def save(self, folder: Path) -> None:
        """Into a checkpoint's folder, in fp16 but for the limits."""
        from safetensors.torch import save_file

        stored = {f"{modality}.limit": torch.tensor(limit) for modality, limit in self.limits.items()}
        for modality, of in self.clouds.items():
            for view, cloud in of.items():
                mean, whitening = cloud.pack()
                stored |= {f"{modality}.{view}.mean": mean, f"{modality}.{view}.whitening": whitening}
        with replacing(folder / FILE) as path:
            save_file(stored, path, metadata={"format": "pt"})


class Cloud:
    """A normal distribution of features of width d.

    Attributes:
        mean: (d,).
        whitening: (d, d), lower triangular; (features - mean) @ whitening has unit covariance.
    """

    def __init__(self, mean: Tensor, whitening: Tensor) -> None:
        self.mean, self.whitening = mean, whitening

    def distance(self, features: Tensor) -> Tensor:
        """Features (…, tokens, d) → the mean distance (…) of their tokens from the middle."""
        return ((features.cpu().float() - self.mean) @ self.whitening).norm(dim=-1).mean(-1)

    @classmethod
    def fit(cls, features: Tensor) -> Cloud:
        """Of features (N, tokens, d)."""
        rows = features.double().flatten(0, 1)
        covariance = torch.cov(rows.T)
        covariance += RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
        whitening = torch.linalg.cholesky(torch.linalg.inv(covariance))
        # as it will be read back: limits are for the stored numbers
        return cls.unpack(*cls(rows.mean(0), whitening).pack())

    def pack(self) -> tuple[Tensor, Tensor]:
        """Mean, and the whitening's triangle row by row, for a file."""
        rows, columns = torch.tril_indices(*self.whitening.shape)
        return self.mean.half(), self.whitening[rows, columns].half()

    @classmethod
    def unpack(cls, mean: Tensor, triangle: Tensor) -> Cloud:
        whitening = torch.zeros(len(mean), len(mean))
        whitening[tuple(torch.tril_indices(*whitening.shape))] = triangle.float()
        return cls(mean.float(), whitening)


def views(encoder: Encoder) -> dict[str, Callable[[str, Tensor], Tensor]]:
    """The two ways of looking at a batch of one modality's media: (modality, batch) → (B, tokens, d)."""
    return {"pooled": encoder.pooled, "patches": encoder.features}


def refusal(modalities: Iterable[str]) -> str:
    """What the model says of media that it does not know."""
    nouns = list(dict.fromkeys(NOUNS[modality] for modality in modalities))
    return f"This {' and this '.join(nouns)} is not from the world that I know, so I cannot say anything about it."
