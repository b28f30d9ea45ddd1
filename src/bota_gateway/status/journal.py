"""Writes to journald in its own protocol, so that a line keeps its level and its fields.

``journalctl -u bota-gateway RECORDER=PIN0000001`` then tells the story of one recorder. The protocol is one datagram a
line (systemd.io/JOURNAL_NATIVE_PROTOCOL); its bindings for Python need a compiler, and its use here is a page.
"""

import json
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final, TextIO

SOCKET: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "bota-gateway"
PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""As syslog(3) numbers them."""
LONGEST_VALUE: Final = 32 << 10
"""Bytes of one field. A datagram holds about 200 KiB (net.core.wmem_default); only a traceback ever comes near."""


def is_behind(stream: TextIO) -> bool:
    """Whether the journal reads this stream: systemd says so by device and inode (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        stat = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


def entry(message: str, level: str, fields: Mapping[str, Any]) -> bytes:
    """One line for the journal.

    Args:
        message: What people read.
        level: One of the catalogue's.
        fields: Names as the catalogue has them; they stand in the journal in capitals.
    """
    named = {
        "MESSAGE": message,
        "PRIORITY": PRIORITIES.get(level, PRIORITIES["info"]),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        **{name.upper(): value for name, value in fields.items() if value is not None},
    }
    return b"".join(_field(name, value) for name, value in named.items())


def _field(name: str, value: object) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    data = text.encode("utf-8", errors="replace")[:LONGEST_VALUE].decode("utf-8", errors="ignore").encode()
    if b"\n" in data:
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


class JournalLogger:
    """What structlog hands entries to. A journal that takes none holds nobody up: entries are left out, and counted."""

    def __init__(self, address: str = SOCKET) -> None:
        self._address = address
        self._dropped = 0

    def send(self, data: bytes) -> None:
        """Send one entry; the next that arrives tells how many before it did not."""
        if self._dropped:
            data += _field("DROPPED_BEFORE", self._dropped)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as journal:
            journal.setblocking(False)
            try:
                journal.sendto(data, self._address)
            except OSError:
                self._dropped += 1
            else:
                self._dropped = 0

    debug = info = warning = error = critical = msg = send
