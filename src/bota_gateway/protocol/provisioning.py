"""Pairing state and provisioning result (docs/protocol.md, "Provisioning"). The gateway provisions nothing itself."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from bota_gateway.protocol.errors import require

RESULT_CODES: Final = {
    0: "success",
    1: "invalid_token",
    2: "storage_error",
    3: "chunk_error",
    4: "already_paired",
    6: "reset_pending",
    7: "reset_finalized",
}


class PairingState(IntEnum):
    """Whether a recorder belongs to a project."""

    UNPAIRED = 0
    PAIRING = 1
    PAIRED = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class ProvisioningResult:
    """How provisioning, deprovisioning or a reset ended."""

    code: int
    deleted_recordings: int | None = None
    """How many recordings a factory reset wiped."""


def decode_pairing_state(value: bytes) -> PairingState:
    """Decode a reading; empty or unknown counts as unpaired."""
    try:
        return PairingState(value[0])
    except (IndexError, ValueError):
        return PairingState.UNPAIRED


def decode_provisioning_result(value: bytes) -> ProvisioningResult:
    """Decode one notification: one byte, or three after a factory reset.

    Raises:
        DecodeError: ``too_short``.
    """
    require(value, 1, "a provisioning result")
    deleted = int.from_bytes(value[1:3], "little") if value[0] == 0 and len(value) >= 3 else None
    return ProvisioningResult(value[0], deleted)


def encode_provisioning_result(result: ProvisioningResult) -> bytes:
    """One byte, or three when a count is given."""
    head = bytes((result.code,))
    return head if result.deleted_recordings is None else head + result.deleted_recordings.to_bytes(2, "little")
