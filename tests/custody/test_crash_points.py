"""The gateway dies at every point of every scenario, starts again, and custody holds."""

from collections.abc import Callable

import pytest

from support.crash_run import again, faultless, run
from support.crash_world import Death, Scenario
from support.custody_scenarios import SCENARIOS
from support.effects import KINDS, moments_of

pytestmark = pytest.mark.timeout(600)

SHARES = 4
"""Tests per scenario, so that several workers share its points."""

AGAIN, AGAIN_WITHIN = 17, 60
"""The second of two deaths: at every so-manieth point of the second life, among the first that many."""

ELSEWHERE = {
    "spool prove": "needs a failing disk: tests/spool/test_crash.py dies around it",
    "spool count": "needs an adapter in trouble: tests/spool/test_crash.py dies around it",
    "spool pause": "needs a person: tests/spool/test_crash.py dies around it",
}
"""Effects that no scenario here has, and who tries them instead."""

Record = Callable[[str, object], None]
scenarios = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())


@scenarios
@pytest.mark.parametrize("share", range(SHARES))
def test_dying_at_any_point_breaks_no_promise(
    scenario: Scenario, share: int, record_property: Record, pytestconfig: pytest.Config
) -> None:
    """Wherever the gateway dies, the next life brings every recording into the cloud, once and whole, and no more.

    A death at two points between which nothing changed on disk, in the cloud, on a recorder or on the way is the same
    death: it is tried once, at the first of them, unless ``--every-crash-point`` asks for all.
    """
    expected = faultless(scenario)
    chosen = expected.points if pytestconfig.getoption("every_crash_point") else expected.distinct
    mine = chosen[share::SHARES]
    record_property("crash_points", len(expected.points[share::SHARES]))
    record_property("crash_runs", len(mine))
    broken = [told for point in mine if (told := _broken_by(scenario, point))]
    assert not broken, "\n\n".join(broken)


@pytest.mark.parametrize("name", ["plain", "a lost create", "lost answers", "a confirm that is lost, then ignored"])
@pytest.mark.parametrize("share", range(SHARES))
def test_dying_again_breaks_no_promise_either(name: str, share: int, record_property: Record) -> None:
    """A second death strikes the next life while it cleans up after the first, each time somewhere else."""
    scenario = SCENARIOS[name]
    deaths = [(point, 1 + number * AGAIN % AGAIN_WITHIN) for number, point in enumerate(faultless(scenario).distinct)]
    mine = deaths[share::SHARES]
    record_property("crash_twice", len(mine))
    broken = [told for first, second in mine if (told := _broken_by(scenario, first, second))]
    assert not broken, "\n\n".join(broken)


def _broken_by(scenario: Scenario, *deaths: Death) -> str:
    """What these deaths broke; empty when nothing."""
    outcome = run(scenario, *deaths)
    wrong = [str(violation) for violation in outcome.violations]
    wrong += [f"unknown effect: {kind}" for kind in outcome.unknown_effects]
    if outcome.lives == 1:
        wrong.append("the point was not reached")
    where = " and ".join(map(str, deaths))
    told = [f"{scenario.name}, dead at {where}:", *wrong, f"again: {again(scenario, deaths)}", outcome.told]
    return "\n  ".join(told) if wrong else ""


@scenarios
def test_without_a_death_each_scenario_keeps_every_promise(scenario: Scenario) -> None:
    """What a death is compared with: nothing is broken, and nothing happens that stands on no list."""
    outcome = faultless(scenario)
    assert (outcome.violations, outcome.unknown_effects, outcome.lives) == ([], set(), 1), outcome.told


def test_the_scenarios_have_every_effect_there_is() -> None:
    """Each kind of request, write and transaction comes in some scenario, with all its moments."""
    found = {(point.kind, point.moment) for scenario in SCENARIOS.values() for point in faultless(scenario).points}
    assert found == {(kind, moment) for kind in KINDS - ELSEWHERE.keys() for moment in moments_of(kind)}


def test_a_run_is_the_same_every_time() -> None:
    """Points are found again by their names, so a failure can be looked at as often as needed."""
    first, second = (run(SCENARIOS["two recorders at once"], marking=True) for _ in range(2))
    assert first.points == second.points
    assert first.distinct == second.distinct
