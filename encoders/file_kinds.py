"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import codecs
from pathlib import Path

PNG, JPEG, GIF, BMP = "a PNG picture", "a JPEG picture", "a GIF picture", "a BMP picture"
TIFF, WEBP = "a TIFF picture", "a WebP picture"
WAV, FLAC, OGG, MP3 = "a WAV sound", "a FLAC sound", "an Ogg sound", "an MP3 sound"
MP4, MKV, AVI = "an MP4 or MOV film", "an MKV or WebM film", "an AVI film"
NUMPY, TEXT, UNKNOWN = "a NumPy array", "text", "unknown data"

# Kind, offset, and the bytes found there.
SIGNATURES: tuple[tuple[str, int, bytes], ...] = (
    (PNG, 0, b"\x89PNG\r\n\x1a\n"),
    (JPEG, 0, b"\xff\xd8\xff"),
    (GIF, 0, b"GIF8"),
    (BMP, 0, b"BM"),
    (TIFF, 0, b"II*\0"),
    (TIFF, 0, b"MM\0*"),
    (WEBP, 8, b"WEBP"),
    (WAV, 8, b"WAVE"),
    (FLAC, 0, b"fLaC"),
    (OGG, 0, b"OggS"),
    (MP3, 0, b"ID3"),
    *((MP3, 0, b"\xff" + bytes([second])) for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2)),
    (AVI, 8, b"AVI "),
    (MKV, 0, b"\x1aE\xdf\xa3"),
    *((MP4, 4, atom) for atom in (b"ftyp", b"moov", b"mdat", b"wide", b"free")),
    (NUMPY, 0, b"\x93NUMPY"),
    ("a PDF document", 0, b"%PDF"),
    ("a ZIP archive", 0, b"PK\x03\x04"),
)


def kind_of_file(path: Path) -> str:
    """A kind of `SIGNATURES`, `TEXT` (UTF-8) or `UNKNOWN`."""
    with path.open("rb") as file:
        head = file.read(512)
    for kind, offset, magic in SIGNATURES:
        if head[offset:].startswith(magic):
            return kind
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the head may end inside a character
    except UnicodeDecodeError:
        return UNKNOWN
    return UNKNOWN if "\0" in text else TEXT
