"""bleak's scanner and client over the plain air; they behave as those of `bota_gateway.radio.bumble_backend`."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from bleak.args import SizedBuffer
from bleak.assigned_numbers import CharacteristicPropertyName
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, AdvertisementDataCallback, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError, BleakGATTProtocolError
from bleak.uuids import normalize_uuid_16
from bumble import att

from bota_gateway.sim.gatt import Cell
from support.plain_air.air import RSSI, PlainAdapter, PlainLink
from support.plain_air.recorder import PlainRecorder

_CCCD = normalize_uuid_16(0x2902)
_SERVICE = normalize_uuid_16(0x1800)


def plain_backends(shared: PlainAdapter) -> tuple[type[BaseBleakScanner], type[BaseBleakClient]]:
    """The scanner and client classes of an adapter."""

    class BoundScanner(PlainScanner):
        adapter = shared

    class BoundClient(PlainClient):
        adapter = shared

    return BoundScanner, BoundClient


class PlainScanner(BaseBleakScanner):
    """Scans with one adapter."""

    adapter: PlainAdapter

    def __init__(
        self,
        detection_callback: AdvertisementDataCallback | None,
        service_uuids: list[str] | None,
        scanning_mode: Literal["active", "passive"] = "active",
        **_kwargs: Any,
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        del scanning_mode

    async def start(self) -> None:
        """Starts to report."""
        self.seen_devices = {}
        self.adapter.scanners.append(self)

    async def stop(self) -> None:
        """Stops to report."""
        if self in self.adapter.scanners:
            self.adapter.scanners.remove(self)

    def hear(self, recorder: PlainRecorder) -> None:
        """A recorder advertises."""
        name = recorder.options.name
        data = AdvertisementData(name, recorder.manufacturer_data, {}, [], None, RSSI, ())
        device = self.create_or_update_device(recorder.address, recorder.address, name, None, data)
        self.call_detection_callbacks(device, data)


class PlainClient(BaseBleakClient):
    """One GATT client over one adapter."""

    MTU = 517
    """ATT MTU that it asks for."""

    adapter: PlainAdapter

    def __init__(
        self,
        address_or_ble_device: BLEDevice | str,
        *,
        disconnected_callback: Callable[[], None] | None = None,
        timeout: float = 30.0,
        **_kwargs: Any,
    ) -> None:
        super().__init__(address_or_ble_device, disconnected_callback=disconnected_callback, timeout=timeout)
        self._link: PlainLink | None = None
        self._subscribers: dict[int, NotifyCallback] = {}

    # -- the link ------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """As bleak promises without a name."""
        return self.address.replace(":", "-")

    @property
    def mtu_size(self) -> int:
        """The ATT MTU."""
        return self._link.att_mtu if self._link else att.ATT_DEFAULT_MTU

    @property
    def is_connected(self) -> bool:
        """Whether there is a link."""
        return self._link is not None

    async def connect(self, pair: bool, **kwargs: Any) -> None:
        """Connects and learns the services."""
        del pair
        if self.is_connected:
            raise BleakError("Client is already connected")
        async with asyncio.timeout(float(kwargs.get("timeout", self._timeout))):
            async with self.adapter.connecting:
                link = self._link = await self.adapter.air.meet(self)
            try:
                await self._request(att.ATT_Exchange_MTU_Request(client_rx_mtu=self.MTU))
                self.services = _services(link)
            except BaseException:
                await self.disconnect()
                raise

    async def disconnect(self) -> None:
        """Ends the link."""
        if self._link is not None:
            await self._link.leave()

    def lost(self, link: PlainLink) -> None:
        """The link has ended, from whichever side."""
        if self._link is not link:
            return
        self._link = None
        self.services = None
        self._subscribers.clear()
        if self._disconnected_callback is not None:
            self._disconnected_callback()

    def heard(self, handle: int, value: bytes) -> None:
        """A notification arrives."""
        callback = self._subscribers.get(handle)
        if callback is not None:
            callback(bytearray(value))

    async def pair(self, *_args: Any, **_kwargs: Any) -> None:
        """Not offered."""
        raise BleakError("There is no pairing on this air")

    async def unpair(self) -> None:
        """Not offered."""
        raise BleakError("There is no pairing on this air")

    # -- requests ------------------------------------------------------------------------------------------------------

    async def _request(self, pdu: att.ATT_PDU) -> bytes:
        """One request; whoever gives it up leaves it running, as ATT has no way to take it back."""
        if self._link is None:
            raise BleakError("Not connected")
        answer = await asyncio.shield(self._link.ask(pdu))
        if answer is None:
            raise BleakError("The device disconnected")
        if isinstance(answer, att.ATT_Error):
            raise BleakGATTProtocolError(answer.error_code)
        assert isinstance(answer, bytes)
        return answer

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **_kwargs: Any
    ) -> bytearray:
        """Reads a value."""
        del use_cached
        return bytearray(await self._request(att.ATT_Read_Request(attribute_handle=characteristic.handle)))

    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **_kwargs: Any
    ) -> bytearray:
        """Not used by the gateway."""
        raise NotImplementedError

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:
        """Writes with response."""
        assert response, "the gateway writes with response only"
        await self._write(characteristic.handle, bytes(data))

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """Writes a descriptor."""
        await self._write(descriptor.handle, bytes(data))

    async def _write(self, handle: int, value: bytes) -> None:
        await self._request(att.ATT_Write_Request(attribute_handle=handle, attribute_value=value))

    # -- notifications -------------------------------------------------------------------------------------------------

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **_kwargs: Any
    ) -> None:
        """Subscribes."""
        if characteristic.handle in self._subscribers:
            raise BleakError("Characteristic notifications already started")
        self._subscribers[characteristic.handle] = callback
        try:
            await self._configure(characteristic, 1)
        except BaseException:
            self._subscribers.pop(characteristic.handle, None)
            raise

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """Unsubscribes."""
        await self._configure(characteristic, 0)
        self._subscribers.pop(characteristic.handle, None)

    async def _configure(self, characteristic: BleakGATTCharacteristic, value: int) -> None:
        cccd = characteristic.get_descriptor(_CCCD)
        if cccd is None:
            raise BleakGATTProtocolError(att.ATT_REQUEST_NOT_SUPPORTED_ERROR)
        await self.write_gatt_descriptor(cccd, value.to_bytes(2, "little"))


def _services(link: PlainLink) -> BleakGATTServiceCollection:
    services = BleakGATTServiceCollection()
    service = BleakGATTService(None, 1, _SERVICE)
    services.add_service(service)
    for handle, cell in link.recorder.cells.items():
        characteristic = BleakGATTCharacteristic(
            None, handle, cell.uuid, _properties(cell), lambda: link.att_mtu - 3, service
        )
        services.add_characteristic(characteristic)
        if cell.notify:
            services.add_descriptor(BleakGATTDescriptor(None, handle + 1, _CCCD, characteristic))
    return services


def _properties(cell: Cell) -> list[CharacteristicPropertyName]:
    has: dict[CharacteristicPropertyName, bool] = {
        "read": cell.read is not None,
        "write": cell.write is not None,
        "notify": cell.notify,
    }
    return [name for name, offered in has.items() if offered]
