"""What the toy world looks like to a model's encoders, so that the model can tell a photograph from it.

python -m anygpt.toyworld.foundations.familiarity FOLDER      writes familiarity.safetensors into a checkpoint's folder

The media are drawn in all sizes that people bring, partly through the files that blur them (JPEG, H.264), and partly
made by the model's own decoders: what it draws, it must know again.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from tqdm import tqdm

from anygpt.familiarity import Familiarity, views
from anygpt.media import write
from anygpt.model import AnyGPT
from anygpt.toyworld.drawing import FRAME_RATE, draw_depth, draw_film, draw_picture, draw_thermal, noisy
from anygpt.toyworld.phrases import caption_film, caption_picture, caption_sound
from anygpt.toyworld.scenes import MOTIONS, random_scene
from anygpt.toyworld.sounds import IMU_RATE, RATE, feel, play, random_tone
from encoders.media import Audio, Imu, Video, read_video

EXAMPLES = 3000  # of each modality
APART = 1500  # of them, for the limit
TURNED_AWAY = 0.003
# Sounds and motion are told by their pooled features; clouds of their patches would cost more than they tell.
VIEWS = {
    "image": ("pooled", "patches"),
    "video": ("pooled", "patches"),
    "depth": ("pooled", "patches"),
    "thermal": ("pooled", "patches"),
    "audio": ("pooled",),
    "imu": ("pooled",),
}
GROUPS = {"audio": 128}  # there are 144 sounds, and much room between them
MADE = {"image": 160, "audio": 160, "video": 30}  # by the model's decoders; films are slow
MADE_AT_ONCE = 12


def fit(model: AnyGPT, seed: int = 0) -> Familiarity:
    """The clouds of all the model's input modalities."""
    features: dict[str, dict[str, torch.Tensor]] = {}
    for number, modality in enumerate(model.config.inputs):
        rng = np.random.default_rng([13, seed, number])
        encoder = model.encoder(modality)
        seen: dict[str, list[torch.Tensor]] = {view: [] for view in VIEWS[modality]}
        media = tqdm(_media(model, modality, rng), total=EXAMPLES, desc=modality, unit="medium")
        for medium in media:
            batch = encoder.preprocess(modality, medium)[None]
            for view, rows in seen.items():
                with torch.no_grad():
                    rows.append(views(encoder)[view](modality, batch)[0])
        order = torch.from_numpy(rng.permutation(EXAMPLES))
        features[modality] = {view: torch.stack(rows)[order] for view, rows in seen.items()}
    return Familiarity.fit(features, APART, TURNED_AWAY, GROUPS)


def _media(model: AnyGPT, modality: str, rng: Generator) -> Iterator[Any]:
    made = MADE.get(modality, 0)
    while made > 0:
        count = min(MADE_AT_ONCE, made)
        captions = [CAPTIONS[modality](rng) for _ in range(count)]
        conditioning = model.decoder(modality).encode_text(captions)
        yield from model.decode(modality, conditioning, rng.integers(2**31, size=count).tolist())
        made -= count
    for _ in range(EXAMPLES - MADE.get(modality, 0)):
        yield DRAWN[modality](rng)


def _image(rng: Generator) -> Image.Image:
    picture = draw_picture(random_scene(rng, two_things=0.3), int(rng.choice([64, 64, 96, 128, 256])))
    image = Image.fromarray(noisy(picture, rng))
    if rng.random() < 0.4:
        file = io.BytesIO()
        image.save(file, format="JPEG", quality=int(rng.integers(70, 96)))
        image = Image.open(file).convert("RGB")
    return image


def _video(rng: Generator) -> Video:
    scene = random_scene(rng, moving=True)
    frames = draw_film(scene, int(rng.choice([8, 8, 16])), int(rng.choice([32, 64, 128])))
    film = Video(noisy(frames, rng), FRAME_RATE)
    if rng.random() < 0.5:
        with tempfile.TemporaryDirectory() as folder:
            film = read_video(write("video", film, Path(folder) / "film.mp4"))
    return film


CAPTIONS: dict[str, Callable[[Generator], str]] = {
    "image": lambda rng: caption_picture(random_scene(rng, two_things=0.2)),
    "audio": lambda rng: caption_sound(random_tone(rng)),
    "video": lambda rng: caption_film(random_scene(rng, moving=True)),
}
DRAWN: dict[str, Callable[[Generator], Any]] = {
    "image": _image,
    "video": _video,
    "audio": lambda rng: Audio(play(random_tone(rng), rng)[None] * np.float32(rng.uniform(0.3, 1)), RATE),
    "depth": lambda rng: draw_depth(random_scene(rng), rng, int(rng.choice([64, 64, 128]))),
    "thermal": lambda rng: draw_thermal(random_scene(rng), rng, int(rng.choice([64, 64, 128]))),
    "imu": lambda rng: Imu(feel(str(rng.choice(MOTIONS)), rng), IMU_RATE),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a checkpoint's folder")
    folder = parser.parse_args().folder
    fit(AnyGPT.from_pretrained(folder)).save(folder)


if __name__ == "__main__":
    main()
