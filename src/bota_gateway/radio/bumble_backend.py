"""A bleak backend over a bumble host: bleak's public API without BlueZ, for the virtual radio and for bare dongles.

``backends(device)`` gives the two classes that ``BleakScanner(backend=...)`` and ``BleakClient(backend=...)`` take.
Both are bound to that one bumble ``Device``, so one process may hold several adapters. Behaviour follows bleak's BlueZ
backend wherever callers can tell the difference: what is raised when, that the disconnected callback comes for every
kind of disconnect, that an operation abandoned by its caller still runs to its end on the air, and that advertised
name and manufacturer data stay once heard although they arrive in different packets.

bumble is part of the extra ``sim``; only the command line and tests import this module, lazily.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

from bleak import BleakScanner
from bleak.args import SizedBuffer
from bleak.assigned_numbers import CharacteristicPropertyName
from bleak.backends.characteristic import BleakGATTCharacteristic, GattCharacteristicsFlags
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError
from bleak.uuids import normalize_uuid_16, normalize_uuid_str
from bumble import att, core, gatt, gatt_client, hci
from bumble.core import PhysicalTransport
from bumble.device import Connection, Device

from bota_gateway.radio.bumble_scanner import BumbleAdapter, Scanner

ATT_MTU_ASKED_FOR = 517
"""What BlueZ and Android ask for: the largest value, 512 bytes, and the largest ATT header (Core Vol 3, F 3.2.9)."""

DISCONNECT_TIMEOUT_S = 10.0
"""bleak's BlueZ backend waits this long for a disconnect to be seen."""

CANCEL_TIMEOUT_S = 1.0
"""A controller answers the cancelling of a connect at once; without an answer there is nothing more to do."""

_CCCD = normalize_uuid_16(0x2902)

_T = TypeVar("_T")


def backends(device: Device) -> tuple[type[BaseBleakScanner], type[BaseBleakClient]]:
    """Returns the scanner and client classes for ``device``. Call it once for each adapter and keep the result.

    Args:
        device: A bumble device that is, or will be, powered on.
    """
    shared = BumbleAdapter(device)

    class BumbleScanner(Scanner):
        adapter = shared

    class BumbleClient(_Client):
        adapter = shared
        scanner_class = BumbleScanner

    return BumbleScanner, BumbleClient


class _Client(BaseBleakClient):
    """One GATT client over one bumble device."""

    adapter: BumbleAdapter
    scanner_class: type[BaseBleakScanner]

    def __init__(
        self,
        address_or_ble_device: BLEDevice | str,
        *,
        disconnected_callback: Callable[[], None] | None = None,
        timeout: float = 30.0,
        **_kwargs: Any,
    ) -> None:
        super().__init__(address_or_ble_device, disconnected_callback=disconnected_callback, timeout=timeout)
        self._peer = address_or_ble_device if isinstance(address_or_ble_device, BLEDevice) else None
        self._connection: Connection | None = None
        self._requests: set[asyncio.Future[Any]] = set()

    # -- the link -----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The advertised name, or the address with dashes, as bleak promises."""
        return (self._peer.name if self._peer else None) or self.address.replace(":", "-")

    @property
    def mtu_size(self) -> int:
        """The negotiated ATT MTU in bytes; 23 while nothing is connected."""
        return int(self._connection.att_mtu) if self._connection else att.ATT_DEFAULT_MTU

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    async def connect(self, pair: bool, **kwargs: Any) -> None:
        """Connects, asks for the largest MTU and discovers all services.

        Raises:
            BleakError: Already connected, or the connection failed.
            BleakDeviceNotFoundError: Given an address only, and nothing with it advertises.
            TimeoutError: All of this together took longer than the client's ``timeout``, in seconds.
        """
        if self.is_connected:
            raise BleakError("Client is already connected")
        self.adapter.require_power()
        timeout = float(kwargs.get("timeout", self._timeout))
        address = await self._find(timeout)
        async with asyncio.timeout(timeout):
            async with self.adapter.connecting:
                connection = await self._establish(address)
            self._connection = connection
            connection.once(Connection.EVENT_DISCONNECTION, self._on_disconnection)
            try:
                if pair:
                    await self.pair()
                client = connection.gatt_client
                await self._request(lambda: client.request_mtu(ATT_MTU_ASKED_FOR))
                self.services = await self._request(lambda: _discover(connection))
            except BaseException:
                await self.disconnect()
                raise

    async def _find(self, timeout: float) -> hci.Address:
        if self._peer is None:
            self._peer = await BleakScanner.find_device_by_address(self.address, timeout, backend=self.scanner_class)
        if self._peer is None:
            raise BleakDeviceNotFoundError(self.address, f"Device with address {self.address} was not found.")
        if not isinstance(self._peer.details, hci.Address):
            raise BleakDeviceNotFoundError(self.address, f"{self.address} was seen by another kind of adapter.")
        return self._peer.details

    async def _establish(self, address: hci.Address) -> Connection:
        device = self.adapter.device
        try:
            return await device.connect_le(address, timeout=None)
        except core.BaseBumbleError as error:
            raise BleakError(f"Connecting to {self.address} failed: {error}") from error
        except BaseException:
            # Left alone, the controller would go on trying and connect later, with nobody to hold the link.
            await _cancel_connecting(device, address)
            raise

    async def disconnect(self) -> None:
        """Ends the link; nothing happens when there is none. The disconnected callback is called.

        Raises:
            TimeoutError: The controller did not report the end within `DISCONNECT_TIMEOUT_S`.
        """
        connection = self._connection
        if connection is None:
            return
        try:
            async with asyncio.timeout(DISCONNECT_TIMEOUT_S):
                await connection.disconnect()
        except core.BaseBumbleError as error:
            if self._connection is connection:
                raise BleakError(f"Disconnecting from {self.address} failed: {error}") from error
        finally:
            # As in bleak's BlueZ backend: whatever happened, afterwards this client is not connected and has said so.
            if self._connection is connection:
                self._on_disconnection(0)

    def _on_disconnection(self, _reason: int) -> None:
        if self._connection is None:
            return
        self._connection = None
        self.services = None
        for request in list(self._requests):
            request.cancel()
        if self._disconnected_callback is not None:
            self._disconnected_callback()

    async def pair(self, *_args: Any, **_kwargs: Any) -> None:
        connection = self._require_connection()
        await self._request(connection.pair)

    async def unpair(self) -> None:
        raise BleakError("The bumble backend keeps no bonds to remove")

    # -- requests -----------------------------------------------------------------------------------------------------

    def _require_connection(self) -> Connection:
        if self._connection is None:
            raise BleakError("Not connected")
        return self._connection

    def _require_gatt(self) -> gatt_client.Client:
        return self._require_connection().gatt_client

    async def _request(self, operation: Callable[[], Awaitable[_T]]) -> _T:
        """Runs one ATT procedure to its end, in order with the others, and translates what it raises.

        A caller that gives up leaves the procedure running: ATT has no way to take a request back, and its answer must
        not be taken for the answer to the next one. The end of the link cancels all.
        """
        request = asyncio.ensure_future(operation())
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)
        try:
            return await asyncio.shield(request)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if request.cancelled() and task is not None and not task.cancelling():
                raise BleakError("The device disconnected") from None
            raise
        except att.ATT_Error as error:
            raise BleakGATTProtocolError(error.error_code) from error
        except core.BaseBumbleError as error:
            raise BleakError(str(error) or type(error).__name__) from error

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **_kwargs: Any
    ) -> bytearray:
        """Reads the whole value, with as many blob reads as it needs; ``use_cached`` is not supported and ignored."""
        del use_cached
        client = self._require_gatt()
        return bytearray(await self._request(lambda: client.read_value(characteristic.handle)))

    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **_kwargs: Any
    ) -> bytearray:
        """Reads the whole value of a descriptor."""
        del use_cached
        client = self._require_gatt()
        return bytearray(await self._request(lambda: client.read_value(descriptor.handle)))

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:
        """Writes; a value longer than one packet needs ``response`` and becomes a long write."""
        client = self._require_gatt()
        value = bytes(data)
        if not response and len(value) > self.mtu_size - 3:
            raise BleakGATTProtocolError(att.ATT_INVALID_ATTRIBUTE_LENGTH_ERROR)
        await self._request(lambda: client.write_value(characteristic.handle, value, with_response=response))

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """Writes a descriptor, with response."""
        client = self._require_gatt()
        value = bytes(data)
        await self._request(lambda: client.write_value(descriptor.handle, value, with_response=True))

    # -- notifications ------------------------------------------------------------------------------------------------

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **_kwargs: Any
    ) -> None:
        """Subscribes; the callback runs in the event loop for every packet, without a task of its own.

        Raises:
            BleakError: Not connected, or already notifying.
            BleakGATTProtocolError: Refused, or the characteristic can't notify.
        """
        client = self._require_gatt()
        notify = "notify" in characteristic.properties
        if not notify and "indicate" not in characteristic.properties:
            raise BleakGATTProtocolError(att.ATT_REQUEST_NOT_SUPPORTED_ERROR)
        subscribers = client.notification_subscribers if notify else client.indication_subscribers
        if characteristic.handle in subscribers:
            raise BleakError("Characteristic notifications already started")

        def deliver(value: bytes) -> None:
            callback(bytearray(value))

        # Subscribing before the write loses nothing; going round the proxy of bumble saves an event for every packet.
        subscribers[characteristic.handle] = {deliver}
        try:
            await self._write_cccd(characteristic, 1 if notify else 2)
        except BaseException:
            subscribers.pop(characteristic.handle, None)
            raise

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """Unsubscribes; packets that arrive before the write is answered are still delivered."""
        client = self._require_gatt()
        await self._write_cccd(characteristic, 0)
        client.notification_subscribers.pop(characteristic.handle, None)
        client.indication_subscribers.pop(characteristic.handle, None)

    async def _write_cccd(self, characteristic: BleakGATTCharacteristic, value: int) -> None:
        cccd = characteristic.get_descriptor(_CCCD)
        if cccd is None:
            raise BleakGATTProtocolError(att.ATT_REQUEST_NOT_SUPPORTED_ERROR)
        await self.write_gatt_descriptor(cccd, value.to_bytes(2, "little"))


async def _cancel_connecting(device: Device, address: hci.Address) -> None:
    """Returns when the controller has said how the attempt ended, lest the next attempt takes that for its own end."""
    ended = asyncio.Event()

    def note(_outcome: object) -> None:
        ended.set()

    device.on(Device.EVENT_CONNECTION, note)
    device.on(Device.EVENT_CONNECTION_FAILURE, note)
    try:
        with suppress(core.BaseBumbleError, TimeoutError):
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                await device.send_sync_command(hci.HCI_LE_Create_Connection_Cancel_Command())
                await ended.wait()
        if (late := device.find_connection_by_bd_addr(address, PhysicalTransport.LE)) is not None:
            with suppress(core.BaseBumbleError):
                await late.disconnect()
    finally:
        device.remove_listener(Device.EVENT_CONNECTION, note)
        device.remove_listener(Device.EVENT_CONNECTION_FAILURE, note)


async def _discover(connection: Connection) -> BleakGATTServiceCollection:
    client = connection.gatt_client
    collection = BleakGATTServiceCollection()
    for found in await client.discover_services():
        service = BleakGATTService(found, found.handle, _uuid_str(found.uuid))
        collection.add_service(service)
        for proxy in await client.discover_characteristics((), found):
            characteristic = BleakGATTCharacteristic(
                proxy,
                proxy.handle,
                _uuid_str(proxy.uuid),
                _property_names(proxy.properties),
                lambda: connection.att_mtu - 3,
                service,
            )
            collection.add_characteristic(characteristic)
            for descriptor in await client.discover_descriptors(proxy):
                collection.add_descriptor(
                    BleakGATTDescriptor(descriptor, descriptor.handle, _uuid_str(descriptor.type), characteristic)
                )
    return collection


def _property_names(properties: gatt.Characteristic.Properties) -> list[CharacteristicPropertyName]:
    return [
        cast("CharacteristicPropertyName", flag.name.replace("_", "-"))
        for flag in GattCharacteristicsFlags
        if properties & flag.value
    ]


def _uuid_str(value: core.UUID) -> str:
    return normalize_uuid_str(value.to_hex_str("-"))
