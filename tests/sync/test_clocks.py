"""Visits on a hub whose clock is set while it runs, as network time does some minutes after a boot."""

import asyncio
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from support.sync_hub import WALL_AT_ZERO, SyncHub, hub_with, stored

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
HOUR = 3600.0
YEARS_56 = WALL_AT_ZERO
JUMPS = [(0.0, -HOUR), (0.0, HOUR), (HOUR, 0.0), (-YEARS_56, 0.0)]
"""Offsets of the hub's clock before and after it is set: back, forward, an hour ahead at boot, 1970 at boot."""


async def visited_again(hub: SyncHub, last: float | None = None) -> float | None:
    """When the next visit is planned, once one has ended since it was planned for ``last``."""

    async def planned() -> float | None:
        record = await hub.recorder(SERIAL)
        return record.next_visit_at if record is not None and record.next_visit_at != last else None

    at: float | None = await hub.until(planned, within=4 * HOUR)
    return at


@pytest.mark.parametrize(("before", "after"), JUMPS)
async def test_setting_the_clock_makes_no_interval_longer_or_shorter(
    tmp_path: Path, before: float, after: float
) -> None:
    """The next visit comes when it was planned to come, by the time that passed."""
    air = VirtualRadio(seed=1)
    visits = {"interval_s": 600, "longest_s": 600, "linger_s": 0}
    async with hub_with(tmp_path, air, visits=visits) as hub, SimRecorder(air, serial=SERIAL, recordings=[]):
        hub.wall_offset[0] = before
        planned = await visited_again(hub)
        began = asyncio.get_running_loop().time()
        hub.wall_offset[0] = after
        await visited_again(hub, planned)
        assert 550 < asyncio.get_running_loop().time() - began < 650


@pytest.mark.parametrize(("before", "after"), JUMPS)
async def test_setting_the_clock_makes_no_back_off_longer(tmp_path: Path, before: float, after: float) -> None:
    """A recorder that fails is tried again after its own wait: neither at once for ever, nor an hour later."""
    air = VirtualRadio(seed=1)
    faults = Faults(Fault(FaultKind.STATUS_UNREADABLE, times=2))
    async with (
        hub_with(tmp_path, air) as hub,
        SimRecorder(air, serial=SERIAL, recordings=[stored()], faults=faults) as pin,
    ):
        hub.wall_offset[0] = before
        await hub.waiting_for(SERIAL, "recorder_status_unreadable")
        began = asyncio.get_running_loop().time()
        hub.wall_offset[0] = after
        await hub.all_in(Custody.CONFIRMED)
        assert asyncio.get_running_loop().time() - began < 300
        assert pin.seen.connections == 3


async def test_a_restart_with_a_clock_behind_visits_within_two_hours(tmp_path: Path) -> None:
    """Without a clock of its own the hub wakes up before the time it planned by: no wait is longer than the longest."""
    air = VirtualRadio(seed=1)
    async with SimRecorder(air, serial=SERIAL, recordings=[]):
        async with hub_with(tmp_path, air) as hub:
            planned = await visited_again(hub)
        async with hub_with(tmp_path, air) as hub:
            hub.wall_offset[0] = -YEARS_56
            began = asyncio.get_running_loop().time()
            await visited_again(hub, planned)
            assert asyncio.get_running_loop().time() - began < 2 * HOUR
