"""What the radio went through is known in the next life, and shown where it is not nothing."""

import asyncio
import json
from pathlib import Path

import pytest

from bota_gateway.config import SpoolSettings
from bota_gateway.daemon.counts import KEEP_EVERY_S, keep_counts
from bota_gateway.radio import Tally
from bota_gateway.radio.tally import Count
from bota_gateway.spool import Spool
from support.virtual_time import virtual_time
from support.world import World

HCI = "DC:A6:32:00:00:01"


@virtual_time
async def test_counts_are_kept_soon_at_once_after_a_pause_and_at_the_end(tmp_path: Path) -> None:
    """The first change is written at once, more of them once a minute, the last when the daemon stops."""
    async with Spool.open(SpoolSettings(directory=tmp_path), lambda: 0.0) as spool:
        await spool.keep_counters({(HCI, "deaf"): 7})
        tally = Tally(await spool.counters())
        task = asyncio.create_task(keep_counts(tally, spool))
        await asyncio.sleep(1)
        tally.add(HCI, Count.SCAN_RESTARTS)
        await asyncio.sleep(KEEP_EVERY_S)
        assert (await spool.counters())[HCI, "scan_restarts"] == 1
        tally.add(HCI, Count.SCAN_RESTARTS, 2)
        await asyncio.sleep(1)
        tally.add(HCI, Count.DEAF)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await spool.counters() == {(HCI, "scan_restarts"): 3, (HCI, "deaf"): 8}


async def test_power_that_is_owed_to_an_adapter_is_known_in_the_next_life(tmp_path: Path) -> None:
    """Written down before anything goes on, not within the minute; and no count that people are shown."""
    async with World.open(tmp_path) as world:
        async with world.gateway() as running:
            await running.gateway._tally.owe_power(HCI, owed=True)
            assert (await running.gateway.spool.counters())[HCI, "power_owed"] == 1
        async with world.gateway() as running:
            assert running.gateway._tally.owes_power(HCI)
            assert json.loads((await running.ask("status", "--json")).out)["radio"]["counts"] == []
            await running.gateway._tally.owe_power(HCI, owed=False)
        async with world.gateway() as running:
            assert not running.gateway._tally.owes_power(HCI)


async def test_status_shows_the_adapters_and_what_they_ever_went_through(tmp_path: Path) -> None:
    """In this life and in the next; and nothing of it while there is nothing to tell."""
    async with World.open(tmp_path) as world:
        async with world.gateway() as running:
            before = json.loads((await running.ask("status", "--json")).out)
            assert [one["name"] for one in before["radio"]["adapters"]] == ["hci0"]
            assert before["radio"]["counts"] == []
            assert "ever" not in (await running.ask("status")).out
            running.gateway._tally.add("hci0", Count.POWER_CYCLES)
            running.gateway._tally.add("", Count.BLUETOOTH_LOSSES, 2)
        async with world.gateway() as running:
            after = json.loads((await running.ask("status", "--json")).out)
            assert after["radio"]["counts"] == [
                {"adapter": None, "name": "bluetooth_losses", "count": 2},
                {"adapter": "hci0", "name": "power_cycles", "count": 1},
            ]
            said = (await running.ask("status")).out
            assert "hci0, ever: power cycles 1" in said
            assert "Bluetooth, ever: bluetooth losses 2" in said
