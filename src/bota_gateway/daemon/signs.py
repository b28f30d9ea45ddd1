"""What the service manager is told: readiness, the status line, and signs of life that something proves."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from bota_gateway.daemon.systemd import ServiceManager
from bota_gateway.pulse import Pulses
from bota_gateway.status.report import Report

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

STATUS_LINE_EVERY_S: Final = 10.0
"""How often the line in ``systemctl status`` is renewed: it tells percents of a transfer."""
RADIO_VERDICT_S: Final = 45.0
"""Readiness waits so long for the radio to scan or to say why it does not. BlueZ is given 30 s to answer at most."""
RADIO_LOOK_S: Final = 0.1
"""Between two looks at it meanwhile: it takes a second, and only once."""


class Signs:
    """Tells the service manager how the gateway is.

    Args:
        manager: Who is told.
        report: Makes the status line. It needs the event loop and the spool's thread, and comes behind whatever writes
            into the spool: so an answer proves that these go on.
        radio_is_known: Whether the radio scans, or has said why not.
        parts: The supervised parts; none of them may have ended while the gateway runs.
        pulses: What the tasks within them say of themselves; none of them may be overdue.
    """

    def __init__(
        self,
        manager: ServiceManager,
        report: Report,
        radio_is_known: Callable[[], bool],
        parts: Callable[[], Sequence["asyncio.Task[Any]"]],
        pulses: Pulses,
    ) -> None:
        self._manager = manager
        self._report = report
        self._radio_is_known = radio_is_known
        self._parts = parts
        self._pulses = pulses
        self._hanging: list[str] = []
        """What was overdue at the last look."""
        self._every_s = min(STATUS_LINE_EVERY_S, manager.watchdog_s / 3 or STATUS_LINE_EVERY_S)

    async def run(self) -> None:
        """Say that the gateway is ready when it is, then give signs of life until cancelled."""
        await self._wait_for_the_radio()
        await self._tell_status()
        self._manager.ready()
        while True:
            await self._tell_status()
            self._feed_watchdog()
            await asyncio.sleep(self._every_s)

    async def _wait_for_the_radio(self) -> None:
        """Until the radio is up or known to be down.

        A hub without adapter gets ready, too: it uploads what it has, and its status line says what is missing. Never
        to get ready would be a restart every few minutes, in the middle of uploads.
        """
        self._manager.status("the spool is open, the radio starts")
        for _ in range(round(RADIO_VERDICT_S / RADIO_LOOK_S)):
            if self._radio_is_known():
                return
            await asyncio.sleep(RADIO_LOOK_S)

    async def _tell_status(self) -> None:
        status = await self._report.status()
        self._manager.status(str(status["summary"]))

    def _feed_watchdog(self) -> None:
        ended = [task.get_name() for task in self._parts() if task.done()]
        if ended:
            log.error("watchdog_not_fed", parts=ended)
            return
        hanging = self._pulses.overdue()
        if hanging and hanging != self._hanging:
            log.error("part_hangs", parts=hanging)
        self._hanging = hanging
        if not hanging:
            self._manager.alive()
