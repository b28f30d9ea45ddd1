"""Links that an earlier life of the gateway left behind.

After a SIGKILL bluetoothd keeps the link. The recorder believes itself in use and does not advertise, so that a gateway
which only scans would never see it again, and neither would its owner's phone.
"""

import structlog
from bleak import BleakAdapter
from bleak.backends.device import BLEDevice

from bota_gateway.config import NotifyMode
from bota_gateway.protocol.uuids import BOTA_SERVICES
from bota_gateway.radio.adapters import Adapter
from bota_gateway.radio.bounded import bounded
from bota_gateway.radio.classify import BACKEND_FAILURES, describe
from bota_gateway.radio.const import RSSI_UNKNOWN, SCAN_START_S
from bota_gateway.radio.link import Link

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def end_leftover_links(adapter: Adapter) -> int:
    """End every link that the adapter holds to a recorder; returns how many were found. Never raises.

    To be called before anything is connected: it can't tell our links from those of an earlier life.
    """
    if adapter.client_backend is not None and adapter.adapter_backend is None:
        return 0  # no daemon below that could outlive us
    try:
        found = await bounded(_connected(adapter), limit=SCAN_START_S)
    except BACKEND_FAILURES as error:  # the scanner will tell what is wrong
        log.warning("leftover_search_failed", adapter=adapter.name, reason=describe(error))
        return 0
    for device in found:
        log.warning("leftover_link_ended", adapter=adapter.name, address=device.address)
        await _end(device, adapter)
    return len(found)


async def _connected(adapter: Adapter) -> list[BLEDevice]:
    bleak = await BleakAdapter.get(bluez={"adapter": adapter.name}, backend=adapter.adapter_backend)
    return await bleak.get_connected_devices(sorted(BOTA_SERVICES))


async def _end(device: BLEDevice, adapter: Adapter) -> None:
    """Bleak's client takes over a connection that exists; only then can it be ended."""
    link = Link(device, adapter=adapter.name, rssi=RSSI_UNKNOWN, notify=NotifyMode.AUTO, backend=adapter.client_backend)
    try:
        await link.open()
    except BACKEND_FAILURES as error:  # this ends the connection, too: bleak disconnects then
        log.debug("leftover_takeover_failed", address=device.address, reason=describe(error))
    finally:
        await link.close()
