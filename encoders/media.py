"""Reading media: a file, or an object in memory, becomes one checked object per modality.

| modality | object | files |
| --- | --- | --- |
| image | `PIL.Image` RGB | PNG, JPEG, WebP, BMP, GIF (first picture), TIFF |
| audio | `Audio` | WAV, FLAC, MP3, Ogg; the first 5 minutes |
| video | `Video` | MP4, MOV, WebM, MKV, AVI, GIF; the first 60 s, see `read_video` |
| depth | float32 array (H, W), metres | 16-bit PNG in millimetres, `.npy` in metres |
| thermal | float32 array (H, W), °C | 16-bit PNG in tenths of a kelvin, `.npy` in °C |
| imu | `Imu` | `.npy` (6, samples) at 400 Hz, CSV: ax, ay, az, gx, gy, gz, perhaps time (s) |

Whatever is wrong with a medium raises `MediaError` with one line that says what, where, and what would do.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from encoders import file_kinds as kinds

MODALITIES = ("image", "audio", "video", "depth", "thermal", "imu")
MIN_SIDE = 8  # pixels
MAX_PIXELS = 50_000_000
MIN_AUDIO_SECONDS, MAX_AUDIO_SECONDS = 0.025, 300.0  # the shortest is one frame of a spectrogram
AUDIO_RATES = (1_000, 384_000)  # Hz
MAX_VIDEO_SECONDS, MAX_VIDEO_BYTES = 60.0, 2**29
IMU_RATE = 400.0  # Hz, where the file does not say
MAX_TABLE_BYTES = 2**26  # of a CSV
MAX_METRES = 1_000.0
CELSIUS = (-273.15, 3_000.0)
ZERO_CELSIUS = 273.15  # kelvin
IMU_COLUMNS = ("ax", "ay", "az", "gx", "gy", "gz")


class MediaError(ValueError):
    """A medium that cannot be used; the message is one line for the person who brought it.

    Attributes:
        reason: the same in one or two words: "missing", "empty", "wrong type" (another kind of file, or of numbers in it),
            "wrong size" (too small, too large, too short), "truncated" or "damaged".
    """

    def __init__(self, message: str, reason: str = "damaged") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Audio:
    """Sound: float32 samples (channels, n) in [-1, 1] (what is beyond is clipped), rate in Hz."""

    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        samples = _finite_floats(self.samples, "a sound's samples")
        low, high = AUDIO_RATES
        if samples.ndim != 2 or len(samples) == 0:
            raise MediaError(f"a sound's samples must have the shape (channels, n), not {samples.shape}")
        if not low <= self.rate <= high:
            raise MediaError(f"a sound's rate must be {low} to {high} Hz, not {self.rate}")
        if samples.shape[1] < MIN_AUDIO_SECONDS * self.rate:
            seconds = samples.shape[1] / self.rate
            raise MediaError(
                f"the sound lasts {seconds:.3g} s; it must last {MIN_AUDIO_SECONDS} s at least", "wrong size"
            )
        object.__setattr__(self, "samples", samples.clip(-1, 1))


@dataclass(frozen=True, eq=False)
class Video:
    """A film: uint8 frames (n, H, W, 3), RGB, and frames per second."""

    frames: np.ndarray
    fps: float

    def __post_init__(self) -> None:
        shape, dtype = np.shape(self.frames), getattr(self.frames, "dtype", None)
        if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or shape[0] == 0:
            raise MediaError(f"a film's frames must be uint8 of shape (n, H, W, 3), not {dtype} {shape}")
        _check_size("the film's frame", shape[2], shape[1])
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise MediaError(f"a film must have more than 0 frames per second, not {self.fps}")


@dataclass(frozen=True, eq=False)
class Imu:
    """Motion: float32 samples (6, n), acceleration xyz in m/s², rotation xyz in rad/s; rate in Hz."""

    samples: np.ndarray
    rate: float = IMU_RATE

    def __post_init__(self) -> None:
        samples = _finite_floats(self.samples, "an IMU signal")
        if samples.ndim != 2 or samples.shape[0] != 6 or samples.shape[1] < 2:
            raise MediaError(
                f"an IMU signal must have the shape (6, samples), not {samples.shape}", "wrong type"
            )
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise MediaError(f"an IMU signal's rate must be more than 0 Hz, not {self.rate}")
        object.__setattr__(self, "samples", samples)


# Checks that files and objects share.


def _finite_floats(values: Any, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or (array.dtype.kind != "f" and what.startswith("a sound")):
        raise MediaError(f"{what} must be floating-point numbers, not {array.dtype}")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise MediaError(f"{what} must be finite numbers; there are NaN or infinite ones")
    return array


def _check_size(what: str, width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise MediaError(
            f"{what} is {width}x{height} pixels; each side must have {MIN_SIDE} at least", "wrong size"
        )
    if width * height > MAX_PIXELS:
        megapixels = width * height / 1e6
        raise MediaError(
            f"{what} has {megapixels:.0f} megapixels ({width}x{height}); {MAX_PIXELS // 10**6} is the most",
            "wrong size",
        )


def _check_map(values: Any, what: str, low: float, high: float, unit: str) -> np.ndarray:
    shape = np.shape(values)
    if len(shape) != 2:
        raise MediaError(f"{what} must have the shape (H, W), not {shape}", "wrong type")
    _check_size(what, shape[1], shape[0])
    array = _finite_floats(values, what)
    if array.min() < low or array.max() > high:
        raise MediaError(
            f"{what} must lie in {low:g} to {high:g} {unit}; it has {array.min():g} to {array.max():g}, "
            "perhaps another unit",
            "wrong type",
        )
    return array


def _check_depth(values: Any) -> np.ndarray:
    return _check_map(values, "the depth map", 0.0, MAX_METRES, "metres")


def _check_thermal(values: Any) -> np.ndarray:
    return _check_map(values, "the thermal map", *CELSIUS, "°C")


def _check_image(image: Any) -> Image.Image:
    """Any picture → RGB, upright as its EXIF says, transparent parts over white."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise MediaError(
                f"a picture's array must be uint8 of shape (H, W, 3), not {image.dtype} {image.shape}"
            )
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise MediaError(f"a picture must be a PIL image or an array, not {type(image).__name__}")
    _check_size("the picture", *image.size)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # PIL would clip 16-bit greys at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise MediaError("the picture has 32-bit pixels; 8 or 16 bits are read")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _check_object(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise MediaError(f"must be a path or {kind.__name__}, not {type(value).__name__}")
        return value

    return check


def _check_imu(value: Any) -> Imu:
    return value if isinstance(value, Imu) else Imu(value)


# Files.

ACCEPTED: dict[str, tuple[str, ...]] = {
    "image": (kinds.PNG, kinds.JPEG, kinds.WEBP, kinds.BMP, kinds.GIF, kinds.TIFF),
    "audio": (kinds.WAV, kinds.FLAC, kinds.MP3, kinds.OGG),
    "video": (kinds.MP4, kinds.MKV, kinds.AVI, kinds.GIF),
    "depth": (kinds.PNG, kinds.NUMPY),
    "thermal": (kinds.PNG, kinds.NUMPY),
    "imu": (kinds.NUMPY, kinds.TEXT),
}

WANTED = {
    "image": "a PNG, JPEG, WebP, BMP, GIF or TIFF picture",
    "audio": "a WAV, FLAC, MP3 or Ogg sound",
    "video": "an MP4, MOV, WebM, MKV, AVI or GIF film",
    "depth": "a 16-bit PNG in millimetres or a .npy in metres",
    "thermal": "a 16-bit PNG in tenths of a kelvin or a .npy in °C",
    "imu": f"a .npy of shape (6, samples) or a CSV with columns {', '.join(IMU_COLUMNS)}",
}


def _open_picture(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
        try:
            image = Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"))
        except Image.DecompressionBombError:
            raise MediaError(
                f"the picture has more than {MAX_PIXELS // 10**6} megapixels, the most", "wrong size"
            ) from None
    _check_size("the picture", *image.size)  # from the header: nothing is decoded yet
    image.load()
    return image


def read_image(path: Path) -> Image.Image:
    """A picture file → PIL image, RGB."""
    return _check_image(_open_picture(path))


def read_audio(path: Path) -> Audio:
    """A sound file → `Audio`, at most the first five minutes."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            samples = file.read(int(MAX_AUDIO_SECONDS * file.samplerate), dtype="float32", always_2d=True)
            return Audio(samples.T, file.samplerate)
    except soundfile.LibsndfileError as error:
        raise MediaError(f"cannot be decoded ({error.error_string.rstrip('.')})") from None


def read_video(path: Path) -> Video:
    """A film file → `Video`, upright; at most the first 60 s.

    Frames of more than 512 MiB are thinned to every second, fourth, … one, and `fps` falls with them.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MediaError("has sound but no picture", "wrong type")
            stream = container.streams.video[0]
            _check_size("the film's frame", stream.codec_context.width, stream.codec_context.height)
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            if rate <= 0:
                raise MediaError("does not say how many frames a second it has")
            frames: list[np.ndarray] = []
            every = 1
            for index, frame in enumerate(container.decode(stream)):
                if index >= MAX_VIDEO_SECONDS * rate:
                    break
                if index % every == 0:
                    turns = round(frame.rotation / 90)
                    frames.append(np.rot90(frame.to_ndarray(format="rgb24"), turns))
                if len(frames) > 1 and len(frames) * frames[0].nbytes > MAX_VIDEO_BYTES:
                    frames, every = frames[::2], every * 2
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"cannot be decoded ({getattr(error, 'strerror', None) or error})") from None
    if not frames:
        raise MediaError("has no frames")
    if len({frame.shape for frame in frames}) > 1:
        raise MediaError("changes its size midway", "wrong size")
    return Video(np.stack(frames), rate / every)


def _read_map(path: Path, what: str, from_png: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    if kinds.kind_of_file(path) == kinds.NUMPY:
        return _read_npy(path)
    image = _open_picture(path)
    if not image.mode.startswith("I"):
        raise MediaError(f"has 8 bits in {image.mode} channels; wanted is {WANTED[what]}", "wrong type")
    return from_png(np.asarray(image).astype(np.float32))


def _read_npy(path: Path) -> np.ndarray:
    array = np.load(
        path, mmap_mode="r", allow_pickle=False
    )  # its shape is checked before its numbers are read
    if array.size > MAX_PIXELS:
        raise MediaError(f"has {array.size} numbers; {MAX_PIXELS} is the most", "wrong size")
    return array


def read_depth(path: Path) -> np.ndarray:
    """A depth file → float32 (H, W) in metres."""
    return _check_depth(_read_map(path, "depth", lambda millimetres: millimetres / 1000))


def read_thermal(path: Path) -> np.ndarray:
    """A thermal file → float32 (H, W) in °C."""
    return _check_thermal(_read_map(path, "thermal", lambda decikelvin: decikelvin / 10 - ZERO_CELSIUS))


def read_imu(path: Path) -> Imu:
    """A motion file → `Imu`; a CSV without a time column, as a `.npy`, is taken to be at 400 Hz."""
    if kinds.kind_of_file(path) == kinds.NUMPY:
        return Imu(_read_npy(path))
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise MediaError(f"is larger than {MAX_TABLE_BYTES // 2**20} MiB, the most for a CSV", "wrong size")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        names = [name.strip().lower() for name in next(rows, [])]
        columns = [*IMU_COLUMNS, "time"] if "time" in names else list(IMU_COLUMNS)
        missing = [name for name in columns if name not in names]
        if missing:
            raise MediaError(
                f"its first line lacks the columns {', '.join(missing)}; wanted is {WANTED['imu']}"
            )
        places = [names.index(name) for name in columns]
        table = []
        for row in rows:
            if row:
                try:
                    table.append([float(row[place]) for place in places])
                except (ValueError, IndexError):
                    raise MediaError(
                        f"line {rows.line_num} does not have a number in each of {', '.join(columns)}"
                    ) from None
    if len(table) < 2:
        raise MediaError(f"has {len(table)} rows of samples; 2 is the least")
    values = np.array(table).T
    if len(columns) == len(IMU_COLUMNS):
        return Imu(values)
    time = values[6]
    if not (np.diff(time) > 0).all():
        raise MediaError("its time column must grow from row to row")
    return Imu(values[:6], (len(time) - 1) / float(time[-1] - time[0]))


READERS: dict[str, Callable[[Path], Any]] = {
    "image": read_image,
    "audio": read_audio,
    "video": read_video,
    "depth": read_depth,
    "thermal": read_thermal,
    "imu": read_imu,
}

CHECKS: dict[str, Callable[[Any], Any]] = {
    "image": _check_image,
    "audio": _check_object(Audio),
    "video": _check_object(Video),
    "depth": _check_depth,
    "thermal": _check_thermal,
    "imu": _check_imu,
}


def read(modality: str, path: str | Path) -> Any:
    """The medium in a file, as the object that this module's table names.

    Raises:
        MediaError: the file is missing, empty, of another kind, damaged, or outside the limits above.
    """
    if modality not in READERS:
        raise MediaError(f"no file holds {modality!r}; the modalities are {', '.join(MODALITIES)}")
    path = Path(path)
    try:
        if not path.is_file():
            if path.is_dir():
                raise MediaError("is a folder", "wrong type")
            raise MediaError("does not exist", "missing")
        if path.stat().st_size == 0:
            raise MediaError("is empty", "empty")
        kind = kinds.kind_of_file(path)
        if kind not in ACCEPTED[modality]:
            raise MediaError(f"is {kind}; wanted is {WANTED[modality]}", "wrong type")
        return READERS[modality](path)
    except MediaError as error:
        raise MediaError(f"{modality} file {path}: {error}", error.reason) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders meet damage with exceptions of every kind
        problem = str(error).partition("\n")[0] or type(error).__name__
        reason = "truncated" if "truncated" in problem else "damaged"  # as PIL says it
        raise MediaError(f"{modality} file {path}: is damaged ({problem})", reason) from error


def load(modality: str, media: Any) -> Any:
    """A path or an object in memory → the checked object; see `read`.

    Pictures may also be uint8 arrays (H, W, 3), IMU signals arrays (6, n) at 400 Hz.
    """
    if isinstance(media, str | Path):
        return read(modality, media)
    if modality not in CHECKS:
        raise MediaError(f"no object holds {modality!r}; the modalities are {', '.join(MODALITIES)}")
    try:
        return CHECKS[modality](media)
    except MediaError as error:
        raise MediaError(f"{modality}: {error}", error.reason) from None
