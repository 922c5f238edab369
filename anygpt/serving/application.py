"""The application: OpenAI's routes in front of a service."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from anygpt.generation import MediaDone, MediaProgress, TextDelta
from anygpt.messages import Conversation
from anygpt.serving.conversation import conversation_of
from anygpt.serving.door import Door
from anygpt.serving.engine import Engine
from anygpt.serving.errors import EXPECTED, ApiError, as_api_error
from anygpt.serving.intake import Intake
from anygpt.serving.limits import MAX_FRAMES, MAX_MEDIA, Limits
from anygpt.serving.metrics import Metrics
from anygpt.serving.schema import AudioBody, Body, ChatBody, ImagesBody, VideoBody
from anygpt.serving.service import Answers, Service
from anygpt.serving.videos import Film, Films
from anygpt.serving.wire import MEDIA_TYPES, SOUNDS, Wire, as_picture, as_sound, data_url, usage

if TYPE_CHECKING:
    from anygpt.model import AnyGPT

AnyBody = TypeVar("AnyBody", bound=Body)


def create(
    model: AnyGPT,
    name: str,
    *,
    limits: Limits | None = None,
    api_key: str | None = None,
    allow_remote_media: bool = False,
    engine: Callable[[AnyGPT, Limits, Metrics], Any] = Engine,
) -> FastAPI:
    """The application for one model; it starts its threads when it is served, and ends them when that ends.

    Args:
        name: what the model is called in `/v1/models`.
        api_key: wanted at all routes under /v1; None lets everybody in.
        allow_remote_media: fetch media from public http and https addresses.
        engine: makes what does the jobs (see `Service`).
    """
    limits = limits or Limits()
    files = tempfile.TemporaryDirectory(prefix="anygpt-serve-", ignore_cleanup_errors=True)
    service = Service(model, name, limits, Path(files.name), allow_remote_media, engine)
    films = Films()

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        with files:
            await asyncio.to_thread(service.start)
            yield
            await films.finish()
            await asyncio.to_thread(service.close)

    app = FastAPI(title="anygpt", docs_url=None, redoc_url=None, lifespan=life)
    app.add_middleware(Door, key=api_key, most=limits.bytes, patience=limits.time, metrics=service.metrics)
    for kind in (*EXPECTED, Exception):  # those that are named do not come into the log with a traceback
        app.add_exception_handler(kind, _tell_error)
    app.add_exception_handler(RequestValidationError, _tell_mistake)
    created = int(time.time())

    def as_model() -> dict[str, Any]:
        return {"id": name, "object": "model", "created": created, "owned_by": "anygpt"}

    def check_model(wanted: str | None) -> None:
        if wanted not in (None, name):
            raise ApiError(
                404,
                f"there is no model {wanted!r} here, only {name!r}",
                param="model",
                code="model_not_found",
            )

    def check_makes(modality: str) -> None:
        if modality not in model.config.outputs:
            made = ", ".join(model.config.outputs) or "text alone"
            raise ApiError(400, f"this model does not make {modality}; it makes {made}", param="model")

    async def one_medium(
        modality: str, body: Body, prompt: str, settings: dict[str, Any], uploads: list[bytes], count: int = 1
    ) -> Answers:
        """Answers of one medium each, to a prompt about uploaded pictures."""
        check_model(body.model)
        check_makes(modality)

        def conversation(intake: Intake) -> Conversation:
            pictures = [{"type": "image", "image": intake.from_bytes("image", data)} for data in uploads]
            return [{"role": "user", "content": [*pictures, {"type": "text", "text": prompt}]}]

        options = {"seed": body.seed, "modalities": [modality], "max_media": 1, modality: settings}
        return await service.answers(conversation, options, count=count)

    @app.get("/health")
    async def health() -> JSONResponse:
        alive = service.engine.alive
        return JSONResponse({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [as_model()]}

    @app.get("/v1/models/{model_id:path}")
    async def one_model(model_id: str) -> dict[str, Any]:
        check_model(model_id)
        return as_model()

    @app.post("/v1/chat/completions")
    async def chat(body: ChatBody, request: Request) -> Response:
        check_model(body.model)
        if body.modalities is not None:
            known = ("text", *model.config.outputs)
            if not body.modalities or not set(body.modalities) <= set(known):
                raise ApiError(
                    400,
                    f"unsupported output modalities {body.modalities}; this model has {', '.join(known)}",
                    param="modalities",
                )
        answers = await service.answers(
            lambda intake: conversation_of(body.messages, intake),
            _chat_options(body, list(model.config.outputs)),
            count=body.n,
            new_tokens=body.max_completion_tokens or body.max_tokens,
        )
        wire = Wire(name, body.modalities, body.audio.format, service.folder)
        if body.stream:
            events = _stream(wire, answers, body, request)
            return StreamingResponse(
                events, media_type="text/event-stream", headers={"Cache-Control": "no-store"}
            )
        replies = await answers.all(_gone(request))
        choices = [(reply.content, answers.finish_reason(index)) for index, reply in enumerate(replies)]
        counts = usage(answers.prompt_tokens, answers.completion_tokens)
        completion = await asyncio.to_thread(wire.completion, choices, counts)
        if body.inside:
            for index, choice in enumerate(completion["choices"]):
                choice["inside"] = answers.inside(index)
        return JSONResponse(completion)

    @app.post("/v1/images/generations")
    async def generate_images(body: ImagesBody, request: Request) -> dict[str, Any]:
        return await images(body, request, [])

    @app.post("/v1/images/edits")
    async def edit_images(request: Request) -> dict[str, Any]:
        if "image" not in model.config.inputs:
            raise ApiError(400, "this model sees no pictures, so it cannot edit any", param="model")
        body, uploads = await _form(request, ImagesBody, ("image", "image[]"))
        if not uploads:
            raise ApiError(400, "image: a picture to edit is missing", param="image")
        return await images(body, request, uploads)

    async def images(body: ImagesBody, request: Request, uploads: list[bytes]) -> dict[str, Any]:
        answers = await one_medium("image", body, body.prompt, body.settings(), uploads, body.n)
        replies = await answers.all(_gone(request))
        data = []
        for reply in replies:
            if not reply.images:
                raise ApiError(400, reply.text, code="unknown_media")
            picture = await asyncio.to_thread(
                as_picture, reply.images[0], body.output_format, body.output_compression, service.folder
            )
            entry: dict[str, str | None] = {
                "b64_json": None,
                "url": None,
                "revised_prompt": reply.text or None,
            }
            if body.response_format == "url":
                entry["url"] = data_url(f"image/{body.output_format}", picture)
            else:
                entry["b64_json"] = base64.b64encode(picture).decode()
            data.append(entry)
        width, height = replies[0].images[0].size
        size = {"output_format": body.output_format, "size": f"{width}x{height}"}
        return {"created": int(time.time()), "data": data, **size}

    @app.post("/v1/audio/generate")
    async def generate_audio(body: AudioBody, request: Request) -> Response:
        settings = body.steering() | ({"seconds": body.audio_length} if body.audio_length else {})
        answers = await one_medium("audio", body, body.input, settings, [])
        (reply,) = await answers.all(_gone(request))
        sound = await asyncio.to_thread(as_sound, reply.audios[0], body.response_format, service.folder)
        return Response(sound, media_type=SOUNDS[body.response_format][2])

    @app.post("/v1/videos")
    async def create_video(request: Request) -> dict[str, Any]:
        if request.headers.get("content-type", "").startswith("application/json"):
            body = await _json(request, VideoBody)
            uploads: list[bytes] = []
        else:
            body, uploads = await _form(request, VideoBody, ("input_reference",))
        settings = body.settings()
        check_makes("video")
        frames = body.num_frames or (
            round(body.seconds * service.engine.rate("video")) if body.seconds else None
        )
        if frames is not None:
            if not 1 <= frames <= MAX_FRAMES:
                raise ApiError(400, f"a film has 1 to {MAX_FRAMES} frames, not {frames}", param="seconds")
            settings["num_frames"] = frames
        answers = await one_medium("video", body, body.prompt, settings, uploads)
        film = Film(
            answers,
            body.prompt,
            name,
            f"{body.seconds:g}" if body.seconds else "",
            body.size or "",
            service.folder / f"{uuid4().hex}.mp4",
        )
        films.add(film)
        return film.told()

    @app.get("/v1/videos")
    async def list_videos() -> dict[str, Any]:
        data = [film.told() for film in films.newest()]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
        return {"object": "list", "data": data, "has_more": False, "first_id": None, "last_id": None} | ends

    @app.get("/v1/videos/{video_id}")
    async def video(video_id: str) -> dict[str, Any]:
        return films.get(video_id).told()

    @app.get("/v1/videos/{video_id}/content")
    async def video_content(video_id: str) -> Response:
        film = films.get(video_id)
        if film.status != "completed":
            raise ApiError(409, f"the video is {film.status}", code="not_ready")
        return FileResponse(film.path, media_type=MEDIA_TYPES["video"])

    @app.delete("/v1/videos/{video_id}")
    async def delete_video(video_id: str) -> dict[str, Any]:
        films.remove(films.get(video_id).id)
        return {"id": video_id, "object": "video.deleted", "deleted": True}

    return app


def _chat_options(body: ChatBody, outputs: list[str]) -> dict[str, Any]:
    """The Python API's options for a chat."""
    sizes = {"height": body.height, "width": body.width}
    own: dict[str, dict[str, Any]] = {
        "image": sizes,
        "audio": {"seconds": body.audio_length},
        "video": {**sizes, "num_frames": body.num_frames},
    }
    settings = {
        modality: body.steering()
        | {name: value for name, value in own[modality].items() if value is not None}
        for modality in outputs
    }
    options = {"seed": body.seed, "temperature": body.temperature, "top_p": body.top_p, "stop": body.stop}
    if body.modalities is not None:
        options["modalities"] = [modality for modality in body.modalities if modality != "text"]
    return options | settings


async def _stream(wire: Wire, answers: Answers, body: ChatBody, request: Request) -> AsyncIterator[str]:
    """An answer as server-sent events; what goes wrong on the way is told as one."""
    for index in range(body.n):
        yield _sse(wire.chunk(index, {"role": "assistant", "content": ""}, modality="text"))
    try:
        events = answers.events(_gone(request))
        async with contextlib.aclosing(events):
            async for index, event in events:
                match event:
                    case TextDelta(text) if wire.shows("text"):
                        yield _sse(wire.chunk(index, {"content": text}, modality="text"))
                    case MediaProgress(modality, number, step, steps) if body.stream_options.include_progress:
                        yield _sse(wire.progress_chunk(index, modality, number, step, steps))
                    case MediaDone(modality, number, medium):
                        parts = [p for p in answers.replies[index].content if p["type"] == modality]
                        caption = parts[number].get("caption")
                        delta: dict[str, Any]
                        if modality == "audio" and number == 0:
                            delta = {"audio": await asyncio.to_thread(wire.audio, medium, caption)}
                        else:
                            part = await asyncio.to_thread(wire.part, modality, medium, caption)
                            delta = {"content": [part]}
                        yield _sse(wire.chunk(index, delta, modality=modality))
        for index in range(body.n):
            extra = {"inside": answers.inside(index)} if body.inside else {}
            yield _sse(wire.chunk(index, {}, answers.finish_reason(index), **extra))
        if body.stream_options.include_usage:
            yield _sse(wire.usage_chunk(usage(answers.prompt_tokens, answers.completion_tokens)))
    except Exception as error:
        yield _sse(as_api_error(error).body)
    yield "data: [DONE]\n\n"


def _sse(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


async def _gone(request: Request) -> None:
    """Returns when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _json(request: Request, kind: type[AnyBody]) -> AnyBody:
    try:
        return kind.model_validate(json.loads(await request.body()))
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    except ValueError:
        raise ApiError(400, "the body is not JSON") from None


async def _form(request: Request, kind: type[AnyBody], files: tuple[str, ...]) -> tuple[AnyBody, list[bytes]]:
    """A multipart body: its fields, and the bytes of the files that these fields hold; file names are not looked at."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError(415, "this route takes multipart/form-data")
    fields: dict[str, Any] = {}
    uploads: list[bytes] = []
    async with request.form(max_files=MAX_MEDIA, max_fields=100) as form:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                fields[name] = value
            elif name in files:
                uploads.append(await value.read())
            else:
                raise ApiError(400, f"{name}: no file is taken here", param=name)
    try:
        return kind.model_validate(fields), uploads
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


async def _tell_error(_: Request, error: Exception) -> Response:
    told = as_api_error(error)
    return JSONResponse(told.body, told.status_code, told.headers)


async def _tell_mistake(_: Request, error: Exception) -> Response:
    """A body that does not fit the schema: the first thing that is wrong with it."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = [str(step) for step in first["loc"] if step != "body"]
    param = ".".join(where) or None
    problem = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        problem = "unknown field"
    elif first["type"] == "json_invalid":
        param, problem = None, "the body is not JSON"
    told = ApiError(400, f"{param}: {problem}" if param else problem, param=param)
    return JSONResponse(told.body, told.status_code)
