"""Storage info (docs/protocol.md, "Storage info")."""

import struct
from dataclasses import dataclass
from typing import Final

from bota_gateway.protocol.errors import require

_LAYOUT: Final = struct.Struct("<IIHH")
_RESERVED: Final = bytes(4)


@dataclass(frozen=True, slots=True)
class StorageInfo:
    """How full the recorder is."""

    total_kb: int
    used_kb: int
    total_recordings: int
    pending_sync: int


def decode_storage_info(value: bytes) -> StorageInfo:
    """Decode a reading: at least 12 bytes, 16 as documented.

    Raises:
        DecodeError: ``too_short``.
    """
    require(value, _LAYOUT.size, "storage info")
    return StorageInfo(*_LAYOUT.unpack_from(value))


def encode_storage_info(info: StorageInfo) -> bytes:
    """The documented 16 bytes."""
    return _LAYOUT.pack(info.total_kb, info.used_kb, info.total_recordings, info.pending_sync) + _RESERVED
