"""The LLM's own eyes and ears, where it has some: given media go through its own towers, as transformers runs them.

Such an LLM (Qwen2-VL, Qwen2.5-VL, Qwen2.5-Omni) numbers a picture's tokens by frame, row and column, and what follows goes on
after the longest side (M-RoPE, arXiv 2409.12191 section 2.1; of sounds and films, arXiv 2503.20215 section 2.2). So the places
of tokens are three numbers each; see `Places`.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from anygpt.config import ConfigError
from encoders import media as media_files
from encoders.resampling import resample

# the LLMs, by their `model_type`, whose places of tokens are known here, and what they take
KINDS = {
    "qwen2_vl": ("image",),
    "qwen2_5_vl": ("image",),
    "qwen2_5_omni_thinker": ("image", "audio", "video"),
}
FILM_RATE = 2.0  # frames a second that are looked at, as Qwen2.5-Omni's processor has it
FILM_PIXELS = {"shortest_edge": 128 * 28**2, "longest_edge": 768 * 28**2}  # of a frame, as there
LEAST_SOUND = 0.04  # seconds: less makes no token


class OwnSenses:
    """In the place of an encoder: media in, the LLM's embeddings out; nothing is left for an adapter to do.

    A picture's or film's tensor is (frames, rows, columns, numbers of a patch), in the order in which the tower reads patches;
    a frame is a picture, or two pictures of a film. A sound's is a log-mel spectrogram (bands, 10 ms steps).

    Args:
        llm: a loaded LLM, or one on the meta device.
        folder: where its processors' settings lie, beside its weights, or its hub id.

    Raises:
        ConfigError: its kind is not known here.
    """

    def __init__(self, llm: Any, folder: str | Path) -> None:
        kind = llm.config.model_type
        if kind not in KINDS:
            raise ConfigError(
                f"this LLM ({kind}) has no eyes or ears that are known here, as {', '.join(KINDS)} have; give the input an "
                "encoder instead"
            )
        self.llm = llm
        self.folder = folder
        self.modalities = KINDS[kind]
        self.merge: int = llm.config.vision_config.spatial_merge_size

    @cached_property
    def _pictures(self) -> Any:
        from transformers import AutoImageProcessor

        return self._settings(AutoImageProcessor, "image processor", backend="pil")

    @cached_property
    def _sounds(self) -> Any:
        from transformers import AutoFeatureExtractor

        return self._settings(AutoFeatureExtractor, "feature extractor")

    def _settings(self, kind: Any, name: str, **options: Any) -> Any:
        try:
            return kind.from_pretrained(self.folder, **options)
        except OSError as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"the LLM {self.folder} lacks its {name}: {reason}") from error

    def preprocess(self, modality: str, medium: Any) -> Tensor:
        """One medium → its tensor, without a batch dimension."""
        loaded = media_files.load(modality, medium)
        if modality == "audio":
            return self._spectrogram(loaded)
        return self._patches([loaded]) if modality == "image" else self._film(loaded)

    def _patches(self, pictures: list[Any], **options: Any) -> Tensor:
        """Pictures of one size → (pictures, rows, columns, numbers of a patch)."""
        made = self._pictures(images=pictures, return_tensors="pt", **options)
        return made["pixel_values"].reshape(len(pictures), *made["image_grid_thw"][0, 1:].tolist(), -1)

    def _film(self, film: media_files.Video) -> Tensor:
        """A patch of a film is the same place in two pictures, one after the other; a single one stands twice."""
        seconds = len(film.frames) / film.fps
        times = np.arange(0, max(seconds, 1 / FILM_RATE), 1 / FILM_RATE)
        chosen = np.minimum((times * film.fps).round().astype(int), len(film.frames) - 1).tolist()
        depth = self._pictures.temporal_patch_size
        chosen += chosen[-1:] * (-len(chosen) % depth)
        groups = [chosen[start : start + depth] for start in range(0, len(chosen), depth)]
        return torch.stack([self._frame([film.frames[index] for index in group]) for group in groups])

    def _frame(self, pictures: list[Any]) -> Tensor:
        """Pictures of a film that make one frame → (rows, columns, numbers of a patch)."""
        patches = self._patches(pictures, size=FILM_PIXELS)
        # the processor has put each picture into all places of its patches: (pictures, …, channels, places, pixels)
        apart = patches.unflatten(-1, (-1, len(pictures), self._pictures.patch_size**2))
        return torch.stack([own[..., place, :] for place, own in enumerate(apart)], -2).flatten(-3)

    def _spectrogram(self, sound: media_files.Audio) -> Tensor:
        rate = self._sounds.sampling_rate
        samples = resample(torch.from_numpy(sound.samples).mean(0, keepdim=True), sound.rate, rate)[0]
        samples = pad(samples, (0, max(0, int(LEAST_SOUND * rate) - len(samples))))
        made = self._sounds(
            samples.numpy(),
            sampling_rate=rate,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        return made["input_features"][0, :, made["attention_mask"][0].bool()]

    @torch.no_grad()
    def features(self, modality: str, batch: Tensor) -> Tensor:
        """(B, …) as `preprocess` gives them → (B, tokens, hidden)."""
        if modality == "audio":
            whole = torch.ones(len(batch), batch.shape[-1], dtype=torch.long, device=batch.device)
            heard = self.llm.get_audio_features(batch, whole, return_dict=True)
            return heard.last_hidden_state.unflatten(0, (len(batch), -1))
        grid = torch.tensor([batch.shape[1:4]] * len(batch), device=batch.device)
        # the towers are one: a picture is a film of one frame
        seen = self.llm.get_image_features(batch.reshape(-1, batch.shape[-1]), grid, return_dict=True)
        return torch.stack(list(seen.pooler_output))

    def places(self, modality: str, tensor: Tensor) -> Tensor:
        """(3, tokens): frame, row and column of each of a medium's tokens, counted from its first; a sound's go on as text's."""
        if modality == "audio":
            return torch.arange(_heard(tensor.shape[-1])).expand(3, -1)
        frames, rows, columns = tensor.shape[:3]
        sides = (frames, rows // self.merge, columns // self.merge)
        places = torch.stack(torch.meshgrid(*map(torch.arange, sides), indexing="ij")).flatten(1)
        if modality == "video":
            each = self._pictures.temporal_patch_size / FILM_RATE  # seconds
            places[0] = (places[0] * (each * self.llm.config.position_id_per_seconds)).long()
        return places


def _heard(steps: int) -> int:
    """How many tokens the ears make of so many steps: two layers halve them."""
    return ((steps - 1) // 2 + 1 - 2) // 2 + 1


class Places:
    """Where tokens stand for an LLM with eyes: three numbers each, and more or fewer for a medium than it has tokens.

    Attributes:
        ahead: (rows,), how far the next token's number is from the count of tokens so far: below 0 after pictures, as a rule.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.ahead = torch.zeros(rows, dtype=torch.long, device=device)

    def __call__(self, counted: Tensor, media: list[list[tuple[int, Tensor]]]) -> Tensor:
        """Go on.

        Args:
            counted: (rows, L), the number of each new slot as if all were text.
            media: for each row where a medium begins among the new slots, and its tokens' `OwnSenses.places`.

        Returns:
            (3, rows, L).
        """
        places = (counted + self.ahead[:, None]).expand(3, -1, -1).clone()
        for row, found in enumerate(media):
            for start, own in found:
                end, first = start + own.shape[1], places[0, row, start].clone()
                step = leap(own)
                places[:, row, start:end] = first + own.to(places)
                places[:, row, end:] += step
                self.ahead[row] += step
        return places


def leap(own: Tensor) -> int:
    """By how much the numbers that a medium takes up are more than its tokens."""
    return int(own.max()) + 1 - own.shape[1]
