"""The radio: every adapter's scanner and links behind one front."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace

import structlog

from bota_gateway.config import RadioSettings
from bota_gateway.errors import AdapterError, ConnectError, ConnectKind
from bota_gateway.model import WallClock
from bota_gateway.pulse import back_within
from bota_gateway.radio import bluez
from bota_gateway.radio.adapters import Adapter
from bota_gateway.radio.agent import PairingAgent
from bota_gateway.radio.connect import Connector
from bota_gateway.radio.const import CONNECT_TURN_S, LOAD_DB, WEAK_RSSI
from bota_gateway.radio.keeping import Keeper
from bota_gateway.radio.link import Link
from bota_gateway.radio.scanner import Scanner, ScanTrouble
from bota_gateway.radio.sightings import Sighting, SightingBook
from bota_gateway.radio.station import Station
from bota_gateway.radio.tally import Count, Tally
from bota_gateway.radio.watch import News

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Radio:
    """Finds recorders and holds links to them.

    Args:
        adapters: At least one, as `discover_adapters` gives them; None for those that the settings name, as they come
            and go: then `run` raises AdapterError while there is none.
        settings: ``adapters`` says which, ``max_links`` bounds the links of each, ``notify`` is how notifications come
            on BlueZ, ``power_cycle`` whether one that has gone deaf may be switched off and on.
        now: Wall clock, for the times that people read.
        tally: Counts what the radio goes through; None for a new one.

    Raises:
        AdapterError: no adapter at all.
    """

    def __init__(
        self, adapters: Sequence[Adapter] | None, settings: RadioSettings, now: WallClock, tally: Tally | None = None
    ) -> None:
        if adapters is not None and not adapters:
            raise AdapterError("There is no Bluetooth adapter to use.")
        self._settings = settings
        self._book = SightingBook(now)
        self._tally = tally or Tally()
        self._connector = Connector(settings, self._book, self._tally)
        self._stations: dict[str, Station] = {}
        """By name of the adapter."""
        for adapter in adapters or ():
            self._add(adapter)
        self._keeper = (
            Keeper(settings, self._using, self._heed, self._tally, PairingAgent(self._agree_to_pair))
            if adapters is None
            else None
        )
        self._bluetooth_lost = False
        self._tasks: asyncio.TaskGroup
        """There while `run` runs."""

    async def run(self) -> None:
        """End links of an earlier life, then scan with all adapters until cancelled.

        Raises:
            AdapterError: none of the adapters that the settings name is there any more (within an exception group).
        """
        async with asyncio.TaskGroup() as self._tasks:
            for station in self._stations.values():
                self._tasks.create_task(station.run(), name=f"scan {station.adapter.name}")
            if self._keeper:
                self._tasks.create_task(self._keeper.run(), name="adapters")

    # -- adapters -----------------------------------------------------------------------------------------------------

    def _add(self, adapter: Adapter) -> Station:
        if adapter.name in self._stations and adapter.address:  # hci0 is another one than the hci0 that we know
            adapter = replace(adapter, name=adapter.address)
        station = Station(adapter, self._settings, self._book, self._tally, self._others)
        self._stations[adapter.name] = station
        return station

    def _others(self, station: Station) -> Iterable[Station]:
        return [other for other in self._stations.values() if other is not station]

    @asynccontextmanager
    async def _using(self, adapter: Adapter) -> AsyncIterator[None]:
        """Use an adapter while the block runs."""
        hci = adapter.name
        station = self._add(adapter)
        station.scanner.hci = hci
        task = self._tasks.create_task(station.run(), name=f"scan {station.adapter.name}")
        try:
            yield
        finally:
            task.cancel()
            del self._stations[station.adapter.name]
            station.close()

    def _heed(self, news: News, told: str) -> None:
        on_bluez = [station for station in self._stations.values() if station.adapter.on_bluez]
        match news:
            case News.LOST:
                self._bluetooth_lost = True
                self._tally.add("", Count.BLUETOOTH_LOSSES)
                log.warning("bluetooth_lost", reason=told, links=sum(len(station.links) for station in on_bluez))
                bluez.forget_what_bleak_believes()
                for station in on_bluez:
                    station.renew()
            case News.BACK if self._bluetooth_lost:
                self._bluetooth_lost = False
                log.info("bluetooth_back", adapters=[station.adapter.label for station in on_bluez])
                for station in on_bluez:
                    station.scanner.retry()
            case News.ADAPTERS:
                for station in on_bluez:
                    if station.scanner.trouble or station.scanner.hci in {told, None}:
                        station.scanner.retry()

    def _agree_to_pair(self, address: str) -> bool:
        """Whether BlueZ may pair with it: only while a link to it is up or being made, which counts the pairing."""
        for station in self._stations.values():
            for link in station.links:
                if link.address == address:
                    link.pairings += 1
                    return True
        return False

    @property
    def stations(self) -> Sequence[Station]:
        """One for each adapter in use, for status and health."""
        return list(self._stations.values())

    @property
    def scanners(self) -> Mapping[str, Scanner]:
        """By adapter name: counters, and why one does not scan."""
        return {name: station.scanner for name, station in self._stations.items()}

    @property
    def troubles(self) -> Mapping[str, ScanTrouble]:
        """By adapter name: why one does not scan, hear, or open."""
        of_scanners = {name: one.trouble for name, one in self.scanners.items() if one.trouble}
        return {**(self._keeper.troubles if self._keeper else {}), **of_scanners}

    # -- recorders ----------------------------------------------------------------------------------------------------

    @property
    def sightings(self) -> Mapping[str, Sighting]:
        """Recorders that advertise, by address; the latest of each, by the adapter that hears it best.

        Look at `Sighting.at`: one older than `PRESENT_S` is probably out of range, or held by a phone. A recorder that
        this gateway holds does not advertise and is not among them.
        """
        return self._book.sightings

    @property
    def revision(self) -> int:
        """Rises whenever a recorder appears, is back after `PRESENT_S`, or says something new of itself."""
        return self._book.revision

    async def wait_for_change(self, since: int) -> int:
        """Wait until `revision` is other than ``since``; returns it. Repeated advertisements are no change."""
        return await self._book.wait_for_change(since)

    async def heard_again(self, adapter: str, address: str) -> int | None:
        """How strongly (dBm) the adapter of a link that has just ended hears its recorder for the first time since.

        Waits for that, as long as it takes; None when the recorder is connected anew meanwhile. Nothing is done for it.
        """
        return await self._book.heard_again(adapter, address)

    def choose(self, sighting: Sighting, loads: Mapping[str, int]) -> Sighting | None:
        """The recorder as the adapter hears it that should connect; None while every one that hears it is full.

        The strongest wins, less `LOAD_DB` for each link that it carries; one in trouble is passed over if it can be,
        and one that hears it badly too.

        Args:
            sighting: The recorder.
            loads: Links of each adapter, up or about to be; by name.
        """
        heard = self._book.choices(sighting.address) or [sighting]
        free = [each for each in heard if loads.get(each.adapter, 0) < self._settings.max_links]

        def worth(each: Sighting) -> tuple[bool, bool, int]:
            station = self._stations.get(each.adapter)
            well = station is not None and station.scanner.trouble is None
            return well, each.rssi >= WEAK_RSSI, each.rssi - LOAD_DB * loads.get(each.adapter, 0)

        return max(free, key=worth, default=None)

    @asynccontextmanager
    async def connect(self, sighting: Sighting) -> AsyncIterator[Link]:
        """A link inside the block.

        The adapter is chosen anew, by what is heard and carried now. Waits for a place on it, then for its turn; one
        connect at a time per adapter, and its scanner is stopped meanwhile. Cancelling is safe at any point.

        Raises:
            ConnectError: classified by ``kind``; `backoff_of` it says how long to wait.
            AdapterError: the adapter of this sighting is not ours, or was taken away.
        """
        loads = {name: station.taken for name, station in self._stations.items()}
        sighting = self.choose(sighting, loads) or self._book.sightings.get(sighting.address, sighting)
        station = self._stations.get(sighting.adapter)
        if station is None:
            raise AdapterError(f"Recorder at {sighting.address} was seen by {sighting.adapter}, which is not in use.")
        async with AsyncExitStack() as held:
            held.enter_context(_counted(station))
            back_within(math.inf)  # until another visit ends
            await held.enter_async_context(station.places)
            self._refuse_double(sighting)
            back_within(self._settings.max_links * CONNECT_TURN_S)
            held.enter_context(self._book.holding(sighting.address))
            link = await held.enter_async_context(self._connector.link(sighting, station))
            self._book.connected(sighting.address)
            log.debug("connected", address=link.address, adapter=link.adapter, mtu=link.mtu, rssi=link.rssi)
            yield link

    def _refuse_double(self, sighting: Sighting) -> None:
        if self._book.is_held(sighting.address):
            raise ConnectError(
                f"Recorder at {sighting.address} is connected by this gateway already.", kind=ConnectKind.BUSY
            )


@contextmanager
def _counted(station: Station) -> Iterator[None]:
    station.taken += 1
    try:
        yield
    finally:
        station.taken -= 1
