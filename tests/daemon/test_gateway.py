"""The real daemon in this process: virtual radio, simulated recorders, emulated cloud, a spool on disk."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import bota_gateway
from bota_gateway.daemon.supervise import PROVEN_S
from bota_gateway.errors import SpoolLockedError, SpoolTooNewError
from bota_gateway.model import Custody
from bota_gateway.radio.const import SCAN_STOP_S, SILENT_S
from bota_gateway.sim.cloud.faults import Status
from bota_gateway.sim.options import StoredRecording
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.spool import Spool
from bota_gateway.upload import Registrar
from support.spooling import happened
from support.world import ADAPTER, Running, World, speech, wall

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
SLOW = 20_000
"""Bytes a second at which a recording of 600 kB takes half a minute."""


def tasks_of_the_gateway() -> set[str]:
    """Tasks that run the product's code, the simulators' aside."""
    package, sim = Path(bota_gateway.__file__).parent, Path(bota_gateway.__file__).parent / "sim"
    found = set()
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        path = Path(code.co_filename) if code else Path()
        if path.is_relative_to(package) and not path.is_relative_to(sim):
            found.add(task.get_name())
    return found


async def told(running: Running, question: str) -> Any:
    """What the daemon answers over its socket."""
    said = await running.ask(question, "--json")
    assert said.code == 0, said.err
    return said.json


# -- the main job ----------------------------------------------------------------------------------


async def test_recordings_arrive_once_bit_identical_and_are_deleted(tmp_path: Path) -> None:
    """Found, pulled, uploaded, verified, deleted on the recorder, and all that in one visit."""
    async with World.open(tmp_path, verification_polls=1) as world:
        pin = await world.recorder(SERIAL, speech(1), speech(2, size=600_000))
        async with world.gateway() as running:
            rows = await running.all_in(Custody.CONFIRMED, count=2)
        assert not pin.recordings
        assert pin.seen.connections == 1
        assert [row.verified for row in rows] == [True, True]
        world.assert_stored_once()


async def test_a_recording_made_later_is_fetched_by_a_later_visit(tmp_path: Path) -> None:
    """The advertisement does not say what is pending: the recorder is looked at again after the interval."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1))
        async with world.gateway(visits={"interval_s": 20}) as running:
            await running.all_in(Custody.CONFIRMED)
            world.add(pin, speech(2))
            await running.all_in(Custody.CONFIRMED, count=2)
        world.assert_stored_once()


async def test_a_restart_goes_on_where_the_last_life_ended(tmp_path: Path) -> None:
    """What is stored is not pulled or created again by the next life, only confirmed."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1))
        async with world.gateway(recorders={"confirm": "never"}) as running:
            await running.all_in(Custody.STORED)
        async with world.gateway() as running:
            await running.all_in(Custody.CONFIRMED)
        assert pin.seen.starts == ["00000001"]
        world.assert_stored_once()


# -- stopping --------------------------------------------------------------------------------------


async def test_a_stop_in_mid_transfer_gives_back_cleanly(tmp_path: Path) -> None:
    """It ends within seconds, leaves no task and no link, and the next life fetches the recording anew."""
    async with World.open(tmp_path, bytes_per_s=SLOW) as world:
        pin = await world.recorder(SERIAL, speech(1, size=600_000))
        async with world.gateway() as running:
            await running.all_in(Custody.RECEIVING)
            asked_at = asyncio.get_running_loop().time()
            running.gateway.stop()
            await running.task
        assert asyncio.get_running_loop().time() - asked_at < 5
        assert tasks_of_the_gateway() == set()
        await pin.wait_until(lambda: not pin.connected)
        async with Spool.open(world.settings().spool, wall) as spool:
            (row,) = await spool.recordings()
            assert row.state is Custody.LISTED
            assert (await happened(spool, row.id))[-1] == "receiving_abandoned"
        assert pin.acknowledged == []
        world.air.set_pace(None)
        async with world.gateway() as running:
            await running.all_in(Custody.CONFIRMED)
        world.assert_stored_once()


async def test_a_stop_before_anything_happened(tmp_path: Path) -> None:
    """A gateway that meets nobody ends as cleanly."""
    async with World.open(tmp_path) as world:
        async with world.gateway() as running:
            assert running.gateway.links == []
        assert tasks_of_the_gateway() == set()
        assert not world.settings().status.socket.exists()


# -- parts that fail -------------------------------------------------------------------------------


async def test_uploads_go_on_without_an_adapter(tmp_path: Path) -> None:
    """No adapter stops pulling only; status names the radio, the reason, what to do and when it is tried again."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1))
        world.cloud.faults.add("* /recordings*", Status(status=503), times=None)
        async with world.gateway() as running:
            await running.until(lambda: pin.acknowledged)
        world.cloud.faults.clear()
        nowhere = {"adapters": ("bumble:tcp-client:127.0.0.1:1",)}
        async with world.gateway(adapters=False, radio=nowhere) as running:
            await running.all_in(Custody.STORED)
            answer = await told(running, "status")
        assert answer["health"] == "failing"
        (problem,) = answer["problems"]
        assert (problem["part"], problem["code"]) == ("radio", "radio_no_adapter")
        assert "127.0.0.1:1" in problem["message"]
        assert problem["remedy"]
        assert 0 < problem["next_attempt_in_s"] <= 60
        assert "radio in trouble" in answer["summary"]


async def test_an_adapter_that_is_switched_off_is_told_and_used_again(tmp_path: Path) -> None:
    """Status names it, why, and when it is tried again; switched on it scans, and what waited is fetched."""
    async with World.open(tmp_path) as world, world.gateway() as running:
        assert running.device is not None
        assert (await told(running, "status"))["health"] == "ok"
        await running.device.power_off()
        await asyncio.sleep(SILENT_S + SCAN_STOP_S)
        answer = await told(running, "status")
        assert answer["health"] == "failing"
        (problem,) = answer["problems"]
        assert (problem["part"], problem["code"]) == (ADAPTER, "radio_scan_failed")
        assert problem["next_attempt_in_s"] is not None
        await world.recorder(SERIAL, speech(1))
        await running.device.power_on()
        await running.all_in(Custody.CONFIRMED)
        assert (await told(running, "status"))["health"] == "ok"


async def test_a_part_that_crashes_is_told_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in one part is in status while it is down, stops no other, and the part starts again."""
    crash = asyncio.Event()
    real = Registrar.run

    async def crashes_once(registrar: Registrar) -> None:
        if not crash.is_set():
            crash.set()
            raise ZeroDivisionError("a bug")
        await real(registrar)

    monkeypatch.setattr(Registrar, "run", crashes_once)
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1))
        async with world.gateway() as running:
            await crash.wait()
            answer = await told(running, "status")
            assert [problem["part"] for problem in answer["problems"]] == ["registrar"]
            assert "ZeroDivisionError" in answer["problems"][0]["message"]
            await running.all_in(Custody.CONFIRMED)
            await asyncio.sleep(PROVEN_S)  # until then it may be down again at once
            assert (await told(running, "status"))["health"] == "ok"
        assert not pin.recordings
        assert "part_restarted" in world.log.getvalue()


async def test_a_status_socket_that_is_taken_stops_nothing(tmp_path: Path) -> None:
    """Without its socket the daemon can't be asked, but it does its work."""
    async with World.open(tmp_path) as world:
        await world.recorder(SERIAL, speech(1))
        nowhere = {"socket": tmp_path / "missing" / "status.sock"}
        async with world.gateway(status=nowhere) as running:
            await running.all_in(Custody.CONFIRMED)
        assert "status_no_socket" in world.log.getvalue()


# -- spools it must not touch ----------------------------------------------------------------------


async def test_a_second_gateway_on_one_spool_is_refused(tmp_path: Path) -> None:
    """Two daemons would confirm behind each other's back; the first one goes on undisturbed."""
    async with World.open(tmp_path) as world:
        await world.recorder(SERIAL, speech(1))
        async with world.gateway() as running:
            with pytest.raises(SpoolLockedError):
                async with world.gateway(adapters=False):
                    pass
            await running.all_in(Custody.CONFIRMED)


async def test_a_spool_of_a_newer_version_is_left_as_it_is(tmp_path: Path) -> None:
    """An older program would not understand it: it refuses, names both versions, and changes no byte."""
    async with World.open(tmp_path) as world:
        async with world.gateway():
            pass
        (database,) = (tmp_path / "spool").glob("*.db")
        with closing(sqlite3.connect(database)) as newer:
            newer.execute("PRAGMA user_version = 99")
        before = database.read_bytes()
        with pytest.raises(SpoolTooNewError, match="99"):
            async with world.gateway(adapters=False):
                pass
        assert database.read_bytes() == before


# -- whose recordings ------------------------------------------------------------------------------


async def test_an_unbound_recorders_recording_is_parked_until_it_is_bound_and_retried(tmp_path: Path) -> None:
    """It is captured, parked with the reason, and uploaded after binding and retry; deleted only then."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1), end_user=None)
        async with world.gateway(visits={"interval_s": 20}) as running:
            (row,) = await running.all_in(Custody.PARKED)
            assert row.parked_reason == "recorder_unbound"
            assert row.waiting_detail == "The recorder belongs to nobody."
            assert "next: Bind it in the dashboard" in (await running.ask("why", SERIAL)).out
            assert len(pin.recordings) == 1
            assert (await told(running, "status"))["health"] == "attention"
            world.cloud.devices.bind(SERIAL, "eu_new")
            retried = await running.ask("retry", "--reason", "recorder_unbound")
            assert retried.out == "1 brought back to work.\n"
            await running.all_in(Custody.CONFIRMED)
        assert not pin.recordings
        world.assert_stored_once()


async def test_what_is_no_audio_is_parked_and_stays_on_its_recorder(tmp_path: Path) -> None:
    """The six types that the cloud takes are recognised by their bytes; others wait for a human, and hold up nobody."""
    async with World.open(tmp_path) as world:
        rubbish = StoredRecording("0000000a", 1_780_000_000, 1, b"no audio at all")
        pin = await world.recorder(SERIAL, rubbish, speech(1))
        async with world.gateway() as running:
            rows = await running.all_in(Custody.PARKED, Custody.CONFIRMED, count=2)
        parked = {row.key.file_id: row.parked_reason for row in rows if row.state is Custody.PARKED}
        assert parked == {"0000000a": "upload_unsupported_audio"}
        assert pin.recordings == [rubbish]
        assert len(world.cloud.recordings) == 1


async def test_a_stranger_is_looked_at_once_and_left_alone(tmp_path: Path) -> None:
    """A serial that is not in the project: nothing is listed, pulled or written, and it is remembered."""
    async with World.open(tmp_path) as world:
        stranger = await world.recorder("OTHER00001", speech(1), registered=False)
        async with world.gateway() as running:
            record = await running.waiting_for("OTHER00001", "recorder_stranger")
            assert (record.next_visit_at or 0) - wall() > 80_000
            await asyncio.sleep(30)
        assert stranger.seen.connections == 1
        assert (stranger.seen.lists, stranger.seen.starts, stranger.seen.time_syncs) == (0, [], 0)
        assert len(stranger.recordings) == 1
        assert not world.cloud.recordings


async def test_a_stranger_does_not_keep_others_waiting(tmp_path: Path) -> None:
    """One recorder that is none of ours stops no other."""
    async with World.open(tmp_path) as world:
        stranger = await world.recorder("OTHER00001", speech(1), registered=False)
        pin = await world.recorder(SERIAL, speech(2))
        async with world.gateway() as running:
            await running.all_in(Custody.CONFIRMED)
        assert not pin.recordings
        assert len(stranger.recordings) == 1


async def test_with_confirm_never_the_recorder_keeps_everything(tmp_path: Path) -> None:
    """The cloud gets all, the recorder is never told to delete, and nothing is pulled twice."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1))
        async with world.gateway(recorders={"confirm": "never"}, visits={"interval_s": 10}) as running:
            await running.all_in(Custody.STORED)
            await pin.wait_until(lambda: pin.seen.lists >= 2)
            (row,) = await running.gateway.spool.recordings()
            assert row.state is Custody.STORED
        assert (pin.seen.confirms, pin.seen.starts) == ([], ["00000001"])
        assert len(pin.recordings) == 1
        world.assert_stored_once()


async def test_many_recorders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """All advertise one name; each recording is filed under the serial that was read from its recorder."""
    async with World.open(tmp_path) as world:
        pins: list[SimRecorder] = [
            await world.recorder(f"PIN000000{number}", speech(number), speech(number + 10)) for number in range(1, 7)
        ]
        async with world.gateway() as running:
            await running.all_in(Custody.CONFIRMED, count=12)
        assert not any(pin.recordings for pin in pins)
        world.assert_stored_once()


async def test_the_log_reads_as_the_story_of_each_recording(tmp_path: Path) -> None:
    """Every step of a recording is a line that carries its recorder and its file id."""
    async with World.open(tmp_path) as world:
        await world.recorder(SERIAL, speech(1))
        async with world.gateway() as running:
            await running.all_in(Custody.CONFIRMED)
        lines = [json.loads(line) for line in world.log.getvalue().splitlines()]
        story = [line["event"] for line in lines if line.get("recording") == "00000001"]
        expected = [
            "recording_listed",
            "transfer_started",
            "recording_captured",
            "recording_created",
            "upload_started",
            "upload_sent",
            "recording_stored",
            "recording_confirmed",
            "recording_deletion_seen",
        ]
        assert [event for event in story if event in expected] == expected
        assert all(line["recorder"] == SERIAL for line in lines if line.get("recording") == "00000001")
