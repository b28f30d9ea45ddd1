"""Signs of life: whatever runs for ever says, before each wait, when it will be back; who is overdue hangs.

It is said where the wait is, because only there it is known what bounds it. Rooms that are used by several such tasks
(a link, the cloud's budget) speak for the task that runs them, so that nobody has to be handed anything.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from bota_gateway.errors import GatewayError

SLACK_S: Final = 120.0
"""Given to each on top: for work that waits for nothing but the spool, a card that stalls, a machine that swaps. As
long as WatchdogSec in the unit: a process that stands still as a whole for longer is ended anyway."""


@dataclass(eq=False, slots=True)
class Pulse:
    """One task's."""

    name: str
    """For people."""
    due: float = math.inf
    """Loop time at which it is back at the latest; nothing was said yet, or others are waited for."""


class Pulses:
    """Those of one gateway; everything that is started after ``begin`` in the same context belongs to it."""

    def __init__(self) -> None:
        self._all: set[Pulse] = set()

    def begin(self) -> None:
        """Take those that begin from here on."""
        _PULSES.set(self._all)

    def overdue(self) -> list[str]:
        """Names of tasks that should have been back by now."""
        now = asyncio.get_running_loop().time()
        return sorted(pulse.name for pulse in self._all if pulse.due < now)


_PULSES: ContextVar[set[Pulse]] = ContextVar("pulses")
_OWN: ContextVar[Pulse] = ContextVar("pulse")


@contextmanager
def watched(name: str) -> Iterator[None]:
    """Watch the task that runs this block, by what is said with `back_within` in it."""
    pulses, pulse = _PULSES.get(set()), Pulse(name)
    pulses.add(pulse)
    token = _OWN.set(pulse)
    try:
        yield
    finally:
        _OWN.reset(token)
        pulses.discard(pulse)


def back_within(seconds: float) -> None:
    """The task that runs this will be here, or at the next such place, again in so many seconds and some slack.

    ``math.inf`` where it waits for others that are watched themselves, and where any time is right.
    """
    if pulse := _OWN.get(None):
        pulse.due = asyncio.get_running_loop().time() + seconds + SLACK_S


async def lasting(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run, and watch, what ends only when it is cancelled.

    Raises:
        GatewayError: it ended all the same. A task group takes a stray cancellation from within a task, as a library's
            defect may raise it, for an orderly end: the task would be gone without a word.
    """
    with watched(name):
        try:
            await run()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling() > 0:
                raise
            raise GatewayError(f"The {name} was cancelled by something within it.") from None
    raise GatewayError(f"The {name} stopped by itself.")
