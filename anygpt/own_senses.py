"""The LLM's own eyes, where it has some: given pictures go through its vision tower, as transformers runs it.

Such an LLM (Qwen2-VL, Qwen2.5-VL) numbers a picture's tokens by frame, row and column, and what follows goes on after the longer side
(M-RoPE, arXiv 2409.12191 section 2.1). So the places of tokens are three numbers each; see `Places`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anygpt.config import ConfigError
from encoders import media as media_files

KINDS = ("qwen2_vl", "qwen2_5_vl")  # the LLMs, by their `model_type`, whose places of tokens are known here


class OwnSenses:
    """In the place of an encoder: pictures in, the LLM's embeddings out; nothing is left for an adapter to do.

    A picture's tensor is (frames, rows, columns, numbers of a patch), in the order in which the tower reads patches.
    """

    modalities = ("image",)

    def __init__(self, llm: Any, processor: Any) -> None:
        self.llm = llm
        self.processor = processor
        self.merge: int = llm.config.vision_config.spatial_merge_size

    @classmethod
    def of(cls, llm: Any, folder: str | Path) -> OwnSenses:
        """Of a loaded LLM, with the image processor that lies beside its weights.

        Raises:
            ConfigError: it has none, or not such as are known here.
        """
        kind = llm.config.model_type
        if kind not in KINDS:
            raise ConfigError(
                f"this LLM ({kind}) has no eyes that are known here, as {', '.join(KINDS)} have; give the input an encoder instead"
            )
        from transformers import AutoImageProcessor

        try:
            return cls(llm, AutoImageProcessor.from_pretrained(folder, backend="pil"))
        except OSError as error:
            raise ConfigError(
                f"the LLM {folder} lacks its image processor: {' '.join(str(error).split())}"
            ) from error

    def preprocess(self, modality: str, medium: Any) -> Tensor:
        """One picture → (frames, rows, columns, numbers of a patch)."""
        picture = media_files.load(modality, medium)
        made = self.processor(images=[picture], return_tensors="pt")
        return made["pixel_values"].reshape(*made["image_grid_thw"][0].tolist(), -1)

    @torch.no_grad()
    def features(self, modality: str, batch: Tensor) -> Tensor:
        """(B, frames, rows, columns, numbers of a patch) → (B, tokens, hidden)."""
        grid = torch.tensor([batch.shape[1:4]] * len(batch), device=batch.device)
        seen = self.llm.get_image_features(batch.reshape(-1, batch.shape[-1]), grid, return_dict=True)
        return torch.stack(list(seen.pooler_output))

    def places(self, tensor: Tensor) -> Tensor:
        """(3, tokens): frame, row and column of each of a picture's tokens, counted from its first."""
        frames, rows, columns = tensor.shape[:3]
        sides = (frames, rows // self.merge, columns // self.merge)
        return torch.stack(torch.meshgrid(*map(torch.arange, sides), indexing="ij")).flatten(1)


class Places:
    """Where tokens stand for an LLM with eyes: three numbers each, and fewer for a picture than it has tokens.

    Attributes:
        behind: (rows,), how far the next token's number is from the count of tokens so far; never above 0.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.behind = torch.zeros(rows, dtype=torch.long, device=device)

    def __call__(self, counted: Tensor, pictures: list[list[tuple[int, Tensor]]]) -> Tensor:
        """Go on.

        Args:
            counted: (rows, L), the number of each new slot as if all were text.
            pictures: for each row where a picture begins among the new slots, and its tokens' `OwnSenses.places`.

        Returns:
            (3, rows, L).
        """
        places = (counted + self.behind[:, None]).expand(3, -1, -1).clone()
        for row, found in enumerate(pictures):
            for start, own in found:
                end, first = start + own.shape[1], places[0, row, start].clone()
                step = saved(own)
                places[:, row, start:end] = first + own.to(places)
                places[:, row, end:] += step
                self.behind[row] += step
        return places


def saved(own: Tensor) -> int:
    """By how much a picture's tokens are fewer in number than in places: at most 0."""
    return int(own[1:].max()) + 1 - own.shape[1]
