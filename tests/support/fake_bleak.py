"""A bleak backend without a radio: it does what its `FakeAir` is told, so that single failures can be played.

For whole conversations with a recorder, the virtual radio is the better place; here are the failures it can't have.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from bleak.args import SizedBuffer
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError

from bota_gateway.radio import Adapter

Step = Callable[[], Coroutine[Any, Any, None]]


async def _at_once() -> None:
    """The default of every step."""


@dataclass
class FakeAir:
    """What the backend does, and what was done to it. Steps may wait, raise, or be replaced in mid-test."""

    connect: Step = _at_once
    disconnect: Step = _at_once
    scan_start: Step = _at_once
    scan_stop: Step = _at_once
    pair: Step = _at_once
    operation: Step = _at_once
    """Before every read, write, start and stop of notifications."""
    characteristics: tuple[str, ...] = ("2a25",)
    mtu: int = 247
    value: bytes = b"SERIAL0001"

    scanners: "set[BaseBleakScanner]" = field(default_factory=set)
    """Those that scan now."""
    clients: "set[FakeClient]" = field(default_factory=set)
    """Those that are connected now."""
    told: list[str] = field(default_factory=list)
    """Everything asked of the backend, in order."""
    scanner_args: list[dict[str, Any]] = field(default_factory=list)
    notify_args: list[dict[str, Any]] = field(default_factory=list)
    connecting: int = 0
    most_connecting: int = 0
    scanned_while_connecting: bool = False

    def adapter(self, name: str = "hci0") -> Adapter:
        """An adapter on this air."""

        class BoundScanner(FakeScanner):
            air = self

        class BoundClient(FakeClient):
            air = self

        return Adapter(name, scanner_backend=BoundScanner, client_backend=BoundClient)

    def advertise(self, address: str = "C0:FF:EE:00:00:01", **said: Any) -> None:
        """Let every scanner hear one packet."""
        for scanner in list(self.scanners):
            scanner.call_detection_callbacks(*packet(address, **said))


def packet(
    address: str = "C0:FF:EE:00:00:01",
    *,
    name: str | None = "Bota Pin",
    rssi: int = -60,
    manufacturer_data: dict[int, bytes] | None = None,
    service_uuids: tuple[str, ...] = (),
) -> tuple[BLEDevice, AdvertisementData]:
    """What bleak's detection callback is given for one packet."""
    data = AdvertisementData(name, manufacturer_data or {}, {}, list(service_uuids), None, rssi, ())
    return BLEDevice(address, name, {"path": f"/org/bluez/hci0/dev_{address.replace(':', '_')}"}), data


class FakeScanner(BaseBleakScanner):
    """Scans `air`."""

    air: FakeAir

    def __init__(
        self, detection_callback: Any, service_uuids: list[str] | None, scanning_mode: str, **kwargs: Any
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self.air.scanner_args.append({"scanning_mode": scanning_mode, **kwargs})

    async def start(self) -> None:
        """Scan, unless `FakeAir.scan_start` says otherwise."""
        self.air.told.append("scan start")
        await self.air.scan_start()
        self.air.scanners.add(self)
        self.air.scanned_while_connecting |= self.air.connecting > 0

    async def stop(self) -> None:
        """Stop, unless `FakeAir.scan_stop` says otherwise."""
        self.air.told.append("scan stop")
        await self.air.scan_stop()
        self.air.scanners.discard(self)


class FakeClient(BaseBleakClient):
    """Connects on `air`."""

    air: FakeAir

    def __init__(self, address_or_ble_device: BLEDevice | str, **kwargs: Any) -> None:
        super().__init__(
            address_or_ble_device,
            disconnected_callback=kwargs["disconnected_callback"],
            timeout=kwargs["timeout"],
        )
        self.subscribers: dict[int, NotifyCallback] = {}

    @property
    def mtu_size(self) -> int:
        """As on BlueZ, worth nothing."""
        raise AssertionError("always 23 on BlueZ: not to be used")

    @property
    def is_connected(self) -> bool:
        """Whether the link is up."""
        return self in self.air.clients

    async def connect(self, pair: bool, **kwargs: Any) -> None:
        """Connect, unless `FakeAir.connect` says otherwise."""
        del pair, kwargs
        air = self.air
        air.told.append(f"connect {self.address}")
        air.connecting += 1
        air.most_connecting = max(air.most_connecting, air.connecting)
        air.scanned_while_connecting |= bool(air.scanners)
        try:
            await air.connect()
        finally:
            air.connecting -= 1
        air.clients.add(self)
        self.services = self._services()

    async def disconnect(self) -> None:
        """Disconnect, unless `FakeAir.disconnect` says otherwise."""
        self.air.told.append(f"disconnect {self.address}")
        await self.air.disconnect()
        self.drop()

    def drop(self) -> None:
        """The link ends, from whichever side."""
        if self.is_connected:
            self.air.clients.discard(self)
            self.services = None
            if self._disconnected_callback:
                self._disconnected_callback()

    def notify(self, packet: bytes) -> None:
        """Every subscriber gets ``packet``."""
        for callback in self.subscribers.values():
            callback(bytearray(packet))

    def _services(self) -> BleakGATTServiceCollection:
        services = BleakGATTServiceCollection()
        service = BleakGATTService(None, 1, "180a")
        services.add_service(service)
        for handle, uuid in enumerate(self.air.characteristics, start=2):
            services.add_characteristic(
                BleakGATTCharacteristic(
                    None, handle, uuid, ["read", "write", "notify"], lambda: self.air.mtu - 3, service
                )
            )
        return services

    async def _operate(self, what: str) -> None:
        self.air.told.append(what)
        await self.air.operation()
        if not self.is_connected:
            raise BleakError("Not connected")

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **kwargs: Any
    ) -> bytearray:
        """Read `FakeAir.value`."""
        del use_cached, kwargs
        await self._operate(f"read {characteristic.handle}")
        return bytearray(self.air.value)

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:
        """Write nothing."""
        await self._operate(f"write {characteristic.handle} {bytes(data).hex()} {response=}")

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **kwargs: Any
    ) -> None:
        """Subscribe."""
        self.air.notify_args.append(kwargs["bluez"])
        await self._operate(f"start {characteristic.handle}")
        self.subscribers[characteristic.handle] = callback

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """Unsubscribe."""
        await self._operate(f"stop {characteristic.handle}")
        del self.subscribers[characteristic.handle]

    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **kwargs: Any
    ) -> bytearray:
        """Not used."""
        raise NotImplementedError

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """Not used."""
        raise NotImplementedError

    async def pair(self, *args: Any, **kwargs: Any) -> None:
        """Pair, unless `FakeAir.pair` says otherwise."""
        del args, kwargs
        self.air.told.append(f"pair {self.address}")
        await self.air.pair()

    async def unpair(self) -> None:
        """Not used."""
        raise NotImplementedError
