"""One batch transfer as a state machine without I/O (docs/protocol.md, "Transfer").

It is fed notifications and time, and gives back bytes to store, what to write, and in the end an outcome: write
``start``, call ``started``; then, until there is an ``outcome``, wait for notifications until ``deadline``, give them
to ``receive`` or call ``tick`` when none came, and store what ``take_audio`` gives.

A gap ends the transfer at once: version 1 repeats nothing, so the final checksum could only say the same later.
"""

import hashlib
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from bota_gateway.protocol import uuids
from bota_gateway.protocol.control import Opcode, Write, result_write, start_command
from bota_gateway.protocol.errors import DecodeError
from bota_gateway.protocol.errors_on_wire import Retry, transfer_code, wire_error
from bota_gateway.protocol.packets import (
    DATA_HEADER,
    EPHEMERAL_KEY_BYTES,
    SALT_BYTES,
    SHA256_BYTES,
    TAG_BYTES,
    Data,
    DeviceError,
    E2eStart,
    EncryptedData,
    EncryptedEof,
    Eof,
    Packet,
    PacketType,
    Paused,
    ResultEcho,
    Sha256,
    decode_packet,
)

Profile = Literal["plain", "p10"]

PAUSED_SILENCE_S: Final = 60.0
"""Silence allowed after PAUSED, which belongs to live streaming; the vendor's SDK waits as long."""

RECORDING_RATE: Final = 4000
"""Bytes per second at which audio is made (32 kbit/s): what comes slower never catches up with what is recorded."""

RATE_ALLOWANCE_S: Final = 60.0
"""Time before the rate floor counts: the recorder may be slow to begin, or pause once, without being called slow."""

P10_HEADER_BYTES: Final = EPHEMERAL_KEY_BYTES + SALT_BYTES

SHORTEST_CHUNK: Final = TAG_BYTES + 1
"""A P10 chunk holds at least one byte beside its tag."""

_HALF_THE_COUNTER: Final = 0x8000
"""A sequence number this far ahead of the expected one, or further, is behind it: the counter has 16 bits and wraps."""

_DIGEST_TYPE: Final = bytes((PacketType.SHA256,))

_NACK_CODES: Final = frozenset({"transfer_gap", "transfer_crc_mismatch", "transfer_sha_mismatch"})


@dataclass(frozen=True, slots=True)
class ReceiverOptions:
    """Choices and limits of the ``[wire]`` settings, with their defaults there."""

    result_characteristic: Literal["transfer_control", "recording_transfer"] = "transfer_control"
    result_sequence: Literal["zero", "eof"] = "zero"
    first_packet_s: float = 5.0
    packet_gap_s: float = 4.0
    sha_grace_s: float = 0.2
    digest: Literal["strict", "record"] = "strict"
    max_recording_bytes: int = 256 << 20
    slowest_bytes_per_s: int = 500
    patience_s: float = math.inf
    """How long a transfer may go on below ``RECORDING_RATE``; one above it goes to its end."""
    still_recording: bool = False
    """The recorder says that it is recording: then PAUSED means that this is the recording in progress."""
    earlier_digests: frozenset[str] = frozenset()
    """SHA-256 (hex) of other recordings that came over the same link: a late digest without id may be one of them."""


@dataclass(frozen=True, slots=True)
class Complete:
    """Every byte arrived and the recorder's checksum agrees (P10 has none: there the sequence is whole)."""

    length: int
    """Bytes to store: the recording, or for P10 the body for the relay."""
    crc32: int | None
    sha256: str
    """Of the bytes to store; lower-case hex."""
    device_sha256: str | None
    """What the recorder said; None when it said nothing in time."""
    profile: Profile
    sha_matches: bool | None
    """None when there is nothing to compare: no digest came, or P10, whose plaintext is unknown here."""

    @property
    def empty(self) -> bool:
        """A valid transfer of no audio; whether that is believed is for the caller to decide."""
        return self.length <= (P10_HEADER_BYTES if self.profile == "p10" else 0)


@dataclass(frozen=True, slots=True)
class Failed:
    """No good recording came out of it."""

    code: str
    """Stable, as listed in docs/protocol.md, "How a transfer ends"."""
    message: str
    retry: Retry
    device_error: int | None = None


class BatchReceiver:
    """Receives one recording. ``recording_id`` has 16 bytes; times are seconds of one monotonic clock."""

    def __init__(self, recording_id: bytes, options: ReceiverOptions, *, encrypted_at_rest: bool) -> None:
        self.start = start_command(recording_id)
        self.outcome: Complete | Failed | None = None
        self.profile: Profile | None = None
        """How the recorder sends; None until its first packet of content shows it."""
        self.received_bytes = 0
        self.packets = 0
        self.gaps = 0
        self.duplicates = 0
        self.length_mismatches = 0
        self.foreign_digests = 0
        """SHA-256 packets of other recordings: some firmware sends such, some sends them late; they are discarded."""
        self._recording_id = recording_id
        self._options = options
        self._encrypted_at_rest = encrypted_at_rest
        self._index = 0
        """Number of the next chunk, counted without end; its low 16 bits are the sequence number expected."""
        self._flowing = False
        """Plain DATA is expected next: the short way through ``receive`` is open."""
        self._paused = False
        self._end: Eof | EncryptedEof | None = None
        self._device_sha: Sha256 | None = None
        self._audio = bytearray()
        self._digested = 0
        """How much of ``_audio`` has gone into the checksums."""
        self._crc32 = 0
        self._sha256 = hashlib.sha256()
        self._started_at: float | None = None
        self._wait_until = math.inf

    @property
    def deadline(self) -> float:
        """When ``tick`` must be called at the latest; infinite before the start and after the outcome."""
        if self.outcome is not None or self._started_at is None:
            return math.inf
        return self._wait_until if self._end is not None else min(self._wait_until, self._too_slow_at())

    @property
    def ended(self) -> bool:
        """The end packet came and agrees with the bytes; at most the recorder's digest is still to come."""
        return self._end is not None and not isinstance(self.outcome, Failed)

    @property
    def device_sha256(self) -> str | None:
        """What the recorder said so far; lower-case hex."""
        return None if self._device_sha is None else self._device_sha.sha256.hex()

    @property
    def crc32(self) -> int:
        """Of all bytes received so far."""
        return self._crc32

    @property
    def sha256(self) -> str:
        """Of all bytes received so far; lower-case hex."""
        return self._sha256.hexdigest()

    def started(self, now: float) -> None:
        """START was written: the first packet is due. Packets may have come before the response to the write."""
        if self._started_at is None:
            self._started_at = now
            self._wait_until = now + self._options.first_packet_s

    def receive(self, packets: Iterable[bytes], now: float) -> None:
        """Take notifications in the order they came. After the outcome they are ignored."""
        self.started(now)
        for packet in packets:
            if self.outcome is not None:
                return
            self.packets += 1
            # The short way, for nearly every packet: DATA with the expected sequence number.
            if (
                self._flowing
                and len(packet) >= DATA_HEADER
                and packet[0] == PacketType.DATA.value
                and packet[1] | packet[2] << 8 == self._index & 0xFFFF
            ):
                self._index += 1
                self._audio += packet[DATA_HEADER:]
                if packet[3] | packet[4] << 8 != len(packet) - DATA_HEADER:
                    self.length_mismatches += 1
            else:
                self._receive_other(packet, now)
        self._update_checksums()
        self._wait_for_more(now)

    def tick(self, now: float) -> None:
        """Let time pass: nothing happens before ``deadline``."""
        if self.outcome is not None or now < self.deadline:
            return
        if self._end is not None:
            self._conclude()
        elif self._too_slow_at() < self._wait_until:
            self._fail_too_slow(now)
        else:
            expected = "first packet" if self.profile is None else "next packet"
            self._fail("transfer_silent", f"no {expected} in time; {self.received_bytes} bytes had come", "later")

    def take_audio(self) -> bytes:
        """Bytes to store that came since the last call; nothing after a failure."""
        audio = bytes(self._audio)
        self._audio.clear()
        self._digested = 0
        return audio

    def acknowledge(self) -> Write:
        """The ACK. To be written only once the bytes are durable."""
        if self._end is None or not isinstance(self.outcome, Complete):
            raise RuntimeError("only a complete transfer is acknowledged")
        return self._result(Opcode.ACK, self._end.seq)

    def refuse(self) -> Write | None:
        """What ends a failed transfer on the recorder: NACK, ABORT, or None when the recorder has ended it."""
        if self.outcome is None or isinstance(self.outcome, Complete):
            raise RuntimeError("only a failed transfer is refused")
        if self.outcome.device_error is not None:
            return None
        if self.outcome.code not in _NACK_CODES:
            return self.abort()
        return self._result(Opcode.NACK, self._index if self._end is None else self._end.seq)

    def abort(self) -> Write:
        """Leave the transfer, whatever its state."""
        return self._result(Opcode.ABORT, self._index)

    def _result(self, result: Opcode, seq: int) -> Write:
        at_control = self._options.result_characteristic == "transfer_control"
        return result_write(
            result,
            seq=seq if self._options.result_sequence == "eof" else 0,
            characteristic=uuids.TRANSFER_CONTROL if at_control else uuids.RECORDING_TRANSFER,
        )

    def _receive_other(self, value: bytes, now: float) -> None:
        try:
            packet = decode_packet(value)
        except DecodeError as error:
            # A digest does not fit a notification at MTU 23. Cut, it counts as not sent: the CRC has the last word.
            if not (value[:1] == _DIGEST_TYPE and 3 <= len(value) <= SHA256_BYTES):
                self._fail_packet(error.message)
            return
        match packet:
            case Data() | EncryptedData():
                self._receive_chunk(packet)
            case Eof() | EncryptedEof():
                self._receive_end(packet, now)
            case E2eStart():
                self._receive_e2e_start(packet)
            case Sha256():
                self._receive_sha256(packet)
            case Paused():
                self._receive_paused()
            case DeviceError(code=code):
                line = wire_error(code)
                message = f"the recorder ended it with 0x{code:02x}: {line.meaning}"
                self._fail(transfer_code(code), message, line.retry, device_error=code)
            case ResultEcho():
                pass

    def _receive_chunk(self, packet: Data | EncryptedData) -> None:
        self._paused = False
        if not self._fits_profile(packet) or not self._in_sequence(packet.seq):
            return
        if self._end is not None:
            self._fail_packet("data after the end packet")
            return
        payload = packet.payload if isinstance(packet, Data) else packet.chunk
        if packet.declared_len != len(payload):
            self.length_mismatches += 1
        if isinstance(packet, EncryptedData):
            if packet.declared_len != len(payload) or len(payload) < SHORTEST_CHUNK:
                # No checksum will tell: a cut chunk can't be decrypted, and shifts all that follow.
                self._fail_packet(f"encrypted chunk of {len(payload)} bytes, declared as {packet.declared_len}")
                return
            self._audio += (len(payload) - TAG_BYTES).to_bytes(2, "big")
        self._audio += payload
        self._index += 1
        self._flowing = self.profile == "plain"

    def _receive_paused(self) -> None:
        self._paused = True
        self._flowing = False
        if self._options.still_recording:
            # It goes on at the pace of speech until the meeting is over: nothing is lost by waiting for that.
            self._fail("transfer_still_recording", "the recorder is still recording it", "later")

    def _receive_e2e_start(self, packet: E2eStart) -> None:
        if not self._fits_profile(packet) or self._audio or self.received_bytes:
            return  # a repeated start changes nothing
        self._audio += packet.ephemeral_pk + packet.salt

    def _receive_end(self, packet: Eof | EncryptedEof, now: float) -> None:
        if not self._fits_profile(packet) or self._end is not None:
            return
        self._update_checksums()
        if self.outcome is not None:
            return
        self._end = packet
        self._flowing = False
        if isinstance(packet, Eof):
            if packet.crc32 != self._crc32:
                message = (
                    f"the checksum differs: the recorder says 0x{packet.crc32:08x}, "
                    f"the {self.received_bytes} bytes that came have 0x{self._crc32:08x}"
                )
                self._fail("transfer_crc_mismatch", message, "now")
                return
        elif 0 < (packet.seq - self._index) & 0xFFFF < _HALF_THE_COUNTER:
            # This packet counts the chunks sent, and nothing else would show that the last ones are missing.
            self._fail_gap(packet.seq)
            return
        self._wait_until = now + self._options.sha_grace_s
        if self._device_sha is not None:
            self._conclude()

    def _receive_sha256(self, packet: Sha256) -> None:
        if packet.recording_id is not None and packet.recording_id != self._recording_id:
            self.foreign_digests += 1
            return
        if packet.recording_id is None and packet.sha256.hex() in self._options.earlier_digests:
            self.foreign_digests += 1  # sent too late for the transfer that it belongs to
            return
        if self._device_sha is None or packet.recording_id is not None:
            self._device_sha = packet
        if self._end is not None:
            self._conclude()

    def _fits_profile(self, packet: Packet) -> bool:
        """The first packet of content decides between plain and P10; after it, the other kind is a failure."""
        kind: Profile = "plain" if isinstance(packet, Data | Eof) else "p10"
        if self.profile is None and (kind == "plain" or isinstance(packet, E2eStart)):
            self.profile = kind
        if self.profile == kind:
            return True
        self._fail_packet(f"{type(packet).__name__} in a transfer that is {self.profile or 'not opened as encrypted'}")
        return False

    def _in_sequence(self, seq: int) -> bool:
        ahead = (seq - self._index) & 0xFFFF
        if ahead == 0:
            return True
        if self._index > 0 and ahead >= _HALF_THE_COUNTER:
            self.duplicates += 1
        else:
            self._fail_gap(seq)
        return False

    def _update_checksums(self) -> None:
        if len(self._audio) > self._digested:
            with memoryview(self._audio) as view, view[self._digested :] as fresh:
                self._crc32 = zlib.crc32(fresh, self._crc32)
                self._sha256.update(fresh)
                self.received_bytes += len(fresh)
            self._digested = len(self._audio)
        if self.outcome is None and self.received_bytes > self._options.max_recording_bytes:
            limit = self._options.max_recording_bytes
            self._fail("transfer_too_long", f"more than wire.max_recording_bytes ({limit}) came, without end", "never")

    def _wait_for_more(self, now: float) -> None:
        if self.outcome is not None:
            return
        if self._end is not None:
            if now >= self._wait_until:
                self._conclude()  # something keeps coming, so that nobody calls ``tick``
            return
        if self._paused:
            self._wait_until = now + PAUSED_SILENCE_S
        elif self.profile is not None:
            self._wait_until = now + self._options.packet_gap_s
        if now >= self._too_slow_at():
            self._fail_too_slow(now)

    def _too_slow_at(self) -> float:
        options = self._options
        useless = RATE_ALLOWANCE_S + self.received_bytes / options.slowest_bytes_per_s
        unreasonable = max(options.patience_s, self.received_bytes / RECORDING_RATE)
        return (self._started_at or 0.0) + min(useless, unreasonable)

    def _conclude(self) -> None:
        device_sha256 = self.device_sha256
        comparable = device_sha256 is not None and self.profile == "plain"
        matches = device_sha256 == self.sha256 if comparable else None
        if matches is False and self._options.digest == "strict" and not self._encrypted_at_rest:
            message = f"the recorder says SHA-256 {device_sha256}, the bytes that came have {self.sha256}"
            self._fail("transfer_sha_mismatch", message, "now")
            return
        self.outcome = Complete(
            length=self.received_bytes,
            crc32=self._crc32 if self.profile == "plain" else None,
            sha256=self.sha256,
            device_sha256=device_sha256,
            profile=self.profile or "plain",
            sha_matches=matches,
        )

    def _fail_gap(self, seq: int) -> None:
        self.gaps += 1
        due = self._index & 0xFFFF
        message = f"packets are missing: number {seq} came where {due} was due, after {self._index} in all"
        self._fail("transfer_gap", message, "now")

    def _fail_packet(self, what: str) -> None:
        self._fail("transfer_packet_invalid", f"packet {self.packets} can't be followed: {what}", "later")

    def _fail_too_slow(self, now: float) -> None:
        took = now - (self._started_at or 0.0)
        floor = self._options.slowest_bytes_per_s
        came = f"{self.received_bytes} bytes in {took:.0f} s"
        if self.received_bytes < floor * (took - RATE_ALLOWANCE_S):
            self._fail("transfer_too_slow", f"{came}: below wire.slowest_bytes_per_s ({floor})", "later")
        else:
            self._fail("transfer_too_slow", f"{came}: slower than audio is recorded; more time is given next", "later")

    def _fail(self, code: str, message: str, retry: Retry, *, device_error: int | None = None) -> None:
        self.outcome = Failed(code, message, retry, device_error)
        self._update_checksums()
        self._audio.clear()
        self._digested = 0
