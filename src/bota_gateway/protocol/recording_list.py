"""The list of recordings a recorder holds (docs/protocol.md, "Recording list")."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from bota_gateway.protocol.errors import require
from bota_gateway.protocol.packets import RECORDING_ID_BYTES

ENTRY_BYTES: Final = 24
FILE_ID_BYTES: Final = 4
ENCRYPTED_AT_REST: Final = 0x01
_ENTRY: Final = struct.Struct("<4sB11xIHH")


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One recording. Duration and size are hints: they are rounded and saturate at 65,535."""

    file_id: str
    """Four random bytes as eight lower-case hex digits."""
    flags: int
    started_at: int
    """Unix seconds by the recorder's clock; 0 = that clock was not set."""
    duration_s: int
    size_kib: int

    @property
    def encrypted_at_rest(self) -> bool:
        """The recorder stores it encrypted; what it sends is plain all the same."""
        return bool(self.flags & ENCRYPTED_AT_REST)

    @property
    def recording_id(self) -> bytes:
        """The 16 bytes that START and CONFIRM want."""
        return recording_id(self.file_id)


@dataclass(frozen=True, slots=True)
class ListNotification:
    """What one notification holds."""

    count_byte: int | None
    entries: tuple[ListEntry, ...]
    rest: int
    """Bytes of a cut entry at the end, which are ignored."""


def recording_id(file_id: str) -> bytes:
    """The 16-byte id of a listed recording: its four bytes, then zeros."""
    return bytes.fromhex(file_id).ljust(RECORDING_ID_BYTES, b"\0")


def recording_uuid(file_id: str) -> str:
    """The same id as it is printed."""
    return str(UUID(bytes=recording_id(file_id)))


def decode_entry(value: bytes) -> ListEntry:
    """Decode 24 bytes.

    Raises:
        DecodeError: ``too_short``.
    """
    require(value, ENTRY_BYTES, "a list entry")
    file_id, flags, started_at, duration_s, size_kib = _ENTRY.unpack_from(value)
    return ListEntry(file_id.hex(), flags, started_at, duration_s, size_kib)


def encode_entry(entry: ListEntry) -> bytes:
    """The 24 bytes of one entry; values too large for their field saturate, as the wire's do."""
    return _ENTRY.pack(
        bytes.fromhex(entry.file_id),
        entry.flags,
        entry.started_at,
        min(entry.duration_s, 0xFFFF),
        min(entry.size_kib, 0xFFFF),
    )


def decode_list_notification(value: bytes) -> ListNotification:
    """Read one notification: a length that is no multiple of 24 starts with a count byte; a cut entry is ignored."""
    count_byte = value[0] if len(value) % ENTRY_BYTES else None
    body = value if count_byte is None else value[1:]
    whole = len(body) // ENTRY_BYTES
    entries = tuple(decode_entry(body[i * ENTRY_BYTES : (i + 1) * ENTRY_BYTES]) for i in range(whole))
    return ListNotification(count_byte, entries, len(body) % ENTRY_BYTES)


def encode_list_notification(entries: Iterable[ListEntry], count_byte: int | None = None) -> bytes:
    """One notification, with a leading count byte unless None."""
    head = b"" if count_byte is None else bytes((count_byte,))
    return head + b"".join(encode_entry(entry) for entry in entries)
