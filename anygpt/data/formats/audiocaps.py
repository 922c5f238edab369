"""AudioCaps' CSV: audiocap_id, youtube_id, start_time, caption.

The sounds are not published; scripts that fetch them name them by any of these: 91139.wav, rqfQRErjfk8.wav,
rqfQRErjfk8_170.wav, Yrqf….wav; FLAC, MP3 and Ogg files are found, too.
"""

from __future__ import annotations

from typing import Any

from anygpt.data.reader import TableReader, pair, text
from anygpt.messages import Conversation

ENDINGS = (".wav", ".flac", ".mp3", ".ogg")


class AudioCaps(TableReader):
    """A caption for each sound."""

    layout = "csv"

    def conversation(self, record: Any, row: int) -> Conversation:
        clip, start = text(record["youtube_id"]), record["start_time"]
        stems = (text(record["audiocap_id"]), clip, f"{clip}_{start}", f"Y{clip}")
        candidates = [f"{stem}{end}" for stem in stems for end in ENDINGS]
        return pair("audio", candidates, record["caption"], self.task, row)
