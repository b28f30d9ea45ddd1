"""One capture stays one recording in the cloud, however its recorder lists it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import Status
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.options import StoredRecording
from bota_gateway.sim.recorder import SimRecorder
from support.world import WALL_AT_ZERO, Running, World, speech

pytestmark = pytest.mark.virtual_time

PIN = "PIN0000001"
UNDATED = replace(speech(1), started_at=0)
DATED = replace(UNDATED, started_at=int(WALL_AT_ZERO) - 3600)
VISITS = {"interval_s": 60, "longest_s": 120}


def over(recorder: SimRecorder, cloud_copies: int, world: World) -> bool:
    """Whether the recorder has nothing left, and the cloud has so many recordings."""
    return not recorder.recordings and len(world.cloud.recordings) == cloud_copies


async def rows_of(running: Running, count: int) -> bool:
    """Whether the spool knows so many captures."""
    return sum(row.sha256 is not None for row in await running.gateway.spool.recordings()) == count


async def test_a_start_that_is_set_later_makes_no_second_recording(tmp_path: Path) -> None:
    """Stored with the start unknown, not deleted, and listed anew with one: recognised by its bytes, and deleted."""
    async with World.open(tmp_path) as world:
        faults = Faults(Fault(FaultKind.IGNORE_CONFIRM))
        pin = await world.recorder(PIN, UNDATED, faults=faults)
        async with world.gateway(visits=VISITS) as running:
            await pin.wait_until(lambda: bool(pin.seen.confirms))
            world.add(pin, DATED)
            await running.until(lambda: over(pin, 1, world), within=7200)
            first, second = await running.all_in(Custody.CONFIRMED, count=2)
            assert first.cloud_id == second.cloud_id
            assert pin.seen.starts == [UNDATED.file_id] * 2
        world.assert_stored_once()


async def test_a_start_that_is_set_while_the_cloud_is_away_makes_no_second_recording(tmp_path: Path) -> None:
    """Both are captured before either could be created: one is, the other waits for it with its reason."""
    async with World.open(tmp_path) as world:
        world.cloud.faults.add("POST /recordings", Status(status=503), times=None)
        pin = await world.recorder(PIN, UNDATED)
        async with world.gateway(visits=VISITS, cloud={"look_before_create": False}) as running:
            await pin.wait_until(lambda: bool(pin.acknowledged))
            world.add(pin, DATED)
            await running.until(lambda: rows_of(running, 2), within=7200)

            async def waits() -> bool:
                rows = await running.gateway.spool.recordings()
                return rows[1].waiting_for == "upload_same_capture" and rows[1].next_attempt_at is not None

            await running.until(waits, within=7200)
            world.cloud.faults.clear()
            await running.until(lambda: over(pin, 1, world), within=7200)
        world.assert_stored_once()


async def test_a_start_that_is_set_after_the_spool_was_lost_makes_no_second_recording(tmp_path: Path) -> None:
    """Nothing here remembers it: the cloud's copy is found by what was captured, whatever its start."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(PIN, UNDATED)
        async with world.gateway(visits=VISITS, recorders={"confirm": "never"}) as running:
            await running.all_in(Custody.STORED)
        shutil.rmtree(tmp_path / "spool")
        world.add(pin, DATED)
        async with world.gateway(visits=VISITS) as running:
            await running.until(lambda: over(pin, 1, world), within=7200)
        world.assert_stored_once()


async def test_other_bytes_under_the_same_file_id_are_another_recording(tmp_path: Path) -> None:
    """Four random bytes may come again: same id, same duration and size, other start and bytes, and both are kept."""
    async with World.open(tmp_path) as world:
        other = StoredRecording(DATED.file_id, DATED.started_at, DATED.duration_s, speech(2).data)
        pin = await world.recorder(PIN, UNDATED)
        async with world.gateway(visits=VISITS) as running:
            await running.until(lambda: over(pin, 1, world), within=7200)
            pin.add(other)
            await running.until(lambda: over(pin, 2, world), within=7200)
        stored = {path.read_bytes() for one in world.cloud.recordings if (path := world.cloud.object_path(one))}
        assert stored == {UNDATED.data, other.data}
