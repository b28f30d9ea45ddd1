"""Random schedules of faults over the whole gateway: whatever happens, custody holds once faults stop.

``scripts/chaos`` plays as many more as asked, and makes a failing one small.
"""

import hashlib
import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from bota_gateway.cloud.breaker import Breaker
from bota_gateway.model import Recording
from bota_gateway.protocol.control import confirm_command
from bota_gateway.protocol.errors_on_wire import STORAGE_KEY_UNAVAILABLE
from bota_gateway.protocol.recording_list import recording_id
from bota_gateway.sim.cloud import Fault as CloudFault
from bota_gateway.sim.cloud import S3Refusal
from bota_gateway.sim.faults import Fault, FaultKind
from bota_gateway.sync import visit
from bota_gateway.sync.plan import Plan, make_plan
from bota_gateway.sync.pull import Transfer
from bota_gateway.sync.visit import Visit
from bota_gateway.upload import creating
from bota_gateway.upload.creating import Creating
from bota_gateway.upload.finding import Finding
from support.chaos.at_cloud import CloudMisbehaves, KeyRefused
from support.chaos.at_recorders import Away, RecorderFault
from support.chaos.draw import draw
from support.chaos.happening import Happening
from support.chaos.run import run, shrink
from support.chaos.schedule import HOURS, Schedule
from support.chaos.setup import Recorded
from support.chaos.world import ChaosWorld

SEEDS: Final = 160
"""Schedules in the suite, about half a second each."""

BATCH: Final = 4
"""Of one test: many small ones spread over all cores."""

PIN: Final = "PIN0000001"
ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("first", range(1, SEEDS + 1, BATCH))
def test_custody_holds_under_random_faults(first: int) -> None:
    """Afterwards everything is in the cloud once and deleted on its recorder, or waits for a human with a reason."""
    broken = {seed: wrongs for seed in range(first, first + BATCH) if (wrongs := run(draw(seed)).wrongs)}
    assert not broken, f"scripts/chaos --seed {next(iter(broken))} plays and shrinks the first"


# -- seeds -------------------------------------------------------------------------------------------------------------


def test_a_seed_is_always_the_same_schedule() -> None:
    """What is drawn depends on the seed alone, so a failing seed can be played anywhere."""
    assert [draw(seed) for seed in range(50)] == [draw(seed) for seed in range(50)]
    assert len({str(draw(seed)) for seed in range(50)}) == 50


def test_a_seed_goes_the_same_way_in_every_process() -> None:
    """Every line of the log, every word to a recorder and every effect comes again, at the same time, for any seed."""
    course = "".join(run(draw(seed)).course for seed in (5, 6))
    command = [sys.executable, "scripts/chaos.py", "--start", "5", "--seeds", "2", "--jobs", "1"]
    env = os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout  # noqa: S603 - ours
    assert told.rstrip().endswith(f"course {hashlib.sha256(course.encode()).hexdigest()[:12]}")


def test_a_failing_schedule_shrinks_to_what_matters() -> None:
    """Of many happenings those stay without which it would not fail."""
    needed = _recorded("00000007"), _recorded("00000011")
    many = [_recorded(f"{number:08x}") for number in range(40)]
    smallest = shrink(_schedule(*many), lambda schedule: set(needed) <= set(schedule.happenings))
    assert smallest.happenings == needed


# -- the catalogues ----------------------------------------------------------------------------------------------------


def test_everything_that_can_happen_is_drawn() -> None:
    """No kind of happening, and no fault that the catalogue of the simulators names, is left out."""
    drawn = Counter[str]()
    for seed in range(1500):
        for one in draw(seed).happenings:
            drawn[type(one).__name__] += 1
            match one:
                case RecorderFault(fault=Fault(kind=kind)):
                    drawn[kind] += 1
                case CloudMisbehaves(fault=S3Refusal(refusal=refusal)):
                    drawn.update(("s3_refusal", refusal))
                case CloudMisbehaves(fault=fault):
                    drawn[fault.kind] += 1
                case _:
                    pass
    kinds = {kind.__name__ for kind in Happening.__subclasses__() if kind.__module__.startswith("support.chaos")}
    cloud_faults = {fault.model_fields["kind"].default for fault in get_args(CloudFault)}
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/faults.md").read_text(), re.MULTILINE))
    assert documented == {*FaultKind, *cloud_faults}
    assert {*kinds, *documented, *get_args(S3Refusal.model_fields["refusal"].annotation)} <= set(drawn)


# -- it can fail -------------------------------------------------------------------------------------------------------


def _acknowledges_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    capture = Transfer._capture

    async def told_first(self: Transfer, *about: Any) -> Recording:
        await self._write(self.receiver.acknowledge())
        return await capture(self, *about)

    patch.setattr(Transfer, "_capture", told_first)


def _confirms_before_the_cloud_has_it(patch: pytest.MonkeyPatch) -> None:
    def too_much(*rows: Any, **more: Any) -> Plan:
        plan = make_plan(*rows, **more)
        return replace(plan, confirm=plan.confirm + plan.uploading)

    async def confirm(self: Visit, rows: Sequence[Recording]) -> None:
        for row in rows:
            command = confirm_command(recording_id(row.key.file_id))
            await self._link.write(command.characteristic, command.value)
            self.confirmed.add(row.id)

    patch.setattr(visit, "make_plan", too_much)
    patch.setattr(Visit, "_confirm", confirm)


def _creates_again_without_a_look(patch: pytest.MonkeyPatch) -> None:
    keys = itertools.count()

    async def nothing(*_about: Any) -> list[Any]:
        return []

    patch.setattr(creating, "idempotency_key", lambda *_about: f"another-{next(keys)}")
    patch.setattr(Finding, "after_lost_answer", nothing)
    patch.setattr(Creating, "_may_repeat", nothing)


def _tries_a_refused_key_with_every_call(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "may_go", lambda _self, _now: True)


@pytest.mark.parametrize(
    ("plant", "matters_with", "finding"),
    [
        (_acknowledges_before_it_is_durable, Happening, "acknowledged_too_early"),
        (_confirms_before_the_cloud_has_it, Happening, "confirmed_too_early"),
        (_creates_again_without_a_look, Happening, "doubled"),
        (_tries_a_refused_key_with_every_call, KeyRefused, "a storm of"),
    ],
)
def test_a_mistake_is_found_within_few_seeds(
    plant: Callable[[pytest.MonkeyPatch], None],
    matters_with: type[Happening],
    finding: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway that breaks a promise on purpose does not get through the first thirty seeds."""
    plant(monkeypatch)
    schedules = (draw(seed) for seed in range(1, 31))
    played = (run(one) for one in schedules if any(isinstance(each, matters_with) for each in one.happenings))
    assert any(wrong.startswith(finding) for outcome in played for wrong in outcome.wrongs)


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
