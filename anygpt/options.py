"""How to answer: the options of `chat`, `stream` and a session, checked at the door."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from anygpt.config import unknown

DECODER_SETTINGS = ("num_inference_steps", "guidance_scale", "height", "width", "num_frames", "seconds")


class OptionError(ValueError):
    """An option that is unknown or out of range."""


@dataclass(frozen=True)
class Options:
    """How to answer.

    Attributes:
        max_new_tokens: at most so many tokens of text; a whole run of signal tokens counts as one.
        temperature: 0 takes the likeliest token (greedy); above, tokens are drawn, more evenly if higher.
        top_p: draw from the likeliest tokens that make up this share of the probability; in (0, 1].
        seed: the same seed gives the same answer, text and media; at least 0.
        max_media: at most so many media in one answer.
        modalities: which media the answer has: none of another kind, and one of each at least, after its text if the
            model made none; None leaves the choice to the model.
        stop: texts that end the answer; they are not shown.
        media: for an output modality, its decoder's settings in this answer.
    """

    max_new_tokens: int = 160
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_media: int = 8
    modalities: tuple[str, ...] | None = None
    stop: tuple[str, ...] = ()
    media: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, given: dict[str, Any], modalities: Iterable[str]) -> Options:
        """Options from a call's keywords, a decoder's settings under the name of their modality.

        Raises:
            OptionError: saying which option was wrong, and what is accepted.
        """
        modalities = list(modalities)
        names = [item.name for item in fields(cls) if item.name != "media"]
        for name in given:
            if name not in names and name not in modalities:
                raise OptionError(unknown("option", name, [*names, *modalities]))
        media = {name: given[name] or {} for name in modalities if name in given}
        for modality, settings in media.items():
            for name in settings:
                if name not in DECODER_SETTINGS:
                    raise OptionError(f"{modality}: {unknown('setting', name, DECODER_SETTINGS)}")
        values = {name: given[name] for name in names if name in given}
        for name in ("modalities", "stop"):
            if (texts := values.get(name)) is not None:
                if isinstance(texts, str) or not all(isinstance(text, str) and text for text in texts):
                    raise OptionError(f"{name} must be a list of texts, not {texts!r}")
                values[name] = tuple(dict.fromkeys(texts))
        options = cls(media=media, **values)
        for modality in options.modalities or ():
            if modality not in modalities:
                raise OptionError(f"modalities: {unknown('modality', modality, modalities)}")
        for name, fine, accepted in (
            ("max_new_tokens", options.max_new_tokens >= 1, "at least 1"),
            ("temperature", options.temperature >= 0, "at least 0"),
            ("top_p", 0 < options.top_p <= 1, "above 0 and at most 1"),
            ("seed", isinstance(options.seed, int) and options.seed >= 0, "a whole number of at least 0"),
            ("max_media", options.max_media >= 0, "at least 0"),
        ):
            if not fine:
                raise OptionError(f"{name} must be {accepted}, not {getattr(options, name)!r}")
        return options
