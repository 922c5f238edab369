"""Media as pictures to be looked at: pictures enlarged, films as strips, sounds as spectrograms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from encoders.media import Audio, Video

PICTURE_SIDE, FRAME_SIDE, FRAMES = 128, 64, 8  # pixels; at most so many frames of a film
GAP = 2  # pixels between frames
WINDOW, HOP = 0.064, 0.016  # seconds
HIGHEST = 4000.0  # Hz, of a spectrogram
QUIETEST = -60.0  # dB below the loudest


def as_picture(modality: str, medium: Any) -> Image.Image:
    """A medium of `encoders.media`, an image, audio or video, as an RGB picture 64 to 128 pixels high."""
    return DRAWN[modality](medium)


def _enlarged(picture: Image.Image) -> Image.Image:
    width = max(round(PICTURE_SIDE * picture.width / picture.height), 1)
    how = Image.Resampling.NEAREST if picture.height < PICTURE_SIDE else Image.Resampling.LANCZOS
    return picture.convert("RGB").resize((width, PICTURE_SIDE), how)


def film_strip(film: Video) -> Image.Image:
    """Up to eight frames, evenly chosen, side by side."""
    frames = film.frames[
        np.linspace(0, len(film.frames) - 1, min(FRAMES, len(film.frames))).round().astype(int)
    ]
    strip = Image.new("RGB", (len(frames) * (FRAME_SIDE + GAP) - GAP, FRAME_SIDE), (236, 232, 224))
    for place, frame in enumerate(frames):
        small = Image.fromarray(frame).resize((FRAME_SIDE, FRAME_SIDE), Image.Resampling.NEAREST)
        strip.paste(small, (place * (FRAME_SIDE + GAP), 0))
    return strip


def spectrogram(sound: Audio) -> Image.Image:
    """Loudness over time (to the right) and frequency (upwards, to 4 kHz), bright where loud, 60 dB deep."""
    wave, length = sound.samples.mean(axis=0), int(WINDOW * sound.rate)
    wave = np.pad(wave, (0, max(length - len(wave), 0)))
    starts = np.arange(0, len(wave) - length + 1, int(HOP * sound.rate))
    spectra = np.abs(np.fft.rfft(wave[starts[:, None] + np.arange(length)] * np.hanning(length), axis=1))
    spectra = spectra[:, np.fft.rfftfreq(length, 1 / sound.rate) <= HIGHEST].T[::-1]
    decibels = 20 * np.log10(spectra / max(spectra.max(), 1e-9) + 1e-9)
    grey = (255 * (1 - decibels.clip(QUIETEST, 0) / QUIETEST)).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB").resize((2 * PICTURE_SIDE, PICTURE_SIDE))


DRAWN: dict[str, Callable[[Any], Image.Image]] = {
    "image": _enlarged,
    "audio": spectrogram,
    "video": film_strip,
}
