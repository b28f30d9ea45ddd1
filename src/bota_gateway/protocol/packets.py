"""Packets of a transfer, recorder to hub, on the recording transfer characteristic (docs/protocol.md, "Transfer").

``BatchReceiver`` reads DATA packets by itself, being the many; all others pass through ``decode_packet``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from bota_gateway.protocol.errors import DecodeError, require

SHORTEST_PACKET: Final = 3
DATA_HEADER: Final = 5
"""Type, sequence, declared length: where the payload of DATA and ENCRYPTED_DATA starts."""
SHA256_BYTES: Final = 32
RECORDING_ID_BYTES: Final = 16
EPHEMERAL_KEY_BYTES: Final = 32
SALT_BYTES: Final = 4
TAG_BYTES: Final = 16
"""ChaCha20-Poly1305 tag that ends every encrypted chunk."""
NO_CODE: Final = 0xFF
"""Error code of an ERROR packet that carries none."""


class PacketType(IntEnum):
    """First byte of a packet."""

    DATA = 0x01
    EOF = 0x02
    PAUSED = 0x03
    SHA256 = 0x04
    E2E_START = 0x05
    RESULT_ACK = 0x10
    RESULT_NACK = 0x11
    RESULT_ABORT = 0x12
    ENCRYPTED_DATA = 0x81
    ENCRYPTED_EOF = 0x82
    ERROR = 0xFF


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of the recording; the payload is everything after the header, whatever length is declared."""

    seq: int
    declared_len: int | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class Eof:
    """End of a plain transfer, with the CRC-32 of all payloads. What ``seq`` holds differs between firmwares."""

    seq: int
    crc32: int


@dataclass(frozen=True, slots=True)
class Paused:
    """All that is recorded so far was sent; more comes when it exists."""

    seq: int
    bytes_sent: int | None


@dataclass(frozen=True, slots=True)
class Sha256:
    """The recorder's own digest; newer firmware says of which recording. It has no sequence number."""

    sha256: bytes
    recording_id: bytes | None


@dataclass(frozen=True, slots=True)
class E2eStart:
    """Opens a P10 transfer: what follows is encrypted for the backend. It has no sequence number."""

    ephemeral_pk: bytes
    salt: bytes


@dataclass(frozen=True, slots=True)
class EncryptedData:
    """One P10 chunk: ciphertext and tag."""

    seq: int
    declared_len: int | None
    chunk: bytes


@dataclass(frozen=True, slots=True)
class EncryptedEof:
    """End of a P10 transfer; it carries no checksum."""

    seq: int


@dataclass(frozen=True, slots=True)
class DeviceError:
    """The recorder gives up; ``code`` is explained in ``errors_on_wire``."""

    seq: int
    code: int


@dataclass(frozen=True, slots=True)
class ResultEcho:
    """Our own ACK, NACK or ABORT come back; without meaning."""


Packet = Data | Eof | Paused | Sha256 | E2eStart | EncryptedData | EncryptedEof | DeviceError | ResultEcho


def _u16(value: bytes, offset: int) -> int:
    return int.from_bytes(value[offset : offset + 2], "little")


def _u32(value: bytes, offset: int) -> int:
    return int.from_bytes(value[offset : offset + 4], "little")


def decode_packet(value: bytes) -> Packet:
    """Decode one notification.

    Raises:
        DecodeError: ``too_short`` or ``unknown_packet_type``.
    """
    require(value, SHORTEST_PACKET, "a transfer packet")
    decoder = _DECODERS.get(value[0])
    if decoder is None:
        raise DecodeError("unknown_packet_type", f"0x{value[0]:02x} is no type of transfer packet")
    return decoder(value)


def _decode_data(value: bytes) -> Data:
    return Data(_u16(value, 1), _declared_len(value), value[DATA_HEADER:])


def _decode_eof(value: bytes) -> Eof:
    require(value, 7, "an end packet")
    return Eof(_u16(value, 1), _u32(value, 3))


def _decode_paused(value: bytes) -> Paused:
    return Paused(_u16(value, 1), _u32(value, 3) if len(value) >= 7 else None)


def _decode_e2e_start(value: bytes) -> E2eStart:
    require(value, 1 + EPHEMERAL_KEY_BYTES + SALT_BYTES, "an encryption start packet")
    return E2eStart(value[1:33], value[33:37])


def _decode_encrypted_data(value: bytes) -> EncryptedData:
    return EncryptedData(_u16(value, 1), _declared_len(value), value[DATA_HEADER:])


def _decode_encrypted_eof(value: bytes) -> EncryptedEof:
    return EncryptedEof(_u16(value, 1))


def _decode_error(value: bytes) -> DeviceError:
    return DeviceError(_u16(value, 1), value[3] if len(value) > 3 else NO_CODE)


def _decode_echo(_value: bytes) -> ResultEcho:
    return ResultEcho()


def _declared_len(value: bytes) -> int | None:
    return _u16(value, 3) if len(value) >= DATA_HEADER else None


def _decode_sha256(value: bytes) -> Sha256:
    require(value, 1 + SHA256_BYTES, "a digest packet")
    if len(value) == 1 + SHA256_BYTES:
        return Sha256(value[1:33], None)
    require(value, 1 + SHA256_BYTES + RECORDING_ID_BYTES, "a digest packet with a recording id")
    return Sha256(value[1:33], value[33:49])


_DECODERS: Final[dict[int, Callable[[bytes], Packet]]] = {
    PacketType.DATA: _decode_data,
    PacketType.EOF: _decode_eof,
    PacketType.PAUSED: _decode_paused,
    PacketType.SHA256: _decode_sha256,
    PacketType.E2E_START: _decode_e2e_start,
    PacketType.RESULT_ACK: _decode_echo,
    PacketType.RESULT_NACK: _decode_echo,
    PacketType.RESULT_ABORT: _decode_echo,
    PacketType.ENCRYPTED_DATA: _decode_encrypted_data,
    PacketType.ENCRYPTED_EOF: _decode_encrypted_eof,
    PacketType.ERROR: _decode_error,
}


def encode_data(seq: int, payload: bytes, *, declared_len: int | None = None) -> bytes:
    """DATA; ``seq`` is taken modulo 65,536, as the recorder's counter rolls over."""
    return _encode_chunk(PacketType.DATA, seq, payload, declared_len)


def encode_encrypted_data(seq: int, chunk: bytes, *, declared_len: int | None = None) -> bytes:
    """ENCRYPTED_DATA; ``chunk`` is ciphertext and tag."""
    return _encode_chunk(PacketType.ENCRYPTED_DATA, seq, chunk, declared_len)


def _encode_chunk(kind: PacketType, seq: int, payload: bytes, declared_len: int | None) -> bytes:
    length = len(payload) if declared_len is None else declared_len
    return bytes((kind,)) + _seq(seq) + length.to_bytes(2, "little") + payload


def encode_eof(seq: int, crc32: int) -> bytes:
    """End of a plain transfer."""
    return bytes((PacketType.EOF,)) + _seq(seq) + crc32.to_bytes(4, "little")


def encode_paused(seq: int, bytes_sent: int | None = None) -> bytes:
    """PAUSED, in its short form when ``bytes_sent`` is None."""
    tail = b"" if bytes_sent is None else bytes_sent.to_bytes(4, "little")
    return bytes((PacketType.PAUSED,)) + _seq(seq) + tail


def encode_sha256(sha256: bytes, recording_id: bytes | None = None) -> bytes:
    """The digest packet: 33 bytes, or 49 with the 16-byte recording id."""
    return bytes((PacketType.SHA256,)) + sha256 + (recording_id or b"")


def encode_e2e_start(ephemeral_pk: bytes, salt: bytes) -> bytes:
    """Opening of a P10 transfer: a 32-byte public key and a 4-byte salt."""
    return bytes((PacketType.E2E_START,)) + ephemeral_pk + salt


def encode_encrypted_eof(seq: int) -> bytes:
    """End of a P10 transfer, with its four unused bytes."""
    return bytes((PacketType.ENCRYPTED_EOF,)) + _seq(seq) + bytes(4)


def encode_error(seq: int, code: int | None) -> bytes:
    """ERROR; without ``code`` in its short form."""
    return bytes((PacketType.ERROR,)) + _seq(seq) + (b"" if code is None else bytes((code,)))


def _seq(seq: int) -> bytes:
    return (seq & 0xFFFF).to_bytes(2, "little")
