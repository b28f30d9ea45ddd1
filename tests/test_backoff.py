"""Waits that grow, whoever waits them."""

from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.backoff import Backoff

SECONDS = st.floats(0.0, 1e9)


@given(st.integers(), st.integers(0, 2000), SECONDS, SECONDS)
def test_a_wait_is_never_negative_shorter_than_the_one_before_or_longer_than_the_longest(
    number: int, more: int, first_s: float, longest_s: float
) -> None:
    """Whatever the count of failures, also of years of them."""
    backoff = Backoff(first_s, longest_s)
    assert 0 <= backoff.step(number) <= backoff.step(number + more) <= longest_s


def test_waits_double_from_the_first_to_the_longest() -> None:
    """Counted from 0; what is below counts as that."""
    assert [Backoff(5.0, 60.0).step(number) for number in range(-1, 6)] == [5, 5, 10, 20, 40, 60, 60]
    assert Backoff(300.0, 300.0).step(10**400) == 300
