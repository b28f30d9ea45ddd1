"""Transfers as a recorder sends them, for tests of those who receive them."""

import hashlib
import zlib
from collections.abc import Iterable

from bota_gateway.protocol import packets, uuids
from bota_gateway.protocol.control import Write
from bota_gateway.protocol.receiver import BatchReceiver, Complete, Failed, ReceiverOptions

RECORDING_ID = bytes.fromhex("a1b2c3d4") + bytes(12)
OPTIONS = ReceiverOptions()


def receiver(*, options: ReceiverOptions = OPTIONS, encrypted_at_rest: bool = False) -> BatchReceiver:
    """A receiver whose START was written at time 0."""
    it = BatchReceiver(RECORDING_ID, options, encrypted_at_rest=encrypted_at_rest)
    it.started(0.0)
    return it


def data_packets(audio: bytes, size: int = 15) -> list[bytes]:
    """DATA packets of ``audio``, with ``size`` bytes of payload each."""
    pieces = (audio[start : start + size] for start in range(0, len(audio), size))
    return [packets.encode_data(seq, piece) for seq, piece in enumerate(pieces)]


def eof(audio: bytes, seq: int = 0) -> bytes:
    """The end packet that fits ``audio``."""
    return packets.encode_eof(seq, zlib.crc32(audio))


def digest(audio: bytes, recording_id: bytes | None = None) -> bytes:
    """The digest packet that fits ``audio``."""
    return packets.encode_sha256(hashlib.sha256(audio).digest(), recording_id)


def completed(it: BatchReceiver) -> Complete:
    """The outcome, which must be a good one."""
    assert isinstance(it.outcome, Complete), it.outcome
    return it.outcome


def failed(it: BatchReceiver) -> Failed:
    """The outcome, which must be a bad one."""
    assert isinstance(it.outcome, Failed), it.outcome
    return it.outcome


def failure_of(notifications: Iterable[bytes], *, options: ReceiverOptions = OPTIONS) -> Failed:
    """How a transfer of these notifications fails."""
    it = receiver(options=options)
    it.receive(notifications, 1.0)
    return failed(it)


def at_control(value: bytes) -> Write:
    """A write to the transfer control characteristic, where results go by default."""
    return Write(uuids.TRANSFER_CONTROL, value)
