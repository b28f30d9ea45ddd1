from collections.abc import Iterable

import pytest

from bota_gateway.milestones import Milestones

MB = 1_000_000


def told(expected: int, moments: Iterable[tuple[int, float]]) -> list[int | None]:
    """Percent at each moment (bytes, seconds) at which it is told."""
    milestones = Milestones(expected, 0.0)
    return [milestones.percent(done) for done, now in moments if milestones.due(done, now)]


@pytest.mark.parametrize("pieces", [20, 100, 5000])
def test_a_long_job_is_told_at_five_steps(pieces: int) -> None:
    """However finely it is asked."""
    steady = ((10 * MB * piece // pieces, 240.0 * piece / pieces) for piece in range(1, pieces + 1))
    assert told(10 * MB, steady) == [10, 25, 50, 75, 90]


def test_a_short_job_tells_only_its_end() -> None:
    """What lasts half a minute at most is over before anybody wonders."""
    assert told(10 * MB, ((MB * part // 3, 0.9 * part) for part in range(1, 31))) == []


def test_a_job_that_turns_out_long_is_told_from_then_on() -> None:
    """Its beginning looked quick."""
    assert told(10 * MB, [(MB, 0.1), (3 * MB, 1.0), (5 * MB, 60.0), (5 * MB, 61.0), (9 * MB, 200.0)]) == [50, 90]


def test_steps_passed_at_once_are_one_line() -> None:
    """A burst is no flood."""
    assert told(10 * MB, [(8 * MB, 100.0)]) == [80]


def test_a_job_that_hardly_moves_says_so_every_ten_minutes() -> None:
    """Silence of an hour would look like a hang."""
    assert told(100 * MB, ((second * 1000, float(second)) for second in range(1, 3601))) == [0, 1, 1, 2, 3, 3]


def test_a_size_that_was_told_wrong_does_no_harm() -> None:
    """Lists tell sizes in whole KiB, up to a most: it is never done before it is, and nothing is divided by."""
    assert told(0, ((second, float(second)) for second in range(1, 1300))) == [None, None]
    assert told(MB, [(MB, 60.0), (2 * MB, 120.0)]) == [99]
