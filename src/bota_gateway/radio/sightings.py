"""Who advertises: advertising packet and scan response merged per address, recorders told from everything else."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from bota_gateway.model import WallClock
from bota_gateway.protocol import advertising
from bota_gateway.protocol.uuids import BOTA_SERVICES
from bota_gateway.radio.const import ADDRESSES_KEPT, FORGET_S, PRESENT_S, RSSI_UNKNOWN, STALE_S, STRONGER_DB


@dataclass(frozen=True, slots=True)
class Sighting:
    """A recorder as it was last heard. Nothing here identifies it: only the serial read over a link does."""

    address: str
    """On the air, upper case with colons."""
    name: str | None
    """Advertised name; all units may share one."""
    rssi: int
    """Signal strength in dBm."""
    adapter: str
    """Name of the adapter that hears it best."""
    at: float
    """Event loop time."""
    seen_at: float
    """Unix seconds, for people."""
    device: BLEDevice
    """What bleak needs to connect."""
    advertised_mac: str | None
    """MAC address in the manufacturer data: stable where ``address`` may change. None in the legacy format."""
    legacy: advertising.LegacyAdvertisement | None
    """Model, firmware and pairing state of old firmware; None in the current format."""


@dataclass(slots=True)
class _Heard:
    """What one adapter has heard from one address, in whatever packets it came."""

    adapter: str
    address: str
    device: BLEDevice
    rssi: int = RSSI_UNKNOWN
    at: float = 0.0
    name: str | None = None
    manufacturer_data: dict[int, bytes] = field(default_factory=dict)
    bota_services: set[str] = field(default_factory=set)

    def merge(self, device: BLEDevice, data: AdvertisementData, at: float) -> None:
        """What was heard once stays until it is replaced: name and manufacturer data come in different packets."""
        self.device = device
        self.rssi = data.rssi
        self.at = at
        self.name = data.local_name or self.name
        self.manufacturer_data = data.manufacturer_data or self.manufacturer_data
        self.bota_services.update(BOTA_SERVICES.intersection(uuid.lower() for uuid in data.service_uuids))

    def is_recorder(self) -> bool:
        return advertising.is_candidate(
            name=self.name, manufacturer_data=self.manufacturer_data, service_uuids=self.bota_services
        )


@dataclass(frozen=True, slots=True)
class _Awaited:
    """Somebody waits for an address to be heard again."""

    since: float
    """Loop time from which on it counts."""
    rssi: "asyncio.Future[int | None]"


class SightingBook:
    """Remembers who was heard, within bounds of number and age."""

    def __init__(self, now: WallClock) -> None:
        self._now = now
        self._heard: OrderedDict[tuple[str, str], _Heard] = OrderedDict()
        """By adapter and address, the one heard last at the end."""
        self._sightings: dict[str, Sighting] = {}
        self._held: set[str] = set()
        """Addresses that a link is made to, or held to."""
        self._connected: set[str] = set()
        self._awaited: dict[tuple[str, str], _Awaited] = {}
        """By adapter and address."""
        self._changed = asyncio.Event()
        self.revision = 0

    @property
    def sightings(self) -> Mapping[str, Sighting]:
        """The latest of each recorder, by address."""
        return self._sightings

    async def wait_for_change(self, since: int) -> int:
        """Wait until ``revision`` is other than ``since``; returns it."""
        while self.revision == since:
            await self._changed.wait()
        return self.revision

    def heard(self, adapter: str, device: BLEDevice, data: AdvertisementData) -> None:
        """Take one advertisement, of anybody, as an adapter heard it."""
        address = device.address.upper()
        if address in self._connected or data.rssi == RSSI_UNKNOWN:
            return  # BlueZ calls back for any change of a device it knows, such as our own connecting and leaving
        at = asyncio.get_running_loop().time()
        key = (adapter, address)
        entry = self._heard.get(key)
        if entry is None:
            entry = self._heard[key] = _Heard(adapter, address, device)
        self._heard.move_to_end(key)
        if (awaited := self._awaited.get(key)) and at >= awaited.since:
            _settle(awaited, data.rssi)
        entry.merge(device, data, at)
        self._drop_old(at)
        if entry.is_recorder():
            self._see(entry)

    async def heard_again(self, adapter: str, address: str) -> int | None:
        """How strongly (dBm) this adapter hears an address for the first time after a link to it, which has just ended.

        Waits for that; None when another link is made to it meanwhile. One at a time may ask for the same.
        """
        loop = asyncio.get_running_loop()
        key = (adapter, address)
        self._awaited[key] = _Awaited(loop.time() + STALE_S, loop.create_future())
        try:
            return await self._awaited[key].rssi
        finally:
            del self._awaited[key]

    @contextmanager
    def holding(self, address: str) -> Iterator[None]:
        """While a link to this address is waited for, made or held."""
        self._held.add(address)
        try:
            yield
        finally:
            self._held.discard(address)
            self._connected.discard(address)

    def is_held(self, address: str) -> bool:
        """Whether a link to this address is waited for, made or held."""
        return address.upper() in self._held

    def heard_at(self, adapter: str, address: str) -> float | None:
        """Loop time at which this adapter heard this address, of anybody, last; None when that is long ago."""
        entry = self._heard.get((adapter, address.upper()))
        return entry.at if entry else None

    def heard_since(self, adapter: str, since: float) -> int:
        """How many, of anybody, this adapter has heard since a loop time, without those that a link silences."""
        return sum(entry.at >= since for (by, _), entry in self._heard.items() if by == adapter)

    def choices(self, address: str) -> list[Sighting]:
        """The recorder as each adapter hears it that does so now; what no adapter hears now is not there."""
        at = asyncio.get_running_loop().time()
        entries = [entry for (_, heard), entry in self._heard.items() if heard == address and entry.is_recorder()]
        return [self._sighting(entry) for entry in entries if at - entry.at <= PRESENT_S]

    def forget_adapter(self, adapter: str) -> None:
        """What only this adapter hears can't be reached any more; what others hear, by them."""
        for key in [key for key in self._heard if key[0] == adapter]:
            del self._heard[key]
        for address, sighting in list(self._sightings.items()):
            if sighting.adapter == adapter:
                del self._sightings[address]
                for entry in [entry for (_, heard), entry in self._heard.items() if heard == address]:
                    self._see(entry)

    def connected(self, address: str) -> None:
        """The recorder no longer advertises; what seems to be heard of it, until `holding` ends, is not."""
        self._connected.add(address)
        self.forget(address)
        for (_, awaited), one in self._awaited.items():
            if awaited == address:
                _settle(one, None)

    def forget(self, address: str) -> None:
        """Drop what is known, so that its next advertisement counts as an appearance."""
        for key in [key for key in self._heard if key[1] == address]:
            del self._heard[key]
        self._sightings.pop(address, None)

    def _see(self, entry: _Heard) -> None:
        before = self._sightings.get(entry.address)
        if before and before.adapter != entry.adapter and not _takes_over(entry, before):
            return
        seen = self._sighting(entry)
        self._sightings[entry.address] = seen
        if before is None or _is_news(before, seen):
            self.revision += 1
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def _sighting(self, entry: _Heard) -> Sighting:
        told = advertising.decode_manufacturer_data(entry.manufacturer_data)
        return Sighting(
            address=entry.address,
            name=entry.name,
            rssi=entry.rssi,
            adapter=entry.adapter,
            at=entry.at,
            seen_at=self._now(),
            device=entry.device,
            advertised_mac=told.mac if isinstance(told, advertising.CurrentAdvertisement) else None,
            legacy=told if isinstance(told, advertising.LegacyAdvertisement) else None,
        )

    def _drop_old(self, at: float) -> None:
        while self._heard:
            key, oldest = next(iter(self._heard.items()))
            if len(self._heard) <= ADDRESSES_KEPT and at - oldest.at <= FORGET_S:
                return
            del self._heard[key]
            seen = self._sightings.get(oldest.address)
            if seen and seen.adapter == oldest.adapter:
                del self._sightings[oldest.address]


def _settle(awaited: _Awaited, rssi: int | None) -> None:
    if not awaited.rssi.done():
        awaited.rssi.set_result(rssi)


def _takes_over(entry: _Heard, before: Sighting) -> bool:
    """Whether another adapter than before is the better one now: the old one deaf, or this one clearly stronger."""
    return entry.at - before.at > PRESENT_S or entry.rssi >= before.rssi + STRONGER_DB


def _is_news(before: Sighting, seen: Sighting) -> bool:
    return seen.at - before.at > PRESENT_S or (before.name, before.advertised_mac, before.legacy) != (
        seen.name,
        seen.advertised_mac,
        seen.legacy,
    )
