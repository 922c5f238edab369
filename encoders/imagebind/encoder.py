"""ImageBind behind the interface of encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from encoders import media as media_files
from encoders.encoder import (
    Encoder,
    find_checkpoint,
    frame_by_frame,
    read_json,
    write_json,
    write_whole,
)
from encoders.imagebind.configuration import ImageBindConfig
from encoders.imagebind.model import ImageBindModel
from encoders.imagebind.preprocessing import ImageBindPreprocessor
from encoders.imagebind.tokenizer import CLIP_VOCAB_SIZE, TOKENIZER, ImageBindTokenizer

CONFIG, PREPROCESSING, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
OFFICIAL_WEIGHTS = "imagebind_huge.pth"
# The reference knows pictures and films as one modality.
MODEL_MODALITY = {"image": "vision", "video": "vision"}


def _name(modality: str) -> str:
    """What the model calls it."""
    return MODEL_MODALITY.get(modality, modality)


class ImageBindEncoder(Encoder):
    """ImageBind with its preprocessing. Features are NExT-GPT's patch tokens, (B, patches, out_embed_dim).

    A checkpoint folder holds `config.json`, `model.safetensors`, perhaps `preprocessor_config.json` (or else
    the reference's settings at the model's sizes are taken) and `tokenizer.json` (or else CLIP's). A folder
    with the published `imagebind_huge.pth`, or that file itself, is read too.
    """

    modalities = ("image", "video", "text", "audio", "depth", "thermal", "imu")

    def __init__(
        self,
        model: ImageBindModel,
        preprocessor: ImageBindPreprocessor | None = None,
        tokenizer: ImageBindTokenizer | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessor = preprocessor or ImageBindPreprocessor.for_model(model.config)
        self.tokenizer = tokenizer

    def preprocess(self, modality: str, media: Any) -> Tensor:
        """One medium (for text: a str) → the model's input; see `ImageBindPreprocessor`."""
        self.check_modality(modality)
        if modality != "text":
            return getattr(self.preprocessor, modality)(media_files.load(modality, media))
        if self.tokenizer is None:
            raise ValueError("this ImageBind has no tokenizer, so it takes no text")
        return self.tokenizer(media)

    def features(self, modality: str, batch: Tensor) -> Tensor:
        """Patch tokens (B, patches, dim), averaged over clips; (B, clips · patches, dim) where kept."""
        self.check_modality(modality)
        return self._patches(modality, self.model.clip_patch_tokens(_name(modality), batch))

    def pooled(self, modality: str, batch: Tensor) -> Tensor:
        """The embedding (B, 1, dim), averaged over clips; (B, clips, dim) where films keep them."""
        self.check_modality(modality)
        return self._pooled(modality, self.model.clip_embeddings(_name(modality), batch))

    def both(self, modality: str, batch: Tensor) -> Tensor:
        """See `Encoder.both`; the trunk runs once."""
        self.check_modality(modality)
        clips, patches = self.model.clip_features(_name(modality), batch)
        return frame_by_frame(self._pooled(modality, clips), self._patches(modality, patches))

    def dim(self, modality: str) -> int:
        """ImageBind has one space for all."""
        self.check_modality(modality)
        return self.model.config.out_embed_dim

    def _pooled(self, modality: str, clips: Tensor) -> Tensor:
        return clips if self._keeps_clips(modality) else clips.mean(dim=1, keepdim=True)

    def _patches(self, modality: str, patches: Tensor) -> Tensor:
        return patches.flatten(1, 2) if self._keeps_clips(modality) else patches.mean(dim=1)

    def _keeps_clips(self, modality: str) -> bool:
        return modality == "video" and self.preprocessor.video_clips == "keep"

    @classmethod
    def from_pretrained(cls, path_or_id: str | Path) -> ImageBindEncoder:
        """See the class; weights of any precision become float32."""
        path = find_checkpoint(path_or_id)
        folder = path.parent if path.is_file() else path
        official = path if path.suffix == ".pth" else folder / OFFICIAL_WEIGHTS
        if official.is_file():
            config = ImageBindConfig.huge()
            state = torch.load(official, map_location="cpu", weights_only=True, mmap=True)
        elif (folder / WEIGHTS).is_file():
            config = ImageBindConfig.from_dict(read_json(folder / CONFIG))
            state = load_file(folder / WEIGHTS)
        else:
            raise ValueError(f"{folder} has neither {WEIGHTS} nor {OFFICIAL_WEIGHTS}")
        with torch.device("meta"):  # the weights take the place of an initialisation that would cost seconds
            model = ImageBindModel(config)
        try:
            model.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
        except RuntimeError as error:
            problem = " ".join(str(error).split())[:300]
            raise ValueError(
                f"the ImageBind weights in {folder} do not fit its {CONFIG}: {problem}"
            ) from None
        settings = folder / PREPROCESSING
        preprocessor = ImageBindPreprocessor.from_dict(read_json(settings)) if settings.is_file() else None
        tokenizer = None
        if config.vocab_size == CLIP_VOCAB_SIZE or (folder / TOKENIZER).is_file():
            tokenizer = ImageBindTokenizer.from_folder(folder, config.vocab_size, config.context_length)
        return cls(model.eval(), preprocessor, tokenizer).eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the folder, weights in the precision they have (`encoder.half()` first for a small one)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}
        write_whole(folder / WEIGHTS, lambda path: save_file(state, path, metadata={"format": "pt"}))
        write_json(folder / PREPROCESSING, self.preprocessor.to_dict())
        if self.tokenizer is not None and self.model.config.vocab_size != CLIP_VOCAB_SIZE:
            self.tokenizer.save(folder)
        write_json(folder / CONFIG, self.model.config.to_dict())
