"""A recording that vanishes from its recorder (its owner's phone took it, or a twin serial shows other things)."""

from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import Status
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.recorder import SimRecorder
from support.world import Running, World, speech

pytestmark = pytest.mark.virtual_time

PIN = "PIN0000001"
VISITS = {"interval_s": 60, "longest_s": 120, "linger_s": 0}
ONE = speech(1, size=60_000)


def take(recorder: SimRecorder) -> None:
    """The owner's phone pulls it and lets the recorder delete it."""
    recorder.firmware.recordings.pop(ONE.file_id, None)


async def in_state(running: Running, state: Custody) -> bool:
    """Whether the one recording is there."""
    return [row.state for row in await running.gateway.spool.recordings()] == [state]


async def settled(running: Running) -> bool:
    """Whether the recording's custody is over."""
    rows = await running.gateway.spool.recordings()
    return bool(rows) and all(row.state in {Custody.CONFIRMED, Custody.FORGOTTEN} for row in rows)


STUCK_AT = {
    Custody.CAPTURED: "POST /recordings",
    Custody.CREATED: "POST /recordings/{id}/upload-url",
    Custody.COMPLETING: "POST /recordings/{id}/upload-complete",
}
"""Calls that are refused to hold a recording in a state."""


@pytest.mark.parametrize("state", STUCK_AT)
async def test_what_vanishes_after_its_capture_is_uploaded_all_the_same(tmp_path: Path, state: Custody) -> None:
    """The bytes are here, and perhaps nowhere else: the cloud gets them, and nothing waits for the recorder."""
    async with World.open(tmp_path) as world:
        world.cloud.faults.add(STUCK_AT[state], Status(status=503), times=None)
        pin = await world.recorder(PIN, ONE)
        async with world.gateway(visits=VISITS) as running:
            await running.until(lambda: in_state(running, state))
            take(pin)
            seen = pin.seen.lists
            await pin.wait_until(lambda: pin.seen.lists > seen + 1)
            assert await in_state(running, state)
            world.cloud.faults.clear()
            await running.until(lambda: settled(running), within=7200)
            assert not pin.seen.confirms
        world.assert_stored_once()


@pytest.mark.parametrize("state", [Custody.STORED, Custody.CONFIRMING])
async def test_what_vanishes_once_the_cloud_has_it_is_done(tmp_path: Path, state: Custody) -> None:
    """Told to delete or not yet: that it is gone is all that was waited for."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(PIN, ONE, faults=Faults(Fault(FaultKind.IGNORE_CONFIRM, times=None)))
        confirm = "never" if state is Custody.STORED else "after_stored"
        async with world.gateway(visits=VISITS, recorders={"confirm": confirm}) as running:
            await running.until(lambda: in_state(running, state))
            take(pin)
            await running.all_in(Custody.CONFIRMED)
        world.assert_stored_once()


@pytest.mark.parametrize("state", [Custody.LISTED, Custody.PARKED])
async def test_what_vanishes_before_it_was_pulled_is_forgotten(tmp_path: Path, state: Custody) -> None:
    """Waiting or parked, it is nobody's business here any more; listed again, it is served like any other."""
    async with World.open(tmp_path) as world:
        code = 0x30 if state is Custody.LISTED else 0x14
        faults = Faults(Fault(FaultKind.ERROR, at=0, code=code, times=None))
        pin = await world.recorder(PIN, ONE, faults=faults)
        async with world.gateway(visits=VISITS) as running:
            await pin.wait_until(lambda: bool(pin.seen.starts))
            await running.until(lambda: in_state(running, state))
            take(pin)
            await running.all_in(Custody.FORGOTTEN)
            assert (await running.gateway.spool.recordings())[0].parked_reason is None
            faults.clear()
            pin.add(ONE)
            await running.all_in(Custody.CONFIRMED)
        world.assert_stored_once()


async def test_what_vanishes_in_mid_transfer_is_forgotten(tmp_path: Path) -> None:
    """The recorder ends the transfer with "not found": no bytes of it stay, and the next list ends its custody."""
    async with World.open(tmp_path, bytes_per_s=20_000) as world:
        faults = Faults(Fault(FaultKind.ERROR, at=100, code=0x11))
        pin = await world.recorder(PIN, ONE, faults=faults)
        async with world.gateway(visits=VISITS) as running:
            await pin.wait_until(lambda: bool(faults.fired))
            take(pin)
            await running.all_in(Custody.FORGOTTEN)
            assert not pin.acknowledged
            assert not world.cloud.recordings


async def test_twins_with_equal_file_ids_are_both_served(tmp_path: Path) -> None:
    """Two recorders that tell one serial and hold, under one file id, what they recorded: both arrive, both delete."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(PIN, ONE)
        other = speech(2, size=40_000)
        held = type(other)(ONE.file_id, other.started_at, other.duration_s, other.data)
        twin = SimRecorder(world.air, serial="TWIN000001", recordings=[held])
        twin.firmware.serial = PIN
        async with twin, world.gateway(visits=VISITS) as running:
            await running.until(lambda: not pin.recordings and not twin.recordings, within=7200)
            await running.all_in(Custody.CONFIRMED, count=2)
        stored = {path.read_bytes() for one in world.cloud.recordings if (path := world.cloud.object_path(one))}
        assert stored == {ONE.data, held.data}
        assert len(world.cloud.recordings) == 2
