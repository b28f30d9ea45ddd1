"""Parts that a person may pause.

A paused part does not run at all, so it is quiet at once and loses nothing: it is ended as by a stop, and begins again
as after a start.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from bota_gateway.spool import Spool

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Pausing:
    """Knows what is paused, and makes parts obey.

    Args:
        spool: Remembers it.
        since: What is paused already, and since when.
    """

    def __init__(self, spool: Spool, since: Mapping[str, float]) -> None:
        self._spool = spool
        self._since = dict(since)
        self._changed = asyncio.Event()

    @property
    def since(self) -> Mapping[str, float]:
        """Paused parts, each with the Unix time of its pause."""
        return self._since

    async def pause(self, part: str) -> None:
        """Let a part rest; durable when this returns."""
        was_paused = part in self._since
        await self._spool.pause(part)
        await self._follow()
        if not was_paused:
            log.info("part_paused", part=part)

    async def resume(self, part: str) -> None:
        """Let it work again; durable when this returns."""
        was_paused = part in self._since
        await self._spool.resume(part)
        await self._follow()
        if was_paused:
            log.info("part_resumed", part=part)

    async def obeying(self, part: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run ``run`` while the part is not paused; give back when it ends by itself.

        Raises:
            Whatever ``run`` raises (within an exception group, as all task groups raise).
        """
        while True:
            await self._until(lambda: part not in self._since)
            async with asyncio.TaskGroup() as tasks:
                work = tasks.create_task(_done(run), name=part)
                pause = tasks.create_task(self._until(lambda: part in self._since))
                await asyncio.wait({work, pause}, return_when=asyncio.FIRST_COMPLETED)
                work.cancel()
                pause.cancel()
            if work.done() and not work.cancelled():
                return

    async def _follow(self) -> None:
        self._since = await self._spool.paused()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()


async def _done(run: Callable[[], Awaitable[None]]) -> None:
    await run()
