"""Whether a medium is of the kind that the model was trained on, by a calibrated score of its encoder.

A model of a small world answers questions about a photograph as if it were a drawing of that world. An encoder's
features tell the difference: those of its own world lie in small clouds. The score is the Mahalanobis distance to the
nearest (Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples", with groups found by k-means
for classes), the mean over the pooled features and the patches; beyond a limit that the world's own media hardly ever
reach, the model says that it does not know such things. A model without the file `familiarity.safetensors` takes everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anygpt.checkpoint import replacing

if TYPE_CHECKING:
    from encoders.encoder import Encoder

FILE = "familiarity.safetensors"
ROUNDS = 30  # of k-means
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
    def fit(
        cls,
        features: dict[str, dict[str, Tensor]],
        apart: int,
        turned_away: float,
        groups: Mapping[str, int] | None = None,
    ) -> Familiarity:
        """From features (N, tokens, d) of media of the world, by modality and view.

        Args:
            apart: how many of them, the first ones, are for the limit; the clouds are fitted to the others.
            turned_away: the share of the world's own media that may lie beyond the limit.
            groups: of each modality, how many its media fall into, where that is not one.
        """
        groups = groups or {}
        clouds = {
            m: {v: Cloud.fit(rows[apart:], groups.get(m, 1)) for v, rows in of.items()}
            for m, of in features.items()
        }
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
        for name in (key.removesuffix(".means") for key in stored if key.endswith(".means")):
            modality, _, view = name.partition(".")
            clouds.setdefault(modality, {})[view] = Cloud.unpack(
                stored[f"{name}.means"], stored[f"{name}.whitening"]
            )
        return cls(clouds, {modality: float(stored[f"{modality}.limit"]) for modality in clouds})

    def save(self, folder: Path) -> None:
        """Into a checkpoint's folder, in fp16 but for the limits."""
        from safetensors.torch import save_file

        stored = {f"{modality}.limit": torch.tensor(limit) for modality, limit in self.limits.items()}
        for modality, of in self.clouds.items():
            for view, cloud in of.items():
                means, whitening = cloud.pack()
                stored |= {f"{modality}.{view}.means": means, f"{modality}.{view}.whitening": whitening}
        with replacing(folder / FILE) as path:
            save_file(stored, path, metadata={"format": "pt"})


class Cloud:
    """Normal distributions of features of width d, one for each group of media, all of one covariance.

    Attributes:
        means: (groups, d).
        whitening: (d, d), lower triangular; (features - their group's mean) @ whitening has unit covariance.
    """

    def __init__(self, means: Tensor, whitening: Tensor) -> None:
        self.means, self.whitening = means, whitening
        self._centres = (means - means[0]) @ whitening

    def distance(self, features: Tensor) -> Tensor:
        """Features (…, tokens, d) → the mean distance (…) of their tokens from the middle of the nearest group."""
        apart = torch.cdist((features.cpu().float() - self.means[0]) @ self.whitening, self._centres)
        return apart.amin(-1).mean(-1)

    @classmethod
    def fit(cls, features: Tensor, groups: int = 1) -> Cloud:
        """Of features (N, tokens, d)."""
        rows = features.double().flatten(0, 1)
        means, group = _k_means(rows, groups)
        inner = rows - means[group]
        covariance = inner.T @ inner / max(1, len(rows) - groups)
        covariance += RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
        whitening = torch.linalg.cholesky(torch.linalg.inv(covariance))
        # as it will be read back: limits are for the stored numbers
        return cls.unpack(*cls(means, whitening).pack())

    def pack(self) -> tuple[Tensor, Tensor]:
        """Means, and the whitening's triangle row by row, for a file."""
        rows, columns = torch.tril_indices(*self.whitening.shape)
        return self.means.half(), self.whitening[rows, columns].half()

    @classmethod
    def unpack(cls, means: Tensor, triangle: Tensor) -> Cloud:
        whitening = torch.zeros(means.shape[1], means.shape[1])
        whitening[tuple(torch.tril_indices(*whitening.shape))] = triangle.float()
        return cls(means.float(), whitening)


def _k_means(rows: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from k-means++'s start → means (groups, d) and each row's group (N,)."""
    random = torch.Generator().manual_seed(0)
    means = rows[:1]
    while len(means) < groups:
        apart = torch.cdist(rows, means).amin(1).square()
        means = torch.cat([means, rows[torch.multinomial(apart, 1, generator=random)]])
    for _ in range(ROUNDS):
        group = torch.cdist(rows, means).argmin(1)
        counts = torch.bincount(group, minlength=groups).unsqueeze(1)
        sums = torch.zeros_like(means).index_add_(0, group, rows)
        means = torch.where(counts > 0, sums / counts.clamp(min=1), means)
    return means, torch.cdist(rows, means).argmin(1)


def views(encoder: Encoder) -> dict[str, Callable[[str, Tensor], Tensor]]:
    """The two ways of looking at a batch of one modality's media: (modality, batch) → (B, tokens, d)."""
    return {"pooled": encoder.pooled, "patches": encoder.features}


def refusal(modalities: Iterable[str]) -> str:
    """What the model says of media that it does not know."""
    nouns = list(dict.fromkeys(NOUNS[modality] for modality in modalities))
    return f"This {' and this '.join(nouns)} is not from the world that I know, so I cannot say anything about it."
