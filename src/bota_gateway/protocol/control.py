"""Commands, hub to recorder (docs/protocol.md, "Commands").

Encoders return a ``Write`` that names its characteristic; ``decode_command`` is the recorder's side.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from bota_gateway.protocol import uuids
from bota_gateway.protocol.errors import DecodeError, require
from bota_gateway.protocol.packets import RECORDING_ID_BYTES, PacketType


@dataclass(frozen=True, slots=True)
class Write:
    """A value to write, always with response: recorders want an ATT Write Request."""

    characteristic: str
    value: bytes


class Opcode(IntEnum):
    """First byte of a value on the transfer control characteristic, version 1."""

    LIST = 0x01
    START = 0x02
    TRIGGER_UPLOAD = 0x03
    CONFIRM = 0x07
    OTA_START = 0x08
    OTA_VERIFY = 0x09
    ACK = PacketType.RESULT_ACK
    NACK = PacketType.RESULT_NACK
    ABORT = PacketType.RESULT_ABORT


class RecordingOpcode(IntEnum):
    """Values of the recording control characteristic; each needs a grant of the backend first."""

    START = 0x10
    STOP = 0x11


RESULTS: Final = frozenset({Opcode.ACK, Opcode.NACK, Opcode.ABORT})
"""How a hub ends a transfer: good, repeat all of it, or leave it."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a recorder reads from transfer control."""

    opcode: Opcode
    recording_id: bytes | None = None
    """16 bytes, for START and CONFIRM."""
    seq: int | None = None
    """For the three results."""


def list_command() -> Write:
    """Ask for the list of recordings."""
    return _control(Opcode.LIST)


def start_command(recording_id: bytes) -> Write:
    """Ask for one recording, from its first byte: version 1 has no offset. ``recording_id`` has 16 bytes."""
    return _control(Opcode.START, _checked(recording_id))


def trigger_upload() -> Write:
    """Ask the recorder to upload by itself; it answers on transfer status."""
    return _control(Opcode.TRIGGER_UPLOAD)


def confirm_command(recording_id: bytes) -> Write:
    """Give permission to delete one recording. Nothing answers but the ATT response."""
    return _control(Opcode.CONFIRM, _checked(recording_id))


def result_write(result: Opcode, *, seq: int = 0, characteristic: str = uuids.TRANSFER_CONTROL) -> Write:
    """End a transfer with ``Opcode.ACK``, ``NACK`` or ``ABORT``."""
    return Write(characteristic, bytes((result,)) + (seq & 0xFFFF).to_bytes(2, "little"))


def recording_control(opcode: RecordingOpcode) -> Write:
    """Start or stop recording; refused without a fresh grant."""
    return Write(uuids.RECORDING_CONTROL, bytes((opcode,)))


def decode_command(value: bytes) -> Command:
    """Decode what was written to transfer control (results may come on recording transfer too).

    Raises:
        DecodeError: ``too_short`` or ``unknown_command``.
    """
    require(value, 1, "a command")
    try:
        opcode = Opcode(value[0])
    except ValueError:
        raise DecodeError("unknown_command", f"0x{value[0]:02x} is no command") from None
    if opcode in (Opcode.START, Opcode.CONFIRM):
        require(value, 1 + RECORDING_ID_BYTES, f"the {opcode.name} command")
        return Command(opcode, recording_id=value[1 : 1 + RECORDING_ID_BYTES])
    if opcode in RESULTS:
        require(value, 3, f"the {opcode.name} result")
        return Command(opcode, seq=int.from_bytes(value[1:3], "little"))
    return Command(opcode)


def _control(opcode: Opcode, rest: bytes = b"") -> Write:
    return Write(uuids.TRANSFER_CONTROL, bytes((opcode,)) + rest)


def _checked(recording_id: bytes) -> bytes:
    if len(recording_id) != RECORDING_ID_BYTES:
        raise ValueError(f"a recording id has {RECORDING_ID_BYTES} bytes, this one has {len(recording_id)}")
    return recording_id
