"""The capability document of version 2 (docs/protocol.md, "Version 2"). Its presence alone says that a recorder has v2.

The document is read afresh for each visit. A reading that fails or is malformed is an error, never a reason to take
version 2's recordings by version 1.
"""

import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from bota_gateway.protocol.errors import DecodeError, require

DOCUMENT_BYTES: Final = 24
ENCODING_VERSION: Final = 1
PROFILE_VERSION: Final = 2
LEAST_SIGNED_BLOB: Final = 408
LEAST_MANIFEST: Final = 580
_LAYOUT: Final = struct.Struct("<BBHIHHHHIHH")


class Capability(IntFlag):
    """What a recorder can do by version 2."""

    TRANSFER_V2_FRAMING = 0x001
    BOTA_ENC_V2_STORAGE = 0x002
    FULL_UUID_PLUS_GENERATION_IDENTITY = 0x004
    DURABLE_RESUME = 0x008
    AUTHENTICATED_MANIFEST = 0x010
    AUTHENTICATED_RECEIPT = 0x020
    COMPLETED_BATCH_RECORDINGS = 0x040
    LIVE_STREAMING_V2 = 0x080
    UPLOAD_CONTEXT_EXCHANGE = 0x100
    EXPIRED_SESSION_RECOVERY = 0x200


KNOWN_FLAGS: Final = 0x3FF


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The document, checked."""

    version: int
    profile_version: int
    flags: int
    max_signed_blob: int
    max_manifest: int
    max_data_payload: int
    max_window_packets: int
    checkpoint_blocks: int
    max_missing: int

    @property
    def ready(self) -> bool:
        """No flag at all means: still starting, read again. It does not mean that version 2 is absent."""
        return self.flags != 0


def decode_capabilities(value: bytes) -> Capabilities:
    """Decode the 24 bytes.

    Raises:
        DecodeError: ``too_short``, or ``malformed`` with the field that is wrong.
    """
    require(value, DOCUMENT_BYTES, "the capability document")
    if len(value) > DOCUMENT_BYTES:
        raise DecodeError("malformed", f"the capability document has {DOCUMENT_BYTES} bytes, these are {len(value)}")
    version, profile, length, flags, *limits, reserved = _LAYOUT.unpack(value)
    _expect("encoding version", version, version == ENCODING_VERSION)
    _expect("profile version", profile, profile == PROFILE_VERSION)
    _expect("length", length, length == DOCUMENT_BYTES)
    _expect("flags", flags, not flags & ~KNOWN_FLAGS)
    _expect("reserved field", reserved, reserved == 0)
    document = Capabilities(version, profile, flags, *limits)
    if document.ready:
        _check_limits(document)
    return document


def encode_capabilities(document: Capabilities) -> bytes:
    """The 24 bytes."""
    return _LAYOUT.pack(
        document.version,
        document.profile_version,
        DOCUMENT_BYTES,
        document.flags,
        document.max_signed_blob,
        document.max_manifest,
        document.max_data_payload,
        document.max_window_packets,
        document.checkpoint_blocks,
        document.max_missing,
        0,
    )


def _check_limits(document: Capabilities) -> None:
    _expect("largest signed blob", document.max_signed_blob, document.max_signed_blob >= LEAST_SIGNED_BLOB)
    _expect("largest manifest", document.max_manifest, document.max_manifest >= LEAST_MANIFEST)
    _expect("largest data payload", document.max_data_payload, document.max_data_payload >= 1)
    _expect("window", document.max_window_packets, document.max_window_packets >= 1)
    _expect("checkpoint interval", document.checkpoint_blocks, document.checkpoint_blocks >= 1)
    _expect("most missing", document.max_missing, document.max_missing >= 1)


def _expect(field: str, value: int, valid: bool) -> None:
    if not valid:
        raise DecodeError("malformed", f"the capability document's {field} is {value} (0x{value:x})")
