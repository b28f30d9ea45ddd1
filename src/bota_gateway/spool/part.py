"""What the parts of the spool's public face share."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from bota_gateway.config import SpoolSettings
from bota_gateway.model import WallClock
from bota_gateway.spool.custody import Step
from bota_gateway.spool.database import Database, Transaction

T = TypeVar("T")


class Part:
    """One part of :class:`~bota_gateway.spool.spool.Spool`; only that class puts them together."""

    def __init__(self, database: Database, settings: SpoolSettings, now: WallClock) -> None:
        self._db = database
        self._settings = settings
        self._now = now

    async def _transaction(
        self, step: Step, work: Callable[[Transaction], Awaitable[T]], then: Callable[[T], None] | None = None
    ) -> T:
        """The one way to write; see :meth:`Database.transact`."""
        return await self._db.transact(step, work, then)
