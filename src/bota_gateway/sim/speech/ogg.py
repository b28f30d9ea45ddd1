"""Lengthens an Ogg Opus file by repeating its pages as one continuous stream (RFC 3533, RFC 7845)."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

_HEADER = struct.Struct("<4sBBqIIIB")
"""RFC 3533 section 6: magic, version, flags, granule position, serial, sequence, checksum, number of segments."""
_CHECKSUM_AT = 22
_END_OF_STREAM = 0x04
_HEADER_PAGES = 2
"""OpusHead and OpusTags, each on a page of its own (RFC 7845 section 3)."""
_FRAME_TICKS = 960
"""20 ms (what scripts/make-speech asks for) at the 48 kHz in which Opus counts, whatever the rate of the input."""
_TICKS_PER_S = 48_000

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    flags: int
    granule: int
    serial: int
    sequence: int
    segments: bytes
    body: bytes

    @property
    def packets(self) -> int:
        """How many packets end on this page: a segment shorter than 255 ends one."""
        return sum(length < 255 for length in self.segments)

    def encode(self) -> bytes:
        header = _HEADER.pack(b"OggS", 0, self.flags, self.granule, self.serial, self.sequence, 0, len(self.segments))
        page = bytearray(header + self.segments + self.body)
        struct.pack_into("<I", page, _CHECKSUM_AT, checksum(page))
        return bytes(page)


def checksum(page: bytes | bytearray) -> int:
    """Return the CRC-32 of a page whose checksum field is zero.

    Ogg's polynomial is zlib's, but with the bits of every byte, and of the result, the other way round and without the
    inversions at both ends: so zlib computes it, a hundred times faster than a loop would.
    """
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _pages(data: bytes) -> Iterator[_Page]:
    at = 0
    while at < len(data):
        _, _, flags, granule, serial, sequence, _, count = _HEADER.unpack_from(data, at)
        body_at = at + _HEADER.size + count
        segments = data[at + _HEADER.size : body_at]
        at = body_at + sum(segments)
        yield _Page(flags, granule, serial, sequence, segments, data[body_at:at])


def lengthen(data: bytes, at_least_bytes: int) -> tuple[bytes, int]:
    """Return ``data`` repeated up to a size, and how many seconds it plays, rounded.

    Args:
        data: An Ogg Opus file of one stream, in 20 ms frames, with no packet across two pages.
        at_least_bytes: The result ends with the first page that reaches this size.
    """
    pages = tuple(_pages(data))
    headers, audio = pages[:_HEADER_PAGES], pages[_HEADER_PAGES:]
    result = bytearray().join(page.encode() for page in headers)
    sequence, granule = len(headers), 0
    while True:
        for page in audio:
            granule += page.packets * _FRAME_TICKS
            size = len(result) + _HEADER.size + len(page.segments) + len(page.body)
            flags = _END_OF_STREAM if size >= at_least_bytes else page.flags & ~_END_OF_STREAM
            result += replace(page, flags=flags, granule=granule, sequence=sequence).encode()
            sequence += 1
            if flags == _END_OF_STREAM:
                return bytes(result), round(granule / _TICKS_PER_S)
