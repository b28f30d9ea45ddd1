from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.config import RecorderSettings, VisitSettings
from bota_gateway.errors import (
    AdapterError,
    ConnectError,
    ConnectKind,
    GatewayError,
    GattError,
    LinkLostError,
    ListError,
    PairingError,
)
from bota_gateway.model import Binding, Membership, RecorderRecord
from bota_gateway.sync.reasons import NOT_SERVED, Reason
from bota_gateway.sync.schedule import LONGEST_BACKOFF_S, Findings, backoff_after, due_in, interval_after, is_served

NOW = 1_800_000_000.0
VISITS = VisitSettings()


def record(**changes: object) -> RecorderRecord:
    visited = RecorderRecord(
        serial="BOTA000001",
        address="C0:00:00:00:00:01",
        name="Bota Pin",
        firmware="1.0.19",
        binding=Binding(Membership.BOUND),
        binding_checked_at=NOW,
        battery_percent=80,
        charging=False,
        storage_used_mb=10,
        storage_total_mb=100,
        pending=0,
        recording_now=False,
        rssi=-60,
        first_seen_at=NOW - 86_400,
        last_seen_at=NOW - 100,
        last_visit_at=NOW - 100,
        next_visit_at=NOW + 200,
        waiting_for=None,
        waiting_detail=None,
        attempts=0,
    )
    return replace(visited, **changes)  # type: ignore[arg-type]  # keywords of the dataclass, checked when run


def due(
    known: RecorderRecord,
    *,
    here_for: float = 3600,
    to_confirm: bool = False,
    recorders: RecorderSettings | None = None,
) -> float:
    return due_in(
        known,
        now=NOW,
        here_for=here_for,
        to_confirm=to_confirm,
        visits=VISITS,
        recorders=recorders or RecorderSettings(),
    )


def test_a_recorder_without_a_time_of_its_own_is_due_since_it_came() -> None:
    """A visit that was cut off by a stop left no time: visited at once, waiting for as long as it has been here."""
    assert due(record(next_visit_at=None), here_for=7) == -7


def test_a_recorder_waits_for_its_time() -> None:
    """In range all along, a recorder is visited when its interval is over."""
    assert due(record()) == 200


def test_coming_into_range_makes_it_due() -> None:
    """A recorder that was away is visited when it comes, whatever the interval says."""
    assert due(record(last_visit_at=NOW - 1000, next_visit_at=NOW + 500), here_for=1) == -1


def test_flickering_at_the_edge_of_range_does_not_bring_visit_after_visit() -> None:
    """Between two visits for coming into range lies the shortest interval."""
    assert due(record(last_visit_at=NOW - 20), here_for=1) == VISITS.shortest_s - 20


def test_something_to_confirm_shortens_the_wait() -> None:
    """When the cloud has what the recorder still holds, it may delete soon: storage is what it is short of."""
    assert due(record(last_visit_at=NOW - 20), to_confirm=True) == VISITS.shortest_s - 20


def test_a_low_battery_is_not_bothered_for_a_confirm() -> None:
    """A recorder spared for its battery is not visited earlier to let it delete something."""
    assert due(record(waiting_for=Reason.LOW_BATTERY), to_confirm=True) == 200


@pytest.mark.parametrize("reason", sorted(NOT_SERVED))
def test_what_is_none_of_ours_is_not_visited_for_coming_by(reason: Reason) -> None:
    """A stranger or a denied recorder that comes and goes is left alone until its re-check is due."""
    known = record(
        waiting_for=reason,
        binding=Binding(Membership.STRANGER),
        last_visit_at=NOW - 5000,
        next_visit_at=NOW + 80_000,
    )
    assert due(known, here_for=1, recorders=RecorderSettings(deny=("BOTA000001",))) == 80_000


def test_a_failing_recorder_is_not_retried_for_coming_by() -> None:
    """Back-off holds even when it flickers in and out of range, which is why it may be failing."""
    assert due(record(attempts=2, last_visit_at=None), here_for=1) == 200


@pytest.mark.parametrize(
    "known",
    [
        record(waiting_for=Reason.STRANGER, next_visit_at=NOW + 80_000),
        record(waiting_for=Reason.UNRESOLVED),
        record(waiting_for=Reason.DENIED, next_visit_at=NOW + 80_000),
        record(waiting_for=Reason.NOT_ALLOWED, next_visit_at=NOW + 80_000),
    ],
)
def test_a_reason_that_is_gone_makes_it_due(known: RecorderRecord) -> None:
    """Registered since, resolved since, or no longer denied: visited at once."""
    assert due(known, here_for=50) == -50


@pytest.mark.parametrize("reason", [None, Reason.STRANGER, "radio_gatt_failed"])
def test_a_clock_set_back_does_not_put_visits_off_for_years(reason: str | None) -> None:
    """A wait longer than any that is ever asked for shows that the clock was set back: due now."""
    known = record(
        waiting_for=reason, binding=Binding(Membership.STRANGER), attempts=1, next_visit_at=NOW + 50 * 365 * 86_400
    )
    assert due(known, here_for=9) == -9


def test_nobody_has_waited_longer_than_he_was_here() -> None:
    """A recorder that was away for a day does not go before one that has waited here for minutes."""
    assert due(record(last_visit_at=NOW - 90_000, next_visit_at=NOW - 86_400), here_for=5) == -5
    assert due(record(next_visit_at=NOW - 300), here_for=3600) == -300


def test_the_interval_stretches_while_it_has_nothing() -> None:
    """Each idle visit doubles the interval, up to the longest."""
    delays = [interval_after(Findings(had_nothing=True), idle, VISITS) for idle in range(1, 6)]
    assert delays == [600, 1200, 1800, 1800, 1800]


def test_a_visit_that_brought_something_goes_back_to_the_interval() -> None:
    """Where there was one recording there may soon be another."""
    assert interval_after(Findings(), 0, VISITS) == VISITS.interval_s


@pytest.mark.parametrize("findings", [Findings(recording_now=True), Findings(storage_used=0.9)])
def test_the_interval_shrinks_while_it_records_or_is_nearly_full(findings: Findings) -> None:
    """Something will be there to pull soon, or must be pulled soon."""
    assert interval_after(replace(findings, had_nothing=True), 3, VISITS) == VISITS.shortest_s


@pytest.mark.parametrize(
    ("reason", "seconds"),
    [
        (Reason.STRANGER, VISITS.stranger_recheck_s),
        (Reason.DENIED, VISITS.stranger_recheck_s),
        (Reason.NOT_ALLOWED, VISITS.stranger_recheck_s),
        (Reason.LOW_BATTERY, VISITS.longest_s),
        (Reason.NEEDS_V2, VISITS.longest_s),
        (Reason.TIME_UP, VISITS.shortest_s),
        (Reason.SYNC_ACTIVE, VISITS.interval_s),
        (Reason.UNRESOLVED, VISITS.interval_s),
        (Reason.SPOOL_FULL, VISITS.interval_s),
    ],
)
def test_each_reason_has_its_interval(reason: Reason, seconds: float) -> None:
    """How soon a recorder is visited again follows from why it was left, not from how it idles or records."""
    assert interval_after(Findings(reason=reason, had_nothing=True), 4, VISITS) == seconds


FAILURES: list[GatewayError] = [
    *(ConnectError("no", kind=kind) for kind in ConnectKind),
    AdapterError("no"),
    LinkLostError("no"),
    GattError("no", code="radio_gatt_timeout"),
    PairingError("x"),
    ListError("no"),
    GatewayError("no"),
]


@given(error=st.sampled_from(FAILURES), failures=st.integers(1, 10_000), seed=st.integers())
def test_back_off_grows_and_stays_bounded(error: GatewayError, failures: int, seed: int) -> None:
    """Every failure has an endless, jittered back-off below what shows a clock set back."""
    delay = backoff_after(error, failures, Random(seed))
    assert 0 < delay < LONGEST_BACKOFF_S
    assert delay >= backoff_after(error, 1, Random(seed))


def test_back_off_follows_the_kind_of_failure() -> None:
    """A refused pairing waits for a human; a passing mood of BlueZ is over in seconds."""
    refused = ConnectError("no", kind=ConnectKind.AUTHENTICATION)
    passing = ConnectError("no", kind=ConnectKind.TRANSIENT)
    assert backoff_after(refused, 1, Random(1)) > 60 * backoff_after(passing, 1, Random(1))
    assert backoff_after(PairingError("no"), 1, Random(1)) == backoff_after(refused, 1, Random(1))


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        (RecorderSettings(), None),
        (RecorderSettings(deny=("A",)), Reason.DENIED),
        (RecorderSettings(allow=("A",), deny=("A",)), Reason.DENIED),
        (RecorderSettings(allow=("B",)), Reason.NOT_ALLOWED),
        (RecorderSettings(allow=("A",)), None),
    ],
)
def test_allow_and_deny(settings: RecorderSettings, answer: Reason | None) -> None:
    """Deny beats allow; an empty allow serves all."""
    assert is_served("A", settings) is answer
