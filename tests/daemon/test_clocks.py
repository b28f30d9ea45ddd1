"""A hub whose clock is wrong at boot, and right once the network brought the time."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.options import StoredRecording
from support.spooling import happened
from support.world import WALL_AT_ZERO, World, speech, wall

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
HOUR = 3600.0
IN_1970 = -WALL_AT_ZERO


@dataclass
class HubClock:
    """The hub's own clock, as its offset from the true time, and whether something keeps it right."""

    offset_s: float
    trusted: bool = False

    def __call__(self) -> float:
        """Unix seconds."""
        return wall() + self.offset_s

    def is_trusted(self) -> bool:
        """As the kernel says it."""
        return self.trusted

    def set_right(self) -> None:
        """NTP comes through."""
        self.offset_s, self.trusted = 0.0, True


def without_a_clock(number: int, started_at: int) -> StoredRecording:
    """A recording of a recorder whose clock was not set."""
    return replace(speech(number), started_at=started_at)


async def test_a_hub_that_boots_in_1970_does_its_work_and_sets_no_recorders_clock(tmp_path: Path) -> None:
    """Everything arrives; the recorder gets the time in the first visit after the hub has it, without a restart."""
    clock = HubClock(IN_1970)
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1), speech(2, size=300_000))
        async with world.gateway(
            now=clock, clock_is_trusted=clock.is_trusted, visits={"interval_s": 300, "longest_s": 300}
        ) as running:
            rows = await running.all_in(Custody.CONFIRMED, count=2)
            assert (pin.seen.time_syncs, pin.clock.unix) == (0, None)
            story = await happened(running.gateway.spool, rows[0].id)
            assert story[0] == "listed"
            assert story.index("captured") < story.index("created") < story.index("stored")
            clock.set_right()
            began = wall()
            await pin.wait_until(lambda: pin.seen.time_syncs > 0)
            assert pin.clock.unix == pytest.approx(wall(), abs=2)
            assert wall() - began < 400
        world.assert_stored_once()


async def test_an_hour_off_is_not_passed_on_to_a_recorder(tmp_path: Path) -> None:
    """A plausible clock that nothing keeps right is not the time either."""
    clock = HubClock(-HOUR)
    async with World.open(tmp_path) as world:
        pin = await world.recorder(SERIAL, speech(1))
        async with world.gateway(now=clock, clock_is_trusted=clock.is_trusted) as running:
            await running.all_in(Custody.CONFIRMED)
        assert pin.seen.time_syncs == 0


@pytest.mark.parametrize("started_at", [0, 37, 86_400 * 365])
async def test_a_start_that_no_clock_told_stays_unknown(tmp_path: Path, started_at: int) -> None:
    """0, or seconds since the recorder was switched on: no 1970 in the cloud, and none in a table."""
    async with World.open(tmp_path) as world:
        await world.recorder(SERIAL, without_a_clock(1, started_at))
        async with world.gateway() as running:
            await running.all_in(Custody.CONFIRMED)
            table = (await running.ask("recordings", terminal=True)).out
            lines = (await running.ask("timeline", "00000001", terminal=True)).out
        (made,) = world.cloud.recordings.values()
        told = json.dumps(made.facts)
        assert "1970" not in told
        assert "1971" not in told
        assert made.facts.get("recorded_at") is None
        assert "unknown" in table
        assert "197" not in (table + lines).replace(made.id, "")
        world.assert_stored_once()
