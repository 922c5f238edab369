"""Files of every kind, good and bad, as a person would bring them."""

from __future__ import annotations

import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from encoders import media
from encoders.media import Audio, Imu, MediaError, Video


def write_film(path: Path, frames: np.ndarray, fps: int = 8, codec: str = "libx264") -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def film_frames(count: int = 8, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames that grow lighter by 20 a frame, their left half black."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    frames[:, :, width // 2 :] = (np.arange(count, dtype=np.uint8) * 20 + 20)[:, None, None, None]
    return frames


def tone(seconds: float = 1.0, rate: int = 16_000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


# Good files.


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.gif", "a.tiff"])
def test_image_formats(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (40, 24), (230, 30, 30)).save(tmp_path / name)
    image = media.read("image", tmp_path / name)
    assert (image.mode, image.size) == ("RGB", (40, 24))
    assert np.abs(np.asarray(image).astype(int) - (230, 30, 30)).max() <= 6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_image_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tiff" if mode in ("CMYK", "YCbCr") else "a.png")
    Image.new("RGB", (16, 16), "white").convert(mode).save(path)
    image = media.read("image", path)
    assert image.mode == "RGB"
    assert np.asarray(image).min() >= 254


def test_transparent_parts_lie_over_white(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 8, 16))
    for name in ("a.png", "a.gif"):
        picture.save(tmp_path / name)
        image = media.read("image", tmp_path / name)
        assert image.getpixel((2, 2)) == (0, 0, 255)
        assert image.getpixel((12, 2)) == (255, 255, 255)


def test_exif_orientation_is_respected(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    picture = Image.new("RGB", (32, 16), "black")
    picture.paste((255, 255, 255), (0, 0, 16, 16))
    picture.save(tmp_path / "a.png", exif=exif)
    image = media.read("image", tmp_path / "a.png")
    assert image.size == (16, 32)
    assert image.getpixel((8, 4)) == (255, 255, 255)
    assert image.getpixel((8, 28)) == (0, 0, 0)


def test_sixteen_bit_grey_keeps_its_shades(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 128 * 256, np.uint16)).save(tmp_path / "a.png")
    assert media.read("image", tmp_path / "a.png").getpixel((3, 3)) == (128, 128, 128)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg"])
@pytest.mark.parametrize("channels", [1, 2])
def test_audio_formats(tmp_path: Path, name: str, channels: int) -> None:
    sound = tone(rate=44_100)
    soundfile.write(tmp_path / name, np.stack([sound] * channels, axis=1), 44_100)
    audio = media.read("audio", tmp_path / name)
    assert (audio.rate, audio.samples.dtype) == (44_100, np.float32)
    assert audio.samples.shape == (channels, 44_100)
    assert abs(np.abs(audio.samples).max() - 0.5) < 0.1
    if name in ("a.wav", "a.flac"):
        assert np.abs(audio.samples[0] - sound).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4")]
)
def test_video_formats(tmp_path: Path, name: str, codec: str) -> None:
    frames = film_frames()
    video = media.read("video", write_film(tmp_path / name, frames, codec=codec))
    assert (video.frames.shape, video.frames.dtype) == (frames.shape, np.uint8)
    assert video.fps == 8
    assert np.abs(video.frames[:, 10, 50].astype(int) - frames[:, 10, 50]).max() <= 12


def test_film_of_a_turned_phone_stands_upright(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", film_frames())
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # a quarter, clockwise
    content = path.read_bytes()
    place = content.index(upright, content.index(b"tkhd"))
    path.write_bytes(content[:place] + turned + content[place + len(turned) :])
    frames = media.read("video", path).frames
    assert frames.shape == (8, 64, 48, 3)  # what was right is now at the bottom
    assert frames[7, 10].max() <= 20 < 100 <= frames[7, 50].min()


def test_long_film_is_read_to_its_first_minute(tmp_path: Path) -> None:
    frames = np.zeros((130, 16, 16, 3), np.uint8)
    video = media.read("video", write_film(tmp_path / "a.mp4", frames, fps=2))
    assert len(video.frames) == 120


def test_film_too_large_for_memory_is_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = film_frames(8)
    monkeypatch.setattr(media, "MAX_VIDEO_BYTES", 3 * frames[0].nbytes)
    video = media.read("video", write_film(tmp_path / "a.mp4", frames))
    assert video.fps == 8 / 4
    assert np.abs(video.frames[:, 10, 50, 0].astype(int) - frames[::4, 10, 50, 0]).max() <= 12


def test_depth_units(tmp_path: Path) -> None:
    Image.fromarray(np.full((24, 32), 2500, np.uint16)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.full((24, 32), 2.5))
    for name in ("a.png", "a.npy"):
        depth = media.read("depth", tmp_path / name)
        assert (depth.dtype, depth.shape) == (np.float32, (24, 32))
        np.testing.assert_allclose(depth, 2.5, rtol=1e-6)


def test_thermal_units(tmp_path: Path) -> None:
    Image.fromarray(np.full((24, 32), 2932, np.uint16)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.full((24, 32), 20.05))
    for name in ("a.png", "a.npy"):
        np.testing.assert_allclose(media.read("thermal", tmp_path / name), 20.05, rtol=1e-5)


def test_imu_files(tmp_path: Path) -> None:
    signal = np.random.default_rng(0).normal(size=(6, 50)).astype(np.float32)
    np.save(tmp_path / "a.npy", signal)
    lines = ["gz, ax, ay, az, gx, gy, note"]  # columns in any order, others beside them
    lines += [", ".join(str(signal[i, n]) for i in (5, 0, 1, 2, 3, 4)) + ", x" for n in range(50)]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    for name in ("a.npy", "a.csv"):
        imu = media.read("imu", tmp_path / name)
        assert imu.rate == 400
        np.testing.assert_allclose(imu.samples, signal, rtol=1e-6)


def test_imu_table_with_time_says_its_rate(tmp_path: Path) -> None:
    rows = "".join(f"{n / 100},0,0,9.8,0,0,{n}\n" for n in range(200))
    (tmp_path / "a.csv").write_text("\ufefftime,ax,ay,az,gx,gy,gz\r\n" + rows, encoding="utf-8")
    imu = media.read("imu", tmp_path / "a.csv")
    assert imu.rate == pytest.approx(100)
    assert imu.samples[5].tolist() == list(range(200))


# Bad files: one line that names the file and the reason.


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    picture.save(folder / "a.png")
    picture.save(folder / "a.jpg")
    write_film(folder / "a.mp4", film_frames())
    soundfile.write(folder / "a.wav", tone(), 16_000)
    soundfile.write(folder / "a.mp3", tone(), 16_000)
    (folder / "a.txt").write_text("words, only words\n" * 9)
    (folder / "list.mp4").write_text("#EXTM3U\nhttp://localhost/film.ts\n")
    (folder / "empty").write_bytes(b"")
    (folder / "folder").mkdir()
    (folder / "noise").write_bytes(np.random.default_rng(1).bytes(5000))
    for name in ("a.png", "a.jpg", "a.mp4", "a.wav"):
        content = (folder / name).read_bytes()
        (folder / f"cut-{name}").write_bytes(
            content[: min(len(content) // 3, 400 if name != "a.wav" else 30)]
        )
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    Image.new("1", (10_000, 10_000)).save(folder / "huge.png")
    Image.new("1", (14_000, 14_000)).save(folder / "huger.png")
    soundfile.write(folder / "silent.wav", np.zeros(0), 16_000)
    soundfile.write(folder / "click.wav", np.zeros(16), 16_000)
    soundfile.write(folder / "nan.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    np.save(folder / "nan.npy", np.full((32, 32), np.nan))
    np.save(folder / "inf.npy", np.full((6, 100), np.inf))
    np.save(folder / "mm.npy", np.full((32, 32), 2500.0))
    np.save(folder / "kelvin.npy", np.full((32, 32), -300.0))
    np.save(folder / "rgb.npy", np.zeros((32, 32, 3)))
    np.save(folder / "words.npy", np.array([["a", "b"]] * 9))
    np.save(folder / "object.npy", np.array([{}]), allow_pickle=True)
    np.save(folder / "flat.npy", np.zeros(600))
    np.save(folder / "turned.npy", np.zeros((600, 6)))
    np.save(folder / "none.npy", np.zeros((6, 0)))
    (folder / "five.csv").write_text("ax,ay,az,gx,gy\n1,2,3,4,5\n")
    (folder / "words.csv").write_text("ax,ay,az,gx,gy,gz\n1,2,3,4,5,6\n1,2,x,4,5,6\n")
    (folder / "nan.csv").write_text("ax,ay,az,gx,gy,gz\n" + "1,2,nan,4,5,6\n" * 3)
    (folder / "header.csv").write_text("ax,ay,az,gx,gy,gz\n")
    (folder / "back.csv").write_text("time,ax,ay,az,gx,gy,gz\n" + "1,1,2,3,4,5,6\n" * 3)
    return folder


@pytest.mark.parametrize(
    ("modality", "name", "reason"),
    [
        ("image", "missing.png", "does not exist"),
        ("image", "folder", "is a folder"),
        ("image", "empty", "is empty"),
        ("image", "noise", "is unknown data"),
        ("image", "a.txt", "is text; wanted is a PNG"),
        ("image", "a.mp4", "is an MP4 or MOV film; wanted is a PNG"),
        ("image", "a.mp3", "is an MP3 sound"),
        ("image", "cut-a.png", "damaged"),
        ("image", "cut-a.jpg", "damaged"),
        ("image", "one.png", "1x1 pixels"),
        ("image", "huge.png", "100 megapixels"),
        ("image", "huger.png", "more than 50 megapixels"),
        ("audio", "a.png", "is a PNG picture; wanted is a WAV"),
        ("audio", "a.mp4", "is an MP4 or MOV film"),
        ("audio", "a.txt", "is text"),
        ("audio", "empty", "is empty"),
        ("audio", "cut-a.wav", "cannot be decoded"),
        ("audio", "silent.wav", "lasts 0 s"),
        ("audio", "click.wav", "lasts 0.001 s"),
        ("audio", "nan.wav", "NaN"),
        ("video", "a.png", "is a PNG picture; wanted is an MP4"),
        ("video", "a.mp3", "is an MP3 sound"),
        ("video", "list.mp4", "is text"),
        ("video", "cut-a.mp4", "cannot be decoded"),
        ("depth", "a.png", "8 bits"),
        ("depth", "a.jpg", "is a JPEG picture; wanted is a 16-bit PNG in millimetres"),
        ("depth", "nan.npy", "NaN"),
        ("depth", "mm.npy", "metres"),
        ("depth", "rgb.npy", r"\(H, W\), not \(32, 32, 3\)"),
        ("depth", "flat.npy", r"\(H, W\), not \(600,\)"),
        ("depth", "words.npy", "pixels|numbers"),
        ("depth", "object.npy", "damaged"),
        ("depth", "huge.png", "100 megapixels"),
        ("thermal", "kelvin.npy", "°C"),
        ("thermal", "a.txt", "is text"),
        ("imu", "turned.npy", r"\(6, samples\), not \(600, 6\)"),
        ("imu", "none.npy", r"not \(6, 0\)"),
        ("imu", "inf.npy", "infinite"),
        ("imu", "five.csv", "lacks the columns gz"),
        ("imu", "a.txt", "lacks the columns ax"),
        ("imu", "words.csv", "line 3"),
        ("imu", "nan.csv", "NaN"),
        ("imu", "header.csv", "0 rows"),
        ("imu", "back.csv", "time column must grow"),
        ("imu", "a.wav", "is a WAV sound; wanted is a .npy"),
        ("smell", "a.png", "the modalities are image"),
    ],
)
def test_bad_files(bad: Path, modality: str, name: str, reason: str) -> None:
    with pytest.raises(MediaError, match=reason) as caught:
        media.read(modality, bad / name)
    message = str(caught.value)
    assert "\n" not in message
    assert modality == "smell" or str(bad / name) in message


@pytest.mark.parametrize(
    ("modality", "name"), [("image", "a.jpg"), ("audio", "a.wav"), ("video", "a.mp4"), ("depth", "mm.npy")]
)
def test_damage_anywhere_is_a_media_error_or_none(
    bad: Path, tmp_path: Path, modality: str, name: str
) -> None:
    content = (bad / name).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(40):
        spoilt = bytearray(content[: random.integers(16, len(content))])
        for place in random.integers(8, len(spoilt), 20):
            spoilt[place] = random.integers(256)
        (tmp_path / name).write_bytes(spoilt)
        try:
            media.read(modality, tmp_path / name)
        except MediaError as error:
            assert "\n" not in str(error)


# Objects in memory.


def test_objects_are_checked() -> None:
    with pytest.raises(MediaError, match=r"\(channels, n\)"):
        Audio(tone(), 16_000)
    with pytest.raises(MediaError, match="floating-point"):
        Audio(np.zeros((1, 16_000), np.int16), 16_000)
    with pytest.raises(MediaError, match="rate"):
        Audio(tone()[None], 16)
    with pytest.raises(MediaError, match="uint8"):
        Video(np.zeros((2, 16, 16, 3)), 8)
    with pytest.raises(MediaError, match="8 at least"):
        Video(np.zeros((2, 4, 16, 3), np.uint8), 8)
    with pytest.raises(MediaError, match="frames per second"):
        Video(np.zeros((2, 16, 16, 3), np.uint8), 0)
    with pytest.raises(MediaError, match=r"\(6, samples\)"):
        Imu(np.zeros((3, 100)))
    for modality, thing in [
        ("image", 3),
        ("audio", tone()),
        ("video", []),
        ("imu", "x" * 3),
        ("depth", [[1.0]]),
    ]:
        with pytest.raises(MediaError, match=modality):
            media.load(modality, thing)


def test_samples_beyond_one_are_clipped() -> None:
    assert Audio(3 * tone()[None], 16_000).samples.max() == 1


def test_load_takes_objects_and_paths(tmp_path: Path) -> None:
    pixels = np.full((16, 16, 3), 7, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for given in (pixels, Image.fromarray(pixels), tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(np.asarray(media.load("image", given)), pixels)
    imu = media.load("imu", np.zeros((6, 100)))
    assert (imu.rate, imu.samples.dtype) == (400, np.float32)
    audio = Audio(tone()[None], 16_000)
    assert media.load("audio", audio) is audio


def test_reading_media_needs_no_torch() -> None:
    program = "import sys, encoders.media; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(media.__file__).parents[1])
