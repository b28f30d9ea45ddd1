"""Recording status: what is being recorded, or how a command ended (docs/protocol.md, "Recording status")."""

from dataclasses import dataclass
from typing import Final

from bota_gateway.protocol.errors import DecodeError
from bota_gateway.protocol.packets import RECORDING_ID_BYTES

SNAPSHOT_BYTES: Final = 18
RESULT_BYTES: Final = 6

RESULT_CODES: Final = {
    1: "unknown_error",
    2: "already_recording",
    3: "not_recording",
    4: "invalid_grant",
    5: "grant_expired",
    6: "invalid_state",
}
"""Why a command failed; 0 is success."""


@dataclass(frozen=True, slots=True)
class RecordingSnapshot:
    """The state: 18 bytes."""

    active: bool
    initiated_by: int
    """0 = on the recorder, 1 = from afar; current firmware always says 0."""
    recording_id: bytes | None
    """16 bytes; None when nothing is recorded."""


@dataclass(frozen=True, slots=True)
class RecordingResult:
    """How a command ended: 6 bytes. Some firmware says "already recording" with ``active`` false."""

    active: bool
    code: int


@dataclass(frozen=True, slots=True)
class ShortRecordingStatus:
    """One to five bytes of old firmware: only the first says something, and it means success."""

    active: bool


RecordingStatus = RecordingSnapshot | RecordingResult | ShortRecordingStatus


def decode_recording_status(value: bytes) -> RecordingStatus:
    """Decode a reading or notification; its length tells which of the shapes it is.

    Raises:
        DecodeError: ``invalid_response``.
    """
    if not value or value[0] > 1 or len(value) not in (*range(1, RESULT_BYTES + 1), SNAPSHOT_BYTES):
        raise DecodeError("invalid_response", f"{len(value)} bytes ({value[:4].hex()}...) are no recording status")
    active = value[0] == 1
    if len(value) == SNAPSHOT_BYTES:
        recording_id = value[2:]
        return RecordingSnapshot(active, value[1], recording_id if any(recording_id) else None)
    if len(value) == RESULT_BYTES:
        return RecordingResult(active, value[5])
    return ShortRecordingStatus(active)


def encode_recording_status(status: RecordingStatus) -> bytes:
    """The bytes of any of the three shapes."""
    head = bytes((status.active,))
    match status:
        case RecordingSnapshot():
            return head + bytes((status.initiated_by,)) + (status.recording_id or bytes(RECORDING_ID_BYTES))
        case RecordingResult():
            return head + bytes(4) + bytes((status.code,))
        case ShortRecordingStatus():
            return head
