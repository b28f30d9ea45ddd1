"""Connecting to one recorder, and leaving nothing behind when it fails or ends."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from bleak.exc import BleakDBusError

from bota_gateway.config import RadioSettings
from bota_gateway.errors import AdapterError, ConnectError, ConnectKind
from bota_gateway.pulse import back_within
from bota_gateway.radio.classify import BACKEND_FAILURES, advise, classify, describe, is_early_end
from bota_gateway.radio.const import BLUEZ_CALL_S, CLEANUP_S, DISCONNECT_S, END_TURN_S
from bota_gateway.radio.link import Link
from bota_gateway.radio.refresh import Refresher
from bota_gateway.radio.sightings import Sighting, SightingBook
from bota_gateway.radio.station import Station
from bota_gateway.radio.tally import Count, Tally

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Connector:
    """Makes links.

    Args:
        settings: ``notify`` is how notifications come on BlueZ.
        book: Who is heard, for the latest of what bleak needs to connect.
        tally: Where pairings and refreshes are counted.
    """

    def __init__(self, settings: RadioSettings, book: SightingBook, tally: Tally) -> None:
        self._settings = settings
        self._book = book
        self._tally = tally
        self._refresher = Refresher(book, tally)

    @asynccontextmanager
    async def link(self, sighting: Sighting, station: Station) -> AsyncIterator[Link]:
        """A link inside the block, made in the station's turn and with its scanner stopped; held with neither.

        Raises:
            ConnectError: classified by ``kind``; the next try starts clean.
            AdapterError: the adapter was taken away meanwhile.
        """
        link: Link | None = None
        try:
            async with AsyncExitStack() as held:
                async with station.connecting, station.scanner.paused():
                    link = await held.enter_async_context(self._open(sighting, station))
                yield link
        finally:
            if link is not None:
                await self._settle(link, sighting, station)

    @asynccontextmanager
    async def _open(self, sighting: Sighting, station: Station) -> AsyncIterator[Link]:
        """A link, closed when the block ends, or when connecting fails or is cancelled."""
        if station.closed:
            raise AdapterError(f"The adapter {station.adapter.label} was taken away.")
        latest = self._book.sightings.get(sighting.address)  # seen again while this waited for its turn
        if latest and latest.adapter == station.adapter.name:
            sighting = latest
        link = Link(
            sighting.device,
            adapter=station.adapter.name,
            hci=station.scanner.hci,
            adapter_address=station.adapter.address if station.adapter.on_bluez else None,
            rssi=sighting.rssi,
            notify=self._settings.notify,
            backend=station.adapter.client_backend,
        )
        station.links.add(link)
        turn = None  # until it is open this connect has it
        try:
            try:
                await link.open()
            except BACKEND_FAILURES as error:
                raise await self._connect_error(sighting, station, error) from error
            self._refresher.connected(link.address)
            turn = station.connecting
            yield link
        finally:
            back_within(END_TURN_S + DISCONNECT_S + CLEANUP_S + 2 * (BLUEZ_CALL_S + CLEANUP_S))
            await link.close(turn)
            station.let_go(link)

    async def _settle(self, link: Link, sighting: Sighting, station: Station) -> None:
        """What a link has shown bears on the next one."""
        self._tally.add(station.key, Count.PAIRINGS, link.pairings)
        self._tally.add(station.key, Count.PAIRINGS_FAILED, link.pairing_failures)
        if link.answered:
            self._refresher.answered(link.address)
        elif link.fell and is_paired(sighting) and not station.closed:
            await self._refresher.ended_early(link.address, station)
        if link.suspicion is not None and not station.closed:
            await self._refresher.refresh(link.address, station, link.suspicion)

    async def _connect_error(self, sighting: Sighting, station: Station, error: Exception) -> ConnectError:
        kind = classify(error)
        log.debug(
            "connect_failed",
            address=sighting.address,
            adapter=sighting.adapter,
            rssi=sighting.rssi,
            kind=str(kind),
            reason=describe(error),
        )
        if kind is ConnectKind.GONE:
            self._book.forget(sighting.address)  # BlueZ has no such device until it is heard again
        if isinstance(error, BleakDBusError) and error.dbus_error == "org.bluez.Error.InProgress":
            await self._refresher.refused_in_progress(sighting.address, station)
        if is_early_end(error) and is_paired(sighting):
            await self._refresher.ended_early(sighting.address, station)
        return ConnectError(
            f"Recorder at {sighting.address} could not be connected by {station.adapter.label}: {describe(error)}.",
            kind=kind,
            remedy=advise(error),
        )


def is_paired(sighting: Sighting) -> bool:
    """Whether BlueZ has keys for it; not known of other backends."""
    details = sighting.device.details
    return isinstance(details, dict) and bool(details.get("props", {}).get("Paired"))
