import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.protocol.recording_list import (
    MAX_ENTRIES,
    ListCollector,
    ListEntry,
    ListOptions,
    ListOutcome,
    encode_list_notification,
)

OPTIONS = ListOptions()
ENTRIES = tuple(ListEntry(f"{number:08x}", number % 2, 1_700_000_000 + number, 10, 4) for number in range(1, 31))


def collected(*notifications: bytes) -> ListOutcome:
    """What these notifications come to, a tenth of a second apart, and then silence."""
    collector = ListCollector(OPTIONS)
    collector.started(0.0)
    for number, notification in enumerate(notifications):
        collector.receive(notification, number / 10)
    collector.tick(collector.deadline)
    assert collector.outcome is not None
    return collector.outcome


def test_one_notification_with_its_count_ends_the_list_at_once() -> None:
    """As many entries as were announced are here: no need to wait."""
    collector = ListCollector(OPTIONS)
    collector.started(0.0)
    collector.receive(encode_list_notification(ENTRIES[:3], count_byte=3), 0.1)
    assert collector.outcome == ListOutcome(
        ENTRIES[:3],
        count_byte=3,
        complete=True,
        nothing_heard=False,
        duplicates=0,
        rubbish=0,
        contradictory=frozenset(),
        ended_by="count",
    )
    assert collector.deadline == math.inf


def test_the_count_is_of_the_whole_list() -> None:
    """It is reached over several notifications, whether or not each carries it."""
    collector = ListCollector(OPTIONS)
    collector.started(0.0)
    collector.receive(encode_list_notification(ENTRIES[:20], count_byte=30), 0.1)
    assert collector.outcome is None
    collector.receive(encode_list_notification(ENTRIES[20:25]), 0.2)
    assert collector.outcome is None
    collector.receive(encode_list_notification(ENTRIES[25:], count_byte=30), 0.3)
    assert collector.outcome is not None
    assert collector.outcome.entries == ENTRIES
    assert collector.outcome.ended_by == "count"


def test_without_a_count_silence_ends_the_list() -> None:
    """The quiet time runs from the last notification."""
    collector = ListCollector(OPTIONS)
    collector.started(0.0)
    for number, entry in enumerate(ENTRIES[:3]):
        collector.receive(encode_list_notification([entry]), 0.5 * number)
        collector.tick(0.5 * number)
    assert collector.deadline == pytest.approx(1.0 + OPTIONS.quiet_s)
    collector.tick(collector.deadline)
    assert collector.outcome is not None
    assert (collector.outcome.ended_by, collector.outcome.complete) == ("quiet", True)
    assert collector.outcome.entries == ENTRIES[:3]


def test_silence_before_the_count_is_reached_is_an_incomplete_list() -> None:
    """Entries that were announced and did not come may still be there: nothing may be concluded from their absence."""
    outcome = collected(encode_list_notification(ENTRIES[:2], count_byte=3))
    assert (outcome.ended_by, outcome.complete) == ("quiet", False)


def test_a_list_that_never_falls_silent_ends_in_time() -> None:
    """The total time ends it, incomplete, even if the caller only ever receives."""
    collector = ListCollector(OPTIONS)
    collector.started(0.0)
    at = 0.0
    while collector.outcome is None:
        collector.receive(encode_list_notification(ENTRIES[:1]), at)
        at += 0.25
        assert at < 10
    assert (collector.outcome.ended_by, collector.outcome.complete) == ("total", False)
    assert at == pytest.approx(OPTIONS.total_s + 0.25)


def test_no_notification_at_all_is_reported_as_such() -> None:
    """An empty recorder may be silent, but so may a broken one: the caller asks its status."""
    outcome = collected()
    assert (outcome.nothing_heard, outcome.complete, outcome.ended_by) == (True, False, "total")


@pytest.mark.parametrize(("notification", "ended_by"), [(b"\x00", "count"), (b"", "quiet")])
def test_an_empty_list_may_be_said_in_two_ways(notification: bytes, ended_by: str) -> None:
    """A count of zero, or an empty notification."""
    outcome = collected(notification)
    assert (outcome.entries, outcome.complete, outcome.nothing_heard) == ((), True, False)
    assert outcome.ended_by == ended_by


def test_exact_duplicates_are_dropped_and_counted() -> None:
    """The same entry twice is one recording, and does not make up for one that is missing."""
    collector = ListCollector(OPTIONS)
    collector.started(0.0)
    collector.receive(encode_list_notification([ENTRIES[0], ENTRIES[0]], count_byte=2), 0.0)
    assert collector.outcome is None
    collector.receive(encode_list_notification([ENTRIES[1]]), 0.1)
    assert collector.outcome is not None
    assert (collector.outcome.entries, collector.outcome.duplicates) == (ENTRIES[:2], 1)
    assert collector.outcome.complete


def test_a_list_that_counts_its_duplicates_is_complete_after_silence() -> None:
    """Firmware that lists an entry twice and counts both leaves nothing out."""
    outcome = collected(encode_list_notification([ENTRIES[0], ENTRIES[0], ENTRIES[1]], count_byte=3))
    assert (outcome.entries, outcome.complete, outcome.ended_by) == (ENTRIES[:2], True, "quiet")


def test_a_contradiction_keeps_the_first_and_spoils_completeness() -> None:
    """Two different entries under one id: one of them is wrong, and it is not known which."""
    other = ListEntry(ENTRIES[0].file_id, 0, 1, 2, 3)
    outcome = collected(encode_list_notification([ENTRIES[0], other, ENTRIES[1]]))
    assert (outcome.entries, outcome.rubbish, outcome.complete) == (ENTRIES[:2], 1, False)
    assert outcome.contradictory == {other.file_id}


def test_a_cut_entry_is_ignored_and_spoils_completeness() -> None:
    """The whole entries before it count."""
    outcome = collected(encode_list_notification(ENTRIES[:2], count_byte=9)[:-4])
    assert (outcome.entries, outcome.rubbish, outcome.complete) == (ENTRIES[:1], 1, False)


def test_a_count_that_may_have_saturated_ends_nothing() -> None:
    """255 may stand for more, so silence decides."""
    entries = [ListEntry(f"{number:08x}", 0, 0, 0, 0) for number in range(300)]
    outcome = collected(
        encode_list_notification(entries[:255], count_byte=255), encode_list_notification(entries[255:])
    )
    assert (len(outcome.entries), outcome.ended_by, outcome.complete) == (300, "quiet", True)


def test_an_absurd_list_is_bounded() -> None:
    """A recorder gone wild fills no memory, and its list counts as incomplete."""
    entries = [ListEntry(f"{number:08x}", 0, 0, 0, 0) for number in range(MAX_ENTRIES + 5)]
    outcome = collected(encode_list_notification(entries))
    assert (len(outcome.entries), outcome.rubbish, outcome.complete) == (MAX_ENTRIES, 5, False)


def test_after_the_end_notifications_are_ignored() -> None:
    """A late one does not change the outcome."""
    collector = ListCollector(OPTIONS)
    collector.started(0.0)
    collector.receive(b"\x00", 0.1)
    outcome = collector.outcome
    collector.receive(encode_list_notification(ENTRIES[:1]), 0.2)
    collector.tick(collector.deadline)
    assert collector.outcome is outcome


@given(
    entries=st.lists(st.sampled_from(ENTRIES), unique=True),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    counted=st.booleans(),
)
def test_however_a_list_is_cut_into_notifications_it_is_the_same(
    entries: list[ListEntry], cuts: list[int], counted: bool
) -> None:
    """Entries, order and completeness do not depend on the framing."""
    edges = [0, *sorted(min(cut, len(entries)) for cut in cuts), len(entries)]
    count_byte = len(entries) if counted else None
    pieces = [entries[start:end] for start, end in pairwise(edges)]
    outcome = collected(*(encode_list_notification(piece, count_byte) for piece in pieces))
    assert (outcome.entries, outcome.complete) == (tuple(entries), True)
