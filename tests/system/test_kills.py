"""The real daemon ended at any moment, by SIGKILL and by SIGTERM, while recorders and cloud go on without it."""

import re
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from support.killing import MOVING, NOTHING, SIGNS, SLOWLY, Blows, plan
from support.place import Place
from support.spool_versions import make_version_1

TESTS = 8
"""Of one kill for each sign: 104 in all, spread over as many workers as there are."""
SIZES = (30_000, 70_000, 50_000, 90_000, 40_000, 60_000)
"""Of what each of two recorders holds at first."""
KILOBYTES_PER_S = 120
UNIT = Path(__file__).parents[2] / "systemd" / "bota-gateway.service"

pytestmark = pytest.mark.timeout(300)  # under a minute each on an idle machine

Record = Callable[[str, object], None]


@pytest.fixture
async def blows(tmp_path: Path) -> AsyncIterator[Blows]:
    """Two recorders with work for every life, and a cloud that takes its time."""
    async with Place.open(
        tmp_path, (), made=SIZES, recorders=2, kilobytes_per_s=KILOBYTES_PER_S, watched=True
    ) as place:
        for rule in SLOWLY:
            await place.control("POST", "/faults", rule)
        yield Blows(place)


@pytest.mark.parametrize("number", range(TESTS))
async def test_killed_at_any_moment_it_breaks_no_promise(
    blows: Blows, number: int, pytestconfig: pytest.Config, record_property: Record
) -> None:
    """After SIGKILL at each stage of its work a last life brings everything home, once, and as promised."""
    seed = f"{pytestconfig.getoption('kill_seed')}/{number}"
    if number % 2:
        make_version_1(blows.spool, [])
    for blow in plan(seed):
        assert (await blows.strike(blow, signal.SIGKILL))[0] == -signal.SIGKILL, blows.lives[-1].said
    violations = await blows.leave_alone()
    assert violations == [], f"--kill-seed of {seed}"
    record_property("kills", len(SIGNS))
    for state, times in blows.struck.items():
        record_property(f"killed_at {state}", times)
    assert_work_was_under_way(blows)


async def test_stopped_at_any_moment_it_ends_in_time_and_loses_nothing(
    blows: Blows, pytestconfig: pytest.Config
) -> None:
    """SIGTERM at each stage: exit code 0 within the time that the service's unit gives; later all is brought home."""
    seed = f"{pytestconfig.getoption('kill_seed')}/stop"
    for blow in plan(seed, [sign for sign in SIGNS if sign != "starting"]):
        code, took = await blows.strike(blow, signal.SIGTERM)
        assert (code, took < stop_time_s()) == (0, True), f"{blow} of {seed}: {took} s\n{blows.lives[-1].said}"
        assert "Traceback" not in blows.lives[-1].said
    assert await blows.leave_alone() == [], f"--kill-seed of {seed}"
    assert_work_was_under_way(blows)


async def test_stopped_before_it_listens_to_signals_it_dies_of_it(blows: Blows) -> None:
    """While Python still starts, SIGTERM ends it as any program, which counts as clean for systemd; nothing is lost."""
    blow = next(blow for blow in plan("now") if blow.sign == "starting")
    code, _ = await blows.strike(blow, signal.SIGTERM)
    assert code in {0, -signal.SIGTERM}
    assert await blows.leave_alone() == []


def assert_work_was_under_way(blows: Blows) -> None:
    """What struck an idle daemon would show nothing."""
    lives = len(blows.lives) - 1
    assert blows.struck[NOTHING] <= lives // 2
    assert len(MOVING & blows.struck.keys()) >= 4
    assert len(blows.missed) <= lives // 3, blows.missed


def stop_time_s() -> float:
    """What systemd waits for after SIGTERM before it kills."""
    (seconds,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", UNIT.read_text())
    return float(seconds)
