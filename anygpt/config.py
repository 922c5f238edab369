"""The checkpoint's config.json as frozen dataclasses."""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

MODEL_TYPE = "anygpt"
INPUT_MODALITIES = ("image", "audio", "video", "depth", "thermal", "imu")
OUTPUT_MODALITIES = ("image", "audio", "video")
Way = Literal["signals", "captions"]
Features = Literal["pooled", "patches", "both"]
WayIn = Literal["adapter", "llm"]


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key and what is accepted."""


@dataclass(frozen=True)
class AdapterConfig:
    """How features become LLM embeddings.

    The sizes concern `q-former` and `perceiver`; where they are None, they are the papers'.

    Attributes:
        kind: a key of `anygpt.adapters.ADAPTERS`.
        tokens: how many LLM embeddings each feature token (or query) becomes.
        queries: learned queries of a `q-former` (32), or latents of a `perceiver` (64).
        hidden_size: width of a `q-former` (768); a `perceiver` is as wide as the features.
        num_layers: 12 in a `q-former`, 6 in a `perceiver`.
        num_heads: 12 in a `q-former`, 8 in a `perceiver`.
        feedforward: width within a `q-former`'s feed-forward (3072); a `perceiver`'s is 4 times its width.
        frames: how many frames or clips a medium's features come from: `linear` and `mlp` read them joined, a
            `perceiver` gives each a time embedding.
    """

    kind: str = "linear"
    tokens: int = 1
    queries: int | None = None
    hidden_size: int | None = None
    num_layers: int | None = None
    num_heads: int | None = None
    feedforward: int | None = None
    frames: int = 1


@dataclass(frozen=True)
class ProjectionConfig:
    """How the hidden states of a run of signal tokens become the decoder's conditioning.

    The sizes concern `kind="transformer"` alone; their defaults are NExT-GPT's.
    """

    kind: str = "transformer"
    hidden_size: int = 512
    num_layers: int = 4
    num_heads: int = 4
    feedforward: int = 2048


@dataclass(frozen=True)
class InputConfig:
    """One modality the model takes.

    Attributes:
        way: through an encoder and a trained `adapter`, or through the `llm`'s own eyes or ears, of an LLM that has them: then
            nothing else is needed here but `around`.
        encoder: a folder (absolute, or relative to the checkpoint) or a hub id.
        features: `pooled` embeddings, `patches` (every token of the encoder's last layer), or `both`: of each frame the
            pooled embedding, then its patches.
        dim: width of those features; None means ask the encoder (and it is written when the model is saved).
        around: texts that stand before and after each medium in the prompt, special tokens of the LLM's among them,
            e.g. NExT-GPT's ["<Img>", "</Img>"].
    """

    encoder: str = ""
    features: Features = "pooled"
    adapter: AdapterConfig = AdapterConfig()
    dim: int | None = None
    around: tuple[str, str] = ("", "")
    way: WayIn = "adapter"


@dataclass(frozen=True)
class OutputConfig:
    """One modality the model makes.

    Attributes:
        decoder: a folder (absolute, or relative to the checkpoint) or a hub id of a diffusers pipeline.
        signal_tokens: length of the modality's run of signal tokens.
        conditioning: (tokens, dim) that the decoder takes; None means ask it (and it is written on saving).
        generation: the decoder's settings unless a call says otherwise, e.g. {"num_inference_steps": 20}.
        signal_words: a text of as many tokens; a new run's input rows start as theirs. A frozen LLM makes something of
            words it knows from the first step on, "The background is" for instance (prompt tuning's start from the
            vocabulary: Lester et al. 2021, section 3.2). None starts near the mean of all rows.
        way: how the LLM says what to make: by `signals`, which are trained, or through `captions`, which an instruct
            LLM writes and the decoder's own text encoder reads. The trained parts are there in both ways.
        scheduler: the diffusers class that samples, e.g. "DPMSolverMultistepScheduler", which makes do with fewer steps; None
            takes the pipeline's own.
    """

    decoder: str
    signal_tokens: int = 4
    projection: ProjectionConfig = ProjectionConfig()
    conditioning: tuple[int, int] | None = None
    generation: dict[str, Any] = field(default_factory=dict)
    signal_words: str | None = None
    way: Way = "signals"
    scheduler: str | None = None


@dataclass(frozen=True)
class SignalsConfig:
    """How runs of signal tokens stand among text.

    The defaults are this project's; published models have learned their tokenizer's ways, so theirs may differ.

    Attributes:
        gap: a token id of the LLM's that stands between every two signal tokens of a run, and is part of the run: its
            states go to the projection as well.
        strip: white space around a run is left out.
    """

    gap: int | None = None
    strip: bool = False


@dataclass(frozen=True)
class LoraConfig:
    """A PEFT adapter folder on the LLM, relative to the checkpoint."""

    path: str = "lora"


@dataclass(frozen=True)
class CrossAttentionConfig:
    """Gated layers in the LLM that look at media, as Flamingo's.

    Attributes:
        every: a gated layer stands before every so many layers of the LLM: n, 2n, … counted from 1.
        looks_at: text looks at the `last` medium before it, or at `all` before it.
        num_heads: of each gated layer.
    """

    every: int = 4
    looks_at: Literal["last", "all"] = "last"
    num_heads: int = 8


@dataclass(frozen=True)
class AnyGPTConfig:
    """What a model is made of.

    Attributes:
        llm: a folder (absolute, or relative to the checkpoint) or a hub id.
        media_attention: the LLM reads a medium's tokens `causal`ly, as text, or they see each other both ways
            (`bidirectional`); another medium's and text stay causal.
        cross_attention: if given, the LLM's layers look at media, instead of reading them as tokens.
        signals: how runs of signal tokens stand among text.
    """

    llm: str
    inputs: dict[str, InputConfig] = field(default_factory=dict)
    outputs: dict[str, OutputConfig] = field(default_factory=dict)
    lora: LoraConfig | None = None
    media_attention: Literal["causal", "bidirectional"] = "causal"
    cross_attention: CrossAttentionConfig | None = None
    signals: SignalsConfig = SignalsConfig()

    def __post_init__(self) -> None:
        for where, given, known in (
            ("inputs", self.inputs, INPUT_MODALITIES),
            ("outputs", self.outputs, OUTPUT_MODALITIES),
        ):
            for modality in given:
                if modality not in known:
                    raise ConfigError(f"{where}: {unknown('modality', modality, known)}")
        for modality, output in self.outputs.items():
            if output.way not in (ways := typing.get_args(Way)):
                raise ConfigError(f"outputs.{modality}.way: {unknown('way', output.way, ways)}")
            if output.signal_tokens < 1:
                raise ConfigError(
                    f"outputs.{modality}.signal_tokens must be at least 1, not {output.signal_tokens}"
                )
        for modality, entry in self.inputs.items():
            if entry.way not in (ways := typing.get_args(WayIn)):
                raise ConfigError(f"inputs.{modality}.way: {unknown('way', entry.way, ways)}")
            if (entry.way == "adapter") != bool(entry.encoder):
                raise ConfigError(
                    f"inputs.{modality}: the key 'encoder' is missing"
                    if entry.way == "adapter"
                    else f"inputs.{modality}: the LLM's own senses have no encoder beside them; leave out {entry.encoder!r}"
                )
            if entry.features not in (forms := typing.get_args(Features)):
                raise ConfigError(f"inputs.{modality}.features: {unknown('form', entry.features, forms)}")
            for key, value in dataclasses.asdict(entry.adapter).items():
                if isinstance(value, int) and value < 1:
                    raise ConfigError(f"inputs.{modality}.adapter.{key} must be at least 1, not {value}")
        if self.media_attention not in ("causal", "bidirectional"):
            raise ConfigError(
                f"media_attention: {unknown('form', self.media_attention, ('causal', 'bidirectional'))}"
            )
        if (cross := self.cross_attention) is not None:
            if cross.looks_at not in ("last", "all"):
                raise ConfigError(
                    f"cross_attention.looks_at: {unknown('form', cross.looks_at, ('last', 'all'))}"
                )
            for key in ("every", "num_heads"):
                if getattr(cross, key) < 1:
                    raise ConfigError(f"cross_attention.{key} must be at least 1, not {getattr(cross, key)}")
            if self.media_attention == "bidirectional":
                raise ConfigError(
                    "media_attention: with cross_attention the LLM reads no media tokens that could see each other"
                )
        own = [modality for modality in self.inputs if modality not in self.adapted]
        if own and (cross is not None or self.media_attention == "bidirectional"):
            raise ConfigError(
                f"inputs.{own[0]}.way: the LLM's own senses go with its own attention, without cross_attention and causal"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AnyGPTConfig:
        """Read what a config.json holds; an unknown key is a ConfigError that says what was likely meant."""
        values = dict(values)
        kind = values.pop("model_type", MODEL_TYPE)
        if kind != MODEL_TYPE:
            raise ConfigError(f"this is the configuration of a {kind!r} model, not of an {MODEL_TYPE!r} one")
        return _build(cls, values, "")

    @property
    def captioned(self) -> tuple[str, ...]:
        """The output modalities that are made through captions."""
        return tuple(modality for modality, output in self.outputs.items() if output.way == "captions")

    @property
    def adapted(self) -> dict[str, InputConfig]:
        """The input modalities that come through an encoder and an adapter."""
        return {modality: entry for modality, entry in self.inputs.items() if entry.way == "adapter"}

    def to_dict(self) -> dict[str, Any]:
        """The dictionary that config.json holds; `from_dict` reads it back to an equal config."""
        return {"model_type": MODEL_TYPE, **json.loads(json.dumps(dataclasses.asdict(self)))}


def unknown(what: str, name: object, known: typing.Iterable[str]) -> str:
    """The sentence for a name that is not among the known ones, with the nearest of them."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {what} {name!r}{hint}; accepted: {', '.join(map(repr, known)) or 'none'}"


def _build(kind: Any, value: Any, where: str) -> Any:
    """Turn plain JSON `value` into the annotated type `kind`, one dataclass at a time."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, _checked(value, dict, where), where)
    if origin is dict:
        return {k: _build(inner[1], v, f"{where}.{k}") for k, v in _checked(value, dict, where).items()}
    if origin is tuple:
        if len(_checked(value, list, where)) != len(inner):
            raise ConfigError(f"{where}: expected {len(inner)} values, got {value!r}")
        return tuple(_build(option, item, where) for option, item in zip(inner, value, strict=True))
    if origin is types.UnionType:  # "X | None"
        return None if value is None else _build(inner[0], value, where)
    return _checked(value, kind, where) if isinstance(kind, type) and kind is not Any else value


def _build_dataclass(kind: Any, value: dict[str, Any], where: str) -> Any:
    annotations = typing.get_type_hints(kind)
    for key in value:
        if key not in annotations:
            raise ConfigError(f"{where or 'config'}: {unknown('key', key, annotations)}")
    for item in dataclasses.fields(kind):
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and item.name not in value:
            raise ConfigError(f"{where or 'config'}: the key {item.name!r} is missing")
    return kind(**{k: _build(annotations[k], v, f"{where}.{k}".lstrip(".")) for k, v in value.items()})


def _checked(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = {
            dict: "an object",
            list: "a list",
            str: "a string",
            int: "a whole number",
            bool: "true or false",
        }
        raise ConfigError(f"{where or 'config'}: expected {names.get(kind, kind.__name__)}, got {value!r}")
    return value
