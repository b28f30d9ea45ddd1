"""Lines of a debug build's log (docs/protocol.md, "Debug log")."""

import struct
from dataclasses import dataclass
from typing import Final

from bota_gateway.protocol import uuids
from bota_gateway.protocol.control import Write

_HEADER: Final = struct.Struct("<HB")
_BACKLOG: Final = 0x01
_DROPPED: Final = 0x02

LONGEST_LINE: Final = 4096
"""A partial line that grows beyond this is given out as it is: a recorder that never ends a line fills no memory."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, without its end."""

    text: str
    backlog: bool
    """It was written before the stream was asked for."""


def start_log() -> Write:
    """Ask for the stream. A refusal means that this is no debug build."""
    return Write(uuids.LOG_CONTROL, b"\x01")


def stop_log() -> Write:
    """End the stream."""
    return Write(uuids.LOG_CONTROL, b"\x00")


def encode_log_packet(seq: int, text: bytes, *, backlog: bool = False, dropped: bool = False) -> bytes:
    """One notification; ``seq`` is taken modulo 65,536."""
    return _HEADER.pack(seq & 0xFFFF, backlog * _BACKLOG | dropped * _DROPPED) + text


class LogAssembler:
    """Puts lines together from notifications. What lies across a gap is no line, so a gap drops the part before it."""

    def __init__(self) -> None:
        self.gaps = 0
        """Notifications missing, or bytes that the recorder says it dropped."""
        self._expected: int | None = None
        self._partial = b""

    def add(self, notification: bytes) -> list[LogLine]:
        """Take one notification and return the lines that it completes. Less than a header is ignored."""
        if len(notification) < _HEADER.size:
            return []
        seq, flags = _HEADER.unpack_from(notification)
        if flags & _DROPPED or self._expected not in (None, seq):
            self.gaps += 1
            self._partial = b""
        self._expected = (seq + 1) & 0xFFFF
        *lines, self._partial = (self._partial + notification[_HEADER.size :]).split(b"\n")
        if len(self._partial) > LONGEST_LINE:
            lines.append(self._partial)
            self._partial = b""
        return [_line(line, backlog=bool(flags & _BACKLOG)) for line in lines]


def _line(line: bytes, *, backlog: bool) -> LogLine:
    return LogLine(line.removesuffix(b"\r").decode("utf-8", errors="replace"), backlog)
