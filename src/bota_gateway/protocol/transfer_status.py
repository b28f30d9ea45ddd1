"""Answers on the transfer status characteristic (docs/protocol.md, "Transfer status")."""

from dataclasses import dataclass
from typing import Final, Literal

from bota_gateway.protocol.errors import require

Kind = Literal["trigger", "ota_start_result", "ota_verify_result", "ota_ack", "unknown"]

TRIGGER_CODES: Final = {1: "no_network", 2: "busy", 3: "no_token"}
"""Why a recorder refuses to upload by itself; 0 is acceptance. Silence for 5 s means firmware without trigger."""

_KINDS: Final[dict[int, Kind]] = {
    0x03: "trigger",
    0x08: "ota_start_result",
    0x09: "ota_verify_result",
    0x10: "ota_ack",
}


@dataclass(frozen=True, slots=True)
class TransferStatus:
    """One answer. The characteristic is shared with firmware updates, which this package does not make."""

    kind: Kind
    opcode: int
    code: int | None
    """Result; None for an acknowledged packet of an update, which has ``seq``."""
    seq: int | None = None

    @property
    def accepted(self) -> bool:
        """The recorder does what it was asked."""
        return self.code == 0


def decode_transfer_status(value: bytes) -> TransferStatus:
    """Decode one notification.

    Raises:
        DecodeError: ``too_short``.
    """
    require(value, 2, "transfer status")
    kind = _KINDS.get(value[0], "unknown")
    if kind == "ota_ack":
        require(value, 3, "an acknowledged packet of an update")
        return TransferStatus(kind, value[0], None, int.from_bytes(value[1:3], "little"))
    return TransferStatus(kind, value[0], value[1])


def encode_trigger_answer(code: int) -> bytes:
    """The answer to a trigger."""
    return bytes((0x03, code))
