from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.model import Binding, CaptureKey, Custody, Membership, Recording
from bota_gateway.sync.plan import Plan, make_plan
from bota_gateway.sync.schedule import LONGEST_RECORDING_WAIT_S

NOW = 1_800_000_000.0


def row(number: int = 1, **changes: object) -> Recording:
    listed = Recording(
        id=number,
        key=CaptureKey("BOTA000001", f"{number:08x}", 1_700_000_000 + number),
        take=0,
        duration_s=10,
        size_kib=40,
        encrypted_at_rest=False,
        state=Custody.LISTED,
        size_bytes=None,
        sha256=None,
        device_sha256=None,
        binding=Binding(Membership.BOUND),
        idempotency_key=None,
        create_intended_at=None,
        cloud_id=None,
        verified=None,
        attempts=0,
        next_attempt_at=None,
        waiting_for=None,
        waiting_detail=None,
        parked_reason=None,
        parked_from=None,
        listed_at=NOW,
        captured_at=None,
        stored_at=None,
        confirmed_at=None,
    )
    return replace(listed, **changes)  # type: ignore[arg-type]  # keywords of the dataclass, checked when run


def plan(*rows: Recording, may_confirm: bool = True) -> Plan:
    return make_plan(rows, now=NOW, may_confirm=may_confirm)


def test_new_recordings_are_pulled_oldest_first() -> None:
    """What is new is pulled, in the order of its start."""
    old, new = row(1), row(2)
    assert plan(new, old).pull == (old, new)


def test_a_wait_is_over_when_the_clock_stands_before_its_beginning() -> None:
    """A transfer that failed waits its minute, and not an hour because the clock was set back by one."""
    waits = row(next_attempt_at=NOW + 60, waiting_since=NOW, waiting_for="transfer_silent")
    assert make_plan([waits], now=NOW + 30, may_confirm=True).held
    assert make_plan([waits], now=NOW + 60, may_confirm=True).pull
    assert make_plan([waits], now=NOW - 3600, may_confirm=True).pull


def test_a_transfer_that_was_cut_off_is_pulled_again() -> None:
    """A row left in receiving is as good as listed: version 1 can't resume."""
    cut = row(state=Custody.RECEIVING)
    assert plan(cut).pull == (cut,)


def test_a_recording_of_unknown_start_does_not_push_in() -> None:
    """Start 0 means that the recorder's clock was not set, not that the recording is the oldest."""
    unknown = row(1, key=CaptureKey("BOTA000001", "00000001", 0))
    known = row(2)
    assert plan(unknown, known).pull == (known, unknown)


def test_a_recording_that_failed_lets_others_go_first() -> None:
    """One bad recording does not hold up the good ones behind it."""
    failed, fine = row(1, attempts=1), row(2)
    assert plan(failed, fine).pull == (fine, failed)


def test_a_failed_recording_waits_for_its_time() -> None:
    """Before its next attempt is due a recording is held, with the code, the words and the time."""
    waiting = row(next_attempt_at=NOW + 60, waiting_for="transfer_silent", waiting_detail="no first packet")
    result = plan(waiting)
    assert not result.pull
    [held] = result.held
    assert (held.code, held.detail, held.until) == ("transfer_silent", "no first packet", NOW + 60)


@pytest.mark.parametrize("wait", [0.0, -5.0, LONGEST_RECORDING_WAIT_S + 1])
def test_a_wait_that_is_over_or_impossible_holds_nothing_up(wait: float) -> None:
    """A time that has come, or one so far away that the clock must have been set back, means: now."""
    due = row(next_attempt_at=NOW + wait)
    assert plan(due).pull == (due,)


@pytest.mark.parametrize("state", [Custody.STORED, Custody.CONFIRMING])
def test_what_the_cloud_has_is_confirmed(state: Custody) -> None:
    """Stored is confirmed; confirming and still listed is confirmed again, since the first write may be lost."""
    safe = row(state=state)
    assert plan(safe).confirm == (safe,)


@pytest.mark.parametrize("state", [Custody.STORED, Custody.CONFIRMING])
def test_confirm_never_is_respected(state: Custody) -> None:
    """With recorders.confirm = never the recorder keeps its copy, and the plan says why."""
    result = plan(row(state=state), may_confirm=False)
    assert not result.confirm
    assert [held.code for held in result.held] == ["recording_confirm_never"]


@pytest.mark.parametrize("state", [Custody.CAPTURED, Custody.CREATED, Custody.PUT, Custody.COMPLETING])
def test_what_is_on_its_way_to_the_cloud_is_neither_pulled_nor_confirmed(state: Custody) -> None:
    """Captured but not stored: the link may linger for it, nothing else."""
    uploading = row(state=state)
    assert plan(uploading) == Plan(uploading=(uploading,))


def test_a_parked_recording_is_left_with_its_reason() -> None:
    """Parked needs a human; the visit neither pulls nor confirms it."""
    result = plan(row(state=Custody.PARKED, parked_reason="transfer_needs_v2", waiting_detail="needs version 2"))
    assert (result.pull, result.confirm) == ((), ())
    assert [held.code for held in result.held] == ["transfer_needs_v2"]


@given(
    states=st.lists(st.sampled_from(Custody), max_size=12),
    may_confirm=st.booleans(),
)
def test_only_what_the_cloud_has_is_ever_confirmed(states: list[Custody], may_confirm: bool) -> None:
    """Whatever is listed: confirmed is only stored or confirming, pulled only what is not here, each at most once."""
    rows = [row(number, state=state) for number, state in enumerate(states, start=1)]
    result = plan(*rows, may_confirm=may_confirm)
    assert all(each.state in {Custody.STORED, Custody.CONFIRMING} for each in result.confirm)
    assert all(each.state in {Custody.LISTED, Custody.RECEIVING} for each in result.pull)
    planned = [*result.pull, *result.confirm, *result.uploading, *(held.recording for held in result.held)]
    assert len({each.id for each in planned}) == len(planned)
    gone = {Custody.CONFIRMED, Custody.FORGOTTEN}
    assert {each.id for each in planned} == {each.id for each in rows if each.state not in gone}
