"""Everything in one thread: with virtual time and no sockets, a run is the same whenever it is run.

Statements of SQLite and what else would go to a thread are done at once, in the event loop's own thread. Whoever asked
still waits for a turn of the loop, and cancelling them still does not undo what was asked.
"""

import asyncio
import itertools
import math
import selectors
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import aiosqlite.core
import pytest

from support.virtual_time import JumpingSelector, VirtualTimeLoop

T = TypeVar("T")


class _NobodyElse(JumpingSelector):
    """Nothing outside of the loop can ever wake it, so nothing is asked of the system."""

    def __init__(self, most_turns: int | None) -> None:
        super().__init__()
        self._turns_left = most_turns or math.inf

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Lets the clock pass the time."""
        self._turns_left -= 1
        if self._turns_left == 0:
            raise RuntimeError("This would never end.")
        if timeout is None:
            raise RuntimeError("Nothing is scheduled: the run would hang for ever.")
        if timeout > 0:
            self.passed += timeout
        return []


class _NumberedTask(asyncio.Task[Any]):
    """Task groups and waits keep tasks in sets: by their addresses, each run would cancel them in another order."""

    def __init__(self, work: Any, *, number: int, **more: Any) -> None:
        self.number = number  # wanted at once: asyncio puts each new task into a set
        super().__init__(work, **more)

    def __hash__(self) -> int:
        return self.number


class _NumberedFuture(asyncio.Future[Any]):
    """As a task."""

    number: int

    def __hash__(self) -> int:
        return self.number


class OneThreadLoop(VirtualTimeLoop):
    """Virtual time, an executor without threads, and no way out of the process.

    Args:
        most_turns: Turns of the loop after which it takes it that the run would never end; None for any number.
    """

    def __init__(self, *, most_turns: int | None = None) -> None:
        super().__init__(_NobodyElse(most_turns))
        self.refused: list[str] = []
        """Ways out that somebody tried to go."""
        self._numbers = itertools.count()
        self.set_task_factory(self._numbered_task)

    def create_future(self) -> "asyncio.Future[Any]":
        """A future whose place in a set is the same in every run."""
        future = _NumberedFuture(loop=self)
        future.number = next(self._numbers)
        return future

    def _numbered_task(self, _loop: object, work: Any, **more: Any) -> "asyncio.Task[Any]":
        return _NumberedTask(work, loop=self, number=next(self._numbers), **more)

    def _refuse(self, way: str) -> NoReturn:
        self.refused.append(way)
        raise OSError(f"There is nothing outside of this process: {way}")

    async def create_connection(self, *_args: Any, **_more: Any) -> NoReturn:
        """Refused."""
        self._refuse("TCP connection")

    async def create_unix_connection(self, *_args: Any, **_more: Any) -> NoReturn:
        """Refused."""
        self._refuse("Unix connection")

    async def create_datagram_endpoint(self, *_args: Any, **_more: Any) -> NoReturn:
        """Refused."""
        self._refuse("datagrams")

    async def sock_connect(self, _socket: Any, _address: Any) -> NoReturn:
        """Refused."""
        self._refuse("socket connection")

    async def subprocess_exec(self, *_args: Any, **_more: Any) -> NoReturn:
        """Refused."""
        self._refuse("other program")

    async def subprocess_shell(self, *_args: Any, **_more: Any) -> NoReturn:
        """Refused."""
        self._refuse("other program")

    def run_in_executor(  # type: ignore[override]  # as in VirtualTimeLoop
        self, _executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Do it now; the caller hears of it in its turn."""
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - handed over, as a thread would
            self.call_soon(future.set_exception, error)
        else:
            self.call_soon(future.set_result, result)
        return future


class InlineQueue:
    """In place of the queue of aiosqlite's thread: what is put in is done at once, in the thread that puts it."""

    def put_nowait(self, item: tuple[asyncio.Future[Any] | None, Callable[[], Any]]) -> None:
        """Do it, and let the caller hear of it in its turn."""
        future, function = item
        tell: Callable[[asyncio.Future[Any], Any], None] = aiosqlite.core.set_result
        outcome: Any
        try:
            outcome = function()
        except BaseException as error:  # noqa: BLE001 - handed over, as aiosqlite's own thread does
            tell, outcome = aiosqlite.core.set_exception, error
        if future is not None:
            future.get_loop().call_soon(tell, future, outcome)

    def get(self) -> tuple[None, Callable[[], Any]]:
        """The thread has nothing to do and ends at once."""
        return None, lambda: aiosqlite.core._STOP_RUNNING_SENTINEL


@contextmanager
def sqlite_in_one_thread() -> Iterator[None]:
    """Connections that aiosqlite makes in this block work in the thread that uses them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiosqlite.core, "SimpleQueue", InlineQueue)
        yield
