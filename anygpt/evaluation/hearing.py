"""The judge's ear: pitch, contour and timbre of a sound, read from its samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anygpt.toyworld.scenes import SHAPES
from anygpt.toyworld.sounds import HIGHEST, PITCHES, harmonics

WINDOW = 0.064  # seconds
HOP = 0.016
LOWEST = 80.0  # Hz
FUNDAMENTAL = 0.4  # of the strongest partial: no timbre has a weaker fundamental
LOUD = 0.15  # of the loudest moment: quieter moments are not listened to
PITCH_REACH = 0.35  # octaves
GLIDES, KEEPS = 0.5, 0.25  # octaves over the whole sound
FADES, STAYS = 2.5, 1.6  # times as loud at one end as at the other
BURSTS = (3, 5)
QUIET, RISEN = 0.15, 0.5  # of the loudness: below the one a burst has ended, above the other one has begun
NUMBERS = 8  # harmonics that are listened to
LEAST_AGREEMENT = 0.9
TONAL = 0.4  # of the energy in the harmonics; noise has 0.06


@dataclass(frozen=True)
class HeardSound:
    """What a sound tells; `fundamental` is in Hz at its start."""

    pitch: str | None
    contour: str | None
    shape: str | None
    fundamental: float | None


def hear_sound(samples: np.ndarray, rate: float) -> HeardSound:
    """What a sound shows: float samples (n,) or (channels, n), rate in Hz. Silence gives None everywhere."""
    wave = np.atleast_2d(np.asarray(samples, float)).mean(axis=0)
    length = int(WINDOW * rate)
    if len(wave) < 4 * length or np.abs(wave).max() < 1e-3:
        return HeardSound(None, None, None, None)
    starts = np.arange(0, len(wave) - length + 1, int(HOP * rate))
    frames = wave[starts[:, None] + np.arange(length)]
    times = (starts + length / 2) / len(wave)  # shares of the sound
    loudness = np.sqrt((frames**2).mean(axis=1))
    points = 4 * 2 ** int(np.ceil(np.log2(length)))
    spectra = np.abs(np.fft.rfft(frames * np.hanning(length), points, axis=1))
    frequencies = np.fft.rfftfreq(points, 1 / rate)
    loud = np.flatnonzero(loudness > LOUD * loudness.max())
    octaves = np.array([np.log2(_fundamental(spectra[i], frequencies)) for i in loud])
    slope, start = _line(times[loud], octaves)
    contour = _contour(wave, rate, slope)
    strengths, there, tonal = _harmonics(spectra[loud], frequencies, 2.0 ** (start + slope * times[loud]))
    if tonal < TONAL:
        return HeardSound(None, contour, None, None)
    # A steady sound's pitch is that of all of it, a gliding one's that of its start.
    octave = start if contour in ("rising", "falling") else float(np.median(octaves))
    distances = {name: abs(octave - np.log2(pitch)) for name, pitch in PITCHES.items()}
    pitch = min(distances, key=distances.__getitem__)
    named = pitch if distances[pitch] <= PITCH_REACH else None
    return HeardSound(named, contour, _timbre(strengths, there), float(2**octave))


def _fundamental(spectrum: np.ndarray, frequencies: np.ndarray) -> float:
    """The lowest strong peak, in Hz."""
    heard = np.where(frequencies >= LOWEST, spectrum, 0)
    middle = heard[1:-1]
    peaks = (
        np.flatnonzero((middle >= heard[:-2]) & (middle > heard[2:]) & (middle >= FUNDAMENTAL * heard.max()))
        + 1
    )
    return float(frequencies[peaks[0]]) if len(peaks) else float(frequencies[heard.argmax()])


def _line(times: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Slope and start of the line through most of the values, whatever the others are (Theil and Sen's)."""
    first, second = np.triu_indices(len(times), max(len(times) // 4, 1))
    slope = (
        float(np.median((values[second] - values[first]) / (times[second] - times[first])))
        if len(first)
        else 0.0
    )
    return slope, float(np.median(values - slope * times))


def _contour(wave: np.ndarray, rate: float, slope: float) -> str | None:
    step = int(0.02 * rate)
    steps = wave[: len(wave) // step * step].reshape(-1, step)
    level = np.sqrt((steps**2).mean(axis=1))
    if BURSTS[0] <= _bursts(level) <= BURSTS[1]:
        return "pulsing"
    if abs(slope) >= GLIDES:
        return "rising" if slope > 0 else "falling"
    if abs(slope) > KEEPS:
        return None
    edge = len(level) // 5
    growth = (level[-edge:].mean() + 1e-9) / (level[:edge].mean() + 1e-9)
    if max(growth, 1 / growth) >= FADES:
        return "fading in" if growth > 1 else "fading out"
    return "steady" if max(growth, 1 / growth) <= STAYS else None


def _bursts(level: np.ndarray) -> int:
    """How often the loudness rises from silence; a partial that wavers does not fall silent."""
    smooth = np.convolve(level, np.ones(3) / 3, mode="same")
    quiet, loud = QUIET * np.quantile(smooth, 0.95), RISEN * np.quantile(smooth, 0.95)
    bursts, on = 0, False
    for value in smooth:
        if not on and value > loud:
            bursts, on = bursts + 1, True
        elif on and value < quiet:
            on = False
    return bursts


def _harmonics(
    spectra: np.ndarray, frequencies: np.ndarray, fundamentals: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Strengths of the harmonics in each frame, (n, NUMBERS); which can be heard, the same; their share of the energy.

    Args:
        spectra: (n, bins).
        fundamentals: (n,), Hz.
    """
    wanted = fundamentals[:, None] * np.arange(1, NUMBERS + 1)
    bins = np.rint(wanted / frequencies[1]).astype(int)
    reach = max(int(30 / frequencies[1]), 1)  # 30 Hz: the fundamental is not known exactly
    around = np.clip(bins[..., None] + np.arange(-reach, reach + 1), 0, len(frequencies) - 1)
    near = spectra[np.arange(len(spectra))[:, None, None], around]
    there = wanted <= min(HIGHEST, frequencies[-1]) * 0.97
    share = (near**2 * there[..., None]).sum() / (spectra**2).sum()
    return near.max(axis=2), there, float(share)


def _timbre(strengths: np.ndarray, there: np.ndarray) -> str | None:
    """The shape whose harmonics have these strengths, where they can be heard."""
    # The square root makes weak harmonics count: a triangle's third is a ninth of its fundamental.
    measured = _unit(np.sqrt(strengths * there))
    scores = {}
    for shape in SHAPES:
        strength = {1: 1.0, **harmonics(shape)}
        expected = np.array([strength.get(number, 0.0) for number in range(1, NUMBERS + 1)])
        scores[shape] = float((measured * _unit(np.sqrt(expected * there))).sum(axis=1).mean())
    best = max(SHAPES, key=scores.__getitem__)
    return best if scores[best] >= LEAST_AGREEMENT else None


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
