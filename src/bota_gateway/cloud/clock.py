"""The server's clock, as its answers tell it."""

import asyncio
from email.utils import parsedate_to_datetime

from bota_gateway.model import WallClock


class ServerClock:
    """Tells the server's time. A Pi has no clock of its own: at boot its time may be years off.

    Learned from ``Date`` headers (whole seconds, plus the answer's way), carried on by the loop's monotonic time, so
    that a jump of the hub's clock does not touch it. Until an answer came, the hub's clock must do.
    """

    def __init__(self, now: WallClock) -> None:
        self._now = now
        self._anchor: tuple[float, float] | None = None

    @property
    def known(self) -> bool:
        """Whether an answer has told the time yet."""
        return self._anchor is not None

    @property
    def offset_s(self) -> float:
        """Server's time minus the hub's, in seconds; 0 while unknown."""
        return self.now() - self._now()

    def now(self) -> float:
        """Unix seconds by the server's clock."""
        if self._anchor is None:
            return self._now()
        server, loop = self._anchor
        return server + asyncio.get_running_loop().time() - loop

    def observe(self, date_header: str | None) -> None:
        """Take the ``Date`` of an answer that just came; one that can't be read is ignored."""
        if date_header is None:
            return
        try:
            server = parsedate_to_datetime(date_header).timestamp()
        except (ValueError, OverflowError):
            return
        self._anchor = (server, asyncio.get_running_loop().time())
