"""The radio: every adapter's scanner and links behind one front."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from bota_gateway.config import RadioSettings
from bota_gateway.errors import AdapterError, ConnectError, ConnectKind
from bota_gateway.model import WallClock
from bota_gateway.radio.adapters import Adapter
from bota_gateway.radio.connect import open_link
from bota_gateway.radio.leftovers import end_leftover_links
from bota_gateway.radio.link import Link
from bota_gateway.radio.scanner import Scanner
from bota_gateway.radio.sightings import Sighting, SightingBook

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Station:
    """One adapter with its scanner, its turn to connect and its places for links."""

    def __init__(self, adapter: Adapter, max_links: int, book: SightingBook) -> None:
        self.adapter = adapter
        self.scanner = Scanner(adapter, partial(self._heard, book))
        # 8 connects at once lost 3 on BlueZ 5.66 (docs/design-notes.md, "One connect at a time").
        self.connecting = asyncio.Lock()
        self.places = asyncio.Semaphore(max_links)

    async def run(self) -> None:
        await end_leftover_links(self.adapter)
        await self.scanner.run()

    def _heard(self, book: SightingBook, device: BLEDevice, data: AdvertisementData) -> None:
        book.heard(self.adapter.name, device, data)


class Radio:
    """Finds recorders and holds links to them.

    Args:
        adapters: At least one, as `discover_adapters` gives them.
        settings: ``max_links`` bounds the links of each adapter, ``notify`` is how notifications come on BlueZ.
        now: Wall clock, for the times that people read.

    Raises:
        AdapterError: no adapter at all.
    """

    def __init__(self, adapters: Sequence[Adapter], settings: RadioSettings, now: WallClock) -> None:
        if not adapters:
            raise AdapterError("There is no Bluetooth adapter to use.")
        self._settings = settings
        self._book = SightingBook(now)
        self._stations = {adapter.name: _Station(adapter, settings.max_links, self._book) for adapter in adapters}

    async def run(self) -> None:
        """End links of an earlier life, then scan with all adapters until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for station in self._stations.values():
                tasks.create_task(station.run(), name=f"scan {station.adapter.name}")

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

    @property
    def scanners(self) -> Mapping[str, Scanner]:
        """By adapter name, for status and health: counters, and why one does not scan."""
        return {name: station.scanner for name, station in self._stations.items()}

    async def wait_for_change(self, since: int) -> int:
        """Wait until `revision` is other than ``since``; returns it. Repeated advertisements are no change."""
        return await self._book.wait_for_change(since)

    @asynccontextmanager
    async def connect(self, sighting: Sighting) -> AsyncIterator[Link]:
        """A link inside the block.

        Waits for a place on the adapter, then for its turn; one connect at a time per adapter, and its scanner is
        stopped meanwhile. Cancelling is safe at any point.

        Raises:
            ConnectError: classified by ``kind``; `back_off_s` says how long to wait.
            AdapterError: the adapter of this sighting is not ours.
        """
        sighting = self._book.sightings.get(sighting.address, sighting)
        station = self._stations.get(sighting.adapter)
        if station is None:
            raise AdapterError(f"Recorder at {sighting.address} was seen by {sighting.adapter}, which is not in use.")
        async with AsyncExitStack() as held:
            await held.enter_async_context(station.places)
            self._refuse_double(sighting)
            held.enter_context(self._book.holding(sighting.address))
            async with station.connecting, station.scanner.paused():
                link = await held.enter_async_context(self._open(sighting, station.adapter))
            self._book.connected(sighting.address)
            log.debug("connected", address=link.address, adapter=link.adapter, mtu=link.mtu, rssi=link.rssi)
            yield link

    @asynccontextmanager
    async def _open(self, sighting: Sighting, adapter: Adapter) -> AsyncIterator[Link]:
        latest = self._book.sightings.get(sighting.address)  # seen again while this waited for its turn
        if latest and latest.adapter == adapter.name:
            sighting = latest
        try:
            async with open_link(sighting, adapter, self._settings.notify) as link:
                yield link
        except ConnectError as error:
            if error.kind is ConnectKind.GONE:
                self._book.forget(sighting.address)  # BlueZ has no such device until it is heard again
            raise

    def _refuse_double(self, sighting: Sighting) -> None:
        if self._book.is_held(sighting.address):
            raise ConnectError(
                f"Recorder at {sighting.address} is connected by this gateway already.", kind=ConnectKind.BUSY
            )
