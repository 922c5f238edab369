"""Our own schema, which `anygpt data convert` writes: JSON Lines, {"id": …, "messages": […]}, as `anygpt.messages` reads them."""

from __future__ import annotations

from typing import Any

from anygpt.data.errors import BadItem
from anygpt.data.reader import TableReader
from anygpt.messages import Conversation, normalise


class Messages(TableReader):
    """One conversation a line."""

    def conversation(self, record: Any, row: int) -> Conversation:
        messages = record["messages"]
        if not isinstance(messages, list):
            raise BadItem("malformed row", f"messages is no list but {messages!r:.80}")
        conversation = normalise(messages)
        for part in (part for message in conversation for part in message["content"]):
            if "path" in part:
                part["path"] = (str(part["path"]),)
            elif part["type"] != "text" and part["type"] in part:
                raise BadItem("malformed row", f"has {part[part['type']]!r:.40} where a path belongs")
        return conversation
