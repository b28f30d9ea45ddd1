"""Whether the hub's clock can be trusted: a Raspberry Pi has no battery-backed one and may boot in the past.

Asked anew before each use, so that it becomes true by itself once the network brought the time.
"""

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from bota_gateway.model import WallClock

BUILT_AT: Final = 1_760_000_000
"""October 2025, before the first release: a clock that reads less is wrong, whatever the kernel says of it."""
SYNCHRONISED_WITHIN_US: Final = 16_000_000
"""The kernel's NTP_PHASE_LIMIT: largest error, in microseconds, of a clock that something keeps right. It begins there
at boot and at each setting by hand, grows by 500 ppm, and NTP clients bring it down. systemd judges by it, too; the
flag STA_UNSYNC would be wrong beside chrony, which leaves it set unless told ``rtcsync``."""
TIMESYNCD_WAS_HERE: Final = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd makes it at its first synchronisation since boot."""


class Timex(ctypes.Structure):
    """The beginning of struct timex (adjtimex(2)): the same names on 32 and 64 bits, where ``long`` differs."""

    _fields_: ClassVar = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("rest", ctypes.c_ubyte * 256),  # more than follows on any ABI
    ]


def read_kernel() -> Timex | None:
    """What the kernel knows of its clock; None where it may not be asked, as in some containers."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    timex = Timex()  # modes = 0: nothing is set
    return timex if adjtimex is not None and adjtimex(ctypes.byref(timex)) >= 0 else None


def is_trusted(
    now: WallClock = time.time,
    read: Callable[[], Timex | None] = read_kernel,
    timesyncd: Path = TIMESYNCD_WAS_HERE,
) -> bool:
    """True when something keeps this clock right."""
    if now() < BUILT_AT:
        return False
    timex = read()
    if timex is None:
        return timesyncd.exists()
    return bool(timex.maxerror < SYNCHRONISED_WITHIN_US)
