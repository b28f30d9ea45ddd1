"""Forgetting by hand while the whole gateway is at work: visits and uploads go on around it."""

import json
from functools import partial
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import Status
from support.world import Running, World, speech

pytestmark = pytest.mark.virtual_time

PIN = "PIN0000001"
FIRST, SECOND, THIRD = speech(1, size=60_000), speech(2), speech(3)


async def in_state(running: Running, file_id: str, *states: Custody) -> bool:
    rows = await running.gateway.spool.recordings()
    return any(row.key.file_id == file_id and row.state in states for row in rows)


def failures(world: World) -> list[dict[str, object]]:
    """Lines of the log that tell of something that went wrong."""
    lines = [json.loads(line) for line in world.log.getvalue().splitlines()]
    return [line for line in lines if line["level"] in {"warning", "error"}]


async def test_forgotten_before_its_turn_in_a_visit_it_is_left_out(tmp_path: Path) -> None:
    """The list was read, the first one is arriving: the second is not asked for, the third is, and nothing failed."""
    async with World.open(tmp_path, bytes_per_s=20_000) as world:
        pin = await world.recorder(PIN, FIRST, SECOND, THIRD)
        async with world.gateway(visits={"interval_s": 60}) as running:
            await running.until(lambda: in_state(running, FIRST.file_id, Custody.RECEIVING))
            assert (await running.ask("forget", SECOND.file_id, "--yes")).code == 0
            receiving = await running.ask("forget", FIRST.file_id, "--yes")
            assert (receiving.code, "[forget_in_use]" in receiving.err) == (1, True)
            for one in (FIRST, THIRD):
                await running.until(partial(in_state, running, one.file_id, Custody.CONFIRMED))
            assert pin.seen.starts == [FIRST.file_id, THIRD.file_id]
            assert [one.file_id for one in pin.recordings] == [SECOND.file_id]
        assert failures(world) == []


async def test_it_stays_forgotten_over_restarts(tmp_path: Path) -> None:
    """The next life neither pulls nor uploads it, whatever its recorder and the cloud say by then."""
    async with World.open(tmp_path) as world:
        world.cloud.faults.add("POST /recordings/{id}/upload-url", Status(status=503), times=None)
        pin = await world.recorder(PIN, SECOND)
        async with world.gateway(visits={"interval_s": 60}) as running:
            await running.until(lambda: in_state(running, SECOND.file_id, Custody.CREATED))
            await running.ask("pause", "uploads")
            assert (await running.ask("forget", SECOND.file_id, "--yes")).code == 0
            await running.ask("resume")
        world.cloud.faults.clear()
        async with world.gateway(visits={"interval_s": 60}) as running:
            spool = running.gateway.spool
            began = (await spool.recorder(PIN)).last_visit_at or 0.0

            async def visited_twice() -> bool:
                return ((await spool.recorder(PIN)).last_visit_at or 0.0) > began + 120

            await running.until(visited_twice, within=3600)
            (row,) = await spool.recordings()
            assert row.forgotten_by_hand
            assert (pin.seen.starts, pin.seen.confirms) == ([SECOND.file_id], [])
        assert not any(world.cloud.object_path(made.id) for made in world.cloud.recordings.values())
