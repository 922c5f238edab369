"""MosIT, NExT-GPT's modality-switching dialogues: media stand in the text as <Image>name</Image>.

    {"image_list": [{"image_name": "m_0.jpg", "caption": "a map"}], "video_list": [], "audio_list": [],
     "conversation": [{"from": "human", "value": "plan a trip"}, {"from": "gpt", "value": "See <Image>m_0.jpg</Image>"}]}

Media in people's turns stay in, which NExT-GPT's own conversion drops.
"""

from __future__ import annotations

import re
from typing import Any

from anygpt.config import OUTPUT_MODALITIES
from anygpt.data.reader import TableReader, medium
from anygpt.messages import Conversation, Part

MARKUP = re.compile(r"<(image|video|audio)>(.*?)</\1>", re.IGNORECASE | re.DOTALL)


class Mosit(TableReader):
    """A JSON list of dialogues with media on both sides."""

    def conversation(self, record: Any, row: int) -> Conversation:
        captions = {
            entry[f"{m}_name"]: entry.get("caption")
            for m in OUTPUT_MODALITIES
            for entry in record.get(f"{m}_list") or []
        }
        turns = record["conversation"] if "conversation" in record else record["conversations"]
        messages: Conversation = []
        for turn in turns:
            role = "user" if turn["from"] == "human" else "assistant"
            pieces = MARKUP.split(turn["value"])  # text, modality, name, text, …
            content: list[str | Part] = [pieces[0].strip()] if pieces[0].strip() else []
            for modality, name, following in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
                caption = captions.get(name.strip()) if role == "assistant" else None
                content.append(medium(modality.lower(), name.strip(), caption=caption))
                if following.strip():
                    content.append(following.strip())
            messages.append({"role": role, "content": content})
        return messages
