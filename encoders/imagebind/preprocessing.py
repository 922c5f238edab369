"""From media to ImageBind's input tensors.

Image, video and audio follow the reference's `data.py`, with clips as the pytorchvideo it pins makes them.
The reference ships no preprocessing of depth, thermal and IMU; what is here follows its maintainers' remarks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from encoders.imagebind.configuration import ImageBindConfig
from encoders.media import Audio, Imu, Video
from encoders.resampling import resample

AUDIO_RATE = 16_000  # Hz
MAX_ASPECT = 64  # a picture longer than that is cut before it is enlarged to the model's side


@dataclass(frozen=True)
class ImageBindPreprocessor:
    """Media objects → tensors without batch axis. The settings are the content of `preprocessor_config.json`.

    Clips: `*_num_clips` clips of `*_clip_duration` seconds, spread from the start to the end of the medium
    (`clip_spacing` "ends", the reference) or each at the start of an equal share ("even", NExT-GPT's).
    `video_clips`: whether an encoder averages a film's clips ("mean", the reference) or keeps them ("keep").
    """

    image_size: int = 224
    image_mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    clip_spacing: Literal["ends", "even"] = "ends"
    audio_num_clips: int = 3
    audio_clip_duration: float = 2.0  # s
    audio_num_mel_bins: int = 128
    audio_target_len: int = 204  # spectrogram frames, of 10 ms
    audio_mean: float = -4.268
    audio_std: float = 9.138
    video_num_clips: int = 5
    video_clip_duration: float = 2.0  # s
    video_frames: int = 2  # of each clip
    video_crops: Literal[1, 3] = 3  # 1: the middle; 3: both ends as well
    video_clips: Literal["mean", "keep"] = "mean"
    depth_scale: float = 0.065  # disparity = scale / metres; see `depth`
    depth_range: tuple[float, float] = (0.065, 50.0)  # metres, clipped to
    depth_mean: float = 0.0418
    depth_std: float = 0.0295
    thermal_range: tuple[float, float] = (0.0, 60.0)  # °C, mapped to [0, 1]
    imu_length: int = 2000  # samples
    imu_rate: float = 400.0  # Hz
    imu_scale: tuple[float, float] = (1.0, 1.0)  # factors of acceleration and rotation

    def __post_init__(self) -> None:
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), list):  # JSON has no tuples
                object.__setattr__(self, field.name, tuple(value))
        choices = {"clip_spacing": ("ends", "even"), "video_crops": (1, 3), "video_clips": ("mean", "keep")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, not {getattr(self, name)!r}")

    @classmethod
    def for_model(cls, config: ImageBindConfig) -> ImageBindPreprocessor:
        """The reference's settings at a model's sizes; an IMU signal always lasts 5 s."""
        return cls(
            image_size=config.image_size,
            audio_num_mel_bins=config.audio_num_mel_bins,
            audio_target_len=config.audio_target_len,
            imu_length=config.imu_length,
            imu_rate=config.imu_length / 5,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageBindPreprocessor:
        """The settings in a `preprocessor_config.json`; names it does not know raise ValueError."""
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown ImageBind preprocessing settings: {', '.join(sorted(unknown))}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The content of a `preprocessor_config.json`."""
        return asdict(self)

    def image(self, image: Image.Image) -> Tensor:
        """An RGB picture → (3, S, S): shorter side to S (bicubic, antialiased), middle square, normalised."""
        pixels = np.asarray(_square(image, self.image_size))
        return self._normalise(torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255)

    def audio(self, audio: Audio) -> Tensor:
        """Sound of any rate and channels → (clips, 1, mel bands, frames), log mel energies, normalised."""
        from torchaudio.compliance.kaldi import fbank

        waveform = resample(torch.from_numpy(audio.samples), audio.rate, AUDIO_RATE).clone()
        mels = []
        for first, end in self.audio_clip_bounds(waveform.shape[1]):
            clip = waveform[:, first:end]
            # In place, as in the reference: where clips overlap, the later one hears samples already shifted.
            clip -= clip.mean()
            mel = fbank(
                clip,
                htk_compat=True,
                sample_frequency=AUDIO_RATE,
                window_type="hanning",
                num_mel_bins=self.audio_num_mel_bins,
                dither=0.0,
            ).T[None, :, : self.audio_target_len]  # (1, mel bands, frames)
            mels.append(F.pad(mel, (0, self.audio_target_len - mel.shape[2])))
        return (torch.stack(mels) - self.audio_mean) / self.audio_std

    def audio_clip_bounds(self, samples: int) -> list[tuple[int, int]]:
        """First sample and end of each clip, at 16 kHz; the ends may lie past the last sample."""
        clips = self._clips(samples / AUDIO_RATE, self.audio_num_clips, self.audio_clip_duration)
        return [(int(start * AUDIO_RATE), int(end * AUDIO_RATE)) for start, end in clips]

    def video(self, video: Video) -> Tensor:
        """A film → (clips · crops, 3, frames, S, S): first and last frame of each clip, in squares."""
        picks = torch.tensor(self.video_frame_picks(len(video.frames), video.fps))  # (clips, frames)
        numbers, places = picks.unique(return_inverse=True)
        frames = torch.stack([self._film_frame(video.frames[number]) for number in numbers])  # (n, 3, h, w)
        side = self.image_size
        corners = self.video_crop_corners(*frames.shape[2:])
        # (crops, n, 3, S, S) → (clips, crops, frames, 3, S, S) → (clips · crops, 3, frames, S, S)
        crops = torch.stack([frames[:, :, y : y + side, x : x + side] for y, x in corners])
        return crops[:, places].transpose(0, 1).flatten(0, 1).transpose(1, 2).contiguous()

    def video_frame_picks(self, count: int, fps: float) -> list[list[int]]:
        """The frame numbers of each clip of a film of `count` frames."""
        picks = []
        for start, end in self._clips(count / fps, self.video_num_clips, self.video_clip_duration):
            first = min(math.ceil(fps * start), count - 1)
            last = max(min(math.ceil(fps * end), count) - 1, first)
            spread = torch.linspace(0, last - first, self.video_frames).long()
            picks.append((first + spread).tolist())
        return picks

    def video_scaled_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a film's frame whose shorter side has become the model's."""
        side = self.image_size
        if width < height:
            return math.floor(height / width * side), side
        return side, math.floor(width / height * side)

    def video_crop_corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """Top left corners (y, x) of the squares cut from a scaled frame."""
        side = self.image_size
        middle = math.ceil((height - side) / 2), math.ceil((width - side) / 2)
        if self.video_crops == 1:
            return [middle]
        if height > width:
            return [(0, middle[1]), middle, (height - side, middle[1])]
        return [(middle[0], 0), middle, (middle[0], width - side)]

    def depth(self, metres: np.ndarray) -> Tensor:
        """Distances (H, W) → (1, S, S): disparity, normalised, middle square.

        ImageBind learned from the disparities of stereo cameras, baseline · focal length / depth. Its exact
        scaling is unpublished; the defaults are pieced together from remarks of its authors and users
        (baseline 0.075 m, focal length 519 pixels, depth in 1/8 m, divided by 75, mean 0.0418, std 0.0295).
        """
        disparity = self.depth_scale / np.clip(metres, *self.depth_range)
        return (_square_map(disparity, self.image_size) - self.depth_mean) / self.depth_std

    def thermal(self, celsius: np.ndarray) -> Tensor:
        """Temperatures (H, W) → (1, S, S) in [0, 1], middle square."""
        low, high = self.thermal_range
        return _square_map(np.clip((celsius - low) / (high - low), 0, 1), self.image_size)

    def imu(self, imu: Imu) -> Tensor:
        """Motion of any rate → (6, samples): its first `imu_length / imu_rate` seconds, then zeros."""
        times = np.arange(self.imu_length) / self.imu_rate
        given = np.arange(imu.samples.shape[1]) / imu.rate
        # The last sample stands for the whole of its step, whatever the rate.
        sounding = times < imu.samples.shape[1] / imu.rate
        signal = np.stack([np.interp(times, given, channel) * sounding for channel in imu.samples])
        scale = np.repeat(self.imu_scale, 3)[:, None]
        return torch.from_numpy(signal * scale).float()

    def _clips(self, duration: float, count: int, length: float) -> list[tuple[Fraction, Fraction]]:
        room = Fraction(max(duration - length, 0.0))
        shares = max(count - 1, 1) if self.clip_spacing == "ends" else count
        starts = [room * index / shares for index in range(count)]
        return [(start, start + Fraction(length)) for start in starts]

    def _film_frame(self, frame: np.ndarray) -> Tensor:
        """One frame (H, W, 3) → (3, h, w), shorter side S, bilinear without antialiasing, normalised."""
        size = self.video_scaled_size(*frame.shape[:2])
        pixels = torch.from_numpy(frame.copy()).permute(2, 0, 1) / 255
        return self._normalise(
            F.interpolate(pixels[None], size=size, mode="bilinear", align_corners=False)[0]
        )

    def _normalise(self, pixels: Tensor) -> Tensor:
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.image_mean, self.image_std))
        return (pixels - mean) / std


def resized_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height of a picture whose shorter side has become `side`."""
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def _square(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        longest = MAX_ASPECT * min(width, height)
        left, top = max(width - longest, 0) // 2, max(height - longest, 0) // 2
        image = image.crop((left, top, width - left, height - top))
    width, height = resized_size(*image.size, side)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - side) / 2), round((height - side) / 2)  # a half goes to the even number
    return image.crop((left, top, left + side, top + side))


def _square_map(values: np.ndarray, side: int) -> Tensor:
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return torch.from_numpy(np.array(_square(image, side)))[None]
