"""Transfer packets, and whole transfers, as plain dictionaries."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from bota_gateway.protocol.control import Opcode
from bota_gateway.protocol.errors import DecodeError
from bota_gateway.protocol.errors_on_wire import wire_error
from bota_gateway.protocol.packets import (
    RECORDING_ID_BYTES,
    Data,
    DeviceError,
    E2eStart,
    EncryptedData,
    EncryptedEof,
    Eof,
    Paused,
    ResultEcho,
    Sha256,
    decode_packet,
)
from bota_gateway.protocol.receiver import BatchReceiver, Complete, Failed, ReceiverOptions

Answer = dict[str, object]


def decode_transfer_packet(value: bytes) -> Answer:
    """One packet.

    Raises:
        DecodeError: ``too_short`` or ``unknown_packet_type``.
    """
    packet = decode_packet(value)
    return _PACKETS[type(packet)](packet)


def _sha256(packet: Sha256) -> Answer:
    recording_id = None if packet.recording_id is None else packet.recording_id.hex()
    return {"type": "sha256", "sha256": packet.sha256.hex(), "recording_id": recording_id}


def _error(packet: DeviceError) -> Answer:
    line = wire_error(packet.code)
    named = {"seq": packet.seq, "code": packet.code, "name": line.name, "retryable": line.retryable}
    return {"type": "error", **named, "meaning": line.meaning}


_PACKETS: Final[dict[type, Callable[[Any], Answer]]] = {
    Data: lambda it: {"type": "data", "seq": it.seq, "declared_len": it.declared_len, "payload": it.payload.hex()},
    Eof: lambda it: {"type": "eof", "seq": it.seq, "crc32": it.crc32},
    Paused: lambda it: {"type": "paused", "seq": it.seq, "bytes_sent": it.bytes_sent},
    Sha256: _sha256,
    E2eStart: lambda it: {"type": "e2e_start", "ephemeral_pk": it.ephemeral_pk.hex(), "salt": it.salt.hex()},
    EncryptedData: lambda it: {
        "type": "encrypted_data",
        "seq": it.seq,
        "declared_len": it.declared_len,
        "chunk": it.chunk.hex(),
    },
    EncryptedEof: lambda it: {"type": "encrypted_eof", "seq": it.seq},
    DeviceError: _error,
    ResultEcho: lambda _: {"type": "ignore"},
}


def decode_transfer(notifications: Sequence[bytes]) -> Answer:
    """A whole transfer, through the daemon's receiver.

    What the gateway would answer is ``result``. Nothing says here whether the recording is encrypted at rest, so a
    digest of the recorder that differs from ours is only shown (``sha_matches``), not judged.
    """
    receiver = BatchReceiver(_recording_id(notifications), ReceiverOptions(digest="record"), encrypted_at_rest=False)
    receiver.receive(notifications, now=0.0)
    body = receiver.take_audio()
    if receiver.ended:
        receiver.tick(receiver.deadline)
    outcome = receiver.outcome
    complete = outcome if isinstance(outcome, Complete) else None
    answer: Answer = {
        "result": _result(receiver),
        "length": receiver.received_bytes,
        "crc32": None if receiver.profile == "p10" else receiver.crc32,
        "payload_sha256": receiver.sha256,
        "device_sha256": receiver.device_sha256,
        "sha_matches": complete.sha_matches if complete else None,
        "profile": receiver.profile,
        "packets": receiver.packets,
        "duplicates": receiver.duplicates,
        "length_mismatches": receiver.length_mismatches,
    }
    if receiver.profile == "p10":
        answer["body"] = None if isinstance(outcome, Failed) else body.hex()
    if isinstance(outcome, Failed):
        answer |= {"code": outcome.code, "message": outcome.message, "device_error": outcome.device_error}
    return answer


def _result(receiver: BatchReceiver) -> str:
    match receiver.outcome:
        case None:
            return "incomplete"
        case Complete():
            return "ack"
        case Failed():
            refusal = receiver.refuse()
            return "nack" if refusal is not None and refusal.value[0] == Opcode.NACK else "error"


def _recording_id(notifications: Iterable[bytes]) -> bytes:
    """Which recording was asked for is not in the packets, but a digest packet of newer firmware says it."""
    for notification in notifications:
        try:
            packet = decode_packet(notification)
        except DecodeError:
            continue
        if isinstance(packet, Sha256) and packet.recording_id is not None:
            return packet.recording_id
    return bytes(RECORDING_ID_BYTES)
