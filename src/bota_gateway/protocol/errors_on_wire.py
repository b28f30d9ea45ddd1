"""What a recorder's error codes mean during a transfer (docs/protocol.md, "Error codes").

Only the verdict on 0x14 is stated by the vendor; the others follow from what each code says.
"""

from dataclasses import dataclass
from typing import Final, Literal

Retry = Literal["now", "later", "never"]
"""When the same transfer is worth another try: in this visit, in a later one, or only after a human helped."""


@dataclass(frozen=True, slots=True)
class WireError:
    """One code of the table."""

    name: str
    meaning: str
    retry: Retry
    transfer_code: str | None = None
    """Stable code of the failed transfer, where it is not the code's own number."""

    @property
    def retryable(self) -> bool:
        """Whether waiting can help at all."""
        return self.retry != "never"


STORAGE_KEY_UNAVAILABLE: Final = 0x14
BUSY: Final = 0x20
NEEDS_V2: Final = 0x22
RECORDING_NOT_FOUND: Final = 0x11

WIRE_ERRORS: Final[dict[int, WireError]] = {
    0x00: WireError("success", "the recorder calls it an error, and the code says success", "later"),
    0x01: WireError("invalid_command", "the recorder does not know the command", "never"),
    0x02: WireError("invalid_state", "the recorder is busy with something else", "later"),
    0x03: WireError("invalid_parameter", "the recorder does not accept the recording id", "never"),
    0x10: WireError("storage_full", "the recorder's storage is full", "never"),
    RECORDING_NOT_FOUND: WireError("recording_not_found", "the recorder no longer has it; list again", "later"),
    0x12: WireError("transfer_failed", "the recorder could not read or send it", "now"),
    STORAGE_KEY_UNAVAILABLE: WireError(
        "storage_key_unavailable", "the recording exists, but the recorder can't unlock its storage key", "never"
    ),
    # Listed as "token invalid"; newer firmware sends it while it owns an upload itself. During a transfer only
    # the second reading makes sense.
    BUSY: WireError("upload_busy", "the recorder is uploading by itself", "later", "transfer_busy"),
    0x21: WireError("token_expired", "the recorder's own token has expired", "never"),
    NEEDS_V2: WireError(
        "needs_v2", "the recorder gives this recording only by version 2 of the protocol", "never", "transfer_needs_v2"
    ),
    0x30: WireError("network_error", "the recorder reports a network error", "later"),
    0x31: WireError("upload_failed", "the recorder reports a failed upload", "later"),
    0xFF: WireError("unknown", "the recorder gives no reason", "later"),
}


def wire_error(code: int) -> WireError:
    """The table's line for ``code``; a code it does not know is worth a later try."""
    return WIRE_ERRORS.get(code) or WireError("unknown", "a code this version does not know", "later")


def transfer_code(code: int) -> str:
    """Stable code of a transfer that ended with this wire code, such as ``transfer_device_error_0x14``."""
    return wire_error(code).transfer_code or f"transfer_device_error_0x{code:02x}"
