"""``bota-gateway why`` against a real gateway: the cause, since when, until when, and what to do."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import Status
from bota_gateway.status.why import Reason
from support.world import Running, World, speech

pytestmark = pytest.mark.virtual_time

SERIAL = "BOTAPIN001"
LEFT_S = 30.0
"""Longer than a link lingers, shorter than until the next visit."""
AWAY_S = 90.0
"""Longer than a recorder in range is ever silent."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World.open(tmp_path) as opened:
        yield opened


async def causes(running: Running, name: str) -> list[tuple[str, str | None]]:
    answer = (await running.ask("why", name, "--json")).json
    return [(cause["about"], cause["code"]) for cause in answer["causes"]]


async def test_a_parked_recording_says_what_a_human_must_do(world: World) -> None:
    """The reason, since when, and the remedy; nobody needs a manual."""
    await world.recorder(SERIAL, speech(1), end_user=None)
    async with world.gateway() as running:
        await running.all_in(Custody.PARKED)
        told = await running.ask("why", "00000001")
        assert told.lines[0] == f"{SERIAL}  00000001  parked"
        assert "[recorder_unbound]" in told.lines[1]
        assert re.match(r" +since \d{4}-", told.lines[2])
        assert told.lines[3].strip().startswith("next: Bind it in the dashboard")
        assert await causes(running, f"{SERIAL}/00000001") == [("recording 00000001", "recorder_unbound")]


async def test_a_recorder_out_of_range_says_so(world: World) -> None:
    """Its recordings wait for it, and the answer goes on to why it is not visited: a chain of two."""
    pin = await world.recorder(SERIAL, speech(1))
    world.cloud.faults.add("POST /recordings/{id}/upload-url", Status(status=503), times=1)
    async with world.gateway(visits={"linger_s": 0}) as running:
        await running.all_in(Custody.CAPTURED, Custody.CREATED)
        await pin.stop()
        await running.all_in(Custody.STORED)
        await asyncio.sleep(AWAY_S)
        assert (await causes(running, SERIAL))[0] == (f"recorder {SERIAL}", Reason.NOT_HEARD)
        assert (await causes(running, "00000001"))[:2] == [
            ("recording 00000001", None),
            (f"recorder {SERIAL}", Reason.NOT_HEARD),
        ]
        told = await running.ask("why", "N001")
        assert "does not hear it" in told.out
        assert "phone" in told.out


async def test_the_cloud_that_refuses_the_key_is_named(world: World) -> None:
    """What waits for the cloud tells the cloud's reason, the next try and the remedy."""
    await world.recorder(SERIAL, speech(1))
    world.cloud.faults.add("* /recordings*", Status(status=401), times=None)
    async with world.gateway() as running:
        await running.until(lambda: running.gateway.pauses)
        *_, cause = (await running.ask("why", "00000001", "--json")).json["causes"]
        assert (cause["about"], cause["code"]) == ("the cloud", "cloud_unauthorized")
        assert cause["remedy"]


async def test_a_recorder_that_is_spared_says_until_when(world: World) -> None:
    """Reason, detail with the number, next visit, and what would change it."""
    pin = await world.recorder(SERIAL, speech(1))
    pin.condition.battery_percent = 9
    async with world.gateway() as running:
        await running.waiting_for(SERIAL, "recorder_low_battery")
        told = await running.ask("why", SERIAL)
        assert "9 %" in told.out
        assert re.search(r"next try in \d+ min", told.out)
        assert "next: Put it on its charger." in told.out


async def test_a_radio_that_is_down_is_the_first_cause(world: World) -> None:
    """Without an adapter nobody is visited: that is said before anything else."""
    await world.recorder(SERIAL, speech(1))
    async with world.gateway() as running:
        await running.all_in(Custody.CONFIRMED)
    nowhere = {"adapters": ("bumble:tcp-client:127.0.0.1:1",)}
    async with world.gateway(adapters=False, radio=nowhere) as running:
        await asyncio.sleep(LEFT_S)
        assert (await causes(running, SERIAL))[0] == ("the radio", "radio_no_adapter")


async def test_what_is_done_or_well_says_that(world: World) -> None:
    """No cause is made up where nothing is wrong."""
    await world.recorder(SERIAL, speech(1))
    async with world.gateway() as running:
        await running.all_in(Custody.CONFIRMED)
        await asyncio.sleep(LEFT_S)
        assert "Nothing is left to do" in (await running.ask("why", "00000001")).out
        told = await running.ask("why", SERIAL)
        assert "Nothing holds it up." in told.out
        assert "next try in" in told.out
        assert (await running.ask("why")).out == "Nothing is held up.\n"


async def test_a_recorder_that_may_keep_its_copy_is_no_wait(world: World) -> None:
    """With recorders.confirm = never nothing is waited for, and the setting is named."""
    await world.recorder(SERIAL, speech(1))
    async with world.gateway(recorders={"confirm": "never"}) as running:
        await running.all_in(Custody.STORED)
        assert "recorders.confirm" in (await running.ask("why", "00000001")).out


async def test_everything_that_waits_is_told_by_its_reason(world: World) -> None:
    """Without a name: who is held up, and how many recordings share one cause with one remedy."""
    await world.recorder(SERIAL, speech(1), speech(2), end_user=None)
    await world.recorder("OTHER00001", speech(3), registered=False)
    async with world.gateway() as running:
        await running.all_in(Custody.PARKED, count=2)
        await running.waiting_for("OTHER00001", "recorder_stranger")
        told = await running.ask("why")
        assert "2 recordings parked, the latest" in told.out
        assert told.out.count("[recorder_unbound]") == 1
        assert "[recorder_stranger]" in told.out


async def test_a_name_that_nobody_has_is_refused_with_what_to_try(world: World) -> None:
    """A serial that was never met may be mistyped, far or empty."""
    async with world.gateway() as running:
        told = await running.ask("why", "BOTAPIN999")
        assert told.code == 1
        assert "[recorder_never_met]" in told.err
        assert "bota-gateway recorders" in told.err
