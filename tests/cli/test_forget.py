"""``bota-gateway forget`` against a real daemon: it says what is lost, asks, and does no more than was agreed to."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bota_gateway.errors import StatusError
from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import Status
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.status import client
from support.commands import run_process
from support.terminal import on_terminal
from support.world import Running, World, speech

pytestmark = pytest.mark.virtual_time

PIN = "BOTAPIN001"
STORED, STUCK = "00000001", "00000002"
KEPT = {"interval_s": 20}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World.open(tmp_path) as opened:
        yield opened


@pytest.fixture
async def pin(world: World) -> SimRecorder:
    """Its second recording gets no further than the cloud's knowing of it; both stay on it."""
    world.cloud.faults.add("POST /recordings/{id}/upload-url", Status(status=403), times=None, nth=2)
    return await world.recorder(PIN, speech(1), speech(2))


@pytest.fixture
async def running(world: World, pin: SimRecorder) -> AsyncIterator[Running]:
    async with world.gateway(recorders={"confirm": "never"}, visits=KEPT) as started:
        yield await settled(started)


async def settled(running: Running) -> Running:
    """Once one is stored, the other waits, and nothing is under way."""

    async def is_settled() -> bool:
        rows = {row.key.file_id: row for row in await running.gateway.spool.recordings()}
        waits = STUCK in rows and rows[STUCK].state is Custody.CREATED and rows[STUCK].waiting_for is not None
        stored = STORED in rows and rows[STORED].state is Custody.STORED
        return waits and stored and not running.gateway.uploads and not running.gateway.links

    await running.until(is_settled)
    return running


async def states(running: Running) -> dict[str, tuple[Custody, bool]]:
    """Of each recording its state, and whether its audio is here."""
    spool = running.gateway.spool
    rows = {row["recording_id"] for row in await spool._db.read("SELECT recording_id FROM audio")}
    return {row.key.file_id: (row.state, row.id in rows) for row in await spool.recordings()}


BEFORE = {STUCK: (Custody.CREATED, True), STORED: (Custody.STORED, True)}


# -- asked -------------------------------------------------------------------------------------------------------------


async def test_nobody_to_ask_means_no(running: Running) -> None:
    """Without a terminal it says what would be lost, forgets nothing, and names the way."""
    told = await running.ask("forget", STUCK)
    assert (told.code, "--yes" in told.err) == (1, True)
    assert "[forget_not_asked]" in told.err
    assert PIN in told.out
    assert "Its recorder still holds it (listed " in told.out
    as_json = await running.ask("forget", STUCK, "--json")
    assert (as_json.code, as_json.out) == (1, "")
    assert await states(running) == BEFORE


@pytest.mark.parametrize(("answer", "code", "gone"), [("y", 0, True), ("n", 1, False), ("", 1, False)])
async def test_a_person_decides(running: Running, answer: str, code: int, gone: bool) -> None:
    """Asked on a terminal, below what is lost; only a yes is one."""
    async with on_terminal("forget", STUCK, "--socket", running.socket) as person:
        await person.until(lambda: "Forget it? [y/N]:" in person.shown)
        person.type(f"{answer}\n")
        assert await person.left() == code
    assert ("Nothing was forgotten." in person.shown) is not gone
    assert (await states(running))[STUCK] == ((Custody.PARKED, False) if gone else BEFORE[STUCK])


@pytest.mark.parametrize(("typed", "code"), [(STUCK, 0), ("y", 1), ("", 1)])
async def test_the_last_copy_has_to_be_named(running: Running, pin: SimRecorder, typed: str, code: int) -> None:
    """Its recorder has lost it: a yes is not enough, its file id has to be typed."""
    await lose(running, pin, STUCK)
    async with on_terminal("forget", STUCK, "--socket", running.socket) as person:
        await person.until(lambda: "delete the last copy" in person.shown)
        person.type(f"{typed}\n")
        assert await person.left() == code
    assert "LAST COPY" in person.shown
    assert "export" in person.shown
    assert (await states(running))[STUCK] == (BEFORE[STUCK] if code else (Custody.PARKED, False))


async def lose(running: Running, pin: SimRecorder, file_id: str) -> None:
    """The recorder no longer has it, and the hub has seen that."""
    del pin.firmware.recordings[file_id]
    spool = running.gateway.spool
    (row,) = [row for row in await spool.recordings() if row.key.file_id == file_id]
    await running.until(lambda: spool.last_listed_at(row) is None)
    await settled(running)


# -- in scripts --------------------------------------------------------------------------------------------------------


async def test_yes_is_enough_where_a_copy_is_left(running: Running) -> None:
    """What the cloud has, and what its recorder still holds, several at once; each is said."""
    told = await running.ask("forget", STORED, STUCK, "--yes")
    assert (told.code, told.err) == (0, "")
    assert [line for line in told.lines if line.endswith("forgotten.")] == [
        f"{PIN}/{file_id}/{speech(int(file_id)).started_at} forgotten." for file_id in (STORED, STUCK)
    ]
    assert "the cloud has it verified" in told.out
    assert await states(running) == {STUCK: (Custody.PARKED, False), STORED: (Custody.STORED, False)}


async def test_yes_is_not_enough_for_the_last_copy(running: Running, pin: SimRecorder) -> None:
    """One last copy among them keeps all: it has to be permitted by a word of its own."""
    await lose(running, pin, STUCK)
    refused = await running.ask("forget", STORED, STUCK, "--yes")
    assert (refused.code, "[forget_last_copy]" in refused.err, "export" in refused.err) == (1, True, True)
    assert await states(running) == BEFORE
    told = await running.ask("forget", STORED, STUCK, "--yes", "--last-copy", "--json")
    assert told.code == 0
    assert [(one["loss"], one["forgotten"]) for one in told.json] == [("nothing", True), ("last_copy", True)]
    assert await states(running) == {STUCK: (Custody.PARKED, False), STORED: (Custody.STORED, False)}


async def test_the_daemon_itself_keeps_the_last_copy(running: Running, pin: SimRecorder) -> None:
    """Whoever asks over the socket without permitting it is refused, whatever was shown before."""
    await lose(running, pin, STUCK)
    for permission in ({}, {"last_copy": False}, {"last_copy": "yes"}, {"last_copy": 1}):
        told = await ask(running, "forget", recording=STUCK, **permission)
        assert told == "forget_last_copy"
    assert await states(running) == BEFORE


async def ask(running: Running, question: str, **more: object) -> str:
    """The code with which the daemon refuses."""
    with pytest.raises(StatusError) as refused:
        await asyncio.to_thread(client.ask, running.socket, question, **more)
    return refused.value.error_code


async def test_names_and_refusals_are_as_everywhere(running: Running) -> None:
    """Unknown, ambiguous, and done already: one sentence, a code, a next step, exit code 1."""
    for names, code in ((["ffff"], "status_no_such_recording"), (["0000000"], "status_ambiguous_recording")):
        told = await running.ask("forget", *names, "--yes")
        assert (told.code, f"[{code}]" in told.err) == (1, True)
    await running.ask("forget", STUCK, "--yes")
    again = await running.ask("forget", STUCK, "--yes")
    assert (again.code, "[forget_nothing_to_do]" in again.err, "next:" in again.err) == (1, True, True)
    assert run_process("forget").code == 2


# -- afterwards --------------------------------------------------------------------------------------------------------


async def test_it_is_told_everywhere_and_needs_nobody(running: Running) -> None:
    """Status, list, why, timeline and the log say that it was by hand; health needs no human for it."""
    await running.ask("forget", STUCK, "--yes")
    status = (await running.ask("status", "--json")).json
    assert (status["health"], status["counts"]["parked"], status["counts"]["forgotten_by_hand"]) == ("ok", 0, 1)
    assert "1 forgotten by hand" in status["summary"]
    assert (await running.ask("recordings", "--state", "parked")).out == "No recordings.\n"
    listed = (await running.ask("recordings", "--state", "forgotten_by_hand", "--json")).json
    assert [one["file_id"] for one in listed] == [STUCK]
    why = await running.ask("why", STUCK)
    assert "[forgotten_by_hand]" in why.out
    assert "retry" in why.out
    assert re.search(r"since \d{4}-", why.out)
    assert "forgotten" not in (await running.ask("why")).out
    assert "forgotten" not in (await running.ask("why", PIN)).out
    timeline = await running.ask("timeline", STUCK)
    assert re.search(r"· forgotten by hand (\d\d-\d\d )?\d\d:\d\d$", timeline.lines[1])
    assert "forgotten by hand" in timeline.lines[-1]


async def test_the_log_tells_it_once(running: Running, world: World) -> None:
    """With what was lost, and whose it was."""
    await running.ask("forget", STUCK, "--yes")
    lines = [json.loads(line) for line in world.log.getvalue().splitlines()]
    (told,) = [line for line in lines if line["event"] == "recording_forgotten_by_hand"]
    assert (told["recorder"], told["recording"], told["was"], told["lost"]) == (PIN, STUCK, "created", "copy")


async def test_only_its_name_brings_it_back(running: Running, world: World, pin: SimRecorder) -> None:
    """A retry by reason leaves it and says so; by name it is pulled again, and is in the cloud once."""
    await running.ask("forget", STUCK, "--yes")
    many = await running.ask("retry", "--reason", "forgotten_by_hand")
    assert many.lines == [
        "0 brought back to work.",
        "1 forgotten by hand left alone: name each one that is wanted after all.",
    ]
    world.cloud.faults.clear()
    one = await running.ask("retry", STUCK)
    assert (one.code, one.out) == (0, "1 brought back to work.\n")
    await running.all_in(Custody.STORED, count=2)
    assert pin.seen.starts.count(STUCK) == 2
    assert pin.seen.confirms == []
    world.assert_stored_once()


async def test_until_then_no_visit_pulls_or_confirms_it(world: World, pin: SimRecorder) -> None:
    """Visits come and go; its recorder is told nothing about it, also where it may be told to delete."""
    async with world.gateway(visits=KEPT | {"longest_s": 60, "linger_s": 0}) as running:
        spool = running.gateway.spool

        async def stuck() -> bool:
            rows = {row.key.file_id: row for row in await spool.recordings()}
            confirmed = STORED in rows and rows[STORED].state is Custody.CONFIRMED
            return confirmed and rows[STUCK].waiting_for is not None and not running.gateway.uploads

        await running.until(stuck)
        assert (await running.ask("forget", STUCK, "--yes")).code == 0
        visits = (await spool.recorder(PIN)).last_visit_at or 0.0

        async def visited() -> bool:
            return ((await spool.recorder(PIN)).last_visit_at or 0.0) > visits + 120

        await running.until(visited, within=3600)
        assert (pin.seen.starts.count(STUCK), pin.seen.confirms) == (1, [STORED])
        assert STUCK in pin.firmware.recordings
        assert (await states(running))[STUCK] == (Custody.PARKED, False)
