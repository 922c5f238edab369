"""Any vision or audio encoder of `transformers` (CLIP, SigLIP, DINOv2, Whisper, CLAP, …)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from encoders import media as media_files
from encoders.encoder import Encoder, find_checkpoint, frame_by_frame
from encoders.resampling import resample

# The towers of models such as CLIP, SigLIP and CLAP that see or hear.
TOWERS = ("vision_model", "audio_model")
CLASSES = {  # what AutoModel does not know
    "clap_audio_model": "ClapAudioModel",
    "blip_2_vision_model": "Blip2VisionModel",
}
VIDEO_FRAMES = 8  # spread over the film


class TransformersEncoder(Encoder):
    """A vision model takes images and films (as pictures); an audio model takes sound, mixed to one channel.

    Features are the last hidden states without class and register tokens; pooled features are the model's own
    (`pooler_output`), or the mean of its last hidden states where it has none.
    """

    def __init__(self, model: nn.Module, processor: Any, pooler: bool = True) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        self.has_pooler = pooler
        self.input_name: str = model.main_input_name  # type: ignore[assignment]
        self.modalities = ("image", "video") if self.input_name == "pixel_values" else ("audio",)

    def preprocess(self, modality: str, media: Any) -> Tensor:
        """image → (3, H, W); video → (8, 3, H, W); audio → what the feature extractor makes of one sound."""
        self.check_modality(modality)
        media = media_files.load(modality, media)
        if modality == "image":
            return self._pixels([media])[0]
        if modality == "video":
            picks = np.linspace(0, len(media.frames) - 1, VIDEO_FRAMES).round().astype(int)
            return self._pixels([Image.fromarray(frame) for frame in media.frames[picks]])
        return self._sound(media)

    def features(self, modality: str, batch: Tensor) -> Tensor:
        """(B, patches, dim); of a film (B, 8 · patches, dim)."""
        return self._read(modality, batch)[1]

    def pooled(self, modality: str, batch: Tensor) -> Tensor:
        """(B, 1, dim); of a film (B, 8, dim)."""
        return self._read(modality, batch)[0]

    def both(self, modality: str, batch: Tensor) -> Tensor:
        """See `Encoder.both`; the model runs once."""
        return frame_by_frame(*self._read(modality, batch))

    def dim(self, modality: str) -> int:
        """The model's width, after its last stage."""
        self.check_modality(modality)
        config: Any = self.model.config
        return config.hidden_size if hasattr(config, "hidden_size") else config.hidden_sizes[-1]

    def _read(self, modality: str, batch: Tensor) -> tuple[Tensor, Tensor]:
        """The pooled features and the patches' of a batch."""
        self.check_modality(modality)
        hidden, pooled = (part.unflatten(0, (len(batch), -1)) for part in self._encode(modality, batch))
        return pooled, hidden.flatten(1, 2)

    def _encode(self, modality: str, batch: Tensor) -> tuple[Tensor, Tensor]:
        if modality == "video":
            batch = batch.flatten(0, 1)
        model: Any = self.model
        if model.config.is_encoder_decoder:  # Whisper
            model = model.get_encoder()
        output = model(**{self.input_name: batch})
        hidden = output.last_hidden_state
        if hidden.ndim == 4:  # a convolutional last stage, (B, dim, rows, columns)
            hidden = hidden.flatten(2).transpose(1, 2)
        pooled = getattr(output, "pooler_output", None) if self.has_pooler else None
        pooled = hidden.mean(dim=1) if pooled is None else pooled.flatten(1)
        if self.input_name == "pixel_values":
            hidden = hidden[:, self._prefix(hidden.shape[1], *batch.shape[-2:]) :]
        return hidden, pooled

    def _prefix(self, tokens: int, height: int, width: int) -> int:
        """How many class and register tokens stand before the patches."""
        patch = getattr(self.model.config, "patch_size", None)
        return tokens - (height // patch) * (width // patch) if isinstance(patch, int) else 0

    def _pixels(self, pictures: list[Any]) -> Tensor:
        return self.processor(images=pictures, return_tensors="pt")["pixel_values"]

    def _sound(self, audio: media_files.Audio) -> Tensor:
        rate = self.processor.sampling_rate
        samples = resample(torch.from_numpy(audio.samples).mean(dim=0, keepdim=True), audio.rate, rate)[0]
        longest = getattr(self.processor, "nb_max_samples", None)
        if longest is not None:  # CLAP's extractor would cut a long sound at a random place
            samples = samples[:longest]
        return self.processor(samples.numpy(), sampling_rate=rate, return_tensors="pt")[self.input_name][0]

    @classmethod
    def from_pretrained(cls, path_or_id: str | Path) -> TransformersEncoder:
        """A folder or hub id with `config.json`, weights and `preprocessor_config.json`."""
        import transformers

        folder = find_checkpoint(path_or_id)
        verbosity = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()  # the unused half of a CLIP is no cause for a report
        try:
            config = transformers.AutoConfig.from_pretrained(folder)
            loader = getattr(transformers, CLASSES.get(config.model_type, "AutoModel"))
            model, report = loader.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
            # A classifier's checkpoint may lack the pooling layer; whatever else is missing would be noise.
            missing = sorted(report["missing_keys"])
            if any(not key.startswith("pooler.") for key in missing):
                raise ValueError(f"the weights lack {', '.join(missing[:3])}")
            model = next((getattr(model, tower) for tower in TOWERS if hasattr(model, tower)), model)
            name = model.main_input_name
            if name == "pixel_values":
                # PIL's resizing is what the published models saw, with or without torchvision at hand.
                processor: Any = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
            elif name in ("input_features", "input_values"):
                processor = transformers.AutoFeatureExtractor.from_pretrained(folder)
            else:
                raise ValueError(f"a {config.model_type} model takes {name}, no pictures and no sound")
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            problem = " ".join(str(error).split())[:300]
            raise ValueError(f"{folder} holds no vision or audio encoder: {problem}") from error
        finally:
            transformers.logging.set_verbosity(verbosity)
        return cls(model, processor, pooler=not missing).eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the model and its processor as transformers does."""
        self.model.save_pretrained(folder)  # type: ignore[operator]
        self.processor.save_pretrained(folder)
