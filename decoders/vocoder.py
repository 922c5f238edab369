"""A mel vocoder without weights: it finds the phases of a log-mel spectrogram instead of having learnt them.

`GriffinLimVocoder` stands where `transformers.SpeechT5HifiGan` stands in an `AudioLDMPipeline`: same call, same
configuration fields. Its `mel` method is the front end it inverts, so training and vocoding share one definition.

Plain Griffin-Lim on an inverted mel filterbank blurs harmonics where the bands are wide. Three things keep them sharp:
the magnitudes are sought as a sum of the window's own main lobes (what a steady partial looks like), the first phases
advance at the frequency of the nearest peak, and every iteration corrects the magnitudes towards the given mel bands.
Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984; momentum: Perraudin et al., 2013.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

TINY = 1e-8


class GriffinLimVocoderConfig(PreTrainedConfig):
    """Settings of the spectrogram and of its inversion.

    Args:
        model_in_dim: mel bands.
        sampling_rate: Hz.
        upsample_rates: their product is the hop, in samples (the field an `AudioLDMPipeline` reads).
        n_fft: samples of the Hann window and of the transform.
        f_min, f_max: range of the mel bands, Hz.
        n_iter: Griffin-Lim iterations.
        momentum: of the accelerated Griffin-Lim, in [0, 1).
        floor: amplitude below which a band counts as silent (a full-scale sine has amplitude 1).
        mean, std: a mel value is (log(max(amplitude, floor)) - mean) / std.
    """

    model_type = "griffin-lim-vocoder"

    model_in_dim: int = 128
    sampling_rate: int = 16000
    upsample_rates: list[int] | tuple[int, ...] = (5, 5, 10)
    n_fft: int = 1024
    f_min: float = 0.0
    f_max: float = 8000.0
    n_iter: int = 32
    momentum: float = 0.99
    floor: float = 1e-4
    mean: float = -8.0
    std: float = 2.0


class GriffinLimVocoder(PreTrainedModel):
    """Log-mel spectrogram to waveform and back, deterministic and without parameters."""

    config_class = GriffinLimVocoderConfig
    main_input_name = "spectrogram"

    def __init__(self, config: GriffinLimVocoderConfig):
        super().__init__(config)
        self.hop = math.prod(config.upsample_rates)
        # transformers and diffusers ask a model's parameters for its dtype and device; nothing is computed with this one
        self.anchor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self.post_init()

    def mel(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) in [-1, 1] → normalised log-mel (B, T, n_mels), T = ceil(samples / hop)."""
        config = self.config
        frames = math.ceil(waveform.shape[-1] / self.hop)
        padded = torch.nn.functional.pad(waveform.float(), (0, frames * self.hop - waveform.shape[-1]))
        bands = self._stft(padded)[..., :frames].abs().mT @ self._tables(waveform.device)[0]
        return (bands.clamp(min=config.floor).log() - config.mean) / config.std

    @torch.no_grad()
    def forward(self, spectrogram: Tensor) -> Tensor:
        """Normalised log-mel (B, T, n_mels) → waveform (B, T · hop); without the batch dimension, (T · hop,)."""
        if spectrogram.dim() == 2:
            return self(spectrogram[None])[0]
        config = self.config
        if spectrogram.dim() != 3 or spectrogram.shape[-1] != config.model_in_dim:
            raise ValueError(
                f"mel of shape {tuple(spectrogram.shape)}; wanted (batch, frames, {config.model_in_dim})"
            )
        bands = (spectrogram.float() * config.std + config.mean).clamp(max=3.0).exp()
        bands = torch.where(bands > 1.01 * config.floor, bands, TINY)
        bands = torch.cat([bands, bands[:, -1:]], dim=1)  # the centred transform has one frame more than hops
        filters, _ = self._tables(spectrogram.device)
        magnitude = self._magnitude(bands)
        phase = self._first_phase(magnitude)
        return self._iterate(magnitude, phase, bands, filters).to(spectrogram.dtype)

    def _magnitude(self, bands: Tensor, iterations: int = 60) -> Tensor:
        """Bands (B, T, n_mels) → magnitudes (B, T, bins): non-negative sums of main lobes, by Richardson-Lucy.

        The power takes steps 1.8 times as long; below 2 they still converge.
        """
        filters, lobes = self._tables(bands.device)
        lobed = lobes @ filters  # (bins, n_mels): the bands of one steady partial at each bin
        total = lobed.sum(1)
        partials = bands.mean(-1, keepdim=True).expand(*bands.shape[:2], len(lobes))
        for _ in range(iterations):
            partials = partials * (((bands / (partials @ lobed + TINY)) @ lobed.T) / total) ** 1.8
        return partials @ lobes

    def _first_phase(self, magnitude: Tensor) -> Tensor:
        """Phases (B, T, bins) of partials that ring on at the frequency of the peak nearest to each bin."""
        level = (magnitude + TINY).log()
        below, peak, above = level[..., :-2], level[..., 1:-1], level[..., 2:]
        bins = torch.arange(magnitude.shape[-1], device=magnitude.device).expand_as(magnitude)
        is_peak = torch.nn.functional.pad((peak > below) & (peak > above), (1, 1))
        # the vertex of the parabola through a peak and its two neighbours, in bins
        vertex = 0.5 * (below - above) / (below - 2 * peak + above - TINY)
        frequency = bins + torch.nn.functional.pad(vertex.clamp(-0.5, 0.5), (1, 1))
        last = torch.where(is_peak, bins, -len(bins[0, 0])).cummax(-1).values
        following = torch.where(is_peak, bins, 2 * len(bins[0, 0])).flip(-1).cummin(-1).values.flip(-1)
        nearest = torch.where(bins - last <= following - bins, last, following)
        nearest = torch.where((nearest >= 0) & (nearest < bins.shape[-1]), nearest, bins)
        advance = 2 * math.pi * self.hop / self.config.n_fft * frequency.gather(-1, nearest)
        # the window is centred: neighbouring bins of one lobe have opposite signs
        return (advance.double().cumsum(1) % (2 * math.pi)).float() + math.pi * ((bins - nearest) % 2)

    def _iterate(self, magnitude: Tensor, phase: Tensor, bands: Tensor, filters: Tensor) -> Tensor:
        """Accelerated Griffin-Lim, its magnitudes corrected towards the bands at every step; (B, samples)."""
        spread = filters.sum(1) + TINY
        spectrum = torch.polar(magnitude, phase)
        pull = self.config.momentum / (1 + self.config.momentum)
        previous = torch.zeros_like(spectrum)
        for _ in range(self.config.n_iter):
            rebuilt = self._stft(self._istft(spectrum.mT)).mT
            current = rebuilt.abs()
            magnitude = current * ((bands / (current @ filters + 1e-6)) @ filters.T) / spread
            direction = rebuilt - pull * previous
            spectrum = magnitude * direction / (direction.abs() + TINY)
            previous = rebuilt
        return self._istft(spectrum.mT)

    def _stft(self, waveform: Tensor) -> Tensor:
        window, scale = self._window(waveform.device)
        size = self.config.n_fft
        # zeros, not reflection, at the ends: a sound may be shorter than half a window
        return (
            torch.stft(waveform, size, self.hop, window=window, pad_mode="constant", return_complex=True)
            / scale
        )

    def _istft(self, spectrum: Tensor) -> Tensor:
        window, scale = self._window(spectrum.device)
        samples = (spectrum.shape[-1] - 1) * self.hop
        return torch.istft(spectrum * scale, self.config.n_fft, self.hop, window=window, length=samples)

    def _window(self, device: torch.device) -> tuple[Tensor, float]:
        """The Hann window, and the sum that a full-scale sine reaches at its peak."""
        return torch.hann_window(self.config.n_fft, device=device), self.config.n_fft / 4

    def _tables(self, device: torch.device) -> tuple[Tensor, Tensor]:
        config = self.config
        return _tables(
            config.n_fft, config.model_in_dim, config.sampling_rate, config.f_min, config.f_max, device
        )


@lru_cache(maxsize=4)
def _tables(
    n_fft: int, n_mels: int, rate: int, f_min: float, f_max: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mel filters (bins, n_mels), each of sum 1, and the main lobe of a Hann window at every bin (bins, bins)."""
    from torchaudio.functional import melscale_fbanks

    bins = n_fft // 2 + 1
    filters = melscale_fbanks(bins, f_min, f_max, n_mels, rate, norm=None, mel_scale="htk")
    filters = filters / filters.sum(0).clamp(min=TINY)
    side = torch.full((bins - 1,), 0.5)
    lobes = torch.eye(bins) + torch.diag(side, 1) + torch.diag(side, -1)
    return filters.to(device), lobes.to(device)
