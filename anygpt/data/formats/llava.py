"""LLaVA's JSON: {"image": "9.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"}, …]}.

`image` may be a list, as may `video` (Video-LLaVA) and `audio`; rows without any are plain dialogues (ShareGPT's).
"""

from __future__ import annotations

from typing import Any

from anygpt.config import OUTPUT_MODALITIES
from anygpt.data.reader import TableReader, medium, names, turns_of
from anygpt.messages import Conversation


class Llava(TableReader):
    """A JSON list of dialogues about media."""

    def conversation(self, record: Any, row: int) -> Conversation:
        media = {m: [medium(m, name) for name in names(record.get(m) or [])] for m in OUTPUT_MODALITIES}
        return [
            {"role": role, "content": content if role == "user" else [content.strip()]}
            for role, content in turns_of(record["conversations"], media)
        ]
