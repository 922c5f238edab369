"""What a request may ask for, and how many at once."""

from __future__ import annotations

from dataclasses import dataclass

MAX_SIDE = 2048  # pixels, of what is made
MAX_FRAMES = 256
MAX_STEPS = 200  # of a decoder
MAX_MADE_SECONDS = 60.0  # of sound
MAX_CHOICES = 10
MAX_MEDIA = 64  # in one request
MAX_SAMPLES = 64_000_000  # of all sounds in a request, their channels counted singly: 256 MB as they are read


@dataclass(frozen=True)
class Limits:
    """Limits that whoever runs the server may set.

    Attributes:
        bytes: of a request's body; of all media together that are fetched for it.
        pixels: of all pictures and all frames of films in a request.
        audio_seconds, video_seconds: of one sound, of one film.
        tokens: of prompt and answer together; None is what the LLM can read.
        time: seconds from a request's arrival to the end of its answer.
        batch: answers that the LLM works on at once.
        queue: answers that wait for their turn; more are turned away.
    """

    bytes: int = 64 * 2**20
    pixels: int = 256_000_000
    audio_seconds: float = 300.0
    video_seconds: float = 60.0
    tokens: int | None = None
    time: float = 300.0
    batch: int = 16
    queue: int = 64
