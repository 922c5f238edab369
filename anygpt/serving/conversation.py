"""OpenAI's messages → the model's (see `anygpt.messages`), with the media read."""

from __future__ import annotations

from anygpt.messages import Conversation, Message, MessageError, Part
from anygpt.serving.intake import Intake
from anygpt.serving.schema import ChatMessage, ContentPart, InputAudioPart, TextPart
from encoders.media import MediaError


def conversation_of(messages: list[ChatMessage], intake: Intake) -> Conversation:
    """The conversation that a request's messages are.

    The media of earlier answers are not read: what the model reads of them is that, and where, they were made.

    Raises:
        MessageError, MediaError: naming the message and the part.
    """
    return [_message(message, f"message {index}", intake) for index, message in enumerate(messages)]


def _message(message: ChatMessage, where: str, intake: Intake) -> Message:
    role = "system" if message.role == "developer" else message.role
    answered = role == "assistant"
    if message.content is None and not answered:
        raise MessageError(f"{where}: content is missing")
    content = [
        _earlier(part) if answered else _given(part, f"{where}, part {index}", intake)
        for index, part in enumerate(message.content or [])
    ]
    if answered and message.audio is not None:
        content.append(_made("audio", message.audio.caption))
    return {"role": role, "content": content}


def modality_of(part: ContentPart) -> str:
    """The modality of a part: its type without `_url`."""
    return "audio" if isinstance(part, InputAudioPart) else part.type.removesuffix("_url")


def _given(part: ContentPart, where: str, intake: Intake) -> Part:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    modality = modality_of(part)
    try:
        if isinstance(part, InputAudioPart):
            medium = intake.from_base64(modality, part.input_audio.data)
        else:
            medium = intake.from_url(modality, getattr(part, part.type).url)
    except MediaError as error:
        raise MediaError(f"{where}: {error}", error.reason) from None
    return {"type": modality, modality: medium}


def _earlier(part: ContentPart) -> Part:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return _made(modality_of(part), getattr(part, "caption", None))


def _made(modality: str, caption: str | None) -> Part:
    return {"type": modality, "caption": caption} if caption else {"type": modality}
