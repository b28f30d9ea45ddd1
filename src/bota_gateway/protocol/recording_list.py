"""The list of recordings a recorder holds (docs/protocol.md, "Recording list")."""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from bota_gateway.protocol.errors import require
from bota_gateway.protocol.packets import RECORDING_ID_BYTES

ENTRY_BYTES: Final = 24
ENCRYPTED_AT_REST: Final = 0x01
COUNT_SATURATED: Final = 0xFF
"""A count byte of 255 may stand for more; what firmware does above is unknown."""
MAX_ENTRIES: Final = 4096
"""More are ignored, so that a recorder gone wild fills no memory; the vendor's version 2 bounds its list so, too."""
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


class ListAssembler:
    """Puts the notifications of one list together, whatever their number and framing."""

    def __init__(self) -> None:
        self.count_byte: int | None = None
        """How many recordings the recorder says it has; the largest, should notifications differ."""
        self.duplicates = 0
        """Entries that came more than once."""
        self.rubbish = 0
        """Cut entries, entries that contradict an earlier one of the same id, and entries beyond ``MAX_ENTRIES``."""
        self.contradictory: set[str] = set()
        """File ids that came with differing entries: a command could mean either recording."""
        self._entries: dict[str, ListEntry] = {}

    @property
    def entries(self) -> tuple[ListEntry, ...]:
        """In the order they came, each file id once."""
        return tuple(self._entries.values())

    @property
    def count_reached(self) -> bool:
        """All that were announced are here; a count that may have saturated announces nothing."""
        return self.count_byte is not None and self.count_byte < COUNT_SATURATED and self._has(self.count_byte)

    @property
    def whole(self) -> bool:
        """Nothing shows that an entry is missing or unreadable."""
        return self.rubbish == 0 and (self.count_byte is None or self._has(self.count_byte - self.duplicates))

    def add(self, notification: bytes) -> None:
        """Take one notification."""
        decoded = decode_list_notification(notification)
        if decoded.count_byte is not None:
            self.count_byte = max(decoded.count_byte, self.count_byte or 0)
        self.rubbish += decoded.rest > 0
        for entry in decoded.entries:
            self._add_entry(entry)

    def _add_entry(self, entry: ListEntry) -> None:
        if len(self._entries) >= MAX_ENTRIES and entry.file_id not in self._entries:
            self.rubbish += 1
            return
        kept = self._entries.setdefault(entry.file_id, entry)
        if kept is entry:
            return
        if kept == entry:
            self.duplicates += 1
        else:
            self.rubbish += 1
            self.contradictory.add(entry.file_id)

    def _has(self, count: int) -> bool:
        return len(self._entries) >= count


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Choices of the ``[wire]`` settings ``list_quiet_s`` and ``list_total_s``, with their defaults there."""

    quiet_s: float = 0.7
    total_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ListOutcome:
    """A list that has ended."""

    entries: tuple[ListEntry, ...]
    count_byte: int | None
    complete: bool
    """Believed to be whole: what is absent from it, the recorder no longer holds."""
    nothing_heard: bool
    """Not one notification: an empty recorder may be silent, so its status must be asked."""
    duplicates: int
    rubbish: int
    contradictory: frozenset[str]
    """File ids that came with differing entries. START and CONFIRM name the file id alone, so neither is safe."""
    ended_by: Literal["count", "quiet", "total"]


class ListCollector:
    """Collects one list as notifications come; no end marker exists, so count, quiet or total time ends it."""

    def __init__(self, options: ListOptions) -> None:
        self.outcome: ListOutcome | None = None
        self._options = options
        self._assembler = ListAssembler()
        self._over_at = math.inf
        self._quiet_at = math.inf

    @property
    def deadline(self) -> float:
        """When ``tick`` must be called at the latest; infinite before the start and after the outcome."""
        return math.inf if self.outcome is not None else min(self._quiet_at, self._over_at)

    def started(self, now: float) -> None:
        """LIST was written. Notifications may have come before the response to the write."""
        self._over_at = min(self._over_at, now + self._options.total_s)

    def receive(self, notification: bytes, now: float) -> None:
        """Take one notification. After the outcome they are ignored."""
        if self.outcome is not None:
            return
        self.started(now)
        self._quiet_at = now + self._options.quiet_s
        self._assembler.add(notification)
        if self._assembler.count_reached:
            self._end("count", complete=self._assembler.whole)
        elif now >= self._over_at:
            self._end("total", complete=False)

    def tick(self, now: float) -> None:
        """Let time pass: nothing happens before ``deadline``."""
        if self.outcome is not None or now < self.deadline:
            return
        if now >= self._quiet_at:
            self._end("quiet", complete=self._assembler.whole)
        else:
            self._end("total", complete=False)

    def _end(self, ended_by: Literal["count", "quiet", "total"], *, complete: bool) -> None:
        assembler = self._assembler
        self.outcome = ListOutcome(
            entries=assembler.entries,
            count_byte=assembler.count_byte,
            complete=complete,
            nothing_heard=self._quiet_at == math.inf,
            duplicates=assembler.duplicates,
            rubbish=assembler.rubbish,
            contradictory=frozenset(assembler.contradictory),
            ended_by=ended_by,
        )
