"""The toy world as a data source: conversations with their media drawn, for the training stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator
from PIL import Image
from torch.utils.data import Dataset

from anygpt.config import ConfigError, unknown
from anygpt.messages import Conversation
from anygpt.toyworld.dialogues import OTHER_STARTS, STARTS, Part, conversation
from anygpt.toyworld.drawing import FRAME_RATE, draw_depth, draw_film, draw_picture, draw_thermal, noisy
from anygpt.toyworld.scenes import Scene
from anygpt.toyworld.sounds import IMU_RATE, RATE, feel, play
from encoders.media import Audio, Imu, Video

SIDE, FRAMES = 64, 8
NAMES = (*STARTS, *OTHER_STARTS)  # of all ways to begin


def seen(scene: Scene) -> bool:
    """Whether the training stages may see this scene; the others are kept for measurements."""
    return not scene.held_out


class ToyWorld(Dataset[Conversation]):
    """Conversations in the form of `anygpt.messages`; the i-th depends on `seed` and i alone.

    Args:
        size: how many.
        seed: another seed, other conversations.
        starts: how conversations begin: some of `NAMES`, with weights.
        turns: numbers of exchanges; each conversation has one of them.
        draw_outputs: in which share of the conversations to draw also what the assistant answers with, as the
            denoising loss needs it: pictures and 8 frames of films, of 64 pixels.
        accept: which scenes may occur, in media and in words.

    Raises:
        ConfigError: a start that there is not, or a weight that is none.
    """

    def __init__(
        self,
        size: int,
        seed: int = 0,
        *,
        starts: dict[str, float] = STARTS,
        turns: Sequence[int] = (1,),
        draw_outputs: float = 0.0,
        accept: Callable[[Scene], bool] = seen,
    ) -> None:
        for name, weight in starts.items():
            if name not in NAMES:
                raise ConfigError(f"starts: {unknown('name', name, NAMES)}")
            if weight <= 0:
                raise ConfigError(f"starts: the weight of {name!r} must be above 0, not {weight}")
        self.size, self.seed = size, seed
        self.starts, self.turns = starts, turns
        self.draw_outputs = draw_outputs
        self.accept = accept

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Conversation:
        if not 0 <= index < self.size:
            raise IndexError(f"conversation {index} of {self.size}")
        rng = np.random.default_rng([self.seed, index])
        turns = self.turns[int(rng.integers(len(self.turns)))]
        messages = conversation(rng, turns=turns, starts=self.starts, accept=self.accept)
        draw_outputs = rng.random() < self.draw_outputs

        def drawn(role: str, part: Part) -> Part:
            kind = part["type"]
            if kind == "text":
                return part
            if role == "user":
                return {"type": kind, kind: GIVEN[kind](part, rng)}
            answer = {"type": kind, "caption": part["caption"]}
            return {**answer, kind: WANTED[kind](part, rng)} if draw_outputs else answer

        return [
            {
                **message,
                "content": [drawn(message["role"], part) for part in message["content"]],
            }
            for message in messages
        ]


def _image(part: Part, rng: Generator) -> Image.Image:
    return Image.fromarray(noisy(draw_picture(part["scene"], SIDE), rng))


def _video(part: Part, rng: Generator) -> Video:
    frames, side = (
        int(rng.choice([FRAMES, FRAMES, 2 * FRAMES])),
        int(rng.choice([32, SIDE])),
    )
    return Video(noisy(draw_film(part["scene"], frames, side), rng), FRAME_RATE)


def _audio(part: Part, rng: Generator) -> Audio:
    return Audio(play(part["tone"], rng)[None], RATE)


def _imu(part: Part, rng: Generator) -> Imu:
    return Imu(feel(part["motion"], rng), IMU_RATE)


GIVEN: dict[str, Callable[[Part, Generator], object]] = {
    "image": _image,
    "video": _video,
    "audio": _audio,
    "depth": lambda part, rng: draw_depth(part["scene"], rng, SIDE),
    "thermal": lambda part, rng: draw_thermal(part["scene"], rng, SIDE),
    "imu": _imu,
}
WANTED: dict[str, Callable[[Part, Generator], object]] = {
    "image": lambda part, rng: Image.fromarray(draw_picture(part["scene"], SIDE)),
    "video": lambda part, rng: Video(draw_film(part["scene"], FRAMES, SIDE), FRAME_RATE),
    "audio": _audio,
}
