"""One adapter's scanner: scans actively, stops for connects, and notices when it has gone deaf."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog
from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError

from bota_gateway.errors import AdapterError, ConnectKind, DeafAdapterError
from bota_gateway.pulse import back_within
from bota_gateway.radio.adapters import Adapter, find_again
from bota_gateway.radio.bounded import bounded, uninterrupted
from bota_gateway.radio.classify import BACKEND_FAILURES, advise, classify, describe
from bota_gateway.radio.const import (
    BLUEZ_CALL_S,
    CLEANUP_S,
    CONNECT_TURN_S,
    LEFTOVERS_S,
    PAUSE_S,
    POWER_CYCLE_S,
    RSSI_UNKNOWN,
    SCAN_RETRY,
    SCAN_START_S,
    SCAN_STOP_S,
    SILENT_S,
    TIMER_GRAIN_S,
)
from bota_gateway.radio.ladder import Evidence, Ladder, Rung

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Heard = Callable[[BLEDevice, AdvertisementData], None]

_REFUSALS = frozenset({ConnectKind.BUSY, ConnectKind.TIMEOUT})
"""What BlueZ says, or does not say, while the kernel's queue of commands to the controller stands still: "in progress",
for minutes, or nothing (seen with 5.66 on 6.1 after a connect that was cancelled too late; docs/design-notes.md, "When
the radio falls silent")."""


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
    """An adapter that does not scan, or does not hear, although it should."""

    error: AdapterError
    again_at: float
    """Loop time of the next try."""


class Mender(Protocol):
    """What a scanner can't know or do by itself; the adapter's station can."""

    async def before_scan(self, hci: str) -> None:
        """What must be done before scanning may begin. Never raises but for cancellation."""

    def evidence(self) -> Evidence | None:
        """Why there should be something to hear; None for no reason."""

    def why_no_power_cycle(self) -> str | None:
        """Why the adapter must not be switched off now, in words; None if it may."""

    async def power_cycle(self, hci: str) -> bool:
        """Switch the adapter off and on; tells whether it was done. Raises SpoolCorruptError."""

    async def owed_power(self, hci: str) -> None:
        """Switch it on if it was switched off here and that could not be taken back. Raises SpoolCorruptError."""

    async def scans(self) -> None:
        """Scanning has begun. Raises SpoolCorruptError."""

    def restarted(self) -> None:
        """The scanner is restarted because of silence."""

    def told(self) -> None:
        """A person was told that the adapter hears nothing."""

    def recovered(self) -> None:
        """Something is heard again after a rung that was climbed on evidence."""

    def lost(self) -> None:
        """The adapter went away."""


class Scanner:
    """Scans while `run` runs, except while a `paused` block is open.

    One task starts and stops bleak's scanner; who wants a pause asks and waits. So a cancelled connect can't leave a
    stop half done.

    Args:
        adapter: Its adapter.
        heard: Called for each advertisement, of anybody.
        mender: For what goes beyond restarting the scanner; None for a scanner that does no more than that.
    """

    def __init__(self, adapter: Adapter, heard: Heard, mender: Mender | None = None) -> None:
        self._adapter = adapter
        self._heard = heard
        self._mender = mender
        self.hci: str | None = adapter.name
        """What BlueZ calls the adapter now; None while it is not there."""
        self._pauses = 0
        self._stop_asked = asyncio.Event()
        """To end a scan: for a pause, or for a restart."""
        self._retry_asked = asyncio.Event()
        """To end a wait for the next try."""
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._ladder = Ladder()
        self._rung: Rung | None = None
        """What to climb once the scan has stopped."""
        self._evidence: Evidence | None = None
        self._quiet_s = 0.0
        """Scanning time since something was heard or the last rung, without pauses; counted up to `_mark`."""
        self._silent_s = 0.0
        """The same up to the last rung, since something was heard."""
        self._refused_at: float | None = None
        """Loop time of the last of a row of starts that were refused, which is silence, too."""
        self._mark: float | None = None
        """None while it does not scan: that is no silence."""
        self._failures = 0
        self._troubled = True
        """The next start is worth a line in the log: the first one, or after a failure or silence."""
        self._stuck: ScanTrouble | None = None
        self._deaf: ScanTrouble | None = None
        self.counters = ScanCounters()
        self.heard_at: float | None = None
        """Loop time of the last advertisement; None before the first."""

    @property
    def scanning(self) -> bool:
        """Whether bleak's scanner is running, or being started or stopped."""
        return not self._idle.is_set()

    @property
    def trouble(self) -> ScanTrouble | None:
        """Why it does not scan or hear; None while all is well."""
        if self._refused_at is not None and self._deaf:
            return self._deaf
        return self._stuck or self._deaf

    @property
    def named(self) -> dict[str, object]:
        """The adapter, as log lines name it: its address stays when its name changes."""
        return {"adapter": self.hci or self._adapter.name, "address": self._adapter.address}

    async def run(self) -> None:
        """Scan until cancelled. Failures of the radio are logged and tried again.

        Raises:
            SpoolCorruptError: as the mender does.
        """
        while True:
            back_within(CONNECT_TURN_S)  # whatever it is paused for: it comes by here between any two connects
            await self._wanted.wait()
            if self._pauses:
                continue
            back_within(BLUEZ_CALL_S + LEFTOVERS_S + SCAN_START_S + 3 * CLEANUP_S)
            self._idle.clear()
            self._stop_asked.clear()
            self._retry_asked.clear()
            wait = 0.0
            try:
                if self._mender and self.hci is not None:
                    await self._mender.before_scan(self.hci)
                await self._scan()
            except BACKEND_FAILURES as error:
                wait = self._note_failure(error)
            finally:
                self._idle.set()
            if self._rung is not None:
                await self._climb(self._rung)
            if wait:
                await self._rest(wait)

    def retry(self) -> None:
        """Something has changed: start anew, now. Nothing is waited for."""
        self._stop_asked.set()
        self._retry_asked.set()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Keep the scanner stopped inside the block; blocks may overlap. Leaving the block never waits."""
        self._pauses += 1
        self._stop_asked.set()
        self._wanted.clear()
        try:
            await self._wait_until_idle()
            yield
        finally:
            self._pauses -= 1
            if not self._pauses:
                self._wanted.set()

    async def _wait_until_idle(self) -> None:
        try:
            async with asyncio.timeout(PAUSE_S):
                await self._idle.wait()
        except TimeoutError:
            log.warning("scan_pause_timed_out", waited_s=PAUSE_S, **self.named)

    async def _scan(self) -> None:
        """Start, listen until a pause is asked for or nothing is heard, and stop."""
        if self.hci is None:
            raise BleakError(f"adapter '{self._adapter.address or self._adapter.name}' not found")
        scanner = BleakScanner(
            self._on_advertisement,
            scanning_mode="active",  # the manufacturer data is in the scan response (docs/protocol.md, "Discovery")
            # With DuplicateData BlueZ reports a recorder that lies still and sends the same every time; without, it
            # reports changes only, and such a recorder would look absent. The kernel still filters within a scan cycle.
            bluez={"adapter": self.hci, "filters": {"DuplicateData": True}},
            backend=self._adapter.scanner_backend,
        )
        try:
            await bounded(scanner.start(), limit=SCAN_START_S)
            self._note_start()
            if self._mender:
                await self._mender.scans()
            await self._listen()
        finally:
            await uninterrupted(self._stop(scanner))

    async def _stop(self, scanner: BleakScanner) -> None:
        back_within(SCAN_STOP_S + CLEANUP_S)
        try:
            await bounded(scanner.stop(), limit=SCAN_STOP_S)
        except BACKEND_FAILURES as error:  # the next start shows whether it matters
            self._troubled = True
            log.warning("scan_stop_failed", reason=describe(error), advice=advise(error), **self.named)
        self._count_quiet()
        self._mark = None

    async def _listen(self) -> None:
        while not self._pauses and not self._stop_asked.is_set():
            self._count_quiet()
            left = self._ladder.patience - self._quiet_s
            if left <= TIMER_GRAIN_S:
                self._note_silence()
                return
            back_within(SILENT_S)
            # Not longer than SILENT_S, because the first sound shortens a grown patience.
            try:
                async with asyncio.timeout(min(left, SILENT_S)):
                    await self._stop_asked.wait()
            except TimeoutError:
                continue

    async def _rest(self, wait: float) -> None:
        """Wait for the next try, and look where the adapter is by then."""
        back_within(wait + SCAN_START_S + CLEANUP_S + BLUEZ_CALL_S + CLEANUP_S)
        try:
            async with asyncio.timeout(wait):
                await self._retry_asked.wait()
        except TimeoutError:
            pass
        was, self.hci = self.hci, await find_again(self._adapter, self.hci)
        if self.hci is None:
            if was is not None and self._mender:
                self._mender.lost()
        elif self._mender:
            await self._mender.owed_power(self.hci)

    # -- what is heard ------------------------------------------------------------------------------------------------

    def _on_advertisement(self, device: BLEDevice, data: AdvertisementData) -> None:
        if data.rssi == RSSI_UNKNOWN:
            return
        self.counters.heard += 1
        self.heard_at = asyncio.get_running_loop().time()
        self._count_quiet()
        if climbed := self._ladder.heard():
            self._note_recovery(climbed)
        self._quiet_s = self._silent_s = 0.0
        self._heard(device, data)

    def _count_quiet(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._mark is not None:
            self._quiet_s += now - self._mark
            self._mark = now

    def _note_start(self) -> None:
        self._mark = asyncio.get_running_loop().time()
        self._failures = 0
        self._refused_at = None
        self.counters.starts += 1
        self._stuck = None
        if self._troubled:
            log.info("scan_started", **self.named)
        self._troubled = False

    def _note_recovery(self, climbed: Rung) -> None:
        log.info("scan_recovered", after=climbed.value, silent_s=round(self._silent_s + self._quiet_s), **self.named)
        if self._evidence and self._mender:
            self._mender.recovered()
        self._deaf = self._evidence = None

    # -- the ladder ---------------------------------------------------------------------------------------------------

    def _note_silence(self) -> None:
        """Choose the next rung; it is climbed when the scan has stopped."""
        self.counters.silences += 1
        self._silent_s += self._quiet_s
        self._quiet_s = 0.0
        told = self._ladder.climbed is Rung.TELL
        self._troubled = self._troubled or not told
        refused = self._refused_at is not None
        if refused:
            self._evidence = Evidence(f"BlueZ was told to scan {self._failures} times", certain=True)
        else:
            self._evidence = self._mender.evidence() if self._mender else None
        no_power = self._mender.why_no_power_cycle() if self._mender else "nothing here could do that"
        now = asyncio.get_running_loop().time()
        self._rung = rung = self._ladder.silent(now, self._evidence, may_power=no_power is None, restarted=refused)
        log.log(
            logging.DEBUG if told else logging.WARNING if self._evidence else logging.INFO,
            "scan_silent",
            silent_s=round(self._silent_s),
            trying=rung.value,
            reason=self._evidence.reason if self._evidence else "perhaps nobody is near",
            no_power_cycle=no_power,
            patience_s=self._ladder.patience,
            **self.named,
        )

    def _count_refusal(self, *, refused: bool) -> None:
        """A BlueZ that is there and refuses to scan, again and again, is as deaf as one that hears nothing."""
        if not refused:
            self._refused_at = None
            return
        now = asyncio.get_running_loop().time()
        if self._refused_at is not None:
            self._quiet_s += now - self._refused_at
        self._refused_at = now
        if self._quiet_s >= self._ladder.patience:
            self._note_silence()

    async def _climb(self, rung: Rung) -> None:
        self._rung = None
        if self._mender is None:
            return
        if self._evidence:  # in a lonely place it would count for ever, and mean nothing
            self._mender.restarted()
        if rung is Rung.POWER_CYCLE and self.hci is not None:
            back_within(POWER_CYCLE_S)
            if await self._mender.power_cycle(self.hci):
                self._retry_asked.set()
        elif rung is Rung.TELL:
            self._tell(self._mender)

    def _tell(self, mender: Mender) -> None:
        silent_s = round(self._silent_s)
        if self._evidence is None or not self._evidence.certain:
            log.warning("nobody_heard", silent_s=silent_s, advice=DeafAdapterError.remedy, **self.named)
            return
        mender.told()
        error = DeafAdapterError(
            f"{self._adapter.label} hears nothing, although {self._evidence.reason}; nothing that was tried helped."
        )
        self._deaf = ScanTrouble(error, asyncio.get_running_loop().time() + self._ladder.patience)
        log.error(
            "adapter_deaf",
            silent_s=silent_s,
            reason=self._evidence.reason,
            advice=DeafAdapterError.remedy,
            **self.named,
        )

    def _note_failure(self, error: Exception) -> float:
        """Log it; returns the seconds to wait."""
        wait = SCAN_RETRY.step(self._failures)
        self._failures += 1
        self.counters.failures += 1
        self._troubled = True
        self._count_refusal(refused=classify(error) in _REFUSALS)
        self._stuck = ScanTrouble(
            AdapterError(
                f"{self._adapter.label} can't scan: {describe(error)}.", code="radio_scan_failed", remedy=advise(error)
            ),
            asyncio.get_running_loop().time() + wait,
        )
        log.warning(
            "scan_failed",
            kind=str(classify(error)),
            reason=describe(error),
            advice=advise(error),
            retry_in_s=wait,
            **self.named,
        )
        return wait
