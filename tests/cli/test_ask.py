"""The commands that ask a daemon, against a real one: tables for people, JSON for programs, errors with a remedy."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import Status
from bota_gateway.sim.options import RecorderOptions
from bota_gateway.status import client
from bota_gateway.status.server import StatusServer
from support.commands import run_beside, run_here, run_process, start_process
from support.doctoring import answering
from support.nasty import NASTY, spoilt
from support.world import ADAPTER, Running, World, speech

pytestmark = pytest.mark.virtual_time

BOUND, UNBOUND, STRANGER, LOW = "BOTAPIN001", "BOTAPIN002", "BOTAPIN003", "BOTAPIN004"
WIDTH = 80


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World.open(tmp_path) as opened:
        yield opened


@pytest.fixture
async def running(world: World) -> AsyncIterator[Running]:
    """A gateway that has met one recorder of each kind, with one recording done, one parked, and one that waits."""
    await world.recorder(BOUND, speech(1, size=14_400), speech(2))
    await world.recorder(UNBOUND, speech(3), end_user=None)
    await world.recorder(STRANGER, speech(4), registered=False)
    low = await world.recorder(LOW, speech(5))
    low.condition.battery_percent = 9
    world.cloud.faults.add("POST /recordings/{id}/upload-url", Status(status=503), nth=2, times=None)
    async with world.gateway() as started:

        async def settled() -> bool:
            spool = started.gateway.spool
            states = {row.key.file_id: row for row in await spool.recordings()}
            waits = {one.serial: one.waiting_for for one in await spool.recorders()}
            done = [number for number, row in states.items() if row.state is Custody.CONFIRMED]
            transfers = await spool.transfers(0, at_most=9)
            return (
                len(done) == 1
                and any(row.next_attempt_at for row in states.values())
                and any(row.state is Custody.PARKED for row in states.values())
                and waits.get(STRANGER) == "recorder_stranger"
                and waits.get(LOW) == "recorder_low_battery"
                and not started.gateway.links
                and all("rssi_end" in line.detail for _, line in transfers)
            )

        await started.until(settled)
        yield started


def words(text: str) -> list[str]:
    """Word by word, but for numbers, which may differ from one moment to the next."""
    return [re.sub(r"[\d.]+", "0", word) for word in text.split()]


# -- tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [("status",), ("recorders",), ("recordings",), ("stats",), ("timeline", "00000003")]
)
async def test_a_terminal_of_80_columns_shows_whole_words(
    running: Running, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """No line is wider than the terminal, and none is broken within a word."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    wide = await running.ask(*command)
    told = await running.ask(*command, terminal=True)
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in told.lines]
    assert max(map(len, plain)) <= WIDTH
    assert words(" ".join(plain)) == words(wide.out)


async def test_over_a_pipe_a_row_is_a_line(running: Running) -> None:
    """One line for each recording and one for each reason, whole, so that grep and awk can work on them."""
    told = await running.ask("recordings")
    rows = [line for line in told.lines[1:] if not line.startswith(" ")]
    reasons = [line for line in told.lines[1:] if line.startswith(" ")]
    assert len(rows) == 3
    assert len(reasons) == 2
    assert "\x1b" not in told.out
    assert all(line.endswith("]") for line in reasons)


async def test_recordings_say_state_size_date_reason_and_next_try(running: Running) -> None:
    """What a technician asks first stands in the row: whose, when, how long, how big, how far, and the next try."""
    told = await running.ask("recordings")
    lines = {line.split()[1]: line for line in told.lines if re.match(r"BOTAPIN00\d  ", line)}
    assert re.fullmatch(
        r"BOTAPIN002  00000003 +(\d\d-\d\d \d\d:\d\d|\d{4}-\d\d-\d\d) +1\.0 s +5\.0 kB  parked", lines["00000003"]
    )
    assert "[recorder_unbound]" in told.out
    (waiting,) = [line for line in lines.values() if "created" in line]
    assert re.search(r"  in \d+(\.\d)? s$", waiting)
    assert sum(line.endswith("confirmed") for line in lines.values()) == 1


async def test_recorders_say_how_they_are_and_why_not_now(running: Running) -> None:
    """Membership, battery, when the next visit is, and the reason where one is not served."""
    told = await running.ask("recorders")
    rows = {line.split()[0]: line for line in told.lines if line.startswith("BOTAPIN")}
    assert set(rows) == {BOUND, UNBOUND, STRANGER, LOW}
    assert " bound " in rows[BOUND]
    assert " unbound " in rows[UNBOUND]
    assert " stranger " in rows[STRANGER]
    assert " 9 % " in rows[LOW]
    assert all(re.search(r"in \d+ \w+( \d+ min)?$", row) for row in rows.values())
    assert "[recorder_stranger]" in told.out
    assert "[recorder_low_battery]" in told.out


async def test_status_says_health_and_what_waits(running: Running) -> None:
    """One word first, then the numbers behind it."""
    told = await running.ask("status")
    assert re.match(r"(attention|failing): \d recorders?, \d receiving, \d waiting, .*1 parked", told.out)


async def test_status_says_what_a_person_must_do(running: Running) -> None:
    """Behind the word that asks for somebody stands why, and the next step."""
    told = await running.ask("status")
    assert "  ! 1 recording: " in told.out
    assert "[recorder_unbound]" in told.out
    assert "    next: Bind it in the dashboard" in told.out


async def test_a_transfer_under_way_shows_in_status(world: World) -> None:
    """Who sends what, how far it is and how fast."""
    world.air.set_pace(20_000)
    await world.recorder(BOUND, speech(1, size=600_000))
    async with world.gateway() as running:
        await running.all_in(Custody.RECEIVING)
        while "receiving 00000001" not in (told := await running.ask("status")).out:
            pass
        assert re.search(r"  > BOTAPIN001: receiving 00000001, .* of about 600 kB at .*/s", told.out)


async def test_the_timeline_tells_every_step(running: Running) -> None:
    """From listed to where it is now, with the cloud's id and the figures of the transfer."""
    (row,) = [one for one in await running.gateway.spool.recordings() if one.state is Custody.CONFIRMED]
    told = await running.ask("timeline", row.key.file_id)
    assert told.lines[0] == f"{BOUND}  {row.key.file_id}  confirmed  {row.cloud_id}"
    clock = r"(\d\d-\d\d )?\d\d:\d\d"
    stages = ("recorded", "listed", r"received", "uploaded", "verified", "confirmed")
    said = told.lines[1].split(" · ")
    assert len(said) == len(stages)
    for part, stage in zip(said, stages, strict=True):
        more = r", (14\.4|5\.0) kB at [\d.]+ kB/s, 0 gaps" if stage == "received" else ""
        assert re.fullmatch(f"{stage} {clock}{more}", part)
    steps = [line[23:46].strip() for line in told.lines[2:]]
    assert [steps[0], steps[-1]] == ["listed", "deletion seen"]
    assert {"captured", "acknowledged", "created", "put", "stored", "confirm intended"} <= set(steps)
    assert not re.search(r"_at=\d+\.", told.out), "times are told as people read them"
    (captured,) = [line for line in told.lines if "captured" in line[23:46]]
    assert {"rssi=-60", "rssi_end=-60"} <= set(captured.split()), "the signal before and after the transfer"


async def test_the_timeline_of_what_waits_says_why_and_when(running: Running) -> None:
    """The reason and the next try stand right below the story in one sentence, which ends where it is now."""
    told = await running.ask("timeline", f"{UNBOUND}/00000003")
    assert told.lines[1].endswith("gaps · parked for recorder_unbound")
    assert told.lines[2].startswith("    ")
    assert "[recorder_unbound]" in told.lines[2]


async def test_stats_say_how_transfers_went(running: Running) -> None:
    """Per adapter and per recorder; since when is chosen."""
    told = await running.ask("stats")
    rows = {line.split()[0]: line.split() for line in told.lines}
    assert set(rows) == {"adapter", ADAPTER, "recorder", BOUND, UNBOUND}
    assert rows[ADAPTER][1:4] == ["3", "0", "%"]
    assert rows["adapter"][-2:] == ["dBm", "after"]
    assert rows[ADAPTER][-2:] == ["-60", "-60"]
    answer = (await running.ask("stats", "--since", "2h", "--json")).json
    (one,) = answer["adapters"]
    assert (one["transfers"], one["failed"], one["gaps_per_mb"], one["bytes"]) == (3, 0, 0, 24_400)
    assert (one["rssi"], one["rssi_end"]) == (-60, -60)
    assert {one["recorder"]: one["transfers"] for one in answer["recorders"]} == {BOUND: 2, UNBOUND: 1}
    assert (await running.ask("stats", "--since", "yesterday")).code == 2


async def test_stats_fit_80_columns_with_an_adapters_address(tmp_path: Path) -> None:
    """The widest figures that a hub has, on BlueZ, where adapters go by their address."""
    one: dict[str, Any] = {
        "transfers": 12_345,
        "failed": 12_345,
        "failed_share": 1.0,
        "bytes": 1.01e9,
        "bytes_per_s": 61_000,
    }
    one |= {"gaps_per_mb": 1234.56, "rssi": -101, "rssi_end": -102, "reason": "transfer_gap", "reason_times": 12_345}
    answer = {"adapters": [one | {"adapter": "DC:A6:32:00:00:01"}], "recorders": [one | {"recorder": "BOTAPIN001"}]}
    socket = tmp_path / "status.sock"
    async with answering(socket, {"stats": answer}):
        told = await run_beside("stats", "--socket", socket, terminal=True)
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in told.lines]
    assert max(map(len, plain)) <= WIDTH
    assert plain[1].split()[-2:] == ["-101", "-102"]


async def test_nothing_yet_is_said(world: World) -> None:
    """An empty hub answers in words, not with an empty table."""
    async with world.gateway() as running:
        assert (await running.ask("recorders")).out == "No recorder has been met yet.\n"
        assert (await running.ask("recordings")).out == "No recordings.\n"
        assert (await running.ask("status")).out.startswith("ok: 0 recorders")
        assert (await running.ask("recordings", "--json")).json == []


# -- JSON ----------------------------------------------------------------------------------------------------


async def test_recordings_as_json_have_the_promised_keys(running: Running) -> None:
    """The names that programs rely on, with states by their names and times as Unix seconds."""
    told = await running.ask("recordings", "--json")
    promised = {
        *("serial", "file_id", "started_at", "state", "size_bytes", "sha256"),
        *("cloud_id", "parked_reason", "next_attempt_at"),
    }
    assert len(told.json) == 3
    assert all(promised <= set(one) for one in told.json)
    by_state = {one["state"]: one for one in told.json}
    assert set(by_state) == {"confirmed", "created", "parked"}
    assert by_state["parked"]["parked_reason"] == "recorder_unbound"
    assert by_state["parked"]["cloud_id"] is None
    assert by_state["confirmed"]["cloud_id"].startswith("rec_")
    assert by_state["created"]["next_attempt_at"] > 0
    assert all(len(one["sha256"]) == 64 for one in told.json)


async def test_every_other_question_has_json_too(running: Running) -> None:
    """Each command that asks can be asked by a program."""
    status = (await running.ask("status", "--json")).json
    assert {"health", "summary", "problems", "links", "counts", "spool"} <= set(status)
    recorders = (await running.ask("recorders", "--json")).json
    assert all({"serial", "membership", "waiting_for", "next_attempt_at"} <= set(one) for one in recorders)
    timeline = (await running.ask("timeline", "00000003", "--json")).json
    assert timeline["summary"].startswith("recorded ")
    assert timeline["stages_s"].keys() == {"received"}
    assert timeline["recording"]["file_id"] == "00000003"
    assert all({"at", "happened", "detail"} <= set(one) for one in timeline["timeline"])
    assert (await running.ask("retry", "00000003", "--json")).json == {"retried": 1, "left_forgotten": 0}


async def test_recordings_can_be_narrowed(running: Running) -> None:
    """By state and by recorder."""
    parked = (await running.ask("recordings", "--state", "parked", "--json")).json
    assert [one["file_id"] for one in parked] == ["00000003"]
    mine = (await running.ask("recordings", "--recorder", BOUND, "--json")).json
    assert (await running.ask("recordings", "--recorder", BOUND[-3:], "--json")).json == mine
    unknown = await running.ask("recordings", "--recorder", "BOTAPIN999")
    assert (unknown.code, unknown.out) == (1, "")
    assert "[recorder_never_met]" in unknown.err
    assert sorted(one["file_id"] for one in mine) == ["00000001", "00000002"]


# -- mistakes ------------------------------------------------------------------------------------------------


def test_without_a_daemon_each_question_says_how_to_start_one(tmp_path: Path) -> None:
    """Exit 1, the code, and the next step; nothing on standard output for a program to mistake for an answer."""
    for command in (("status",), ("recorders",), ("recordings",), ("stats",), ("timeline", "aa"), ("retry", "aa")):
        told = run_here(*command, "--socket", tmp_path / "none.sock")
        assert (told.code, told.out) == (1, "")
        assert "[status_no_daemon]" in told.err
        assert "systemctl start" in told.err


def test_the_socket_comes_from_the_configuration(tmp_path: Path) -> None:
    """A technician names the file, not the socket."""
    config = tmp_path / "config.toml"
    config.write_text(f"[status]\nsocket = '{tmp_path}/elsewhere.sock'\n")
    told = run_process("status", "--config", config)
    assert told.code == 1
    assert f"{tmp_path}/elsewhere.sock" in told.err


async def test_an_unknown_recording_is_said(running: Running) -> None:
    """With the command that lists those there are."""
    told = await running.ask("timeline", "ffffffff")
    assert told.code == 1
    assert "[status_no_such_recording]" in told.err
    assert "bota-gateway recordings" in told.err


async def test_an_ambiguous_name_lists_what_it_may_mean(running: Running) -> None:
    """The first digits of a file id are enough only while they fit one."""
    told = await running.ask("timeline", "0000000")
    assert told.code == 1
    assert "fits 3 recordings" in told.err
    assert f"{UNBOUND}/00000003" in told.err
    assert (await running.ask("timeline", "00000003")).code == 0


async def test_retry_wants_exactly_one_thing(running: Running) -> None:
    """A recording or a reason; nothing or both is a mistake of usage."""
    assert (await running.ask("retry")).code == 2
    assert (await running.ask("retry", "00000003", "--reason", "x")).code == 2
    dotted = await running.ask("retry", "--reason", "recorder_unbound.")  # copied from the end of a sentence
    assert dotted.out.startswith("Nothing is parked for 'recorder_unbound.'.")


async def test_a_recording_that_waits_for_nothing_is_not_retried(running: Running) -> None:
    """The answer says so instead of doing nothing in silence."""
    (row,) = [one for one in await running.gateway.spool.recordings() if one.state is Custody.CONFIRMED]
    told = await running.ask("retry", row.key.file_id)
    assert told.code == 1
    assert "[spool_nothing_to_retry]" in told.err


# -- hostile recorders ---------------------------------------------------------------------------------------


async def test_what_a_recorder_calls_itself_can_not_move_the_cursor(world: World) -> None:
    """Its name comes over the air: control characters are made visible in tables and escaped in JSON."""
    await world.recorder(BOUND, speech(1), options=RecorderOptions(name=NASTY))
    async with world.gateway() as running:
        await running.all_in(Custody.CONFIRMED)
        for command in (("recorders",), ("recordings",), ("status",), ("timeline", "00000001")):
            for form in ((), ("--json",)):
                told = await running.ask(*command, *form)
                assert told.code == 0, told.err
                assert all(line.isprintable() for line in told.lines), command
        (record,) = (await running.ask("recorders", "--json")).json
        assert record["name"] == NASTY


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
@pytest.mark.parametrize("command", [("recorders",), ("recordings",), ("status",), ("timeline", "00000003")])
async def test_no_text_of_an_answer_can_move_the_cursor(
    running: Running, tmp_path: Path, command: tuple[str, ...], form: tuple[str, ...]
) -> None:
    """Whatever field a recorder's or the cloud's words end up in, they are shown, not obeyed."""

    async def nasty(asked: dict[str, Any]) -> object:
        return spoilt(await asyncio.to_thread(client.ask, running.socket, asked["ask"], recording="00000003"))

    server = StatusServer(tmp_path / "nasty.sock", nasty)
    serving = asyncio.create_task(server.run())
    await server.listening.wait()
    told = await run_beside(*command, *form, "--socket", tmp_path / "nasty.sock", terminal=True)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert told.code == 0, told.err
    assert "oof" in told.out
    plain = told.out.replace("\x1b[1m", "").replace("\x1b[0m", "")  # our own headings
    assert all(line.isprintable() for line in plain.split("\n"))


# -- watching and narrowing ------------------------------------------------------------------------------------


async def test_recordings_can_be_narrowed_by_age(running: Running) -> None:
    """Older or newer than a span as people write it; what is no span is refused with examples."""
    await asyncio.sleep(20)
    assert len((await running.ask("recordings", "--older", "15s", "--json")).json) == 3
    assert (await running.ask("recordings", "--newer", "15s", "--json")).json == []
    assert len((await running.ask("recordings", "--newer", "1.5h", "--json")).json) == 3
    told = await running.ask("recordings", "--older", "yesterday")
    assert (told.code, "2h or 3d" in told.err) == (2, True)


async def test_watching_shows_it_again_and_again(world: World) -> None:
    """Until the person leaves: here, because the gateway does."""
    async with AsyncExitStack() as stack:
        async with world.gateway() as running:
            watching = stack.enter_context(start_process("status", "--watch", "0.2", "--socket", running.socket))
            assert watching.stdout
            for _ in range(3):
                assert "0 recorders" in await asyncio.to_thread(watching.stdout.readline)
        _, said = await asyncio.to_thread(watching.communicate)
    assert watching.returncode == 1
    assert "systemctl start" in said
