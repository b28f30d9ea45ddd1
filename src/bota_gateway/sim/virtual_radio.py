"""A radio made of memory: stations that advertise, scan, connect, move out of range and share air that takes time.

Everything of Bluetooth above the air is real bumble: HCI, L2CAP, ATT and GATT bytes pass between real hosts. See
`controller` for what ours adds to bumble's virtual controller, and `air` for links.

    radio = VirtualRadio(bytes_per_s=60_000)
    adapter = await radio.adapter("hci0")              # a bumble Device, for bota_gateway.radio.bumble_backend
    async with SimRecorder(radio, serial="PIN0000001"): ...
    radio.set_rssi("PIN0000001", "hci0", None)         # out of range: both sides lose the link by supervision time-out
"""

import random
from collections.abc import Iterable

from bumble import hci, link
from bumble.device import Device
from bumble.transport.common import Transport

from bota_gateway.sim.air import AirLink, Loss
from bota_gateway.sim.controller import Advertiser, VirtualController
from bota_gateway.sim.quick_host import QuickHost

DEFAULT_RSSI = -60
"""dBm; a recorder in the same room."""


class VirtualRadio(link.LocalLink):
    """The air that all stations share.

    Args:
        bytes_per_s: Pace of every link and direction, in bytes of L2CAP PDUs a second (an ATT notification adds 7 to
            its value); None sends as fast as the process can. 30,000 to 45,000 is a good real link, 80,000 excellent.
        seed: Makes advertising delays repeatable.
    """

    def __init__(self, *, bytes_per_s: float | None = None, seed: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # bumble leaves it without annotations
        self.random = random.Random(seed)
        self._bytes_per_s = bytes_per_s
        self._station_bytes_per_s: dict[str, float | None] = {}
        self._rssi: dict[frozenset[str], int | None] = {}
        self._silent: set[str] = set()
        self._loss: dict[str, Loss] = {}
        self._links: set[AirLink] = set()
        self._stations: dict[str, VirtualController] = {}

    # -- stations -----------------------------------------------------------------------------------------------------

    async def adapter(self, name: str, *, address: str | None = None, max_links: int | None = None) -> Device:
        """Adds a central, powered on: what a hub's Bluetooth adapter is.

        Args:
            name: How this radio's other methods call it, such as "hci0".
            address: Its random static address; None for one made from the name.
            max_links: Connections it can hold; None for any number.
        """
        return await self.station(name, address=address, max_links=max_links)

    async def station(
        self, name: str, *, address: str | None = None, max_links: int | None = None, device_name: str | None = None
    ) -> Device:
        """Adds a station of any kind, powered on, and returns the bumble device on top of it.

        Args:
            name: How this radio's other methods call it.
            address: Its random static address; None for one made from the name.
            max_links: Connections it can hold; None for any number.
            device_name: What its generic access service says; None for ``name``.

        Raises:
            ValueError: The name is taken.
        """
        controller = self._add(name, max_links=max_links)
        host = QuickHost(controller, controller)
        host.on("flush", controller.vanish)  # powering the device off, or resetting it, takes it off the air
        device = Device(name=device_name or name, address=hci.Address(address or address_from(name)), host=host)
        host.device = device
        await device.power_on()
        return device

    def attach(self, name: str, transport: Transport, *, public_address: str | None = None) -> None:
        """Adds a station whose host is another program that speaks HCI over ``transport``.

        Raises:
            ValueError: The name is taken.
        """
        controller = self._add(name, public_address=public_address)
        controller.set_packet_sink(transport.sink)
        transport.source.set_packet_sink(controller)

    def _add(self, name: str, *, public_address: str | None = None, max_links: int | None = None) -> VirtualController:
        if name in self._stations:
            raise ValueError(f"There is a station {name} on this radio already")
        controller = VirtualController(name, self, public_address=public_address, max_links=max_links)
        self._stations[name] = controller
        return controller

    def remove(self, name: str) -> None:
        """Takes a station away without a word, as with its battery out; peers notice by supervision time-out."""
        controller = self._stations.pop(name, None)
        if controller is not None:
            controller.vanish()
            self.remove_controller(controller)

    def close(self) -> None:
        """Removes every station."""
        for name in list(self._stations):
            self.remove(name)

    # -- what passes between them -------------------------------------------------------------------------------------

    def set_rssi(self, station: str, other: str, dbm: int | None) -> None:
        """Sets the signal strength between two stations; None: they do not hear each other."""
        self._rssi[frozenset((station, other))] = dbm
        self._range_changed()

    def set_silent(self, station: str, silent: bool) -> None:
        """Takes a station out of everyone's range, or back."""
        (self._silent.add if silent else self._silent.discard)(station)
        self._range_changed()

    def set_pace(self, bytes_per_s: float | None, station: str | None = None) -> None:
        """Sets the pace of all links, or of one station's; of two stations with paces the slower one counts."""
        if station is None:
            self._bytes_per_s = bytes_per_s
        else:
            self._station_bytes_per_s[station] = bytes_per_s
        for air in self._links:
            air.bytes_per_s = self._pace(air.stations)

    def set_loss(self, station: str, loss: Loss | None) -> None:
        """Loses notifications that ``station`` sends or receives: ``loss`` is asked for each; None loses none more.

        The air itself never loses (Bluetooth repeats); overrun host stacks do, without telling anyone.
        """
        if loss is None:
            self._loss.pop(station, None)
        else:
            self._loss[station] = loss
        for air in self._links:
            air.loss = self._loss_of(air.stations)

    def rssi(self, a: VirtualController, b: VirtualController) -> int | None:
        """Signal strength between two stations in dBm; None when they do not hear each other."""
        if a.name in self._silent or b.name in self._silent:
            return None
        return self._rssi.get(frozenset((a.name, b.name)), DEFAULT_RSSI)

    @property
    def link_count(self) -> int:
        """Links that have not ended, heard or not."""
        return len(self._links)

    # -- for the controllers ------------------------------------------------------------------------------------------

    def advertise(self, advertiser: Advertiser) -> None:
        """One advertising event: everyone in range hears it, until a central takes the offer."""
        for controller in list(self._stations.values()):
            if controller is advertiser.controller:
                continue
            rssi = self.rssi(advertiser.controller, controller)
            if rssi is not None:
                controller.hear(advertiser, rssi)
            if not advertiser.enabled:
                return

    def open(self, air: AirLink) -> None:
        """A link begins."""
        air.bytes_per_s = self._pace(air.stations)
        air.loss = self._loss_of(air.stations)
        self._links.add(air)

    def forget(self, air: AirLink) -> None:
        """A link has ended on both sides."""
        self._links.discard(air)

    def _range_changed(self) -> None:
        for air in list(self._links):
            heard = self.rssi(*air.stations) is not None
            if heard != air.heard:
                air.set_heard(heard)

    def _pace(self, stations: Iterable[VirtualController]) -> float | None:
        own = [self._station_bytes_per_s[s.name] for s in stations if s.name in self._station_bytes_per_s]
        if not own:
            return self._bytes_per_s
        return min((pace for pace in own if pace is not None), default=None)

    def _loss_of(self, stations: Iterable[VirtualController]) -> Loss | None:
        return next((self._loss[s.name] for s in stations if s.name in self._loss), None)


def address_from(name: str) -> str:
    """A random static address that is always the same for one name, so that runs can be compared.

    The two highest bits of such an address are set (Core Vol 6, B 1.3.2.1).
    """
    digits = random.Random(name).randbytes(6)
    return ":".join(f"{octet:02X}" for octet in (digits[0] | 0xC0, *digits[1:]))
