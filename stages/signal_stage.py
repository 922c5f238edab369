"""What the stages that train signal tokens have in common: captions' embeddings, and the losses that aim at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from anygpt.model import AnyGPT
from anygpt.precomputed import EMBEDDINGS, embedding_stores, feature_stores, latent_stores
from anygpt.processor import Prompt
from anygpt.toyworld.phrases import near_captions
from stages.losses import Captions, SignalConfig, signal_items
from stages.stage import Stage

Settings = TypeVar("Settings", bound=SignalConfig)


class SignalStage(Stage[Settings]):
    """A stage whose losses are `stages.losses.signal_losses`, with others perhaps.

    Attributes:
        captions: the embeddings that signal tokens learn to give.
    """

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.captions = Captions()

    def use_precomputed(self, model: AnyGPT) -> None:
        """As any stage's, and captions' embeddings, and latents where the stage learns from media themselves."""
        if self.config.precomputed is not None:
            folder = Path(self.config.precomputed)
            self.features = feature_stores(model, folder)
            self.captions.stores = embedding_stores(model, folder)
            if self.outputs:
                self.latents = latent_stores(model, folder)
            self._check_precomputed(EMBEDDINGS, self.captions.stores, self.latents)

    @property
    def weights(self) -> dict[str, float]:
        return self.config.weights

    def items(self, batch: Sequence[Prompt], step: int) -> Counter[str]:
        return super().items(batch, step) + signal_items(batch, self.config, near_captions)
