"""What encoders make of media: which of them go together, and what is known already."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from anygpt.processor import Medium

MOST = 16  # media that are remembered


def alike(media: Sequence[tuple[Medium, Tensor]]) -> Iterator[tuple[str, list[Medium]]]:
    """Groups of one modality whose tensors have one shape, so that they can be stacked."""
    groups: dict[tuple[str, torch.Size], list[Medium]] = {}
    for medium, tensor in media:
        groups.setdefault((medium.modality, tensor.shape), []).append(medium)
    for (modality, _), items in groups.items():
        yield modality, items


class Seen:
    """The features of the media that were encoded last, by their content: a medium may be asked about again."""

    def __init__(self) -> None:
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    def recall(self, media: Sequence[Medium]) -> None:
        """Give media their features where they are known."""
        for medium in media:
            if medium.features is None and medium.fingerprint in self._features:
                self._features.move_to_end(medium.fingerprint)
                medium.features = self._features[medium.fingerprint]

    def remember(self, media: Sequence[Medium]) -> None:
        """Keep the features of media, and let go of those that were looked at longest ago."""
        for medium in media:
            if medium.features is not None:
                self._features[medium.fingerprint] = medium.features
        while len(self._features) > MOST:
            self._features.popitem(last=False)
