"""Why one of five recorders does not deliver: five causes, each found with one command, as a technician would."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from support.world import Running, World, speech

pytestmark = pytest.mark.virtual_time

WELL = [f"BOTAPIN00{number}" for number in range(1, 5)]
ILL = "BOTAPIN005"
AWAY_S = 90.0
"""Longer than a recorder in range is ever silent."""
OFTEN = {"interval_s": 20, "shortest_s": 20, "longest_s": 20, "linger_s": 0}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Four recorders that deliver; the fifth is each test's own."""
    async with World.open(tmp_path) as opened:
        for number, serial in enumerate(WELL, start=1):
            await opened.recorder(serial, speech(number))
        yield opened


async def others_are_done(running: Running) -> None:
    async def done() -> bool:
        rows = await running.gateway.spool.recordings()
        return sum(row.state is Custody.CONFIRMED for row in rows if row.key.serial != ILL) == len(WELL)

    await running.until(done)


async def found(running: Running) -> str:
    """What one command says; the others deliver meanwhile."""
    await others_are_done(running)
    told = await running.ask("why", ILL)
    assert told.code == 0
    for well in WELL:
        assert "Nothing holds" in (await running.ask("why", well)).out
    return told.out


async def test_out_of_range(world: World) -> None:
    """``why``: not heard, last heard weakly, so bring it nearer."""
    ill = await world.recorder(ILL)
    async with world.gateway(visits=OFTEN) as running:
        assert running.device is not None
        world.air.set_rssi(ILL, "hci0", -88)
        await ill.wait_until(lambda: ill.seen.lists > 0)
        await others_are_done(running)
        world.air.set_rssi(ILL, "hci0", None)
        await asyncio.sleep(AWAY_S)
        told = await found(running)
        assert "[recorder_not_heard]" in told
        assert "-88 dBm, so it was far" in told
        assert "next: Bring it near" in told


async def test_held_by_its_owners_phone(world: World) -> None:
    """``why``: not heard though it was near, so a phone may hold it; or it says itself that it uploads on its own."""
    ill = await world.recorder(ILL)
    async with world.gateway(visits=OFTEN) as running:
        await ill.wait_until(lambda: ill.seen.lists > 0)
        await others_are_done(running)
        world.air.set_silent(ILL, silent=True)  # a recorder that a phone holds does not advertise
        await asyncio.sleep(AWAY_S)
        told = await found(running)
        assert "[recorder_not_heard]" in told
        assert "near: it is off or empty, or its owner's phone holds it" in told
        assert "Close the Bota app" in told


async def test_its_owners_phone_syncs_it(world: World) -> None:
    """``why``: it is uploading by itself, and is visited again."""
    ill = await world.recorder(ILL, speech(9))
    ill.condition.sync_active = True
    async with world.gateway(visits=OFTEN) as running:
        await running.waiting_for(ILL, "recorder_sync_active")
        assert "[recorder_sync_active]" in await found(running)


async def test_unbound_in_the_cloud(world: World) -> None:
    """``why``: its recordings are parked because it belongs to nobody; bind it."""
    await world.recorder(ILL, speech(9), end_user=None)
    async with world.gateway(visits=OFTEN) as running:
        await running.until(lambda: _parked(running))
        told = await found(running)
        assert "1 recording parked" in told
        assert "[recorder_unbound]" in told
        assert "next: Bind it in the dashboard" in told


async def test_storage_key_error(world: World) -> None:
    """``why``: the recorder can't unlock its own storage; what to try, and who can help."""
    await world.recorder(ILL, speech(9), faults=Faults(Fault(FaultKind.ERROR, at=0, code=0x14, times=None)))
    async with world.gateway(visits=OFTEN) as running:
        await running.until(lambda: _parked(running))
        told = await found(running)
        assert "[transfer_device_error_0x14]" in told
        assert "storage key" in told
        assert "next: Charge and restart the recorder" in told


async def test_clock_unsynchronised(world: World) -> None:
    """``why``: this hub's clock is not synchronised, what follows from that, and how to look."""
    ill = await world.recorder(ILL)
    async with world.gateway(visits=OFTEN, clock_is_trusted=lambda: False) as running:
        await ill.wait_until(lambda: ill.seen.lists > 0)
        told = await found(running)
        assert "[hub_clock_unsynchronised]" in told
        assert "next: Check with: timedatectl" in told
        assert "[hub_clock_unsynchronised]" in (await running.ask("why")).out


async def _parked(running: Running) -> bool:
    rows = await running.gateway.spool.recordings(serial=ILL)
    return any(row.state is Custody.PARKED for row in rows)
