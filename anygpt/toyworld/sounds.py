"""Sounds and motion-sensor signals: what a thing sounds like, and what a sensor on it feels.

A sound is 2 s of mono at 16 kHz. Timbre tells the shape, pitch the size, contour the motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from anygpt.toyworld.scenes import SHAPES, Thing

RATE = 16_000  # Hz
SECONDS = 2.0
HIGHEST = 7_600.0  # Hz; harmonics above are left out
PITCHES = {"low": 220.0, "middle": 440.0, "high": 880.0}  # Hz
CONTOURS = ("steady", "rising", "falling", "pulsing", "fading in", "fading out")
PITCH_OF_SIZE = {"small": "high", "large": "low"}
CONTOUR_OF_MOTION = {
    "still": "steady",
    "up": "rising",
    "growing": "rising",
    "down": "falling",
    "shrinking": "falling",
    "blinking": "pulsing",
    "right": "fading in",
    "left": "fading out",
}

IMU_RATE = 400.0  # Hz
IMU_SECONDS = 5.0
IMU_NOISE = 0.05  # m/s² and rad/s


@dataclass(frozen=True)
class Tone:
    """A sound of the toy world by its three attributes."""

    shape: str
    pitch: str
    contour: str


def tone_of(thing: Thing) -> Tone:
    return Tone(thing.shape, PITCH_OF_SIZE[thing.size], CONTOUR_OF_MOTION[thing.motion])


def random_tone(rng: Generator) -> Tone:
    return Tone(
        SHAPES[rng.integers(len(SHAPES))],
        tuple(PITCHES)[rng.integers(len(PITCHES))],
        CONTOURS[rng.integers(len(CONTOURS))],
    )


def harmonics(shape: str) -> dict[int, float]:
    """Strength of each harmonic relative to the fundamental (which is 1)."""
    many = range(2, 40)
    return {
        "circle": {},
        "square": {n: 1 / n for n in many if n % 2},
        "triangle": {n: 1 / n**2 for n in many if n % 2},
        "star": {n: 1 / n for n in many},
        "ring": {2: 1.0},
        "cross": {3: 1.0},
        "diamond": {2: 0.5, 4: 0.5},
        "heart": {2: 0.5, 3: 0.5},
    }[shape]


def play(tone: Tone, rng: Generator) -> np.ndarray:
    """The sound as float32 (32000,) in [-1, 1], peak at 0.5–0.9, harmonics at random phases, 10 ms edges."""
    time = np.arange(int(RATE * SECONDS)) / RATE
    base = PITCHES[tone.pitch]
    octaves = {"rising": time / SECONDS, "falling": -time / SECONDS}.get(tone.contour, np.zeros_like(time))
    frequency = base * 2.0**octaves
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    wave = np.zeros_like(time)
    for number, strength in {1: 1.0, **harmonics(tone.shape)}.items():
        part = strength * np.sin(number * phase + rng.uniform(0, 2 * np.pi))
        wave += np.where(number * frequency <= HIGHEST, part, 0.0)
    if tone.contour == "pulsing":
        beat = (time * 4 / SECONDS) % 1.0  # four bursts, each on for half of its beat
        wave *= np.clip(np.minimum(beat, 0.5 - beat) / 0.02, 0, 1)
    elif tone.contour == "fading in":
        wave *= time / SECONDS
    elif tone.contour == "fading out":
        wave *= 1 - time / SECONDS
    edge = np.clip(np.minimum(time, SECONDS - time) / 0.01, 0, 1)
    wave *= edge
    return (wave / np.abs(wave).max() * rng.uniform(0.5, 0.9)).astype(np.float32)


def feel(motion: str, rng: Generator) -> np.ndarray:
    """The motion sensor's signal, float32 (6, 2000): accelerometer x, y, z in m/s² and gyroscope x, y, z in rad/s."""
    time = np.arange(int(IMU_RATE * IMU_SECONDS)) / IMU_RATE
    signal = rng.normal(0, IMU_NOISE, (6, len(time)))
    swing = 2 * np.sin(2 * np.pi * time / IMU_SECONDS)
    axis, sign = {
        "right": (0, 1),
        "left": (0, -1),
        "up": (1, 1),
        "down": (1, -1),
        "growing": (2, 1),
        "shrinking": (2, -1),
    }.get(motion, (0, 0))
    signal[axis] += sign * swing
    if motion == "blinking":
        bursts = (time * 4 / IMU_SECONDS) % 1.0 < 0.5
        signal[5] += bursts * np.sin(2 * np.pi * 10 * time)
    return signal.astype(np.float32)
