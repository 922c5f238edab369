"""The vocoder read back: what goes in as a tone comes out as that tone."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decoders.vocoder import GriffinLimVocoder, GriffinLimVocoderConfig

RATE = 16000
SAW = [1 / n for n in range(1, 35)]
SQUARE = [n % 2 / n for n in range(1, 35)]


@pytest.fixture(scope="module")
def vocoder() -> GriffinLimVocoder:
    return GriffinLimVocoder(GriffinLimVocoderConfig())


def harmonic(start: float, end: float, strengths: list[float]) -> Tensor:
    """Two seconds of harmonics below 7.6 kHz, gliding exponentially from one pitch to another; (1, samples)."""
    time = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    rate = math.log(end / start) / 2
    phase = 2 * math.pi * start * (time if rate == 0 else (torch.exp(rate * time) - 1) / rate)
    partials = [
        strength * torch.sin((k + 1) * phase)
        for k, strength in enumerate(strengths)
        if (k + 1) * max(start, end) < 7600
    ]
    wave = torch.stack(partials).sum(0)
    return (0.6 * wave / wave.abs().max()).float()[None]


def strengths_along(wave: Tensor, start: float, end: float, count: int) -> Tensor:
    """Energy around each harmonic of a gliding pitch, relative to the first."""
    spectrum = torch.stft(wave[0], 1024, 250, window=torch.hann_window(1024), return_complex=True).abs()[
        :, 4:-4
    ]
    time = (torch.arange(spectrum.shape[1]) + 4) * 250 / RATE
    pitch = start * (end / start) ** (time / 2)
    bins = torch.arange(513)[:, None] * RATE / 1024
    energy = [
        (spectrum * ((bins - k * pitch).abs() < 0.4 * pitch)).square().sum() for k in range(1, count + 1)
    ]
    return (torch.stack(energy) / energy[0]).sqrt()


def fundamental(wave: Tensor, near: float) -> float:
    inner = wave[0, 2000:-2000]
    spectrum = torch.fft.rfft(inner * torch.hann_window(len(inner)), n=2**18).abs()
    frequency = torch.fft.rfftfreq(2**18, 1 / RATE)
    window = (frequency - near).abs() < 0.3 * near
    return float(frequency[window][spectrum[window].argmax()])


@pytest.mark.parametrize("pitch", [220.0, 440.0, 880.0])
@pytest.mark.parametrize(
    "strengths", [SAW, SQUARE, [1, 0.5, 0.5], [1, 0, 1], [1]], ids=["saw", "square", "heart", "cross", "sine"]
)
def test_steady_tones_keep_pitch_and_timbre(
    vocoder: GriffinLimVocoder, pitch: float, strengths: list[float]
) -> None:
    wave = harmonic(pitch, pitch, strengths)
    rebuilt = vocoder(vocoder.mel(wave))
    assert rebuilt.shape == wave.shape
    assert fundamental(rebuilt, pitch) == pytest.approx(pitch, rel=0.01)
    count = min(8, int(7600 / pitch))
    wanted, got = (strengths_along(sound, pitch, pitch, count) for sound in (wave, rebuilt))
    assert (got - wanted).abs().max() < 0.02
    strong = wanted > 0.1
    assert ((got - wanted).abs() / wanted)[strong].max() < 0.1


@pytest.mark.parametrize(("start", "end"), [(440.0, 880.0), (220.0, 440.0), (880.0, 440.0)])
def test_glides_keep_timbre_all_along(vocoder: GriffinLimVocoder, start: float, end: float) -> None:
    wave = harmonic(start, end, SAW)
    wanted, got = (strengths_along(sound, start, end, 8) for sound in (wave, vocoder(vocoder.mel(wave))))
    assert ((got - wanted).abs() / wanted).max() < 0.1


def test_bursts_stay_apart(vocoder: GriffinLimVocoder) -> None:
    wave = harmonic(220, 220, SAW) * (torch.arange(2 * RATE) % 8000 < 4000)
    rebuilt = vocoder(vocoder.mel(wave))
    loud = rebuilt.view(4, 2, 4000).square().mean(-1).sqrt()
    original = wave.view(4, 2, 4000).square().mean(-1).sqrt()
    assert torch.allclose(loud[:, 0], original[:, 0], rtol=0.1)
    assert (loud[:, 1] < 0.1 * loud[:, 0]).all()


def test_silence_and_short_sounds(vocoder: GriffinLimVocoder) -> None:
    assert vocoder(vocoder.mel(torch.zeros(1, 1000))).abs().max() < 1e-4
    assert vocoder.mel(torch.zeros(2, 300)).shape == (2, 2, 128)
    assert vocoder(torch.zeros(3, 128)).shape == (750,)


def test_deterministic_and_independent_of_the_batch(vocoder: GriffinLimVocoder) -> None:
    mel = torch.cat([vocoder.mel(harmonic(220, 220, SAW)), vocoder.mel(harmonic(440, 880, SQUARE))])
    together = vocoder(mel)
    assert torch.equal(together, vocoder(mel))
    # its iterations amplify the last digits here and there, in which processors and batches differ
    difference = (together[1:] - vocoder(mel[1:])).abs()
    assert difference.mean() < 1e-4 and difference.max() < 0.02


def test_normalisation_is_the_configured_one() -> None:
    wave = harmonic(440, 440, [1])
    plain = GriffinLimVocoder(GriffinLimVocoderConfig(mean=0.0, std=1.0)).mel(wave)
    scaled = GriffinLimVocoder(GriffinLimVocoderConfig(mean=-3.0, std=2.0)).mel(wave)
    assert torch.allclose(scaled, (plain + 3) / 2, atol=1e-5)
    assert plain.min() == pytest.approx(math.log(1e-4), rel=1e-5)


def test_save_and_load_to_equal_output(vocoder: GriffinLimVocoder, tmp_path: Path) -> None:
    vocoder.save_pretrained(tmp_path)
    loaded = GriffinLimVocoder.from_pretrained(tmp_path)
    mel = vocoder.mel(harmonic(440, 440, SAW))
    assert torch.equal(loaded(mel), vocoder(mel))


def test_wrong_number_of_bands_is_named(vocoder: GriffinLimVocoder) -> None:
    with pytest.raises(ValueError, match=r"\(1, 4, 64\).*\(batch, frames, 128\)"):
        vocoder(torch.zeros(1, 4, 64))
