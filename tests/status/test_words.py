import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.status import words


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (61_049, "61.0 kB"), (999_950, "1.0 MB"), (14_400_000, "14.4 MB")],
)
def test_sizes_are_said_in_decimal_units(count: int, said: str) -> None:
    """Bytes read as a person says them."""
    assert words.size(count) == said


@given(st.integers(0, 10**15))
def test_any_size_is_short(count: int) -> None:
    """A size never breaks the columns of a log."""
    assert len(words.size(count)) <= 9


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (8.04, "8.0 s"), (90, "90 s"), (240, "4 min"), (11_400, "3 h 10 min"), (187_200, "2 d 4 h")],
)
def test_spans_are_said_in_the_unit_that_matters(seconds: float, said: str) -> None:
    """Seconds for seconds, days for days."""
    assert words.duration(seconds) == said


def test_what_is_unknown_is_a_dash() -> None:
    """None never shows up as the word None."""
    assert words.size(None) == words.duration(None) == words.rate(None) == words.clock(None) == words.MISSING


def test_a_recorder_without_a_clock_has_no_1970(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start 0 means that the recorder's clock was not set."""
    assert words.clock(0) == "unknown"


def test_a_moment_is_short_and_keeps_its_year_where_that_matters() -> None:
    """Tables show day and minute; what is half a year or more away shows the year instead of the time."""
    now = 1_790_000_000.0
    assert re.fullmatch(r"09-2\d \d\d:\d\d", words.moment(now - 3600, now))
    assert re.fullmatch(r"2025-0\d-\d\d", words.moment(now - 400 * 86_400, now))
    assert (words.moment(0, now), words.moment(None, now)) == ("unknown", words.MISSING)


def test_a_sentence_takes_units_and_survives_missing_fields() -> None:
    """A field that the caller left out reads as a dash, not as a crash of the log."""
    said = words.sentence("received {size_bytes:size} at {bytes_per_s:rate}, {gaps} gaps", {"size_bytes": 14_400_000})
    assert said == "received 14.4 MB at -, - gaps"


NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("at", "now", "said"),
    [
        (NOW - 240, NOW, "4 min"),
        (NOW + 30, NOW, "0 s"),  # a clock that was set back a little
        (30.0, NOW, "unknown age"),  # noted before the clock was set: not 56 years
        (NOW, 30.0, "unknown age"),
        (NOW, NOW + 20 * words.LONGEST_S, "unknown age"),
    ],
)
def test_an_age_by_a_clock_that_was_not_set_is_unknown(at: float, now: float, said: str) -> None:
    """A hub begins in 1970 until the network gives it the time; what spans that says nothing."""
    assert words.age(at, now) == said
