"""A short listen for recorders, without connecting to any: for when no gateway runs."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from bota_gateway.errors import AdapterError
from bota_gateway.model import WallClock
from bota_gateway.radio.adapters import Adapter
from bota_gateway.radio.scanner import Scanner
from bota_gateway.radio.sightings import Sighting, SightingBook

LISTEN_S: Final = 20.0
"""BlueZ scans 10 s of 15 s, so that this is a whole cycle of it and a recorder in range is heard."""


async def listen(adapters: Sequence[Adapter], seconds: float, now: WallClock) -> Sequence[Sighting]:
    """Scan with these adapters for so long; gives back the recorders heard, the strongest first.

    Links that others hold are left alone.

    Raises:
        AdapterError: none of them could scan.
    """
    book = SightingBook(now)
    scanners = [Scanner(adapter, partial(book.heard, adapter.name)) for adapter in adapters]
    scans = [asyncio.create_task(scanner.run(), name="listen") for scanner in scanners]
    try:
        await asyncio.wait(scans, timeout=seconds)
    finally:
        for scan in scans:
            scan.cancel()
        await asyncio.gather(*scans, return_exceptions=True)
    if not any(scanner.counters.starts for scanner in scanners):
        trouble = next((scanner.trouble for scanner in scanners if scanner.trouble), None)
        raise trouble.error if trouble else AdapterError("No adapter could scan in this time.")
    return sorted(book.sightings.values(), key=lambda seen: -seen.rssi)
