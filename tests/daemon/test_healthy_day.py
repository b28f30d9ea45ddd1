from collections import Counter

import pytest

from support.day import A_DAY, day, unfinished

RECORDERS = 10
MOST_LINES = 2000
HOURLY_AND_DOUBLED = 24 + 6
"""Lines of one failure that lasts all day: one an hour, and the first few doublings."""


@pytest.mark.timeout(240)  # a quarter of a minute where nothing else runs
def test_the_log_of_a_healthy_day_is_short_and_alarms_nobody() -> None:
    """Ten recorders, a day: everything arrives, in fewer than 2,000 lines at info, and not one of them is a warning."""
    told = day(RECORDERS)
    assert told.made >= RECORDERS * A_DAY[0]
    assert len(told.rows) == told.made
    assert unfinished(told) == []
    counts = Counter(line["event"] for line in told.lines)
    assert counts["recording_captured"] == counts["recording_stored"] == counts["recording_confirmed"] == told.made
    assert counts["transfer_progress"] > told.made
    assert {line["level"] for line in told.lines} == {"info"}
    assert len(told.lines) < MOST_LINES
    # However many recordings a day such recorders make.
    assert len(told.lines) / told.made * RECORDERS * A_DAY[1] < MOST_LINES


@pytest.mark.timeout(240)  # as above
def test_the_log_of_a_hopeless_radio_can_still_be_read() -> None:
    """Every transfer fails all day long, again and again: no recording's story is a flood, and none falls silent."""
    told = day(2, loss=0.02)
    assert len(unfinished(told)) == told.made
    failures = Counter(
        (line["recorder"], line["recording"]) for line in told.lines if line["event"] == "transfer_failed"
    )
    assert set(failures) == {(row.key.serial, row.key.file_id) for row in told.rows}
    assert max(failures.values()) <= HOURLY_AND_DOUBLED < max(line.get("times", 1) for line in told.lines)
    assert len(told.lines) < MOST_LINES * 2 / RECORDERS
    assert not [line for line in told.lines if line["event"] == "part_hangs"]
