"""Fault events that a recorder keeps until they are acknowledged (docs/protocol.md, "Fault events")."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

from bota_gateway.protocol import uuids
from bota_gateway.protocol.control import Write
from bota_gateway.protocol.errors import DecodeError
from bota_gateway.protocol.fault_detail import DETAIL_BYTES, FaultDetail, decode_fault_detail, encode_fault_detail


class FaultPacket(IntEnum):
    """First byte of a notification."""

    EVENT = 0x90
    SIGNATURE = 0x91
    END = 0x92
    ACKNOWLEDGED = 0x93
    CAPABILITIES = 0x94
    DETAIL = 0x95


EVENT_TYPES: Final = {
    1: "reset",
    2: "watchdog",
    3: "hard_fault",
    4: "storage",
    5: "power",
    6: "radio",
    7: "security",
}
REASONS: Final = {
    1: "watchdog_timeout",
    2: "illegal_instruction",
    3: "misaligned_access",
    4: "stack_overflow",
    5: "usage_fault",
    6: "memory_protection",
    7: "invalid_register_read",
    8: "invalid_register_write",
    9: "audio_fault",
    10: "wireless_fault",
    11: "flash_mmu_fault",
    12: "low_voltage_reset",
}

_LONGEST_PIECE: Final = 14
_DETAIL_HEADER: Final = 6


@dataclass(frozen=True, slots=True)
class FaultEvent:
    """One event. Codes are kept raw."""

    event_id: str
    """64 bits as 16 lower-case hex digits."""
    event_type: int
    reason: int
    uptime_ms: int
    signature: str | None = None
    """64 bits as 16 lower-case hex digits."""
    detail: FaultDetail | None = None


@dataclass(frozen=True, slots=True)
class FaultList:
    """Everything a recorder keeps."""

    events: tuple[FaultEvent, ...]
    dropped_count: int | None
    """Events lost for want of room; None when firmware does not tell."""


def list_faults() -> Write:
    """Ask for all events; not while the log streams."""
    return Write(uuids.LOG_CONTROL, b"\x10")


def acknowledge_fault(event_id: str) -> Write:
    """Let the recorder forget one event; only after it was kept elsewhere."""
    return Write(uuids.LOG_CONTROL, b"\x11" + int(event_id, 16).to_bytes(8, "little"))


@dataclass(slots=True)
class FaultCollector:
    """Puts one answer together. Any malformed notification makes the whole answer worthless."""

    answer: FaultList | None = None
    """Set by the end notification."""
    _events: dict[int, FaultEvent] = field(default_factory=dict)
    _signatures: dict[int, str] = field(default_factory=dict)
    _details: dict[int, bytes] = field(default_factory=dict)

    def add(self, notification: bytes) -> None:
        """Take one notification.

        Raises:
            DecodeError: ``malformed``.
        """
        if self.answer is not None:
            raise _malformed("a notification after the end")
        kind = notification[0] if notification else None
        match kind:
            case FaultPacket.EVENT:
                self._add_event(notification)
            case FaultPacket.SIGNATURE:
                self._add_signature(notification)
            case FaultPacket.DETAIL:
                self._add_detail(notification)
            case FaultPacket.END:
                self._finish(notification)
            case FaultPacket.ACKNOWLEDGED | FaultPacket.CAPABILITIES:
                pass  # answers to other commands, of unknown layout
            case _:
                raise _malformed(f"a notification that starts with {notification[:1].hex() or 'nothing'}")

    def _add_event(self, value: bytes) -> None:
        _expect_length(value, 17)
        if value[1] in self._events:
            raise _malformed(f"event {value[1]} twice")
        self._events[value[1]] = FaultEvent(
            event_id=_id(value[9:17]),
            event_type=value[2],
            reason=int.from_bytes(value[3:5], "little"),
            uptime_ms=int.from_bytes(value[5:9], "little"),
        )

    def _add_signature(self, value: bytes) -> None:
        _expect_length(value, 10)
        if value[1] in self._signatures:
            raise _malformed(f"the signature of event {value[1]} twice")
        self._signatures[value[1]] = _id(value[2:10])

    def _add_detail(self, value: bytes) -> None:
        _expect_length(value, *range(_DETAIL_HEADER + 1, _DETAIL_HEADER + _LONGEST_PIECE + 1))
        index = value[1]
        offset, total = int.from_bytes(value[2:4], "little"), int.from_bytes(value[4:6], "little")
        known = self._details.get(index, b"")
        if offset != len(known) or total != DETAIL_BYTES:
            raise _malformed(f"detail of event {index} at {offset} of {total} bytes, after {len(known)}")
        self._details[index] = known + value[_DETAIL_HEADER:]

    def _finish(self, value: bytes) -> None:
        _expect_length(value, 2, 6)
        if value[1] != len(self._events):
            raise _malformed(f"{len(self._events)} events came, {value[1]} were counted")
        if strays := (self._signatures.keys() | self._details.keys()) - self._events.keys():
            raise _malformed(f"parts of events {sorted(strays)}, which did not come")
        dropped = int.from_bytes(value[2:6], "little") if len(value) == 6 else None
        self.answer = FaultList(tuple(self._whole(index) for index in sorted(self._events)), dropped)

    def _whole(self, index: int) -> FaultEvent:
        detail = self._details.get(index)
        return replace(
            self._events[index],
            signature=self._signatures.get(index),
            detail=None if detail is None else decode_fault_detail(detail),
        )


def decode_faults(notifications: Iterable[bytes]) -> FaultList:
    """Decode one whole answer.

    Raises:
        DecodeError: ``malformed``, or ``incomplete`` when the end notification is missing.
    """
    collector = FaultCollector()
    for notification in notifications:
        collector.add(notification)
    if collector.answer is None:
        raise DecodeError("incomplete", "the notification 0x92 that ends the events is missing")
    return collector.answer


def encode_faults(faults: FaultList) -> list[bytes]:
    """Notifications of one answer, of at most 20 bytes each."""
    notifications: list[bytes] = []
    for index, event in enumerate(faults.events):
        fixed = bytes((FaultPacket.EVENT, index, event.event_type)) + event.reason.to_bytes(2, "little")
        notifications.append(fixed + event.uptime_ms.to_bytes(4, "little") + _raw(event.event_id))
        if event.signature is not None:
            notifications.append(bytes((FaultPacket.SIGNATURE, index)) + _raw(event.signature))
        detail = b"" if event.detail is None else encode_fault_detail(event.detail)
        for offset in range(0, len(detail), _LONGEST_PIECE):
            head = bytes((FaultPacket.DETAIL, index)) + offset.to_bytes(2, "little") + len(detail).to_bytes(2, "little")
            notifications.append(head + detail[offset : offset + _LONGEST_PIECE])
    dropped = b"" if faults.dropped_count is None else faults.dropped_count.to_bytes(4, "little")
    return [*notifications, bytes((FaultPacket.END, len(faults.events))) + dropped]


def _id(value: bytes) -> str:
    return f"{int.from_bytes(value, 'little'):016x}"


def _raw(digits: str) -> bytes:
    return int(digits, 16).to_bytes(8, "little")


def _expect_length(value: bytes, *lengths: int) -> None:
    if len(value) not in lengths:
        raise _malformed(f"a notification 0x{value[0]:02x} of {len(value)} bytes")


def _malformed(what: str) -> DecodeError:
    return DecodeError("malformed", f"{what}: the whole answer is discarded")
