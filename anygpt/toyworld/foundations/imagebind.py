"""The tiny ImageBind: six trunks and a text tower in one space of 160 dimensions.

Trained as the original, each modality against text by a contrastive loss, with attribute heads besides, which get
there with far fewer examples. Each patch of a picture also learns which thing it shows, where that is and in which
colours: without it, a trunk this small stays for a long time at what can be told from a bag of patches (colours, but no
places), and tells colours by its pooled feature alone. Halfway through the trunk each patch tells which of its pixels
belong to a thing: shapes are the same in all colours, and that is what takes long to find out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from torch import nn

from anygpt.toyworld.drawing import (
    FRAME_RATE,
    at_time,
    coverage,
    draw_depth,
    draw_film,
    draw_picture,
    draw_thermal,
    noisy,
)
from anygpt.toyworld.foundations.attributes import (
    STILL_PICTURE,
    UNSAID,
    AttributeHeads,
    collate,
    scene_targets,
    tone_targets,
)
from anygpt.toyworld.foundations.captions import (
    CONTEXT,
    VOCABULARY,
    build_clip_tokenizer,
    film_caption,
    picture_caption,
)
from anygpt.toyworld.foundations.fitting import fit
from anygpt.toyworld.phrases import describe_sound, motion_phrase, place_phrase
from anygpt.toyworld.scenes import BACKGROUNDS, COLOURS, MOTIONS, PLACES, Scene, random_scene
from anygpt.toyworld.sounds import CONTOURS, IMU_RATE, PITCHES, RATE, SHAPES, Tone, feel, play
from encoders.imagebind.configuration import ImageBindConfig
from encoders.imagebind.model import ImageBindModel
from encoders.imagebind.preprocessing import ImageBindPreprocessor
from encoders.imagebind.tokenizer import ImageBindTokenizer
from encoders.media import Audio, Imu, Video

DIM = 160
CLIPS = 4
HEADS: dict[str, tuple[str, ...]] = {
    "image": STILL_PICTURE,
    "video": ("shape", "colour", "size", "place", "background", "motion"),
    "audio": ("shape", "pitch", "contour"),
    "depth": ("shape", "size", "place"),
    "thermal": ("shape", "colour", "place"),
    "imu": ("motion",),
}
CLIP_HEADS = ("shape", "colour", "size", "background")  # what each clip of a film shows by itself
SIZES = {"image": 20, "video": 16, "audio": 4, "depth": 10, "thermal": 20, "imu": 2}  # of a batch
PATCHES = 8  # a side
DENSE = {  # classes of each patch
    "patch_filled": 2,
    "patch_shape": len(SHAPES),
    "patch_place": len(PLACES),
    "patch_dx": 16,
    "patch_dy": 16,
    "patch_width": 10,
    "patch_colour": len(COLOURS),
    "patch_ground": len(BACKGROUNDS),
}
UNSEEN = {"image": (), "depth": ("patch_colour", "patch_ground"), "thermal": ("patch_ground",)}  # of `DENSE`
SILHOUETTE_BLOCK = 1  # after which the patches tell silhouettes
VISION = {"image": "vision", "video": "vision"}


def build() -> ImageBindModel:
    model = ImageBindModel(
        ImageBindConfig(
            kernel_size=(2, 8, 8),
            audio_stride=16,
            out_embed_dim=DIM,
            vision_embed_dim=128,
            vision_num_blocks=4,
            vision_num_heads=4,
            audio_embed_dim=96,
            audio_num_blocks=3,
            audio_num_heads=3,
            audio_drop_path=0.0,
            text_embed_dim=96,
            text_num_blocks=2,
            text_num_heads=3,
            depth_embed_dim=96,
            depth_kernel_size=8,
            depth_num_blocks=3,
            depth_num_heads=3,
            thermal_embed_dim=96,
            thermal_kernel_size=8,
            thermal_num_blocks=3,
            thermal_num_heads=3,
            imu_embed_dim=64,
            imu_num_blocks=2,
            imu_num_heads=2,
            imu_drop_path=0.0,
            image_size=64,
            vocab_size=VOCABULARY,
            context_length=CONTEXT,
            imu_head_dropout=0.0,
        )
    )
    # Learned from small noise, positions would take thousands of steps to matter beside what the patches hold.
    for modality in ("vision", "audio", "depth", "thermal"):
        table: Any = model.modality_preprocessors[modality].pos_embedding_helper
        with torch.no_grad():
            table.pos_embed[0, 1:] = waves(table.layout[-2], table.layout[-1], table.pos_embed.shape[-1])
            # Vision's are added before the first norm, to contents of several units.
            table.pos_embed *= 4 if modality == "vision" else 1
    return model


def waves(rows: int, columns: int, width: int) -> torch.Tensor:
    """Sines and cosines of each patch's row and column, (rows · columns, width), of unit amplitude."""
    frequencies = torch.pi * 2.0 ** torch.linspace(-1, 2, width // 4)
    row, column = torch.meshgrid(
        (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij"
    )
    angles = torch.stack([row, column], -1).flatten(0, 1)[..., None] * frequencies  # (patches, 2, width / 4)
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(1)


def build_preprocessor() -> ImageBindPreprocessor:
    """Films as four pairs of frames half a second apart, kept in order; distances as 1/metres; 0 to 65 °C."""
    return ImageBindPreprocessor(
        image_size=64,
        audio_num_clips=1,
        video_num_clips=CLIPS,
        video_clip_duration=0.625,
        video_crops=1,
        video_clips="keep",
        depth_scale=1.0,
        depth_mean=0.5,
        depth_std=0.25,
        thermal_range=(0.0, 65.0),
    )


Batch = dict[
    str, tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]
]  # modality → media, targets, caption ids


class Batches:
    """A batch of every modality with attribute targets and captions, preprocessed as a user's files are."""

    def __init__(self) -> None:
        self.preprocessor = build_preprocessor()
        self.tokenizer = ImageBindTokenizer(build_clip_tokenizer().backend_tokenizer, CONTEXT)
        # Sounds are slow to synthesise and few: all 144 of them, at several phases and volumes.
        rng = np.random.default_rng(4)
        self.tones = [Tone(s, p, c) for _ in range(6) for s in SHAPES for p in PITCHES for c in CONTOURS]
        self.sounds = [self.preprocessor.audio(Audio(play(tone, rng)[None], RATE)) for tone in self.tones]

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng([5, step])
        return {
            modality: self._collate([getattr(self, modality)(rng) for _ in range(size)])
            for modality, size in SIZES.items()
        }

    def _collate(self, rows: list[tuple]) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        media, targets, captions = zip(*rows, strict=True)
        return (
            torch.stack(media),
            collate(list(targets)),
            torch.stack([self.tokenizer(text) for text in captions]),
        )

    def image(self, rng: Generator) -> tuple:
        scene = random_scene(rng, two_things=0.35)
        side = int(rng.choice([64, 64, 64, 96, 128]))
        picture = Image.fromarray(noisy(draw_picture(scene, side), rng))
        targets = scene_targets(scene, STILL_PICTURE) | patch_targets(scene)
        return self.preprocessor.image(picture), targets, picture_caption(rng, scene)[0]

    def video(self, rng: Generator) -> tuple:
        scene = random_scene(rng, moving=True)
        frames = draw_film(scene, int(rng.choice([8, 8, 8, 16])), int(rng.choice([32, 64])))
        film = self.preprocessor.video(Video(noisy(frames, rng), FRAME_RATE))
        picks = self.preprocessor.video_frame_picks(len(frames), FRAME_RATE)
        shown = [[silhouette(scene, number / (len(frames) - 1)) for number in clip] for clip in picks]
        targets = scene_targets(scene, HEADS["video"])
        targets["silhouette"] = np.stack([np.concatenate(clip, axis=1) for clip in shown])
        return film, targets, film_caption(rng, scene)[0]

    def audio(self, rng: Generator) -> tuple:
        index = int(rng.integers(len(self.tones)))
        tone = self.tones[index]
        # A change of volume shifts log energies; the quietest ones are at the floor and stay there.
        shift = 2 * np.log(rng.uniform(0.3, 1.1)) / self.preprocessor.audio_std
        floor = self.sounds[index].min()
        sound = (
            torch.maximum(self.sounds[index] + shift, floor)
            + 0.03 * torch.from_numpy(rng.standard_normal((1, 1, 128, 204))).float()
        )
        return sound, tone_targets(tone), describe_sound(tone)

    def depth(self, rng: Generator) -> tuple:
        scene = random_scene(rng)
        thing = scene.things[0]
        caption = f"a depth map of a {thing.size} {thing.shape} {place_phrase(thing.place)}"
        return (
            self.preprocessor.depth(draw_depth(scene, rng)),
            scene_targets(scene, HEADS["depth"]) | patch_targets(scene),
            caption,
        )

    def thermal(self, rng: Generator) -> tuple:
        scene = random_scene(rng)
        thing = scene.things[0]
        caption = f"a thermal picture of a {thing.colour} {thing.shape} {place_phrase(thing.place)}"
        return (
            self.preprocessor.thermal(draw_thermal(scene, rng)),
            scene_targets(scene, HEADS["thermal"]) | patch_targets(scene),
            caption,
        )

    def imu(self, rng: Generator) -> tuple:
        index = int(rng.integers(len(MOTIONS)))
        signal = self.preprocessor.imu(Imu(feel(MOTIONS[index], rng), IMU_RATE))
        return signal, {"motion": np.array(index)}, f"a motion signal, {motion_phrase(MOTIONS[index])}"


def patch_targets(scene: Scene) -> dict[str, np.ndarray]:
    """For each patch the background, whether the square of a thing covers its middle, and that thing's shape, colour, place
    and exact square.

    The square is told as the way to its centre, in quarters of a patch, and its width, in sixty-fourths of the side by
    twos: a trunk that knows where in a thing a patch lies learns shapes much sooner.
    """
    middles = (np.arange(PATCHES) + 0.5) / PATCHES
    maps = {name: np.full((PATCHES, PATCHES), UNSAID) for name in DENSE}
    for thing in scene.things:
        (dx, x), (dy, y) = (
            (((centre - middles) * PATCHES + 2) * 4, np.abs(middles - centre) < thing.width / 2)
            for centre in thing.centre
        )
        covered = np.outer(y, x)
        values = {
            "patch_shape": SHAPES.index(thing.shape),
            "patch_place": PLACES.index(thing.place),
            "patch_colour": tuple(COLOURS).index(thing.colour),
            "patch_dx": np.broadcast_to(dx[None], covered.shape),
            "patch_dy": np.broadcast_to(dy[:, None], covered.shape),
            "patch_width": (thing.width * 64 - 14) / 2,
        }
        for name, value in values.items():
            classes = np.broadcast_to(np.asarray(value), covered.shape)
            maps[name][covered] = np.clip(np.floor(classes), 0, DENSE[name] - 1)[covered]
    maps["patch_filled"] = maps["patch_shape"] != UNSAID
    maps["patch_ground"][:] = tuple(BACKGROUNDS).index(scene.background)
    return {name: values.ravel() for name, values in maps.items()} | {"silhouette": silhouette(scene)}


def silhouette(scene: Scene, time: float = 0.5) -> np.ndarray:
    """Which pixels of each patch belong to a thing at a time of the film, bool (patches, pixels of a patch)."""
    side = 64
    canvas = np.zeros((side, side), bool)
    for thing in scene.things:
        now = at_time(thing, time)
        if now is None:
            continue
        mask, window = coverage(now, side)
        canvas[window] |= mask > 0.5
    size = side // PATCHES
    return canvas.reshape(PATCHES, size, PATCHES, size).swapaxes(1, 2).reshape(PATCHES**2, size**2)


class Training(nn.Module):
    """The model with what only its training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.model = build()
        self.heads = nn.ModuleDict(
            {
                m: AttributeHeads(DIM * CLIPS if m == "video" else DIM, names, linear=True)
                for m, names in HEADS.items()
            }
        )
        self.clip_heads = AttributeHeads(DIM, CLIP_HEADS, linear=True)
        self.dense = nn.ModuleDict(
            {
                m: nn.ModuleDict({k: nn.Linear(DIM, n) for k, n in DENSE.items() if k not in unseen})
                for m, unseen in UNSEEN.items()
            }
        )
        self.silhouettes = nn.ModuleDict()
        self.halfway: dict[
            str, torch.Tensor
        ] = {}  # what a trunk's SILHOUETTE_BLOCK last gave, (B, tokens, width)
        for modality in (*self.dense, "video"):
            name = VISION.get(modality, modality)
            pictures = self.model.config.kernel_size[0] if modality == "video" else 1
            self.silhouettes[modality] = nn.Linear(
                self.model.config.embed_dim(name), pictures * (64 // PATCHES) ** 2
            )
        for name in ("vision", "depth", "thermal"):
            trunk: Any = self.model.modality_trunks[name]
            trunk.blocks[SILHOUETTE_BLOCK].register_forward_hook(partial(self._keep, name))
        self.log_temperature = nn.Parameter(torch.tensor(2.0))

    def _keep(self, name: str, block: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self.halfway[name] = output

    def loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, dict[str, float]]]:
        total, right = torch.zeros(()), {}
        captions = torch.cat([ids for _, _, ids in batch.values()])
        texts = nn.functional.normalize(self.model({"text": captions})["text"], dim=-1)
        texts_of = dict(zip(batch, texts.split([len(ids) for _, _, ids in batch.values()]), strict=True))
        for modality, (media, targets, ids) in batch.items():
            name = VISION.get(modality, modality)
            flat = media.flatten(0, 1) if media.ndim >= 5 else media
            projected = self.model.head(name, self.model.trunk(name, self.model.tokens(name, flat)))
            clips = nn.functional.normalize(
                projected[:, 0].unflatten(0, (len(media), -1)), dim=-1
            )  # (B, clips, DIM)
            attribute_loss, right[modality] = self.heads[modality](clips.flatten(1) * DIM**0.5, targets)
            total = total + attribute_loss
            if modality == "video":
                each = {name: targets[name].repeat_interleave(CLIPS) for name in CLIP_HEADS}
                total = total + self.clip_heads(clips.flatten(0, 1) * DIM**0.5, each)[0]
            if modality in self.dense:
                dense: Any = self.dense[modality]
                for kind, layer in dense.items():
                    total = total + nn.functional.cross_entropy(
                        layer(projected[:, 1:]).flatten(0, 1), targets[kind].flatten(), ignore_index=UNSAID
                    )
            if modality in self.silhouettes:
                seen = self.silhouettes[modality](self.halfway[name][:, 1:])
                total = total + 4 * nn.functional.binary_cross_entropy_with_logits(
                    seen, targets["silhouette"].view_as(seen).float()
                )
            logits = (
                nn.functional.normalize(clips.mean(1), dim=-1)
                @ texts_of[modality].T
                * self.log_temperature.exp()
            )
            # Two equal captions in a batch are both right.
            same = (ids[:, None] == ids[None]).all(-1).float()
            same = same / same.sum(1, keepdim=True)
            contrastive = nn.functional.cross_entropy(logits, same) + nn.functional.cross_entropy(
                logits.T, same.T
            )
            total = total + 0.1 * contrastive
        return total, right


def train(
    work_dir: Path, steps: int = 1500
) -> tuple[ImageBindModel, ImageBindPreprocessor, ImageBindTokenizer]:
    torch.manual_seed(0)
    training, batches = Training(), Batches()
    report: dict[str, dict[str, float]] = {}

    def loss_of(batch: Batch, step: int) -> torch.Tensor:
        loss, right = training.loss(batch)
        for modality, shares in right.items():
            kept = report.setdefault(modality, {})
            for name, share in shares.items():
                kept[name] = 0.95 * kept.get(name, share) + 0.05 * share
        if step % 100 == 99:
            print(
                {m: {n: round(v, 2) for n, v in shares.items()} for m, shares in report.items()}, flush=True
            )
        return loss

    fit(
        "imagebind",
        training,
        loss_of,
        batches,
        steps=steps,
        learning_rate=1.5e-3,
        work_dir=work_dir,
        ema_decay=0.998,
    )
    return training.model, batches.preprocessor, batches.tokenizer
