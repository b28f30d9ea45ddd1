"""An event loop whose clock jumps: waits of minutes pass in microseconds, in the right order.

Mark a test, or a whole module, and its loop and all its async fixtures run on virtual time:

    pytestmark = pytest.mark.virtual_time        # a module

    @virtual_time                                # one test; the same mark
    async def test_gives_up_after_five_minutes() -> None: ...

``tests/conftest.py`` gives such a test a `VirtualTimeLoop` (pytest-asyncio's loop factories). ``loop.time()`` starts at
`STARTS_AT`, stands still while anything runs, and jumps to the next timer when nothing is left to do. It does not jump
while work is outstanding elsewhere, because that work's answer must not find its time-out passed:

- threads: ``run_in_executor``, ``asyncio.to_thread`` and aiosqlite hold the clock by themselves; whoever waits for
  another kind of outside work does it inside ``with virtual_loop().hold():``. Never wait for a timer inside it.
- sockets: with one open, the loop waits `SOCKET_GRACE_S` of real time for traffic before each jump. In one process
  that is plenty; it makes each jump dear, though, so keep periodic timers out of such tests.
"""

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import aiosqlite
import pytest

P = ParamSpec("P")
T = TypeVar("T")

STARTS_AT = 1_000.0
"""Not 0, so that code which takes 0 for "never" is found out."""

SOCKET_GRACE_S = 0.005
"""Real seconds without traffic on any socket after which the loop takes it that none is under way."""

virtual_time = pytest.mark.virtual_time
"""Decorator: runs an async test on a `VirtualTimeLoop`."""


class JumpingSelector(selectors.DefaultSelector):
    """A loop's selector: instead of waiting for ``timeout`` seconds, lets the loop's clock pass them."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0
        self.holds = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, at once; else the time has passed."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.holds:
            return super().select()  # the end of what holds the clock wakes the loop
        if len(self.get_map()) > 1:  # more than the loop's own pipe
            ready = super().select(None if timeout is None else SOCKET_GRACE_S)
        elif timeout is None:
            raise RuntimeError("Nothing is scheduled: the test would hang for ever.")
        if not ready and timeout is not None:
            self.passed += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` starts at `STARTS_AT` and advances only when nothing is left to do."""

    def __init__(self, jumping: JumpingSelector | None = None) -> None:
        self._jumping = jumping or JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds."""
        return STARTS_AT + self._jumping.passed

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keeps the clock from jumping while something outside the loop works for it."""
        self._jumping.holds += 1
        try:
            yield
        finally:
            self._jumping.holds -= 1

    def run_in_executor(  # type: ignore[override]  # typeshed's has TypeVarTuple and no name for the future's class
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Runs ``func`` in a thread and holds the clock until it is done."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._jumping.holds += 1
        future.add_done_callback(self._release)
        return future

    def _release(self, _future: asyncio.Future[Any]) -> None:
        self._jumping.holds -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Waits for the executor's threads; the thread that waits for them is outside work, too."""
        del timeout
        with self.hold():
            await super().shutdown_default_executor()


def virtual_loop() -> VirtualTimeLoop:
    """The running loop, for ``hold()``; raises TypeError when it is a real one."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualTimeLoop):
        raise TypeError("This test does not run on virtual time.")
    return loop


def _holding(call: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    @functools.wraps(call)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualTimeLoop):
            with loop.hold():
                return await call(*args, **kwargs)
        return await call(*args, **kwargs)

    return wrapped


def hold_during_aiosqlite() -> None:
    """Makes every call of aiosqlite hold a virtual clock; a real one is left alone. Called once, by conftest."""
    connection: Any = aiosqlite.Connection
    for name in ("_connect", "_execute", "close"):
        setattr(connection, name, _holding(getattr(connection, name)))
