"""Messages as people write them, checked and brought into one form.

Accepted: a string (one user message), a list of messages (one conversation), a list of conversations.
A message is {"role": "user", "content": …}; its content is a string or a list of parts, as in transformers'
chat templates:

    {"type": "text", "text": "what is this?"}
    {"type": "image", "path": "cat.png"}            a file of the modality
    {"type": "image", "image": <PIL.Image>}         or the object itself (see encoders.media)

An assistant's media part may have a "caption": the text it was made from, where media are made through captions; in
training, the text whose embedding its conditioning should come near. An assistant's message with "weight": 0 is not
learned in training, as in OpenAI's fine-tuning files: it is there for what comes after it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anygpt.config import INPUT_MODALITIES, OUTPUT_MODALITIES, unknown

ROLES = ("system", "user", "assistant")
Part = dict[str, Any]
Message = dict[str, Any]
Conversation = list[Message]


class MessageError(ValueError):
    """A message that cannot be used: which message and part, what was wrong, what is accepted."""


def normalise(messages: Any) -> Conversation:
    """One conversation in its full form: every content a list of parts, every path a `Path`.

    Args:
        messages: a string, or a list of messages.

    Returns:
        New dictionaries; the media objects in them are the caller's own.

    Raises:
        MessageError: naming the message, the part, what was wrong and what is accepted.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if isinstance(messages, dict):
        raise MessageError(
            "messages must be a string or a list of messages; put the single message in a list"
        )
    if not isinstance(messages, Sequence) or not messages:
        raise MessageError(f"messages must be a string or a list of at least one message, not {messages!r}")
    return [_message(message, f"message {index}") for index, message in enumerate(messages)]


def is_batch(messages: Any) -> bool:
    """Whether `messages` is a list of conversations rather than one conversation."""
    return (
        isinstance(messages, Sequence)
        and len(messages) > 0
        and not isinstance(messages, str | dict)
        and (not isinstance(messages[0], dict))
    )


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, dict):
        raise MessageError(f'{where}: expected {{"role": …, "content": …}}, got {type(message).__name__}')
    for key in message:
        if key not in (accepted := ("role", "content", "weight")):
            raise MessageError(f"{where}: {unknown('key', key, accepted)}")
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise MessageError(f"{where}: {unknown('role', role, ROLES)}")
    if "weight" in message and (role != "assistant" or message["weight"] not in (0, 1)):
        raise MessageError(
            f"{where}: 'weight' is for the assistant's messages, 0 or 1, not {message['weight']!r}"
        )
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, Sequence):
        raise MessageError(f"{where}: content must be a string or a list of parts, not {content!r}")
    if not content:
        if role != "assistant":
            raise MessageError(f"{where}: content is empty")
        content = [{"type": "text", "text": ""}]
    return {
        "role": role,
        "content": [_part(part, role, f"{where}, part {i}") for i, part in enumerate(content)],
        **({"weight": 0} if message.get("weight", 1) == 0 else {}),
    }


def _part(part: Any, role: str, where: str) -> Part:
    if isinstance(part, str):
        part = {"type": "text", "text": part}
    if not isinstance(part, dict):
        raise MessageError(f'{where}: expected {{"type": …}}, got {type(part).__name__}')
    kind = part.get("type")
    if kind == "text":
        _check_keys(part, ("type", "text"), where)
        if not isinstance(part.get("text"), str):
            raise MessageError(f"{where}: a text part has a string under 'text', not {part.get('text')!r}")
        return {"type": "text", "text": part["text"]}
    if kind not in INPUT_MODALITIES:
        raise MessageError(f"{where}: {unknown('type', kind, ('text', *INPUT_MODALITIES))}")
    if role == "system":
        raise MessageError(f"{where}: a system message is text alone; put the {kind} into a user message")
    if role == "assistant" and kind not in OUTPUT_MODALITIES:
        raise MessageError(
            f"{where}: an assistant answers in text, {', '.join(OUTPUT_MODALITIES)}, not {kind}"
        )
    if "url" in part:
        raise MessageError(
            f"{where}: 'url' is not supported; download the file and give its 'path', or the {kind} itself"
        )
    _check_keys(part, ("type", kind, "path", *(["caption"] if role == "assistant" else [])), where)
    given = [key for key in ("path", kind) if part.get(key) is not None]
    if len(given) > 1 or (
        not given and role != "assistant"
    ):  # an assistant's medium may be a caption, or nothing
        found = "both are given" if given else "neither is"
        raise MessageError(f"{where}: a part of type {kind!r} has either 'path' or {kind!r}; {found}")
    result = {key: part[key] for key in ("type", kind, "caption") if part.get(key) is not None}
    if "path" in given:
        if not isinstance(part["path"], (str, os.PathLike)):
            raise MessageError(f"{where}: 'path' must be a file name, not {part['path']!r}")
        result["path"] = Path(part["path"])
    if not isinstance(result.get("caption", ""), str):
        raise MessageError(f"{where}: 'caption' must be a string, not {result['caption']!r}")
    return result


def _check_keys(part: Part, accepted: Sequence[str], where: str) -> None:
    for key in part:
        if key not in accepted:
            raise MessageError(f"{where}: {unknown('key', key, accepted)}")
