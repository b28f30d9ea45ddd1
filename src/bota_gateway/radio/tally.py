"""Counts what the radio went through. Radio only counts; the daemon brings the counts over from life to life."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum


class Count(StrEnum):
    """What is counted, for each adapter. The names stand in spools: add, don't rename."""

    SCAN_RESTARTS = "scan_restarts"
    """Scanners restarted because nothing was heard."""
    POWER_CYCLES = "power_cycles"
    """Adapters switched off and on because restarts did not help."""
    POWER_CYCLES_FAILED = "power_cycles_failed"
    """Of those, how many BlueZ refused."""
    RECOVERIES = "recoveries"
    """Silences that ended after one of the above."""
    DEAF = "deaf"
    """Silences that nothing helped against, so that a person was told."""
    ADAPTER_LOSSES = "adapter_losses"
    """Adapters that went away."""
    BLUETOOTH_LOSSES = "bluetooth_losses"
    """Deaths of bluetoothd or of the system bus; of no single adapter."""
    LEFTOVERS_ENDED = "leftovers_ended"
    """Links, and half-made ones, of an earlier life that were ended."""
    DEVICES_REMOVED = "devices_removed"
    """Devices that BlueZ remembered for nobody."""
    GATT_REFRESHES = "gatt_refreshes"
    """Recorders of which BlueZ remembered services or keys that no longer fitted, and was made to forget them."""
    PAIRINGS = "pairings"
    """Recorders paired because they demanded encryption."""
    PAIRINGS_FAILED = "pairings_failed"
    """Pairings that were tried and refused."""


class Tally:
    """The counts of all lives of this hub, by adapter and what is counted.

    Args:
        before: Counts of earlier lives.
    """

    def __init__(self, before: Mapping[tuple[str, str], int] | None = None) -> None:
        self._counts: Counter[tuple[str, str]] = Counter(before or {})
        self._changed = asyncio.Event()
        self.revision = 0

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """By adapter (its address where known; "" for none) and name; none is 0."""
        return self._counts

    def add(self, adapter: str, what: Count, number: int = 1) -> None:
        """It happened, on this adapter, so many times."""
        if number:
            self._counts[adapter, what.value] += number
            self.revision += 1
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    async def wait_for_change(self, since: int) -> int:
        """Wait until ``revision`` is other than ``since``; returns it."""
        while self.revision == since:
            await self._changed.wait()
        return self.revision
