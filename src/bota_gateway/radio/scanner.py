"""One adapter's scanner: scans actively, stops for connects, and notices when it has gone deaf."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from bota_gateway.errors import AdapterError
from bota_gateway.radio.adapters import Adapter, find_again
from bota_gateway.radio.bounded import bounded, uninterrupted
from bota_gateway.radio.classify import BACKEND_FAILURES, advise, classify, describe
from bota_gateway.radio.const import (
    PAUSE_S,
    RSSI_UNKNOWN,
    SCAN_RETRY_LONGEST_S,
    SCAN_RETRY_S,
    SCAN_START_S,
    SCAN_STOP_S,
    SILENT_LONGEST_S,
    SILENT_S,
    TIMER_GRAIN_S,
)

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Heard = Callable[[BLEDevice, AdvertisementData], None]


@dataclass(slots=True)
class ScanCounters:
    """What a scanner went through since the gateway started."""

    starts: int = 0
    """Successful ones, those after a pause included."""
    failures: int = 0
    """Failed starts."""
    silences: int = 0
    """Restarts because nothing was heard."""
    heard: int = 0
    """Advertisements, of anybody."""


@dataclass(frozen=True, slots=True)
class ScanTrouble:
    """An adapter that does not scan although it should."""

    error: AdapterError
    again_at: float
    """Loop time of the next try."""


class Scanner:
    """Scans while `run` runs, except while a `paused` block is open.

    One task starts and stops bleak's scanner; who wants a pause asks and waits. So a cancelled connect can't leave a
    stop half done.
    """

    def __init__(self, adapter: Adapter, heard: Heard) -> None:
        self._adapter = adapter
        self._heard = heard
        self._hci = adapter.name
        """What BlueZ calls the adapter now."""
        self._pauses = 0
        self._pause_asked = asyncio.Event()
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._patience = SILENT_S
        self._quiet_s = 0.0
        """Scanning time since something was heard, without pauses; counted up to `_mark`."""
        self._mark: float | None = None
        """None while it does not scan: that is no silence."""
        self._failures = 0
        self._troubled = True
        """The next start is worth a line in the log: the first one, or after a failure or silence."""
        self.counters = ScanCounters()
        self.trouble: ScanTrouble | None = None
        """Why it does not scan; None while all is well."""

    @property
    def scanning(self) -> bool:
        """Whether bleak's scanner is running, or being started or stopped."""
        return not self._idle.is_set()

    async def run(self) -> None:
        """Scan until cancelled. Failures are logged and tried again; none is raised."""
        while True:
            await self._wanted.wait()
            if self._pauses:
                continue
            self._idle.clear()
            try:
                await self._scan()
            except BACKEND_FAILURES as error:
                wait = self._note_failure(error)
            else:
                wait = 0.0
            finally:
                self._idle.set()
            if wait:
                await asyncio.sleep(wait)
                self._hci = await find_again(self._adapter, self._hci)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Keep the scanner stopped inside the block; blocks may overlap. Leaving the block never waits."""
        self._pauses += 1
        self._pause_asked.set()
        self._wanted.clear()
        try:
            await self._wait_until_idle()
            yield
        finally:
            self._pauses -= 1
            if not self._pauses:
                self._pause_asked.clear()
                self._wanted.set()

    async def _wait_until_idle(self) -> None:
        try:
            async with asyncio.timeout(PAUSE_S):
                await self._idle.wait()
        except TimeoutError:
            log.warning("scan_pause_timed_out", adapter=self._adapter.name, waited_s=PAUSE_S)

    async def _scan(self) -> None:
        """Start, listen until a pause is asked for or nothing is heard, and stop."""
        scanner = BleakScanner(
            self._on_advertisement,
            scanning_mode="active",  # the manufacturer data is in the scan response (docs/protocol.md, "Discovery")
            # With DuplicateData BlueZ reports a recorder that lies still and sends the same every time; without, it
            # reports changes only, and such a recorder would look absent. The kernel still filters within a scan cycle.
            bluez={"adapter": self._hci, "filters": {"DuplicateData": True}},
            backend=self._adapter.scanner_backend,
        )
        try:
            await bounded(scanner.start(), limit=SCAN_START_S)
            self._note_start()
            await self._listen()
        finally:
            await uninterrupted(self._stop(scanner))

    async def _stop(self, scanner: BleakScanner) -> None:
        try:
            await bounded(scanner.stop(), limit=SCAN_STOP_S)
        except BACKEND_FAILURES as error:  # the next start shows whether it matters
            self._troubled = True
            log.warning("scan_stop_failed", adapter=self._adapter.name, reason=describe(error), advice=advise(error))
        self._count_quiet()
        self._mark = None

    async def _listen(self) -> None:
        while not self._pauses:
            self._count_quiet()
            left = self._patience - self._quiet_s
            if left <= TIMER_GRAIN_S:
                self._note_silence()
                return
            # Not longer than SILENT_S, because the first sound shortens a grown patience.
            try:
                async with asyncio.timeout(min(left, SILENT_S)):
                    await self._pause_asked.wait()
            except TimeoutError:
                continue

    def _on_advertisement(self, device: BLEDevice, data: AdvertisementData) -> None:
        if data.rssi == RSSI_UNKNOWN:
            return
        self.counters.heard += 1
        self._count_quiet()
        self._quiet_s = 0.0
        self._patience = SILENT_S
        self._heard(device, data)

    def _count_quiet(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._mark is not None:
            self._quiet_s += now - self._mark
            self._mark = now

    def _note_start(self) -> None:
        self._mark = asyncio.get_running_loop().time()
        self._failures = 0
        self.counters.starts += 1
        self.trouble = None
        if self._troubled:
            log.info("scan_started", adapter=self._adapter.name)
        self._troubled = False

    def _note_silence(self) -> None:
        self.counters.silences += 1
        self._troubled = True
        log.warning(
            "scan_silent",
            adapter=self._adapter.name,
            silent_s=round(self._quiet_s),
            advice="The scanner is restarted. If this repeats with recorders near: power the adapter off and on.",
        )
        self._quiet_s = 0.0
        self._patience = min(self._patience * 2, SILENT_LONGEST_S)

    def _note_failure(self, error: Exception) -> float:
        """Log it; returns the seconds to wait."""
        wait = min(SCAN_RETRY_S * 2.0 ** min(self._failures, 16), SCAN_RETRY_LONGEST_S)
        self._failures += 1
        self.counters.failures += 1
        self._troubled = True
        self.trouble = ScanTrouble(
            AdapterError(
                f"{self._adapter.name} can't scan: {describe(error)}.", code="radio_scan_failed", remedy=advise(error)
            ),
            asyncio.get_running_loop().time() + wait,
        )
        log.warning(
            "scan_failed",
            adapter=self._adapter.name,
            kind=str(classify(error)),
            reason=describe(error),
            advice=advise(error),
            retry_in_s=wait,
        )
        return wait
