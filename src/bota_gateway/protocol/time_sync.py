"""Time sync (docs/protocol.md, "Time sync")."""

import struct
from dataclasses import dataclass
from typing import Final

from bota_gateway.protocol import uuids
from bota_gateway.protocol.control import Write
from bota_gateway.protocol.errors import require

_LAYOUT: Final = struct.Struct("<IHh")


@dataclass(frozen=True, slots=True)
class TimeSync:
    """What a recorder reads."""

    unix_ms: int
    offset_minutes: int
    """East of UTC."""


def time_sync_write(unix_ms: int, offset_minutes: int) -> Write:
    """Set the recorder's clock: UTC in milliseconds, and minutes east of UTC."""
    seconds, milliseconds = divmod(unix_ms, 1000)
    return Write(uuids.TIME_SYNC, _LAYOUT.pack(seconds, milliseconds, offset_minutes))


def decode_time_sync(value: bytes) -> TimeSync:
    """The recorder's side.

    Raises:
        DecodeError: ``too_short``.
    """
    require(value, _LAYOUT.size, "time sync")
    seconds, milliseconds, offset = _LAYOUT.unpack_from(value)
    return TimeSync(seconds * 1000 + milliseconds, offset)
