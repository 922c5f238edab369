"""Writing media to files: PNG, WAV, MP4. Reading them is `encoders.media`."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

    from encoders.media import Audio, Video

SUFFIXES = {"image": ".png", "audio": ".wav", "video": ".mp4"}
SHORTEST_SIDE = (
    128  # of a film in pixels: smaller ones lose their colours, as yuv420p halves the colour's resolution
)


def write(modality: str, medium: Any, path: Path) -> Path:
    """Write a medium to `path`, whose folder is made where missing; the file appears whole or not at all.

    Args:
        modality: `image` (PIL image → PNG), `audio` (encoders.media.Audio → 16-bit WAV) or `video`
            (encoders.media.Video → MP4).

    Returns:
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex}{path.suffix}")
    try:
        WRITERS[modality](medium, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _write_image(image: Image, path: Path) -> None:
    image.save(path, format="PNG")


def _write_audio(audio: Audio, path: Path) -> None:
    import soundfile

    soundfile.write(path, np.clip(audio.samples, -1, 1).T, audio.rate, format="WAV", subtype="PCM_16")


def _write_video(video: Video, path: Path) -> None:
    import av

    frames = video.frames
    factor = -(-SHORTEST_SIDE // min(frames.shape[1:3]))
    frames = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    # yuv420p wants even sides: repeat the last row or column rather than lose it.
    frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(video.fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "12", "preset": "medium"}
        stream.thread_count = 1  # the same film gives the same bytes on every machine
        for frame in frames:
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
            )
        container.mux(stream.encode())


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "image": _write_image,
    "audio": _write_audio,
    "video": _write_video,
}
