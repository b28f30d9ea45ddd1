"""Pausing radio and uploads by hand, in a whole gateway."""

import asyncio
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from support.world import World, speech

pytestmark = pytest.mark.virtual_time

SERIAL = "BOTAPIN001"
OFTEN = {"interval_s": 10, "shortest_s": 10, "linger_s": 0}
LONG_S = 60.0
"""Long enough for several visits, were there any."""


async def test_a_paused_radio_is_quiet_at_once_and_over_a_restart(tmp_path: Path) -> None:
    """The link ends in mid-transfer, nobody is visited until it is resumed, and then nothing is missing."""
    async with World.open(tmp_path, bytes_per_s=20_000) as world:
        pin = await world.recorder(SERIAL, speech(1, size=400_000))
        async with world.gateway(visits=OFTEN) as running:
            await running.all_in(Custody.RECEIVING)
            told = await running.ask("pause", "radio")
            assert told.code == 0
            assert "bota-gateway resume radio" in told.out
            await pin.wait_until(lambda: not pin.connected)
            await asyncio.sleep(LONG_S)
            assert running.gateway.links == []
        connections = pin.seen.connections
        async with world.gateway(visits=OFTEN) as running:
            await asyncio.sleep(LONG_S)
            assert pin.seen.connections == connections
            assert (await running.ask("status")).out.startswith("paused: ")
            assert "radio paused by hand" in (await running.ask("status")).out
            (row,) = await running.gateway.spool.recordings()
            assert row.state is Custody.LISTED
            why = (await running.ask("why", "00000001", "--json")).json
            assert "paused_by_hand" in [cause["code"] for cause in why["causes"]]
            world.air.set_pace(None)
            assert (await running.ask("resume", "radio")).code == 0
            await running.all_in(Custody.CONFIRMED)
            assert (await running.ask("status")).out.startswith("ok: ")
        world.assert_stored_once()


async def test_paused_uploads_let_recordings_come_in_and_wait(tmp_path: Path) -> None:
    """Pulling goes on, the cloud is not asked, and the reason stands with what waits."""
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1))
        async with world.gateway(visits=OFTEN) as running:
            await running.ask("pause", "uploads")
            await running.all_in(Custody.CAPTURED)
            await asyncio.sleep(LONG_S)
            assert not world.cloud.recordings
            assert len(pin.recordings) == 1
            overview = (await running.ask("why", "--json")).json
            assert [cause["code"] for cause in overview["gateway"]] == ["paused_by_hand"]
            assert (await running.ask("pause", "uploads", "--json")).json.keys() == {"uploads"}
            assert "Paused by hand" in (await running.ask("why", "00000001")).out
            await running.ask("resume")
            await running.all_in(Custody.CONFIRMED)
        world.assert_stored_once()


async def test_pausing_twice_and_resuming_what_runs_is_harmless(tmp_path: Path) -> None:
    """A second word changes nothing, and is not told; the time of the first stays."""
    async with World.open(tmp_path) as world, world.gateway() as running:
        await running.ask("resume", "uploads")
        await running.ask("pause", "uploads")
        since = dict(running.gateway.paused)
        await asyncio.sleep(60)
        await running.ask("pause", "uploads")
        assert running.gateway.paused == since
        await running.ask("resume")
        told = (await running.ask("tail", "--no-follow")).out
        assert (told.count("paused by hand: uploads"), told.count("resumed by hand: uploads")) == (1, 1)


async def test_only_what_can_rest_can_be_paused(tmp_path: Path) -> None:
    """The command line names the choices; so does the socket."""
    async with World.open(tmp_path) as world, world.gateway() as running:
        assert (await running.ask("pause", "everything")).code == 2


async def test_a_paused_part_that_fails_is_not_hidden(tmp_path: Path) -> None:
    """A pause stops only the part that was named; the other goes on."""
    async with World.open(tmp_path) as world:
        await world.recorder(SERIAL, speech(1), end_user=None)
        async with world.gateway() as running:
            await running.all_in(Custody.PARKED)
            await running.ask("pause", "radio")
            status = (await running.ask("status", "--json")).json
            assert status["health"] == "attention"
            assert list(status["paused"]) == ["radio"]
