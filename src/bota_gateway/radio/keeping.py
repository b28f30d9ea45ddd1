"""Keeps the adapters that the settings name in use as they come and go, each without disturbing the others."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import structlog

from bota_gateway.config import RadioSettings
from bota_gateway.errors import AdapterError
from bota_gateway.pulse import back_within, lasting
from bota_gateway.radio.adapters import Adapter, discover_adapters
from bota_gateway.radio.agent import PairingAgent
from bota_gateway.radio.const import ADAPTERS_CHECK_S, CLEANUP_S, SCAN_RETRY, SCAN_START_S
from bota_gateway.radio.opening import BUMBLE, driven
from bota_gateway.radio.scanner import ScanTrouble
from bota_gateway.radio.tally import Count, Tally
from bota_gateway.radio.watch import BlueZWatch, News

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Use = Callable[[Adapter], AbstractAsyncContextManager[None]]
"""Has an adapter used while the block runs."""
Heed = Callable[[News, str], None]
"""Is told what happens to BlueZ."""


class Keeper:
    """Opens adapters, has them used, and opens them again when they are back.

    Args:
        settings: Which adapters.
        use: Has one used.
        heed: Told of BlueZ's deaths and returns, and of changes among its adapters.
        tally: Where losses are counted of those that BlueZ does not drive.
        agent: Answers when BlueZ pairs.
    """

    def __init__(self, settings: RadioSettings, use: Use, heed: Heed, tally: Tally, agent: PairingAgent) -> None:
        self._driven = tuple(name for name in settings.adapters if name.startswith(BUMBLE))
        others = tuple(name for name in settings.adapters if name not in self._driven)
        self._of_bluez = settings.model_copy(update={"adapters": others})
        self._uses_bluez = bool(others) or not self._driven
        self._use = use
        self._heed = heed
        self._tally = tally
        self._agent = agent
        self._hopes: set[str] = set()
        """Adapters in use, or tried for the first time. Without any, there is no radio."""
        self._known: set[str | None] = set()
        """Addresses of BlueZ's adapters in use."""
        self._look = asyncio.Event()
        self.troubles: dict[str, ScanTrouble] = {}
        """Adapters that can't be opened, by name."""

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            AdapterError: there is none, or none left (within an exception group, as all task groups raise).
        """
        self._hopes = set(self._driven) | ({"BlueZ"} if self._uses_bluez else set())
        async with asyncio.TaskGroup() as tasks:
            for name in self._driven:
                tasks.create_task(self._keep_driven(name), name=f"adapter {name}")
            if self._uses_bluez:
                tasks.create_task(lasting("watch over BlueZ", BlueZWatch(self._on_news, self._agent).run))
                tasks.create_task(lasting("look for adapters", lambda: self._keep_bluez(tasks)))

    async def _keep_driven(self, name: str) -> None:
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            was_there = False
            try:
                async with driven(name) as adapter:
                    was_there = True
                    self._hopes.add(name)
                    self.troubles.pop(name, None)
                    await self._in_use(adapter)
                continue
            except Exception as failure:
                error = _adapter_error(failure)
                if error is None:
                    raise
            if was_there:
                self._tally.add(name, Count.ADAPTER_LOSSES)
            self._give_up_hope(name, error)
            if asyncio.get_running_loop().time() - began > SCAN_RETRY.longest_s:
                failures = 0
            wait = SCAN_RETRY.step(failures)
            failures += 1
            self.troubles[name] = ScanTrouble(error, asyncio.get_running_loop().time() + wait)
            log.warning("adapter_unusable", adapter=name, reason=error.message, retry_in_s=wait)
            await asyncio.sleep(wait)

    async def _in_use(self, adapter: Adapter) -> None:
        async with self._use(adapter):
            await asyncio.Event().wait()

    def _give_up_hope(self, name: str, error: AdapterError) -> None:
        self._hopes.discard(name)
        if not self._hopes:
            raise error

    async def _keep_bluez(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            back_within(SCAN_START_S + CLEANUP_S + ADAPTERS_CHECK_S)
            self._look.clear()
            try:
                for adapter in await discover_adapters(self._of_bluez, quietly=bool(self._known)):
                    if adapter.address not in self._known:
                        self._known.add(adapter.address)
                        tasks.create_task(self._in_use(adapter), name=f"use {adapter.label}")
            except AdapterError as error:
                if not self._known:  # those in use tell of themselves why they are not
                    self._give_up_hope("BlueZ", error)
            try:
                async with asyncio.timeout(ADAPTERS_CHECK_S):
                    await self._look.wait()
            except TimeoutError:
                continue

    def _on_news(self, news: News, reason: str) -> None:
        if news is not News.LOST:
            self._look.set()
        self._heed(news, reason)


def _adapter_error(failure: Exception) -> AdapterError | None:
    """What happened to the adapter, out of the groups that tasks put around it; None if it was something else."""
    while isinstance(failure, ExceptionGroup):
        failure = failure.exceptions[0]
    return failure if isinstance(failure, AdapterError) else None
