"""Random schedules of faults over the whole gateway: whatever happens, custody holds once faults stop.

``scripts/chaos`` plays as many more as asked, and makes a failing one small.
"""

from collections import Counter
from typing import Final

import pytest

from bota_gateway.protocol.errors_on_wire import STORAGE_KEY_UNAVAILABLE
from bota_gateway.sim.cloud import Fault as CloudFault
from bota_gateway.sim.faults import Fault, FaultKind
from support.chaos.at_cloud import CloudMisbehaves
from support.chaos.at_recorders import Away, RecorderFault
from support.chaos.draw import draw
from support.chaos.happening import Happening
from support.chaos.run import run, shrink
from support.chaos.schedule import HOURS, Schedule
from support.chaos.setup import Recorded
from support.chaos.world import ChaosWorld

SEEDS: Final = 300
"""Schedules in the suite; about a second each."""
BATCH: Final = 10
PIN: Final = "PIN0000001"


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_custody_holds_under_random_faults(first: int) -> None:
    """Afterwards everything is in the cloud once and deleted on its recorder, or waits for a human with a reason."""
    broken = {seed: wrongs for seed in range(first, first + BATCH) if (wrongs := run(draw(seed)).wrongs)}
    assert not broken, f"scripts/chaos --seeds 1 --start {next(iter(broken))} plays and shrinks the first"


def test_a_seed_is_always_the_same_schedule() -> None:
    """What is drawn depends on the seed alone, so a failing seed can be played anywhere."""
    assert [draw(seed) for seed in range(50)] == [draw(seed) for seed in range(50)]
    assert len({str(draw(seed)) for seed in range(50)}) == 50


def test_a_schedule_always_goes_the_same_way() -> None:
    """The same faults fire as often, over the same time and the same number of lives."""
    first, second = run(draw(5)), run(draw(5))
    assert first == second


def test_everything_that_can_happen_is_drawn() -> None:
    """No kind of happening, of recorder fault or of cloud fault is left out."""
    drawn = Counter[str]()
    for seed in range(1500):
        for one in draw(seed).happenings:
            drawn[type(one).__name__] += 1
            match one:
                case RecorderFault(fault=Fault(kind=kind)):
                    drawn[kind] += 1
                case CloudMisbehaves(fault=fault):
                    drawn[fault.kind] += 1
                case _:
                    pass
    kinds = {kind.__name__ for kind in Happening.__subclasses__() if kind.__module__.startswith("support.chaos")}
    cloud_faults = {fault.model_fields["kind"].default for fault in CloudFault.__args__}
    assert {*kinds, *FaultKind, *cloud_faults} <= set(drawn)


def _recorded(file_id: str = "00000001") -> Recorded:
    return Recorded(serial=PIN, file_id=file_id, started_at=1_780_000_000, size=3000)


def _schedule(*some: Happening) -> Schedule:
    return Schedule(0, HOURS, (PIN,), some)


class _Unexplained(RecorderFault):
    """Parks, and does not say so."""

    parks = frozenset[str]()


def test_what_is_parked_without_cause_is_found_out() -> None:
    """A recording that waits for a human for something that nobody has to settle is a broken promise."""
    error = Fault(FaultKind.ERROR, at=0, code=STORAGE_KEY_UNAVAILABLE)
    trouble = RecorderFault(serial=PIN, fault=error)

    assert not run(_schedule(_recorded(), trouble)).wrongs
    (wrong,) = run(_schedule(_recorded(), _Unexplained(serial=PIN, fault=error))).wrongs
    assert wrong.startswith("parked without cause")


class _Gone(Away):
    """Out of range, and never back."""

    async def end(self, world: ChaosWorld) -> None:
        """It is never over."""


def test_what_never_settles_is_found_out() -> None:
    """A recording that nobody ever pulls is missed, and not waited for without end."""
    wrongs = run(_schedule(_recorded(), _Gone(serial=PIN, lasts=60.0))).wrongs
    assert [wrong.partition(" ")[0] for wrong in wrongs] == ["unsettled", "lost:"]


def test_a_failing_schedule_shrinks_to_what_matters() -> None:
    """Of many happenings those stay without which it would not fail."""
    needed = _recorded("00000007"), _recorded("00000011")
    many = [_recorded(f"{number:08x}") for number in range(40)]
    smallest = shrink(_schedule(*many), lambda schedule: set(needed) <= set(schedule.happenings))
    assert smallest.happenings == needed
