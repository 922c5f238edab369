"""Films as jobs: asked for, looked after, fetched, deleted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from anygpt.generation import MediaProgress
from anygpt.media import write
from anygpt.serving.errors import ApiError, as_api_error
from anygpt.serving.service import Answers

KEPT = 100  # films
EXPIRES = 3600  # seconds


@dataclass(eq=False)
class Film:
    """A film that was asked for; `path` is its file once it is complete."""

    answers: Answers
    prompt: str
    model: str
    seconds: str
    size: str
    path: Path
    id: str = field(default_factory=lambda: f"video_{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    completed: int | None = None
    status: str = "queued"
    progress: int = 0
    error: dict[str, Any] | None = None

    def told(self) -> dict[str, Any]:
        """The job as OpenAI's clients read it."""
        return {
            "id": self.id,
            "object": "video",
            "model": self.model,
            "status": self.status,
            "progress": self.progress,
            "prompt": self.prompt,
            "seconds": self.seconds,
            "size": self.size,
            "created_at": self.created,
            "completed_at": self.completed,
            "expires_at": self.created + EXPIRES,
            "error": self.error,
            "remixed_from_video_id": None,
        }


class Films:
    """The films of one server; the oldest make room for new ones, and none is kept for long."""

    def __init__(self) -> None:
        self._films: dict[str, Film] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, film: Film) -> None:
        """Keep a film, and watch over its making."""
        self._expire()
        while len(self._films) >= KEPT:
            self.remove(next(iter(self._films)))
        self._films[film.id] = film
        task = asyncio.create_task(self._make(film))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def get(self, name: str) -> Film:
        """A film by its id."""
        self._expire()
        if name not in self._films:
            raise ApiError(404, f"there is no video {name!r}", param="video_id", code="not_found")
        return self._films[name]

    def newest(self) -> list[Film]:
        """All films, the newest first."""
        self._expire()
        return list(self._films.values())[::-1]

    def remove(self, name: str) -> None:
        """Forget a film; one that is being made is stopped."""
        film = self._films.pop(name)
        film.answers.cancel()
        film.path.unlink(missing_ok=True)

    async def finish(self) -> None:
        """Wait for those that are being made."""
        await asyncio.gather(*self._tasks)

    def _expire(self) -> None:
        for film in list(self._films.values()):
            if film.created + EXPIRES < time.time():
                self.remove(film.id)

    async def _make(self, film: Film) -> None:
        answers = film.answers
        try:
            async with contextlib.aclosing(answers.events()) as events:
                async for _, event in events:
                    film.status = "in_progress"
                    if isinstance(event, MediaProgress):
                        film.progress = min(99, 100 * event.step // event.steps)
            videos = answers.replies[0].videos
            if not videos:
                raise ApiError(400, answers.replies[0].text, code="unknown_media")
            await asyncio.to_thread(write, "video", videos[0], film.path)
            if film.id not in self._films:  # removed while it was written
                film.path.unlink(missing_ok=True)
            height, width = videos[0].frames.shape[1:3]
            film.seconds, film.size = f"{len(videos[0].frames) / videos[0].fps:g}", f"{width}x{height}"
            film.status, film.progress, film.completed = "completed", 100, int(time.time())
        except Exception as error:
            told = as_api_error(error)
            film.status, film.error = "failed", {"code": told.code or "failed", "message": told.detail}
        finally:
            answers.jobs.clear()  # the film is in its file now
