"""Files written and read back."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anygpt.media import write
from encoders.media import Audio, Video, read


def test_a_picture_comes_back_pixel_by_pixel(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    back = read("image", write("image", picture, tmp_path / "new" / "a.png"))
    assert np.array_equal(np.asarray(back), np.asarray(picture))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_sound_comes_back_within_16_bits(tmp_path: Path, channels: int) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (channels, 8000)).astype(np.float32)
    back = read("audio", write("audio", Audio(samples, 16000), tmp_path / "a.wav"))
    assert back.rate == 16000 and back.samples.shape == (channels, 8000)
    assert np.abs(back.samples - samples).max() <= 2 / 32768


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (240, 321)])
def test_a_film_keeps_its_frames_rate_and_colours(tmp_path: Path, shape: tuple[int, int]) -> None:
    height, width = shape
    frames = np.zeros((9, height, width, 3), dtype=np.uint8)
    colours = [(230, 30, 30), (20, 170, 60), (30, 70, 230)]
    for index in range(9):
        frames[index] = colours[index // 3]
        frames[index, height // 4 : height // 2, width // 4 : width // 2] = (250, 220, 0)
    back = read("video", write("video", Video(frames, 8.0), tmp_path / "a.mp4"))
    assert back.fps == pytest.approx(8.0) and len(back.frames) == 9
    scale = -(-128 // min(shape))
    tall, wide = back.frames.shape[1:3]
    assert tall % 2 == wide % 2 == 0 and 0 <= tall - scale * height <= 1 and 0 <= wide - scale * width <= 1
    centres = back.frames[:, scale // 2 : height * scale : scale, scale // 2 : width * scale : scale].astype(
        int
    )
    assert centres.shape == frames.shape
    # away from edges, whose colours yuv420p mixes
    inside = (slice(None), slice(height // 4 + 2, height // 2 - 2), slice(width // 4 + 2, width // 2 - 2))
    assert np.abs(centres[inside] - frames[inside]).max() <= 12
    assert np.abs(centres[:, -3:, -3:] - frames[:, -3:, -3:]).max() <= 12


def test_the_same_film_gives_the_same_bytes(tmp_path: Path) -> None:
    film = Video(np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8), 8.0)
    first, second = (write("video", film, tmp_path / name).read_bytes() for name in ("a.mp4", "b.mp4"))
    assert first == second


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write("image", Image.new("RGB", (8, 8)), path)
    before = path.read_bytes()
    with pytest.raises(OSError, match="mode F"):  # PNG has no floating point
        write("image", Image.new("F", (8, 8)), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
