import pytest

from bota_gateway.model import Custody
from bota_gateway.spool.custody import (
    ARCS,
    BEGINNING,
    DURABLE,
    LINES,
    STATES,
    TO_UPLOAD,
    WITH_AUDIO,
    Arc,
    Happened,
    Step,
    allowed,
    sources_of,
)

OF_RECORDERS = {Step.NOTE_RECORDER, Step.NOTE_STATUS, Step.SCHEDULE_VISIT}


def reachable(beginning: Custody) -> set[Custody]:
    seen: set[Custody] = set()
    found = {beginning}
    while found - seen:
        state = (found - seen).pop()
        seen.add(state)
        found |= {target for target in Custody for step in Step if allowed(step, state, target)}
    return seen


def test_every_state_has_its_words() -> None:
    """Each state says what it means and what is durable before it."""
    assert set(STATES) == set(Custody)


def test_every_line_of_a_timeline_has_its_words() -> None:
    """Technicians can look up each line."""
    assert set(LINES) == set(Happened)


def test_every_state_can_be_reached() -> None:
    """No state is drawn that nothing leads to."""
    assert reachable(BEGINNING) == set(Custody)


@pytest.mark.parametrize("state", sorted(Custody))
def test_no_state_is_a_trap(state: Custody) -> None:
    """From every state a recording can still come to its end."""
    assert Custody.FORGOTTEN in reachable(state)


def test_nothing_is_told_to_be_deleted_before_the_cloud_has_it() -> None:
    """Confirming is entered only from stored, from itself, or when a capture that was confirmed shows up again."""
    before = {source for source in Custody for step in Step if allowed(step, source, Custody.CONFIRMING)} - {
        Custody.CONFIRMING
    }
    assert before == {Custody.STORED, Custody.CONFIRMED, Custody.FORGOTTEN}
    before = {source for source in Custody for step in Step if allowed(step, source, Custody.STORED)} - {Custody.STORED}
    assert before <= TO_UPLOAD


def test_captured_is_entered_only_by_capture() -> None:
    """Only a whole transfer becomes a capture; other ways in come from states that were captured."""
    for step in Step:
        for source in set(Custody) - WITH_AUDIO - {Custody.PARKED}:
            assert not allowed(step, source, Custody.CAPTURED) or step is Step.CAPTURE


@pytest.mark.parametrize("arc", ARCS, ids=lambda arc: f"{arc.step}-{arc.target}")
def test_steps_that_promise_something_are_durable(arc: Arc) -> None:
    """Whatever leads to a state in which bytes or permissions depend on the row is synced."""
    promises = WITH_AUDIO | {Custody.CONFIRMED, Custody.FORGOTTEN, Custody.PARKED}
    assert arc.durable or arc.target not in promises


def test_each_step_is_in_the_table_or_about_recorders() -> None:
    """A new step must say which states it may be taken from."""
    without = {step for step in Step if not sources_of(step)}
    assert without == OF_RECORDERS | {Step.SWEEP, Step.PROVE, Step.COUNT, Step.PAUSE}
    assert without & DURABLE == {Step.PROVE, Step.PAUSE}
