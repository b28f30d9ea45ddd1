"""Whether the hub's clock can be trusted: a Raspberry Pi has no battery-backed one and may boot in the past."""

import ctypes
import time

STA_UNSYNC = 0x0040
"""Kernel flag "clock unsynchronised" (adjtimex(2)); NTP clients clear it once they hold the clock."""
BUILT_AT = 1_760_000_000
"""October 2025, before the first release: a clock that reads less is wrong, whatever the kernel says of it."""
_TIMEX_BYTES = 256
"""More than sizeof(struct timex) on every Linux ABI (208 on 64-bit)."""
_STATUS_OFFSET = 40
"""Offset of ``status`` in struct timex on 64-bit Linux: modes(4+4) offset(8) freq(8) maxerror(8) esterror(8)."""


def is_trusted() -> bool:
    """True when the kernel says that something keeps this clock right."""
    return time.time() > BUILT_AT and not _kernel_status() & STA_UNSYNC


def _kernel_status() -> int:
    adjtimex = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)
    if adjtimex is None:
        return STA_UNSYNC
    timex = (ctypes.c_ubyte * _TIMEX_BYTES)()
    if adjtimex(timex) < 0:
        return STA_UNSYNC
    return ctypes.c_int.from_buffer(timex, _STATUS_OFFSET).value
