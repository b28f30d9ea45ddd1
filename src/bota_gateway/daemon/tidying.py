"""Deletes audio when its retention is over, by a clock that may be set at any time."""

import asyncio
import math
from typing import Final

import structlog

from bota_gateway.model import WallClock
from bota_gateway.pulse import back_within
from bota_gateway.spool import Spool

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

TIDY_EVERY_S: Final = 600.0
"""How often audio past its retention is looked for: retention counts in hours."""
LEAP_S: Final = 60.0
"""A clock that gained more than this on the time that passed was set; mere correction gains 0.3 s in ten minutes."""


class Tidying:
    """The part of the daemon that makes room.

    Args:
        spool: Open.
        now: The wall clock.
        retention_s: How long audio stays.
    """

    def __init__(self, spool: Spool, now: WallClock, retention_s: float) -> None:
        self._spool = spool
        self._now = now
        self._retention_s = retention_s
        self._lead: float | None = None
        """The wall clock's lead over the time that passed, when it was last looked at."""
        self._not_before = -math.inf
        """Loop time before which nothing's age is known."""

    async def run(self) -> None:
        """Tidy until cancelled; may be called again after it ended."""
        while True:
            self._look_at_clock()
            is_known = asyncio.get_running_loop().time() >= self._not_before
            forgotten = await self._spool.forget_due(self._now(), self._retention_s if is_known else math.inf)
            if forgotten:
                log.info("audio_forgotten", recordings=forgotten)
            back_within(TIDY_EVERY_S)
            await asyncio.sleep(TIDY_EVERY_S)

    def _look_at_clock(self) -> None:
        """What was noted before the clock was set forward looks older than it is; a whole retention later it is not."""
        loop_now = asyncio.get_running_loop().time()
        lead, self._lead = self._lead, self._now() - loop_now
        if lead is None or self._lead - lead <= LEAP_S:
            return
        self._not_before = loop_now + self._retention_s
        log.info("clock_leapt", by_s=self._lead - lead)
