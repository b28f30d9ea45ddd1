"""Whether the hub's clock is believed."""

import ctypes
from pathlib import Path

import pytest

from bota_gateway.daemon.clock import BUILT_AT, Timex, is_trusted, read_kernel

STA_UNSYNC = 0x0040
NOW = 1_800_000_000.0
NOWHERE = Path("/nonexistent/synchronized")


def kernel(*, maxerror: int, status: int = 0) -> Timex:
    """What the kernel says in this state."""
    return Timex(maxerror=maxerror, status=status)


@pytest.mark.parametrize(
    ("state", "trusted"),
    [
        (kernel(maxerror=16_000_000, status=STA_UNSYNC), False),  # after boot, or after somebody set the time by hand
        (kernel(maxerror=250_000), True),  # timesyncd, or chrony with rtcsync
        (kernel(maxerror=17_288, status=STA_UNSYNC), True),  # chrony without rtcsync: synchronised all the same
        (kernel(maxerror=16_000_000), False),  # nobody has corrected it for nine hours
    ],
)
def test_what_the_kernel_knows_of_its_error_decides(state: Timex, trusted: bool) -> None:
    """A clock is right while something holds it within 16 seconds, as systemd judges; flags differ by NTP client."""
    assert is_trusted(lambda: NOW, lambda: state, NOWHERE) is trusted


def test_a_clock_before_the_first_release_is_wrong_whatever_the_kernel_says() -> None:
    """1970 with a synchronised flag is still 1970."""
    assert not is_trusted(lambda: 60.0, lambda: kernel(maxerror=0), NOWHERE)
    assert not is_trusted(lambda: BUILT_AT - 1.0, lambda: kernel(maxerror=0), NOWHERE)


def test_it_becomes_true_without_a_restart() -> None:
    """Each question reads anew: a hub that boots without network sets its recorders' clocks once NTP came through."""
    state = kernel(maxerror=16_000_000)
    assert not is_trusted(lambda: NOW, lambda: state, NOWHERE)
    state.maxerror = 1_000
    assert is_trusted(lambda: NOW, lambda: state, NOWHERE)


def test_where_the_kernel_can_not_be_asked_timesyncd_is_believed(tmp_path: Path) -> None:
    """A filter on system calls, as containers have, leaves timesyncd's own mark; without it nothing is assumed."""
    mark = tmp_path / "synchronized"
    assert not is_trusted(lambda: NOW, lambda: None, mark)
    mark.touch()
    assert is_trusted(lambda: NOW, lambda: None, mark)


def test_the_kernels_answer_is_read_at_the_right_places() -> None:
    """``tolerance`` is a constant of every Linux kernel: it shows where the fields are, on 32 and 64 bits alike."""
    timex = read_kernel()
    if timex is None:
        pytest.skip("the kernel may not be asked here")
    assert timex.tolerance == 32_768_000
    assert 0 <= timex.maxerror <= 16_000_000
    assert ctypes.sizeof(timex) >= 208
