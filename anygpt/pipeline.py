"""The model in three lines, in the manner of transformers' pipelines.

from anygpt import pipeline
pipe = pipeline("any-to-any", model="anygpt-tiny")
pipe("draw a red circle").save("out")
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from anygpt.config import ConfigError, unknown

if TYPE_CHECKING:
    from anygpt.generation import Reply

TASK = "any-to-any"


def pipeline(
    task: str = TASK, model: str | os.PathLike[str] = "anygpt-tiny", **loading: Any
) -> Callable[..., Reply | list[Reply]]:
    """A function that answers messages: `AnyGPT.chat` of the model that was asked for.

    Args:
        task: `any-to-any`, the only one.
        model: a packaged name, a folder, or a hub id.
        loading: `device` and `dtype`, as `AnyGPT.from_pretrained` takes them.
    """
    if task != TASK:
        raise ConfigError(unknown("task", task, [TASK]))
    from anygpt.model import AnyGPT

    return AnyGPT.from_pretrained(model, **loading).chat
