"""What an earlier life of the gateway left behind in BlueZ: links, and connections that were only being made.

After a SIGKILL bluetoothd keeps the link. The recorder believes itself in use and does not advertise, so that a gateway
which only scans would never see it again, and neither would its owner's phone. A connect that was under way goes on,
too: it becomes such a link, or BlueZ answers InProgress to whoever wants to connect.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from bota_gateway.radio import bluez
from bota_gateway.radio.cached import devices_of, is_recorder
from bota_gateway.radio.classify import BACKEND_FAILURES, describe
from bota_gateway.radio.const import CANCEL_LEFTOVERS, LEFTOVERS_S

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def end_leftovers(hci: str, *, is_ours: Callable[[str], bool]) -> int | None:
    """End what the adapter holds to recorders, up or half made. Never raises.

    Args:
        hci: What BlueZ calls the adapter now.
        is_ours: Whether a link to this address is one of this life.

    Returns:
        How many links were up; None if BlueZ could not be asked.
    """
    try:
        devices = devices_of(await bluez.managed_objects(), hci)
    except BACKEND_FAILURES as error:  # the scanner will tell what is wrong
        log.info("leftover_search_failed", adapter=hci, reason=describe(error))
        return None
    recorders = {
        path: device for path, device in devices.items() if is_recorder(device) and not is_ours(str(device["Address"]))
    }
    up = [path for path, device in recorders.items() if device.get("Connected")]
    half_made = [path for path in recorders if path not in up][:CANCEL_LEFTOVERS]
    with suppress(TimeoutError):  # the rest is found at the next look
        async with asyncio.timeout(LEFTOVERS_S):
            for path in up:
                log.warning("leftover_link_ended", adapter=hci, address=recorders[path]["Address"])
                await _end(path)
            for path in half_made:
                if not is_ours(str(recorders[path]["Address"])):  # nor by now
                    await _end(path)  # BlueZ does not tell whether one is being made; where none is, this does nothing
    return len(up)


async def _end(path: str) -> None:
    try:
        await bluez.disconnect(path)
    except BACKEND_FAILURES as error:
        log.debug("leftover_not_ended", path=path, reason=describe(error))
