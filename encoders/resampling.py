"""Change of sampling rate, as torchaudio does by default (windowed sinc, filter width 6, roll-off 0.99)."""

from __future__ import annotations

from fractions import Fraction

from torch import Tensor


def resample(waveform: Tensor, rate: int, target: int) -> Tensor:
    """Samples (channels, n) at `rate` Hz → samples (channels, m) at `target` Hz."""
    if rate == target:
        return waveform
    from torchaudio.functional import resample as sinc_resample

    # Exact for the usual rates. 44,101 Hz would need a filter of a gigabyte; a ratio near by does.
    ratio = Fraction(target, rate).limit_denominator(1000)
    return sinc_resample(waveform, ratio.denominator, ratio.numerator)
