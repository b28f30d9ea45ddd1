"""Which of the six content types that every contract generation takes a file has (docs/cloud-api.md, "Calls")."""

from collections.abc import Callable
from typing import Final

SNIFF_BYTES: Final = 16
"""Enough for every signature below."""

_SIGNATURES: Final[tuple[tuple[str, Callable[[bytes], bool]], ...]] = (
    ("audio/ogg", lambda head: head[:4] == b"OggS"),
    ("audio/wav", lambda head: head[:4] == b"RIFF" and head[8:12] == b"WAVE"),
    ("audio/flac", lambda head: head[:4] == b"fLaC"),
    ("audio/mp4", lambda head: head[4:8] == b"ftyp"),
    ("audio/webm", lambda head: head[:4] == b"\x1a\x45\xdf\xa3"),
    ("audio/mpeg", lambda head: head[:3] == b"ID3" or _is_mpeg_frame(head)),
)


def content_type_of(head: bytes) -> str | None:
    """The content type of a file that begins with ``head``; None for anything the API would not take."""
    return next((name for name, matches in _SIGNATURES if matches(head)), None)


def _is_mpeg_frame(head: bytes) -> bool:
    """An MPEG audio frame: eleven bits set, then a version and a layer that exist (layer 0 is AAC, another type)."""
    if len(head) < 2 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 0b11, head[1] >> 1 & 0b11
    return version != 0b01 and layer != 0
