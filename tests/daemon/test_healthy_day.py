from collections import Counter

import pytest

from support.day import A_DAY, healthy_day, unfinished

RECORDERS = 10
MOST_LINES = 2000


@pytest.mark.timeout(240)  # a quarter of a minute where nothing else runs
def test_the_log_of_a_healthy_day_is_short_and_alarms_nobody() -> None:
    """Ten recorders, a day: everything arrives, in fewer than 2,000 lines at info, and not one of them is a warning."""
    told = healthy_day(RECORDERS)
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
