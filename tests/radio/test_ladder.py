from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.radio.const import (
    PATIENCE,
    POWER_AGAIN,
    RESTARTS_AT_MOST,
    RESTARTS_FIRST,
    SILENT_S,
)
from bota_gateway.radio.ladder import Evidence, Ladder, Rung

CROWD = Evidence("5 devices fell silent at once", certain=True)
DAY_S = 86_400.0


def climb(
    ladder: Ladder, until: float, *, evidence: Evidence | None, may_power: bool = True, since: float = 0.0
) -> list[tuple[float, Rung]]:
    """The rungs of a silence that lasts until then, each with its time."""
    rungs = []
    now = since
    while (now := now + ladder.patience) <= until:
        rungs.append((now, ladder.silent(now, evidence, may_power=may_power)))
    return rungs


def times(rungs: list[tuple[float, Rung]], rung: Rung) -> list[float]:
    return [at for at, climbed in rungs if climbed is rung]


def test_with_evidence_the_adapter_is_switched_off_and_on_within_minutes() -> None:
    """Two restarts, then power, then a person; nothing is switched before restarting was tried."""
    rungs = [rung for _, rung in climb(Ladder(), 5 * SILENT_S, evidence=CROWD)]
    assert rungs == [*[Rung.RESTART] * RESTARTS_FIRST, Rung.POWER_CYCLE, Rung.TELL]


def test_without_evidence_it_takes_ten_times_as_long() -> None:
    """A hub alone in a field hears nothing, and nothing is wrong with it."""
    rungs = climb(Ladder(), DAY_S, evidence=None)
    assert [rung for _, rung in rungs[:RESTARTS_AT_MOST]] == [Rung.RESTART] * RESTARTS_AT_MOST
    assert 1800 < times(rungs, Rung.POWER_CYCLE)[0] < 3600


def test_a_hub_alone_in_a_field_does_not_cycle_for_ever() -> None:
    """In a month of silence the adapter is switched off and on about once a day, and a person is told once."""
    rungs = climb(Ladder(), 30 * DAY_S, evidence=None)
    assert 30 <= len(times(rungs, Rung.POWER_CYCLE)) <= 40
    assert len(times(rungs, Rung.TELL)) == 1
    assert len(rungs) <= 30 * DAY_S / PATIENCE.longest_s + RESTARTS_AT_MOST + 1


def test_where_switching_is_forbidden_a_person_is_told_instead() -> None:
    """Links in use, or a setting: restarts go on."""
    rungs = climb(Ladder(), DAY_S, evidence=CROWD, may_power=False)
    assert not times(rungs, Rung.POWER_CYCLE)
    assert times(rungs, Rung.TELL) == [rungs[RESTARTS_FIRST][0]]


def test_the_wait_between_two_switchings_outlives_the_silence() -> None:
    """An adapter that goes deaf every ten minutes is not switched off every ten minutes."""
    ladder = Ladder()
    (first,) = times(climb(ladder, 4 * SILENT_S, evidence=CROWD), Rung.POWER_CYCLE)
    assert ladder.heard() is Rung.TELL
    again = climb(ladder, first + POWER_AGAIN.first_s - 1, evidence=CROWD, since=first + 60)
    assert not times(again, Rung.POWER_CYCLE)
    ladder.heard()
    assert times(climb(ladder, DAY_S, evidence=CROWD, since=first + POWER_AGAIN.first_s), Rung.POWER_CYCLE)


def test_a_sound_sets_everything_back_and_tells_what_was_climbed() -> None:
    """The next silence begins with a restart after the shortest patience."""
    ladder = Ladder()
    assert ladder.heard() is None
    climb(ladder, DAY_S, evidence=None)
    assert ladder.patience == PATIENCE.longest_s
    assert ladder.heard() is Rung.TELL
    assert (ladder.patience, ladder.climbed) == (SILENT_S, None)
    assert ladder.silent(2 * DAY_S, CROWD, may_power=True) is Rung.RESTART


@given(st.lists(st.tuples(st.floats(0, 2 * DAY_S), st.booleans(), st.booleans(), st.booleans()), max_size=200))
def test_power_is_never_switched_more_often_than_its_back_off_allows(
    happenings: list[tuple[float, bool, bool, bool]],
) -> None:
    """Whatever is heard or not in between; nor where it may not, nor before a restart in the same silence."""
    ladder, now = Ladder(), 0.0
    switched: list[float] = []
    restarted = False
    for rest, heard, has_evidence, may_power in happenings:
        now += rest
        if heard:
            ladder.heard()
            restarted = False
            continue
        now += ladder.patience
        rung = ladder.silent(now, CROWD if has_evidence else None, may_power=may_power)
        assert SILENT_S <= ladder.patience <= PATIENCE.longest_s
        if rung is Rung.POWER_CYCLE:
            assert may_power
            assert restarted
            switched.append(now)
        restarted = True
    assert all(after - before >= POWER_AGAIN.first_s for before, after in pairwise(switched))
