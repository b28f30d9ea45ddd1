"""Devices that BlueZ remembers for nobody, dropped before they pile up.

A device that was only heard is forgotten by BlueZ itself, half a minute later (``TemporaryTimeout``; 0 keeps it for
ever). One that was connected once stays for good, in memory, on D-Bus and on the card, with its services: so each
address that a recorder ever had would. What is dropped is certainly nobody else's: recorders, which nobody but this
gateway serves here, and private addresses that have fallen silent: such an address is given up by its owner after
minutes and never used again, so it is of no use to anybody.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from bota_gateway.protocol import advertising
from bota_gateway.radio import bluez
from bota_gateway.radio.classify import BACKEND_FAILURES, describe
from bota_gateway.radio.const import UNOWNED_AT_ONCE, UNOWNED_KEPT_S
from bota_gateway.radio.sightings import SightingBook

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_SOMEBODYS = ("Connected", "Paired", "Bonded", "Trusted", "Blocked")
"""Any of these means that somebody has decided something about the device."""


class Unowned:
    """Finds and drops such devices of one adapter.

    Args:
        adapter: Name by which ``book`` knows it.
        book: Knows which addresses are held, or about to be, and which were heard.
        clock: The loop's time; a test may go ahead of it.
    """

    def __init__(self, adapter: str, book: SightingBook, clock: Callable[[], float] | None = None) -> None:
        self._adapter = adapter
        self._clock = clock or asyncio.get_running_loop().time
        self._book = book
        self._silent_since: dict[str, float] = {}
        """Loop time since which a device, by path, is not heard; only of those that may be dropped."""

    async def drop(self, hci: str) -> int:
        """Drop what was silent for `UNOWNED_KEPT_S`; returns how many. Never raises but for cancellation."""
        removed = 0
        try:
            devices = devices_of(await bluez.managed_objects(), hci)
            for path in self._due(devices)[:UNOWNED_AT_ONCE]:
                if not self._book.is_held(str(devices[path]["Address"])):
                    await bluez.remove_device(path)
                    removed += 1
        except BACKEND_FAILURES as error:  # the next look tries again
            log.debug("unowned_search_failed", adapter=hci, reason=describe(error))
        if removed:
            log.info("unowned_devices_removed", adapter=hci, devices=removed)
        return removed

    def _due(self, devices: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Paths of those that were silent for long enough, the longest first."""
        now = self._clock()
        unowned = {path: str(device["Address"]) for path, device in devices.items() if is_unowned(device)}
        self._silent_since = {
            path: self._book.heard_at(self._adapter, address) or self._silent_since.get(path, now)
            for path, address in unowned.items()
        }
        due = [path for path, since in self._silent_since.items() if now - since >= UNOWNED_KEPT_S]
        return sorted(due, key=self._silent_since.__getitem__)


def devices_of(objects: bluez.Objects, hci: str) -> dict[str, Mapping[str, Any]]:
    """Properties of the adapter's devices, by path."""
    below = bluez.adapter_path(hci) + "/"
    return {
        path: interfaces[bluez.DEVICE]
        for path, interfaces in objects.items()
        if path.startswith(below) and bluez.DEVICE in interfaces
    }


def used_by_others(objects: bluez.Objects, hci: str) -> list[str]:
    """Paths of the adapter's devices that are connected and no recorders: somebody else's."""
    devices = devices_of(objects, hci)
    return [path for path, device in devices.items() if device.get("Connected") and not is_recorder(device)]


def is_unowned(device: Mapping[str, Any]) -> bool:
    """Whether BlueZ remembers the device for nobody but us, or for nobody at all."""
    return not is_kept_by_somebody(device) and (is_recorder(device) or has_private_address(device))


def is_kept_by_somebody(device: Mapping[str, Any]) -> bool:
    """Whether somebody has connected to it, paired, trusted or blocked it."""
    return any(device.get(name) for name in _SOMEBODYS)


def is_recorder(device: Mapping[str, Any]) -> bool:
    """Whether it looks like one, by all that BlueZ remembers of it."""
    return advertising.is_candidate(
        name=device.get("Name"),
        manufacturer_data=device.get("ManufacturerData", {}),
        service_uuids={str(uuid).lower() for uuid in device.get("UUIDs", ())},
    )


def has_private_address(device: Mapping[str, Any]) -> bool:
    """Whether its address changes by itself: its two top bits tell (Bluetooth Core 5.4, Vol 6, B 1.3.2); 11 stays."""
    return device.get("AddressType") == "random" and int(str(device["Address"])[:2], 16) >> 6 != 0b11
