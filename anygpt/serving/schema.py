"""The requests' fields, by OpenAI's names, and what is done about those that this server has no use for.

Fields that change nothing about an answer are taken and left aside; fields that would change it, and that cannot be
heeded, are refused unless they say what is done anyhow.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from anygpt.serving.limits import MAX_CHOICES, MAX_FRAMES, MAX_MADE_SECONDS, MAX_SIDE, MAX_STEPS

LEFT_ASIDE = frozenset(
    "user metadata store service_tier safety_identifier prompt_cache_key prompt_cache_retention "
    "parallel_tool_calls reasoning_effort verbosity quality background style moderation partial_images "
    "input_fidelity instructions voice".split()
)
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "negative_prompt": ("",),
    "speed": (1,),
    "audio_start": (0,),
}
AUDIO_FORMATS = Literal["wav", "flac", "mp3", "opus", "pcm16"]
IMAGE_FORMATS = Literal["png", "jpeg", "webp"]
Side = Annotated[int, Field(ge=8, le=MAX_SIDE, multiple_of=8)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Choices = Annotated[int, Field(ge=1, le=MAX_CHOICES)]


class Body(BaseModel):
    """A request's body; extra fields may also come under a literal `extra_body`."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    seed: Seed | None = None
    num_inference_steps: int | None = Field(None, ge=1, le=MAX_STEPS)
    guidance_scale: float | None = Field(None, ge=0, le=100)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        extra = given.get("extra_body")
        fields = {**given, **(extra if isinstance(extra, dict) else {})}
        fields.pop("extra_body", None)
        kept = {}
        for name, value in fields.items():
            if name in cls.model_fields:
                if value is not None:
                    kept[name] = value
            elif name in NEUTRAL:
                if value is not None and value not in NEUTRAL[name]:
                    raise ValueError(f"{name} is not supported by this server; leave it out")
            elif name not in LEFT_ASIDE:
                kept[name] = value  # forbidden, and named in the refusal
        return kept

    def steering(self) -> dict[str, Any]:
        """The settings that every decoder has, as far as they were given."""
        given = {"num_inference_steps": self.num_inference_steps, "guidance_scale": self.guidance_scale}
        return {name: value for name, value in given.items() if value is not None}


class Strict(BaseModel):
    """A part of a body."""

    model_config = ConfigDict(extra="forbid")


class Url(Strict):
    url: str
    detail: str | None = None  # of a picture: the encoder sees what it sees

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        return {"url": given} if isinstance(given, str) else given


class InputAudio(Strict):
    data: str
    format: str | None = None  # the bytes say it


class TextPart(Strict):
    type: Literal["text"]
    text: str


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: Url
    caption: str | None = None


class InputAudioPart(Strict):
    type: Literal["input_audio"]
    input_audio: InputAudio


class AudioPart(Strict):
    type: Literal["audio_url"]
    audio_url: Url
    caption: str | None = None


class VideoPart(Strict):
    type: Literal["video_url"]
    video_url: Url
    caption: str | None = None


class DepthPart(Strict):
    type: Literal["depth_url"]
    depth_url: Url


class ThermalPart(Strict):
    type: Literal["thermal_url"]
    thermal_url: Url


class ImuPart(Strict):
    type: Literal["imu_url"]
    imu_url: Url


ContentPart = Annotated[
    TextPart | ImagePart | InputAudioPart | AudioPart | VideoPart | DepthPart | ThermalPart | ImuPart,
    Field(discriminator="type"),
]


class EarlierAudio(BaseModel):
    """The sound of an earlier answer, as it was sent or by its id alone."""

    id: str
    caption: str | None = None


class ChatMessage(BaseModel):
    """A message; of an earlier answer, fields that say nothing here are left aside."""

    role: Literal["system", "developer", "user", "assistant"]
    content: list[ContentPart] | None = None
    audio: EarlierAudio | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [{"type": "text", "text": value}] if isinstance(value, str) else value


class StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: bool = False
    include_progress: bool = False


class AudioOut(BaseModel):
    format: AUDIO_FORMATS = "wav"


class ChatBody(Body):
    """POST /v1/chat/completions"""

    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    inside: bool = False
    n: Choices = 1
    stop: list[str] = Field([], max_length=4)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    modalities: list[str] | None = None
    audio: AudioOut = AudioOut()
    height: Side | None = None
    width: Side | None = None
    num_frames: int | None = Field(None, ge=1, le=MAX_FRAMES)
    audio_length: float | None = Field(None, gt=0, le=MAX_MADE_SECONDS)

    @field_validator("stop", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Sized(Body):
    """A body that asks for pictures or a film, with a size in either of two ways."""

    size: str | None = Field(None, pattern=r"^(\d{1,4}x\d{1,4}|auto)$")
    height: Side | None = None
    width: Side | None = None

    @model_validator(mode="after")
    def _sized(self) -> Self:
        if self.size and self.size != "auto":
            width, height = map(int, self.size.split("x"))
            if min(width, height) < 8 or max(width, height) > MAX_SIDE or width % 8 or height % 8:
                raise ValueError(
                    f"size: each side must be a multiple of 8, from 8 to {MAX_SIDE}, not {self.size}"
                )
            self.width, self.height = width, height
        return self

    def settings(self) -> dict[str, Any]:
        """The decoder's settings that were given."""
        given = {"height": self.height, "width": self.width}
        return self.steering() | {name: value for name, value in given.items() if value is not None}


class ImagesBody(Sized):
    """POST /v1/images/generations, and the fields beside the files of /v1/images/edits"""

    prompt: str = Field(min_length=1)
    n: Choices = 1
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: IMAGE_FORMATS = "png"
    output_compression: int = Field(100, ge=0, le=100)
    stream: Literal[False] = False


class AudioBody(Body):
    """POST /v1/audio/generate"""

    input: str = Field(min_length=1)
    response_format: AUDIO_FORMATS = "wav"
    audio_length: float | None = Field(None, gt=0, le=MAX_MADE_SECONDS)


class VideoBody(Sized):
    """POST /v1/videos, beside its file"""

    prompt: str = Field(min_length=1)
    seconds: float | None = Field(None, gt=0, le=MAX_MADE_SECONDS)
    num_frames: int | None = Field(None, ge=1, le=MAX_FRAMES)
