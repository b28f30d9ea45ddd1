"""``bota-gateway why`` against a real gateway: the cause, since when, until when, and what to do."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import Status
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.status.why import Reason
from bota_gateway.upload.const import STRANGER_RECHECK_S
from support.world import Running, World, speech

pytestmark = pytest.mark.virtual_time

SERIAL = "BOTAPIN001"
LEFT_S = 30.0
"""Longer than a link lingers, shorter than until the next visit."""
OFTEN = {"interval_s": 20, "shortest_s": 20, "longest_s": 20, "linger_s": 0}
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
        assert "Nothing holds up its visits." in told.out
        assert "next in" in told.out
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


async def test_a_stranger_says_when_the_cloud_is_asked_again(world: World) -> None:
    """Whoever registers it stands beside it and waits: it is noticed in minutes, and then it is visited at once."""
    pin = await world.recorder(SERIAL, speech(1), registered=False)
    async with world.gateway() as running:
        await running.waiting_for(SERIAL, "recorder_stranger")
        assert re.search(r"next try in [1-5] min", (await running.ask("why", SERIAL)).out)
        world.cloud.devices.register(SERIAL, "eu_wearer")
        await pin.stop()
        await asyncio.sleep(STRANGER_RECHECK_S)
        await pin.start()
        await running.all_in(Custody.CONFIRMED)


@pytest.mark.parametrize("name", [SERIAL, SERIAL[-3:]], ids=["serial", "its last digits"])
async def test_a_stranger_that_is_registered_late_is_visited_when_somebody_says_so(world: World, name: str) -> None:
    """Nobody need wait a day for the next look; the recorder is named as for 'why'."""
    pin = await world.recorder(SERIAL, speech(1), registered=False)
    async with world.gateway() as running:
        await running.waiting_for(SERIAL, "recorder_stranger")
        await pin.stop()
        await asyncio.sleep(2 * 3600)
        await pin.start()
        world.cloud.devices.register(SERIAL, "eu_wearer")
        assert re.search(r"next try in 2\d h|next try in 1 d", (await running.ask("why", SERIAL)).out)
        told = await running.ask("retry", name)
        assert (told.code, told.out, told.err) == (0, "1 brought back to work.\n", "")
        await running.all_in(Custody.CONFIRMED)


async def test_a_first_visit_that_a_stop_cut_short_is_due_and_not_told_as_made(world: World) -> None:
    """After the start it is due as soon as the recorder is heard, and nothing speaks of a visit that was not."""
    slow = speech(1, size=5_000_000)
    pin = await world.recorder(SERIAL, slow)
    async with world.gateway() as running:
        await running.until(lambda: any(link.file_id for link in running.gateway.links))
    await pin.stop()
    async with world.gateway() as running:
        await asyncio.sleep(AWAY_S)
        (told,) = (await running.ask("recorders", "--json")).json
        assert (told["last_visit_at"], told["next_attempt_at"], told["next_attempt_in_s"]) == (None, None, 0.0)
        assert "when seen" in (await running.ask("recorders")).out
        assert "was last met" in (await running.ask("why", SERIAL)).out
        await pin.start()
        began = asyncio.get_running_loop().time()
        await running.until(lambda: running.gateway.links)
        assert asyncio.get_running_loop().time() - began < LEFT_S
        await running.all_in(Custody.CONFIRMED)


async def test_a_name_that_nobody_has_is_refused_with_what_to_try(world: World) -> None:
    """A serial that was never met may be mistyped, far or empty."""
    async with world.gateway() as running:
        told = await running.ask("why", "BOTAPIN999")
        assert told.code == 1
        assert "[recorder_never_met]" in told.err
        assert "bota-gateway recorders" in told.err


async def test_what_is_parked_comes_before_what_is_well(world: World) -> None:
    """Visits go well, and that is not what was asked: why nothing arrives stands first."""
    await world.recorder(SERIAL, speech(1), speech(2), end_user=None)
    async with world.gateway() as running:
        await running.all_in(Custody.PARKED, count=2)
        await asyncio.sleep(LEFT_S)
        told = await running.ask("why", SERIAL)
        assert told.lines[1].startswith("  2 recordings parked, the latest BOTAPIN001/00000002: ")
        assert "Nothing holds up its visits." in told.lines[-2]


async def test_captures_that_wait_for_the_cloud_say_so_of_their_recorder(world: World) -> None:
    """Its visits go well; what the hub has of it waits for a key that the cloud accepts, and that is said first."""
    pin = await world.recorder(SERIAL, speech(1))
    async with world.gateway(visits=OFTEN) as running:
        await running.all_in(Custody.CONFIRMED)
        world.cloud.faults.add("*", Status(status=401), times=None)
        world.add(pin, speech(2))
        await running.until(lambda: running.gateway.pauses)
        assert (await causes(running, SERIAL))[0] == ("the cloud", "cloud_unauthorized")
        told = await running.ask("why", SERIAL)
        assert "does not accept this hub's API key" in told.out
        assert "next: Put a valid key into /etc/bota-gateway/api-key" in told.out


async def test_captures_that_wait_for_their_turn_say_how_slowly_it_comes(world: World) -> None:
    """Nothing is wrong, and still it takes an hour: the limit of calls is named."""
    await world.recorder(SERIAL, *map(speech, range(1, 9)))
    async with world.gateway(cloud={"requests_per_minute": 6}) as running:
        await running.all_in(*Custody, count=8)
        await asyncio.sleep(LEFT_S)
        told = await running.ask("why", SERIAL)
        assert re.search(
            r"\d recordings waiting, the latest .*this hub may ask the cloud for 5 calls a minute", told.out
        )
        assert "[upload_queued]" in told.out


async def test_a_host_that_is_not_allowed_is_a_matter_for_a_person(world: World) -> None:
    """No waiting ends it: health says so, with the setting to change."""
    await world.recorder(SERIAL, speech(1))
    async with world.gateway(cloud={"s3_hosts": ("s3.example.com",)}) as running:
        await running.until(lambda: _waits_for(running, "cloud_host_not_allowed"))
        told = await running.ask("status")
        assert told.out.startswith("attention: ")
        assert "next: If Bota uses that host, add it to cloud.s3_hosts" in told.out


async def _waits_for(running: Running, code: str) -> bool:
    return any(row.waiting_for == code for row in await running.gateway.spool.recordings())


async def test_one_that_never_told_its_serial_is_not_passed_over_in_silence(world: World) -> None:
    """It is heard, each visit fails before the serial: listed by its address, with the reason and the next try."""
    await world.recorder(SERIAL, speech(1), faults=Faults(Fault(FaultKind.SERIAL_UNREADABLE, times=None)))
    async with world.gateway() as running:
        await asyncio.sleep(LEFT_S)
        (row,) = (await running.ask("recorders", "--json")).json
        assert (row["serial"], row["waiting_for"]) == (None, "recorder_no_identity")
        assert row["address"] in (await running.ask("recorders")).out
        told = await running.ask("why")
        assert "[recorder_no_identity]" in told.out
        assert "next: Restart the recorder" in told.out
        assert (await running.ask("why", row["address"])).out == told.out
        assert "1 in range has not told a serial yet" in (await running.ask("why", SERIAL)).err


async def test_one_that_was_met_and_one_that_was_not_are_told_alike(world: World) -> None:
    """Whoever reads the list as JSON finds the same fields in each."""
    await world.recorder(SERIAL)
    await world.recorder("BOTAPIN002", faults=Faults(Fault(FaultKind.SERIAL_UNREADABLE, times=None)))
    async with world.gateway() as running:
        await asyncio.sleep(LEFT_S)
        met, unmet = (await running.ask("recorders", "--json")).json
        assert met.keys() == unmet.keys()


async def test_a_radio_that_is_down_is_told_before_anybody_was_met(world: World) -> None:
    """On a new hub, too: neither "nothing is held up" nor "check the serial"."""
    nowhere = {"adapters": ("bumble:tcp-client:127.0.0.1:1",)}
    async with world.gateway(adapters=False, radio=nowhere) as running:
        await asyncio.sleep(LEFT_S)
        assert "[radio_no_adapter]" in (await running.ask("why")).out
        told = await running.ask("why", SERIAL)
        assert "Nobody can be met now: There is no controller" in told.err
        assert "next: Check the transport in radio.adapters." in told.err


async def test_a_battery_that_was_low_is_told_of_one_that_is_gone(world: World) -> None:
    """What it said last is the likeliest reason; that the last try got no answer is no news."""
    pin = await world.recorder(SERIAL)
    pin.condition.battery_percent = 4
    async with world.gateway() as running:
        await running.waiting_for(SERIAL, "recorder_low_battery")
        await pin.stop()
        await asyncio.sleep(AWAY_S)
        told = await running.ask("why", SERIAL)
        assert "[recorder_not_heard]" in told.out
        assert "its battery was at 4 %" in told.out
        assert "radio_connect" not in told.out
