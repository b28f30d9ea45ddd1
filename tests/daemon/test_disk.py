"""The daemon on a disk that fails: nothing is acknowledged that is not kept, and work goes on when it can."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bota_gateway.daemon.gateway import DISK_PATIENCE_S
from bota_gateway.errors import SpoolCorruptError, SpoolWriteError
from bota_gateway.model import Custody
from bota_gateway.radio.tally import Count
from bota_gateway.sim.cloud.faults import Status
from bota_gateway.spool import Step
from bota_gateway.spool.aside import directories
from bota_gateway.spool.database import Database
from bota_gateway.spool.fsck import examine
from support.spooling import failing
from support.world import Running, World, speech

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
OF_AUDIO = frozenset({Step.STORE_AUDIO, Step.CAPTURE})


async def status_of(running: Running) -> Any:
    """What ``bota-gateway status --json`` says."""
    said = await running.ask("status", "--json")
    assert said.code == 0, said.err
    return said.json


async def down(running: Running, part: str) -> None:
    """Wait until a part is down; nothing in the spool changes by that."""
    async with asyncio.timeout(300):
        while part not in running.gateway.failing:  # noqa: ASYNC110 - nothing tells; the seconds are virtual
            await asyncio.sleep(1)


def events(world: World, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in world.log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == name]


async def test_a_disk_that_refuses_stops_pulling_until_it_keeps_a_write_again(tmp_path: Path) -> None:
    """Nothing is acknowledged, deleted or sent meanwhile, status says why, and afterwards everything is fetched."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1), speech(2, size=600_000))
        async with world.gateway() as running:
            with failing(running.gateway.spool) as failed:
                await down(running, "radio")
                connections, starts = pin.seen.connections, list(pin.seen.starts)
                await asyncio.sleep(DISK_PATIENCE_S / 2)
                answer = await status_of(running)
                assert len(failed) > 10, "the disk is tried again and again"
                assert (pin.seen.connections, pin.seen.starts) == (connections, starts), "and no recorder is bothered"
            assert (pin.acknowledged, pin.seen.confirms, list(world.cloud.recordings)) == ([], [], [])
            assert answer["health"] == "failing"
            assert {problem["part"] for problem in answer["problems"]} >= {"disk", "radio"}
            assert {problem["code"] for problem in answer["problems"]} == {"spool_write_failed"}
            await running.all_in(Custody.CONFIRMED, count=2)
            assert (await status_of(running))["health"] == "ok"
        world.assert_stored_once()
        assert len(events(world, "spool_writes_again")) == 1


async def test_uploads_go_on_where_only_audio_is_refused(tmp_path: Path) -> None:
    """What is captured leaves the hub, which is what makes room; what is not stays on the recorder."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1))
        world.cloud.faults.add("* /recordings*", Status(status=503), times=None)
        async with world.gateway(visits={"interval_s": 20}) as running:
            await running.all_in(Custody.CAPTURED)
            with failing(running.gateway.spool, OF_AUDIO) as failed:
                world.add(pin, speech(2))
                await down(running, "radio")
                world.cloud.faults.clear()
                await running.until(lambda: world.cloud.recordings)

                async def stored() -> bool:
                    rows = await running.gateway.spool.recordings(states={Custody.STORED, *DELETED})
                    return [row.key.file_id for row in rows] == ["00000001"]

                await running.until(stored, within=3600)
                assert failed
                assert pin.acknowledged == ["00000001"]
            await running.all_in(Custody.CONFIRMED, count=2)
        world.assert_stored_once()


DELETED = {Custody.CONFIRMING, Custody.CONFIRMED}


async def test_a_disk_that_stays_gone_ends_the_daemon(tmp_path: Path) -> None:
    """After ten minutes in which nothing could be written a new process has the better chances: exit code 3."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1))
        with pytest.raises(SpoolWriteError):  # noqa: PT012 - how it ends is the point
            async with world.gateway() as running:
                with failing(running.gateway.spool):
                    began = asyncio.get_running_loop().time()
                    await asyncio.wait([running.task])
                    assert DISK_PATIENCE_S <= asyncio.get_running_loop().time() - began < DISK_PATIENCE_S + 60
        assert pin.acknowledged == []
        assert len(events(world, "durability_lost")) == 1
        async with world.gateway() as running:
            await running.all_in(Custody.CONFIRMED)
        world.assert_stored_once()


async def test_a_spool_found_damaged_is_set_aside_by_the_next_start_and_nothing_doubles(tmp_path: Path) -> None:
    """What was stored, what was under way and what was only listed: all of it ends in the cloud once."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1), speech(2), speech(3))
        world.cloud.faults.add("POST /recordings/*/upload-complete", Status(status=503), nth=2, times=None)
        with pytest.raises(SpoolCorruptError):  # noqa: PT012 - how it ends is the point
            async with world.gateway(recorders={"confirm": "never"}) as running:
                await running.until(lambda: len(world.cloud.recordings) == 3)
                with failing(running.gateway.spool, code=sqlite3.SQLITE_CORRUPT):
                    await running.task
        world.cloud.faults.clear()
        made = set(world.cloud.recordings)
        async with world.gateway() as running:
            await running.all_in(Custody.CONFIRMED, count=3)
            answer = await status_of(running)
        assert set(world.cloud.recordings) == made
        world.assert_stored_once()
        assert not pin.recordings
        (kept,) = directories(tmp_path / "spool")
        assert answer["health"] == "attention"
        (problem,) = answer["problems"]
        assert (problem["code"], str(kept) in problem["message"]) == ("spool_set_aside", True)
        assert examine(kept).recordings == 3


async def test_a_database_that_is_rubbish_at_the_start_costs_nothing_but_a_second_transfer(tmp_path: Path) -> None:
    """The whole life of the hub is lost, except that recorders still have what they were not told to delete."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1), speech(2))
        async with world.gateway(recorders={"confirm": "never"}) as running:
            await running.all_in(Custody.STORED, count=2)
        (database,) = (tmp_path / "spool").glob("*.db")
        database.write_bytes(b"SQLite format 3\0" + bytes(5000))
        async with world.gateway() as running:
            await running.all_in(Custody.CONFIRMED, count=2)
        world.assert_stored_once()
        assert sorted(pin.seen.starts) == ["00000001", "00000001", "00000002", "00000002"]
        assert not pin.recordings
        assert len(events(world, "spool_set_aside")) == 1


async def test_a_slow_disk_slows_and_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds for each sync, as a worn card takes: no transfer counts as silent, none is sent twice."""
    real = Database._within

    async def slow(database: Database, step: Step, *rest: Any) -> Any:
        await asyncio.sleep(3)
        return await real(database, step, *rest)

    monkeypatch.setattr(Database, "_within", slow)
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1), speech(2, size=900_000))
        async with world.gateway() as running:
            await running.all_in(Custody.CONFIRMED, count=2)
        world.assert_stored_once()
        assert sorted(pin.seen.starts) == ["00000001", "00000002"]
        assert events(world, "transfer_failed") == []


async def test_damage_that_is_met_beside_custody_ends_the_daemon_all_the_same(tmp_path: Path) -> None:
    """Counters are not worth a failing part, but a damaged spool must not stay in use until the next start."""
    async with World.open(tmp_path) as world:
        await world.recorder(SERIAL, speech(1))
        with pytest.raises(SpoolCorruptError):  # noqa: PT012 - how it ends is the point
            async with world.gateway() as running:
                await running.all_in(Custody.CONFIRMED)
                with failing(running.gateway.spool, {Step.COUNT}, sqlite3.SQLITE_CORRUPT):
                    running.gateway._tally.add("hci0", Count.DEAF)
                    await asyncio.wait([running.task], timeout=300)
                    assert running.task.done()


async def test_a_visit_that_there_is_no_room_to_note_ends_no_other(tmp_path: Path) -> None:
    """Its recorder is put off in memory; a long transfer from another goes on, and both end well, each in one try."""
    async with World.open(tmp_path) as world:
        long = await world.recorder(SERIAL, speech(1, size=2_000_000))
        short = await world.recorder("PIN0000002", speech(2))
        async with world.gateway(visits={"interval_s": 20}) as running:
            with failing(running.gateway.spool, {Step.SCHEDULE_VISIT}, sqlite3.SQLITE_FULL) as failed:
                await running.all_in(Custody.CONFIRMED, count=2)
                assert failed
                connections = short.seen.connections
                await asyncio.sleep(60)
                assert 1 <= short.seen.connections - connections <= 60 / 20
            assert (len(long.seen.starts), len(short.seen.starts)) == (1, 1)
        assert not events(world, "part_failed")


async def test_a_disk_without_room_for_any_note_stops_pulling_and_no_part(tmp_path: Path) -> None:
    """Visits come to nothing, at their interval; as soon as there is room, what is new is fetched."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1))
        async with world.gateway(visits={"interval_s": 60}) as running:
            await running.all_in(Custody.CONFIRMED)
            with failing(running.gateway.spool, code=sqlite3.SQLITE_FULL):
                connections = pin.seen.connections
                world.add(pin, speech(2))
                await asyncio.sleep(120)
                assert 1 <= pin.seen.connections - connections <= 1 + 120 / 60
                assert pin.acknowledged == ["00000001"]
            await running.all_in(Custody.CONFIRMED, count=2)
        assert not events(world, "part_failed")
