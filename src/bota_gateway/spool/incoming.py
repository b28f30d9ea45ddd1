"""A transfer under way, in memory."""

import hashlib
from dataclasses import dataclass, field


@dataclass(slots=True)
class Incoming:
    """A transfer under way: what has arrived and is not in a row yet."""

    expected_bytes: int
    """A hint from the list, for the forecast of room."""
    rest: bytearray = field(default_factory=bytearray)
    rows: int = 0
    stored_bytes: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    """Over every byte handed in, so that a hand-over that lost or doubled bytes can't become a capture."""

    @property
    def total_bytes(self) -> int:
        """Everything handed in so far."""
        return self.stored_bytes + len(self.rest)
