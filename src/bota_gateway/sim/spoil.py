"""What the faults of one packet make of it."""

import random
from collections.abc import Callable

from bota_gateway.protocol.packets import DATA_HEADER
from bota_gateway.sim.faults import FaultKind

_RUNT = b"\x01\x00"
_UNKNOWN_TYPE = b"\x7e\x00\x00\x00"


def spoil(kind: FaultKind, packet: bytes, rng: random.Random) -> list[bytes]:
    """Returns what goes out in place of a DATA or ENCRYPTED_DATA packet.

    Args:
        kind: What happens to it; a kind that changes no packet leaves it as it is.
        packet: Header and payload; what has no payload was put there by another fault, and stays as it is.
        rng: Chooses the bit to flip, in the payload.
    """
    spoiler = _SPOILERS.get(kind)
    return [packet] if spoiler is None or len(packet) <= DATA_HEADER else spoiler(packet, rng)


def _flipped(packet: bytes, rng: random.Random) -> bytes:
    bit = rng.randrange(8 * DATA_HEADER, 8 * len(packet))
    flipped = bytearray(packet)
    flipped[bit // 8] ^= 1 << (bit % 8)
    return bytes(flipped)


def _halved(packet: bytes) -> bytes:
    return packet[: DATA_HEADER + (len(packet) - DATA_HEADER) // 2]


def _with_wrong_length(packet: bytes) -> bytes:
    length = len(packet) - DATA_HEADER + 1
    return packet[:3] + length.to_bytes(2, "little") + packet[DATA_HEADER:]


_SPOILERS: dict[FaultKind, Callable[[bytes, random.Random], list[bytes]]] = {
    FaultKind.DROP: lambda _packet, _rng: [],
    FaultKind.DUPLICATE: lambda packet, _rng: [packet, packet],
    FaultKind.TRUNCATE: lambda packet, _rng: [_halved(packet)],
    FaultKind.WRONG_LENGTH: lambda packet, _rng: [_with_wrong_length(packet)],
    FaultKind.BIT_FLIP: lambda packet, rng: [_flipped(packet, rng)],
    FaultKind.RUNT: lambda packet, _rng: [_RUNT, packet],
    FaultKind.UNKNOWN_TYPE: lambda packet, _rng: [_UNKNOWN_TYPE, packet],
}
