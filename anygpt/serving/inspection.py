"""What a medium's file says of itself and what it holds, found out before anything is decoded."""

from __future__ import annotations

import contextlib
import struct
import warnings
from pathlib import Path

from anygpt.serving.limits import Limits
from encoders import file_kinds as kinds
from encoders.media import MediaError

STREAMED = 0xFFFFFFFF  # the length that a WAV has which was written before its length was known


def inspect(modality: str, path: Path, limits: Limits) -> int:
    """Check a medium's lengths; how large it will be, in pixels (all frames of a film together) or samples of sound.

    Raises:
        MediaError: longer than it may be, or other than it says. Other damage is found when it is read.
    """
    if modality == "audio":
        return _inspect_sound(path, limits.audio_seconds)
    if modality == "video":
        return _inspect_film(path, limits)
    if modality == "imu" or kinds.kind_of_file(path) == kinds.NUMPY:
        return 0  # as large as its bytes
    return _pixels(path)


def _pixels(path: Path) -> int:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `Limits.pixels` is what counts
        try:
            with Image.open(path) as image:
                return image.width * image.height
        except Image.DecompressionBombError:
            raise MediaError("the picture has more pixels than anyone needs", "wrong size") from None
        except Exception:  # no picture: the reader says what it is
            return 0


def _inspect_sound(path: Path, most: float) -> int:
    """Its samples, all channels together: a little file of silence may hold very many."""
    import soundfile

    claimed = _wav_seconds(path) if kinds.kind_of_file(path) == kinds.WAV else 0.0
    samples = 0
    with contextlib.suppress(soundfile.LibsndfileError):  # the reader says what is wrong
        info = soundfile.info(path)
        claimed, samples = max(claimed, info.duration), info.frames * info.channels
    if claimed > most:
        raise MediaError(
            f"the sound lasts {claimed:.0f} s by its header; {most:g} s is the most", "wrong size"
        )
    return samples


def _wav_seconds(path: Path) -> float:
    """What a WAV's header says of its length; libsndfile believes it only as far as the file reaches."""
    with path.open("rb") as file:
        file.seek(12)
        rate = 0
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"data":
                return size / rate if rate and size != STREAMED else 0.0
            body = file.read(min(size, 16))
            if name == b"fmt " and len(body) == 16:
                rate = struct.unpack("<I", body[8:12])[0]
            file.seek(size - len(body) + size % 2, 1)
    return 0.0


def _inspect_film(path: Path, limits: Limits) -> int:
    """Count a film's frames and their time, packet by packet, and compare with what the container says."""
    import av

    frames, end = 0, 0.0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                return 0
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                frames += 1
                if packet.pts is not None and packet.time_base is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if end > limits.video_seconds:
                    raise MediaError(
                        f"the film is longer than {limits.video_seconds:g} s, the most", "wrong size"
                    )
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            claims = [_mp4_seconds(path)] if kinds.kind_of_file(path) == kinds.MP4 else []
            if container.duration:
                claims.append(container.duration / av.time_base)
            if stream.duration and stream.time_base:
                claims.append(float(stream.duration * stream.time_base))
            size = stream.codec_context.width * stream.codec_context.height
            silent = not container.streams.audio  # a sound may go on when the pictures have ended
    except av.FFmpegError:
        return 0  # the reader says what is wrong
    held = max(end, frames / rate if rate else 0.0)
    for claimed in filter(None, claims):
        if claimed > limits.video_seconds:
            raise MediaError(
                f"the film lasts {claimed:.0f} s by its header; {limits.video_seconds:g} s is the most",
                "wrong size",
            )
        if silent and abs(claimed - held) > 1 + 0.1 * held:
            raise MediaError(f"the film says that it lasts {claimed:.1f} s, and holds {held:.1f} s")
    return frames * size


def _mp4_seconds(path: Path) -> float:
    """What an MP4's header says of its length, where FFmpeg would go by its table of frames; 0 where it says nothing."""
    with path.open("rb") as file:
        at, end = 0, path.stat().st_size
        while at + 8 <= end:
            file.seek(at)
            head = file.read(16).ljust(16, b"\0")
            size, name, large = struct.unpack(">I4sQ", head)
            size = {0: end - at, 1: large}.get(size, size)
            if name == b"mvhd":
                body = file.read(24).ljust(24, b"\0")
                # version and flags, two dates, ticks a second, ticks: of 32 bits, or with longer dates and ticks
                rate, ticks = struct.unpack(">IQ", body[12:]) if head[8] else struct.unpack(">II", body[4:12])
                return ticks / rate if rate and ticks not in (2**32 - 1, 2**64 - 1) else 0.0
            if name == b"moov":
                at, end = at + 8, at + size
            elif size < 8:
                break
            else:
                at += size
    return 0.0
