"""Faults on command: what goes wrong, where, for which recording, and how often.

A recorder asks its `Faults` at every point named by a `FaultKind`. A fault fires the stated number of times and then
never again, and every firing is noted, so that a test can tell that what it survived has really happened.
With the same seed, faults without a stated place hit the same places.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """Points at which a recorder may misbehave."""

    # On packet ``at`` of a transfer (counted from 0), or on a random one.
    DROP = "drop"
    """It is never sent."""
    DUPLICATE = "duplicate"
    """It comes twice."""
    REORDER = "reorder"
    """It changes places with the next."""
    TRUNCATE = "truncate"
    """Half of its payload is missing; the length field still tells the whole."""
    WRONG_LENGTH = "wrong_length"
    """The length field is wrong, the payload whole."""
    BIT_FLIP = "bit_flip"
    """One bit of its payload is flipped."""
    RUNT = "runt"
    """A packet of two bytes comes before it."""
    UNKNOWN_TYPE = "unknown_type"
    """A packet of an unknown type comes before it."""
    STALL = "stall"
    """Nothing for ``seconds`` before it."""
    PAUSE = "pause"
    """PAUSED before it, as when a recording in progress has been sent so far, and nothing for ``seconds``."""
    DISCONNECT = "disconnect"
    """The recorder ends the link before it, once all earlier packets have arrived."""
    ERROR = "error"
    """An error packet with ``code`` instead of it; the transfer is over."""

    # At other points of a transfer.
    NO_DATA = "no_data"
    """START is taken and nothing follows."""
    WRONG_CRC = "wrong_crc"
    """EOF carries a checksum that is not of what was sent."""
    ENDLESS = "endless"
    """No EOF: data goes on, from the start again, until the transfer is aborted or the link ends."""
    NO_EOF = "no_eof"
    """All data, then silence."""
    DISCONNECT_AFTER_EOF = "disconnect_after_eof"
    """Between EOF (with its digest) and the result."""
    DISCONNECT_AFTER_ACK = "disconnect_after_ack"
    """Between ACK and CONFIRM, the ACK having been answered."""
    LOSE_ACK_ANSWER = "lose_ack_answer"
    """ACK counts, but the link ends before its write is answered."""

    # At CONFIRM.
    LOSE_CONFIRM_ANSWER = "lose_confirm_answer"
    """CONFIRM counts, but the link ends before its write is answered."""
    LOSE_CONFIRM = "lose_confirm"
    """The link ends before CONFIRM counts."""
    IGNORE_CONFIRM = "ignore_confirm"
    """It is answered, and the recording stays."""

    # Elsewhere.
    LIST_SILENT = "list_silent"
    """LIST is taken and nothing follows."""
    LIST_DUPLICATES = "list_duplicates"
    """Every entry comes twice."""
    LIST_RUBBISH = "list_rubbish"
    """A notification of random bytes, no whole entry long, comes instead."""
    STATUS_UNREADABLE = "status_unreadable"
    """Reading the status is refused."""
    SERIAL_UNREADABLE = "serial_unreadable"
    """Reading the serial is refused."""
    SERIAL_EMPTY = "serial_empty"
    """The serial reads as nothing."""
    CAPABILITY_UNREADABLE = "capability_unreadable"
    """Reading the version 2 capability document is refused."""
    GATT_DISCONNECT = "gatt_disconnect"
    """The link ends at the connection's request ``at`` (counted from 0), which is not acted on."""
    LOSE_GATT_ANSWER = "lose_gatt_answer"
    """The connection's request ``at`` (counted from 0) is acted on, and the link ends before its answer."""
    GATT_STALL = "gatt_stall"
    """From the connection's request ``at`` on (counted from 0), nothing is answered for ``seconds``."""


PACKET_KINDS = frozenset(
    {
        FaultKind.DROP,
        FaultKind.DUPLICATE,
        FaultKind.REORDER,
        FaultKind.TRUNCATE,
        FaultKind.WRONG_LENGTH,
        FaultKind.BIT_FLIP,
        FaultKind.RUNT,
        FaultKind.UNKNOWN_TYPE,
        FaultKind.STALL,
        FaultKind.PAUSE,
        FaultKind.DISCONNECT,
        FaultKind.ERROR,
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    kind: FaultKind
    recording: str | None = None
    """File id; None: any recording."""
    at: int | None = None
    """Packet or request, from 0; None: a random packet, or the first request."""
    rate: float | None = None
    """Hits this share of a transfer's packets instead of one; ``times`` still bounds the number."""
    times: int | None = 1
    """How often it fires; None: always."""
    seconds: float = 1.0
    """For STALL, PAUSE and GATT_STALL; ``math.inf`` stalls until the link ends."""
    code: int = 0x12
    """For ERROR; 0x12 is "transfer failed"."""


@dataclass(frozen=True, slots=True)
class Firing:
    """A fault that happened."""

    kind: FaultKind
    recording: str | None
    at: int | None


@dataclass(slots=True)
class Armed:
    """A fault and how often it may still fire."""

    fault: Fault
    left: int | None


class Faults:
    """The faults of one recorder.

    Args:
        faults: What goes wrong; more may be added at any time.
        seed: Decides the random places.
    """

    def __init__(self, *faults: Fault, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.fired: list[Firing] = []
        self._armed: list[Armed] = []
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Arms more faults."""
        self._armed.extend(Armed(fault, fault.times) for fault in faults)

    def clear(self) -> None:
        """Disarms all."""
        self._armed.clear()

    def take(self, kind: FaultKind, *, recording: str | None = None, at: int | None = None) -> Fault | None:
        """Fires a fault of ``kind`` that is due here, if there is one."""
        for armed in self._matching(recording):
            fault = armed.fault
            if fault.kind is kind and (at is None or (fault.at or 0) == at) and self.fire(armed, recording, at):
                return fault
        return None

    def plan(self, recording: str, packets: int) -> dict[int, list[Armed]]:
        """Says which packets of a transfer are to be hit; each is fired when the transfer comes to it."""
        planned: dict[int, list[Armed]] = {}
        for armed in self._matching(recording):
            if armed.fault.kind in PACKET_KINDS:
                for at in self._places(armed, packets):
                    planned.setdefault(at, []).append(armed)
        return planned

    def fire(self, armed: Armed, recording: str | None, at: int | None) -> bool:
        """Counts one firing; False when the fault has none left."""
        if armed.left == 0:
            return False
        if armed.left is not None:
            armed.left -= 1
        self.fired.append(Firing(armed.fault.kind, recording, at))
        return True

    def _matching(self, recording: str | None) -> Iterator[Armed]:
        for armed in self._armed:
            if armed.left != 0 and armed.fault.recording in (None, recording):
                yield armed

    def _places(self, armed: Armed, packets: int) -> list[int]:
        fault = armed.fault
        if fault.at is not None:
            return [fault.at] if fault.at < packets else []
        if fault.rate is not None:
            hit = [at for at in range(packets) if self.random.random() < fault.rate]
            return hit[: armed.left] if armed.left is not None else hit
        return [self.random.randrange(packets)] if packets else []
