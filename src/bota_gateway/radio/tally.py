"""Counts what the radio went through. Radio only counts; the daemon brings the counts over from life to life."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Final


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


_POWER_OWED: Final = "power_owed"
"""Stands in spools beside the counts: 1 while an adapter is off, or about to be, by our doing."""

Keep = Callable[[Mapping[tuple[str, str], int]], Awaitable[None]]
"""Writes these counts down before it returns, so that they outlive a kill of the process."""


class Tally:
    """The counts of all lives of this hub, by adapter and what is counted; and to which adapters it owes power.

    Args:
        before: Counts of earlier lives.
        keep: Writes down what must be known in the next life, should this one end now; None for nowhere.
    """

    def __init__(self, before: Mapping[tuple[str, str], int] | None = None, keep: Keep | None = None) -> None:
        before = before or {}
        self._counts = Counter({key: count for key, count in before.items() if key[1] != _POWER_OWED})
        self._owing = {adapter for (adapter, name), count in before.items() if name == _POWER_OWED and count}
        self._written: dict[str, bool | None] = dict.fromkeys(self._owing, True)
        """What the next life would read of it; None while that is not known, because a write of it failed."""
        self._keep = keep
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

    def owes_power(self, adapter: str) -> bool:
        """Whether this adapter is off because it was switched off here, in whichever life."""
        return adapter in self._owing

    async def owe_power(self, adapter: str, *, owed: bool) -> None:
        """Remember whether it is; written down when this returns.

        Where ``keep`` raises, a debt was not made, and one that is paid is paid all the same: the next call writes it.
        """
        if not owed:
            self._owing.discard(adapter)
        if self._keep and self._written.get(adapter, False) is not owed:
            self._written[adapter] = None
            await self._keep({(adapter, _POWER_OWED): int(owed)})
            self._written[adapter] = owed
        if owed:
            self._owing.add(adapter)

    async def wait_for_change(self, since: int) -> int:
        """Wait until ``revision`` is other than ``since``; returns it."""
        while self.revision == since:
            await self._changed.wait()
        return self.revision
