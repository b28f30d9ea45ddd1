"""The scanner of the bleak backend over bumble; see `bumble_backend`."""

import asyncio
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from bleak.backends.scanner import AdvertisementData, AdvertisementDataCallback, BaseBleakScanner
from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason, BleakError
from bleak.uuids import normalize_uuid_16, normalize_uuid_32
from bumble import core
from bumble.core import AdvertisingData
from bumble.device import Advertisement, Device

from bota_gateway.radio.bounded import uninterrupted

RSSI_UNKNOWN = -127
"""What bleak's BlueZ backend reports where the adapter measured nothing."""


@dataclass(slots=True)
class BumbleAdapter:
    """What the scanners and clients of one bumble device share."""

    device: Device
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)
    """bumble refuses a second connect while one is pending; BlueZ queues it, so we do."""
    scanners: set[BaseBleakScanner] = field(default_factory=set)

    def require_power(self) -> None:
        """Raises BleakBluetoothNotAvailableError while the adapter is off."""
        if not self.device.powered_on:
            raise BleakBluetoothNotAvailableError(
                "The adapter is powered off", BleakBluetoothNotAvailableReason.POWERED_OFF
            )


class Scanner(BaseBleakScanner):
    """Scans with one bumble device; several scanners may run on one device, as on BlueZ."""

    adapter: BumbleAdapter

    def __init__(
        self,
        detection_callback: AdvertisementDataCallback | None,
        service_uuids: list[str] | None,
        scanning_mode: Literal["active", "passive"] = "active",
        **_kwargs: Any,
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self._active = scanning_mode == "active"

    async def start(self) -> None:
        """Starts to report; raises BleakError when it runs already or the controller refuses."""
        self.adapter.require_power()
        if self in self.adapter.scanners:
            raise BleakError("Scanner is already running")
        self.seen_devices = {}
        device = self.adapter.device
        device.on(Device.EVENT_ADVERTISEMENT, self._on_advertisement)
        others = bool(self.adapter.scanners)
        self.adapter.scanners.add(self)
        if others:
            return
        try:
            await device.start_scanning(active=self._active, filter_duplicates=False)
        except BaseException as error:
            self._forget()
            with suppress(core.BaseBumbleError, TimeoutError):  # cut short, the controller may scan all the same
                await uninterrupted(device.stop_scanning())
            if isinstance(error, core.BaseBumbleError):
                raise BleakError(f"Scanning could not be started: {str(error) or type(error).__name__}") from error
            raise

    async def stop(self) -> None:
        """Stops to report; the controller stops scanning with the last scanner."""
        if self not in self.adapter.scanners:
            return
        self._forget()
        if not self.adapter.scanners and self.adapter.device.powered_on:
            try:
                await self.adapter.device.stop_scanning()
            except core.BaseBumbleError as error:
                raise BleakError(f"Scanning could not be stopped: {error}") from error

    def _forget(self) -> None:
        self.adapter.scanners.discard(self)
        self.adapter.device.remove_listener(Device.EVENT_ADVERTISEMENT, self._on_advertisement)

    def _on_advertisement(self, advertisement: Advertisement) -> None:
        address = advertisement.address.to_string(with_type_qualifier=False)
        before = self.seen_devices[address][1] if address in self.seen_devices else None
        data = _merge(before, advertisement)
        if not self.is_allowed_uuid(data.service_uuids):
            return
        device = self.create_or_update_device(address, address, data.local_name, advertisement.address, data)
        self.call_detection_callbacks(device, data)


def _merge(before: AdvertisementData | None, advertisement: Advertisement) -> AdvertisementData:
    """What is known of the advertiser now: like BlueZ, what was heard once stays until it is replaced."""
    name = before.local_name if before else None
    manufacturer_data = dict(before.manufacturer_data) if before else {}
    service_data = dict(before.service_data) if before else {}
    service_uuids = list(before.service_uuids) if before else []
    tx_power = before.tx_power if before else None
    for ad_type, value in advertisement.data.ad_structures:
        match ad_type:
            case AdvertisingData.Type.COMPLETE_LOCAL_NAME | AdvertisingData.Type.SHORTENED_LOCAL_NAME:
                name = value.decode("utf-8", errors="replace")
            case AdvertisingData.Type.MANUFACTURER_SPECIFIC_DATA if len(value) >= 2:
                manufacturer_data[int.from_bytes(value[:2], "little")] = bytes(value[2:])
            case AdvertisingData.Type.TX_POWER_LEVEL if value:
                tx_power = int.from_bytes(value[:1], "little", signed=True)
            case _ if ad_type in _UUID_LIST_WIDTH:
                width = _UUID_LIST_WIDTH[ad_type]
                for at in range(0, len(value) - width + 1, width):
                    if (found := _uuid_from_wire(value[at : at + width])) not in service_uuids:
                        service_uuids.append(found)
            case _ if ad_type in _SERVICE_DATA_WIDTH and len(value) >= _SERVICE_DATA_WIDTH[ad_type]:
                width = _SERVICE_DATA_WIDTH[ad_type]
                service_data[_uuid_from_wire(value[:width])] = bytes(value[width:])
    return AdvertisementData(
        local_name=name,
        manufacturer_data=manufacturer_data,
        service_data=service_data,
        service_uuids=service_uuids,
        tx_power=tx_power,
        rssi=advertisement.rssi if advertisement.rssi != Advertisement.RSSI_NOT_AVAILABLE else RSSI_UNKNOWN,
        platform_data=(advertisement,),
    )


_UUID_LIST_WIDTH: dict[int, int] = {0x02: 2, 0x03: 2, 0x04: 4, 0x05: 4, 0x06: 16, 0x07: 16}
"""AD types that list service UUIDs, and the width of one (Core Specification Supplement, Part A, 1.1)."""

_SERVICE_DATA_WIDTH: dict[int, int] = {0x16: 2, 0x20: 4, 0x21: 16}
"""AD types of service data, and the width of the UUID they open with (Core Specification Supplement, Part A, 1.11)."""


def _uuid_from_wire(value: bytes) -> str:
    match len(value):
        case 2:
            return normalize_uuid_16(int.from_bytes(value, "little"))
        case 4:
            return normalize_uuid_32(int.from_bytes(value, "little"))
        case _:
            return str(uuid.UUID(bytes=bytes(reversed(value))))
