"""Examples in context: solved examples, shots, before a request, so that the answer follows them.

    shots = read_shots("examples.jsonl")
    model.chat(as_turns(nearest(model, shots, request, 4), request))

As earlier turns, or as one interleaved document in the manner of Flamingo (arXiv 2204.14198, section 2.4 and figure 2).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygpt.config import unknown
from anygpt.messages import Conversation, Message, MessageError, Part, normalise

if TYPE_CHECKING:
    from torch import Tensor

    from anygpt.model import AnyGPT

KEYS = ("id", "messages", "reference")
Shot = Conversation  # it ends with the assistant's answer


class ShotError(ValueError):
    """Examples that cannot be used; the message is one line that says what would do."""


def read_shots(file: str | Path) -> list[Shot]:
    """The shots in a JSON Lines file, with the lines that `anygpt evaluate --data` takes, too.

    {"messages": [{"role": "user", "content": [{"type": "image", "path": "a.png"}, "what is this?"]}], "reference": "a dax"}

    The reference is the answer; of several texts that are all right, the first one.

    Raises:
        ShotError: naming the file, the line and what was wrong.
    """
    path, shots = Path(file), []
    if not path.is_file():
        raise ShotError(f"examples {path}: {'is not a file' if path.exists() else 'does not exist'}")
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if line.strip():
            try:
                _, messages, answer = read_line(line)
            except ValueError as error:
                raise ShotError(f"{path}, line {number}: {' '.join(str(error).split())}") from error
            content = answer["content"]
            several = len(content) > 1 and all(part["type"] == "text" for part in content)
            shots.append([*messages, {**answer, "content": content[:1] if several else content}])
    if not shots:
        raise ShotError(f"examples {path}: has no examples")
    return shots


def read_line(line: bytes) -> tuple[str | int | None, Conversation, Message]:
    """A line of a file of solved examples: its id, if any, the messages, and the right answer.

    Raises:
        ValueError: what is wrong with it.
    """
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ShotError('is not an object such as {"messages": […], "reference": …}')
    for key in values:
        if key not in KEYS:
            raise ShotError(unknown("key", key, KEYS))
    messages = normalise(values.get("messages"))
    if messages[-1]["role"] != "user":
        raise ShotError(f"the last message must be the user's, not the {messages[-1]['role']}'s")
    if not values.get("reference"):
        raise ShotError("has no reference, the right answer")
    try:
        [answer] = normalise([{"role": "assistant", "content": values["reference"]}])
    except MessageError as error:
        raise ShotError(f"reference: {str(error).removeprefix('message 0')}") from error
    return values.get("id"), messages, answer


def as_turns(shots: Sequence[Shot], messages: Any) -> Conversation:
    """The shots as earlier turns of the conversation `messages` (a string or a list of messages)."""
    return [message for shot in shots for message in shot] + normalise(messages)


def as_document(shots: Sequence[Shot], messages: Any) -> Conversation:
    """The shots as one document at the start of the last message: each one's media, words and answer, a line each.

    Raises:
        MessageError: an answer with a medium that is not there to be read.
    """
    content: list[Part] = []
    for shot in shots:
        for message in shot:
            content += [_as_read(part) for part in message["content"]]
            content.append({"type": "text", "text": "\n"})
        content[-1] = {"type": "text", "text": "\n\n"}
    *earlier, last = normalise(messages)
    return [*earlier, {**last, "content": [*content, *last["content"]]}]


def _as_read(part: Part) -> Part:
    """A part as a user's message may have it."""
    if part["type"] != "text" and part.keys() <= {"type", "caption"}:
        raise MessageError(f"an example's {part['type']} in a document must be a file or an object")
    return {key: value for key, value in part.items() if key != "caption"}


def nearest(model: AnyGPT, shots: Sequence[Shot], messages: Any, count: int) -> list[Shot]:
    """The shots whose medium is most like the request's, the most alike last, so that it stands right before it.

    RICES, retrieval-based in-context example selection: Yang et al., arXiv 2109.05014; Flamingo, appendix A.2. Media are compared by the cosine of the encoder's pooled features. Shots without a medium of the request's last
    one's modality come last in rank; a request without media takes the first shots of the list.

    Raises:
        MediaError: a medium that cannot be read.
    """
    wanted = _last_medium(normalise(messages))
    if wanted is None or wanted["type"] not in model.config.inputs:
        return list(shots[:count])
    aim, modality = _embed(model, wanted), wanted["type"]
    likeness = [
        float(aim @ _embed(model, part)) if (part := _last_medium(shot, modality)) else float("-inf")
        for shot in shots
    ]
    ranked = sorted(range(len(shots)), key=lambda index: (-likeness[index], index))[:count]
    return [shots[index] for index in reversed(ranked)]


def _last_medium(conversation: Conversation, modality: str | None = None) -> Part | None:
    """The last medium that the user gave, of any modality or of one."""
    parts = [part for message in conversation if message["role"] == "user" for part in message["content"]]
    media = [part for part in parts if part["type"] != "text" and modality in (None, part["type"])]
    return media[-1] if media else None


def _embed(model: AnyGPT, part: Part) -> Tensor:
    """A medium's pooled features, the mean over clips, of length 1: (dim,)."""
    import torch

    modality = part["type"]
    encoder = model.encoder(modality)
    tensor = encoder.preprocess(modality, part.get("path", part.get(modality)))
    with torch.no_grad():
        pooled = encoder.pooled(modality, tensor[None].to(model.device))
    return torch.nn.functional.normalize(pooled.mean(1)[0].float(), dim=0)
