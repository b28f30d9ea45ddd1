"""One adapter at work: its scanner, its turn to connect, its places for links, and what is done when it goes deaf."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from bota_gateway.config import RadioSettings
from bota_gateway.errors import SpoolCorruptError, SpoolError
from bota_gateway.pulse import back_within, lasting
from bota_gateway.radio import bluez, cached
from bota_gateway.radio.adapters import Adapter
from bota_gateway.radio.bounded import uninterrupted
from bota_gateway.radio.classify import BACKEND_FAILURES, describe
from bota_gateway.radio.const import (
    BLUEZ_CALL_S,
    CLEANUP_S,
    CROWD,
    CROWD_S,
    LEFTOVERS_AGAIN_S,
    LEFTOVERS_S,
    POWER_OFF_S,
    POWER_ON_RETRY_S,
    POWER_ON_TRIES,
    SILENT_S,
    UNOWNED_AT_ONCE,
    UNOWNED_CHECK_S,
)
from bota_gateway.radio.ladder import Evidence
from bota_gateway.radio.leftovers import end_leftovers
from bota_gateway.radio.link import Link
from bota_gateway.radio.scanner import Scanner
from bota_gateway.radio.sightings import SightingBook
from bota_gateway.radio.tally import Count, Tally

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


OTHERS_ADVICE: Final = (
    "If recorders are near and nothing is heard: bluetoothctl power off; bluetoothctl power on. It ends those links."
)


@dataclass(frozen=True, slots=True)
class AdapterState:
    """An adapter as status shows it."""

    name: str
    """What BlueZ calls it now, or what it was called last."""
    address: str | None
    there: bool
    scanning: bool
    """Its scanner runs, or rests for a connect."""
    heard_ago_s: float | None
    """Since anybody was heard; None for never."""
    links: int
    """Up, being made or waited for."""


class Station:
    """One adapter with its scanner, its turn to connect and its places for links.

    Args:
        adapter: Its adapter.
        settings: ``max_links`` bounds its links, ``power_cycle`` what may be done to it.
        book: Where it notes whom it hears.
        tally: Where it counts what it goes through.
        others: The other stations of this hub; what they hear is evidence.
    """

    def __init__(
        self,
        adapter: Adapter,
        settings: RadioSettings,
        book: SightingBook,
        tally: Tally,
        others: "Callable[[Station], Iterable[Station]]",
    ) -> None:
        self.adapter = adapter
        self._settings = settings
        self._book = book
        self._tally = tally
        self._others = others
        self.scanner = Scanner(adapter, self._heard, self)
        # 8 connects at once lost 3 on BlueZ 5.66 (docs/design-notes.md, "One connect at a time").
        self.connecting = asyncio.Lock()
        self.places = asyncio.Semaphore(settings.max_links)
        self.taken = 0
        """Places in use or waited for."""
        self.links: set[Link] = set()
        """Those that are up."""
        self.closed = False
        """Whether the adapter was taken away for good; a new station is made should it come back."""
        self._let_go_at: float | None = None
        self._cleared = False
        """Nothing is left of an earlier life, as far as BlueZ tells."""
        self._begun = asyncio.Event()
        """Scanning begins, for the first time or with a new bluetoothd."""

    @property
    def key(self) -> str:
        """What its counters go by."""
        return (self.adapter.on_bluez and self.adapter.address) or self.adapter.name

    def state(self) -> AdapterState:
        """How it is, for status."""
        heard_at, hci = self.scanner.heard_at, self.scanner.hci
        return AdapterState(
            name=hci or self.adapter.name,
            address=self.adapter.address,
            there=hci is not None,
            scanning=self.scanner.trouble is None,
            heard_ago_s=None if heard_at is None else asyncio.get_running_loop().time() - heard_at,
            links=self.taken,
        )

    async def run(self) -> None:
        """End what an earlier life left, then scan until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(lasting(f"scanner of {self.adapter.name}", self.scanner.run))
            if self.adapter.on_bluez:
                tasks.create_task(lasting(f"housekeeping of {self.adapter.name}", self._keep_house))

    def close(self) -> None:
        """The adapter is gone for good: whoever holds or awaits a link of it learns that at once."""
        self.closed = True
        for link in list(self.links):
            link.end()
        self._book.forget_adapter(self.adapter.name)

    def renew(self) -> None:
        """BlueZ is gone: every link is, and what is left of them must be ended when it is back.

        The kernel keeps links that a killed bluetoothd had, and the new one takes them over, for nobody.
        """
        self._cleared = False
        for link in list(self.links):
            link.end()
        self.scanner.retry()

    def let_go(self, link: Link) -> None:
        """A link has ended: its recorder should be heard soon."""
        self.links.discard(link)
        self._let_go_at = asyncio.get_running_loop().time()

    async def before_scan(self, hci: str) -> None:
        """End what an earlier life, of ours or of bluetoothd's, left behind, once it can be asked about that."""
        if not self._cleared:
            self._cleared = not self.adapter.on_bluez or await self._end_leftovers(hci)
            self._begun.set()

    async def _end_leftovers(self, hci: str) -> bool:
        ended = await end_leftovers(hci, is_ours=self._book.is_held)
        self._tally.add(self.key, Count.LEFTOVERS_ENDED, ended or 0)
        return ended is not None

    async def _keep_house(self) -> None:
        """Now and then drop what BlueZ keeps for nobody: devices, and links whose end failed or came to light late."""
        unowned = cached.Unowned(self.adapter.name, self._book)
        while True:
            back_within(UNOWNED_CHECK_S + LEFTOVERS_AGAIN_S)
            try:
                async with asyncio.timeout(UNOWNED_CHECK_S):
                    await self._begun.wait()
                self._begun.clear()
                await asyncio.sleep(LEFTOVERS_AGAIN_S)
            except TimeoutError:
                pass
            if self._cleared and self.scanner.hci is not None:
                back_within(LEFTOVERS_S + (1 + UNOWNED_AT_ONCE) * BLUEZ_CALL_S + 2 * CLEANUP_S)
                await self._end_leftovers(self.scanner.hci)
                self._tally.add(self.key, Count.DEVICES_REMOVED, await unowned.drop(self.scanner.hci))

    def _heard(self, device: BLEDevice, data: AdvertisementData) -> None:
        self._book.heard(self.adapter.name, device, data)

    # -- what the scanner asks when it hears nothing ------------------------------------------------------------------

    def evidence(self) -> Evidence | None:
        """Why there should be something to hear; None for no reason."""
        now = asyncio.get_running_loop().time()
        hearing = [
            other.adapter.label
            for other in self._others(self)
            if other.scanner.heard_at is not None and now - other.scanner.heard_at < SILENT_S
        ]
        if hearing:
            return Evidence(f"{', '.join(hearing)} hears others", certain=True)
        heard_at = self.scanner.heard_at
        if heard_at is not None:
            crowd = self._book.heard_since(self.adapter.name, heard_at - CROWD_S)
            if crowd >= CROWD:
                return Evidence(f"{crowd} devices fell silent at once", certain=True)
        if self._let_go_at is not None and self._let_go_at > (heard_at or 0.0):
            return Evidence("a recorder was let go here, and should advertise", certain=False)
        return None

    def why_no_power_cycle(self) -> str | None:
        """Why the adapter must not be switched off now, in words; None if it may."""
        if not self.adapter.on_bluez:
            return "it is not BlueZ's"
        if not self._settings.power_cycle:
            return "radio.power_cycle forbids it"
        if self.taken or self.connecting.locked():
            return "links are in use"
        return None

    async def power_cycle(self, hci: str) -> bool:
        """Switch the adapter off and on, unless somebody has a link on it; whether that was done.

        Raises:
            SpoolCorruptError: as `_owe_power`.
        """
        if self.taken > 0 or self.connecting.locked():
            return False
        async with self.connecting:
            try:
                others = cached.used_by_others(await bluez.managed_objects(), hci)
            except BACKEND_FAILURES as error:
                log.warning("power_cycle_failed", reason=describe(error), **self.scanner.named)
                return False
            if others:
                reason = f"other programs have {len(others)} links on it"
                log.info("power_cycle_spared", reason=reason, advice=OTHERS_ADVICE, **self.scanner.named)
                return False
            return await uninterrupted(self._off_and_on(hci))  # cut short, it would stay off

    async def _off_and_on(self, hci: str) -> bool:
        if refused := await self._owe_power(owed=True):  # first: killed later, the next life must know
            log.warning("power_cycle_spared", reason=refused.message, advice=refused.next_step, **self.scanner.named)
            return False
        self._tally.add(self.key, Count.POWER_CYCLES)
        log.warning("power_cycling", **self.scanner.named)
        try:
            await bluez.set_powered(hci, on=False)
        except BACKEND_FAILURES as error:
            self._note_power_failure(error)
        await asyncio.sleep(POWER_OFF_S)
        for _ in range(POWER_ON_TRIES):
            if await self._power_on(hci):
                break
            await asyncio.sleep(POWER_ON_RETRY_S)
        return True

    async def owed_power(self, hci: str) -> None:
        """Switch it on if it was switched off here, also in an earlier life, and that could not be taken back."""
        if self._tally.owes_power(self.key):
            await self._power_on(hci)

    async def scans(self) -> None:
        """It has power, whoever gave it: if a person takes it away from now on, that is not for us to change."""
        if refused := await self._owe_power(owed=False):  # the next start of the scanner writes it
            log.debug("counters_not_kept", reason=refused.message)

    async def _owe_power(self, *, owed: bool) -> SpoolError | None:
        """Write down whether it is off by our doing; why that can't be done, if the disk refuses.

        That is no reason to end the links of all adapters. What is at stake for recordings, those who write them tell.

        Raises:
            SpoolCorruptError: only a new start of the daemon can deal with that.
        """
        try:
            await self._tally.owe_power(self.key, owed=owed)
        except SpoolCorruptError:
            raise
        except SpoolError as refused:
            return refused
        return None

    async def _power_on(self, hci: str) -> bool:
        try:
            await bluez.set_powered(hci, on=True)
        except BACKEND_FAILURES as error:
            self._note_power_failure(error)
            return False
        log.info("power_cycled", **self.scanner.named)
        await self.scans()
        return True

    def _note_power_failure(self, error: Exception) -> None:
        self._tally.add(self.key, Count.POWER_CYCLES_FAILED)
        log.warning("power_cycle_failed", reason=describe(error), **self.scanner.named)

    def restarted(self) -> None:
        """The scanner is restarted because of silence: whom BlueZ holds for nobody is silent, too, and let go first."""
        self._tally.add(self.key, Count.SCAN_RESTARTS)
        self._cleared = False

    def told(self) -> None:
        """A person was told that the adapter hears nothing."""
        self._tally.add(self.key, Count.DEAF)

    def recovered(self) -> None:
        """Something is heard again after a rung that was climbed on evidence."""
        self._tally.add(self.key, Count.RECOVERIES)

    def lost(self) -> None:
        """The adapter went away."""
        self._tally.add(self.key, Count.ADAPTER_LOSSES)
