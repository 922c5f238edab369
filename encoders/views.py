"""What an encoder sees of a picture: the window that its preprocessing cuts out, or pads."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from encoders.encoder import Encoder

Window = tuple[float, float, float, float]
LARGEST = 2048  # pixels a side of the pictures that the preprocessing is probed with
EDGE = 2  # rows and columns at a picture's edge, where resampling mixes in what is beyond


def seen_window(encoder: Encoder, width: int, height: int) -> Window:
    """The window that the encoder sees of a picture of that size: left, top, right, bottom as fractions of its sides.

    (0, 0, 1, 1) where it sees all of it, whatever the size it is brought to; within that where it crops; beyond where
    it pads. It is read off what the preprocessing makes of pictures that are white, black, and brighter from left to
    right (red) and from top to bottom (green), so it holds for every preprocessing that moves and scales.

    Raises:
        ValueError: a preprocessing whose result is no picture of three channels.
    """
    scale = min(1.0, LARGEST / max(width, height))
    width, height = max(8, round(width * scale)), max(8, round(height * scale))
    pixels = np.zeros((height, width, 3), np.uint8)
    black = _pixels(encoder, pixels)
    white = _pixels(encoder, pixels + np.uint8(255))
    pixels[..., 0] = np.round(255 * (np.arange(width) + 0.5) / width)[None]
    pixels[..., 1] = np.round(255 * (np.arange(height) + 0.5) / height)[:, None]
    ramp = _pixels(encoder, pixels)
    span = white - black
    inside = (span.abs() > 0.5 * span.abs().amax((1, 2), keepdim=True)).all(
        0
    )  # elsewhere is padding, always the same
    value = (ramp - black) / torch.where(inside, span, 1.0)
    columns, rows = inside.any(0).nonzero()[:, 0], inside.any(1).nonzero()[:, 0]
    across = _line(value[0][rows][:, columns].mean(0), columns, inside.shape[1])
    down = _line(value[1][rows][:, columns].mean(1), rows, inside.shape[0])
    return across[0], down[0], across[1], down[1]


def _pixels(encoder: Encoder, pixels: np.ndarray) -> torch.Tensor:
    tensor = encoder.preprocess("image", Image.fromarray(pixels)).double()
    if tensor.ndim < 3 or tensor.shape[-3] != 3 or tensor[..., 0, 0, 0].numel() != 1:
        raise ValueError(
            f"this encoder makes {tuple(tensor.shape)} of a picture, in which no window can be seen"
        )
    return tensor.reshape(tensor.shape[-3:])


def _line(values: torch.Tensor, places: torch.Tensor, size: int) -> tuple[float, float]:
    """The line through the values at pixels `places` of `size`, at both ends of the axis."""
    keep = slice(EDGE, -EDGE) if len(places) > 4 * EDGE else slice(None)
    x, y = (places[keep].double() + 0.5) / size, values[keep]
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    start = y.mean() - slope * x.mean()
    first, last = float(start), float(start + slope)
    near = 1 / 255  # what eight bits can tell
    return (0.0 if abs(first) < near else first), (1.0 if abs(last - 1) < near else last)
