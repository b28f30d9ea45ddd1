import asyncio

import pytest
from bleak.exc import BleakError

from bota_gateway.radio.bounded import EndedError, bounded, uninterrupted
from bota_gateway.radio.const import CLEANUP_S
from support.virtual_time import virtual_time


async def hang(cleanup: float = 0.0, log: list[str] | None = None) -> None:
    """Wait for ever; when cancelled, tidy up for ``cleanup`` seconds."""
    try:
        await asyncio.Event().wait()
    finally:
        try:
            await asyncio.sleep(cleanup)
        finally:
            if log is not None:
                log.append("over")


async def answer(after: float = 0.0) -> str:
    await asyncio.sleep(after)
    return "answer"


@virtual_time
async def test_the_result_is_passed_on() -> None:
    """An operation that ends in time gives its result."""
    assert await bounded(answer(after=3), limit=5) == "answer"


@virtual_time
async def test_an_error_is_passed_on() -> None:
    """An operation's own error comes through unchanged."""

    async def fail() -> None:
        raise KeyError("of bleak")

    with pytest.raises(KeyError, match="of bleak"):
        await bounded(fail(), limit=5)


@virtual_time
async def test_a_hanging_operation_ends_at_its_limit() -> None:
    """The wait ends at the limit, and the operation is over by then."""
    log: list[str] = []
    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await bounded(hang(log=log), limit=5)
    assert log == ["over"]
    assert asyncio.get_running_loop().time() - began == pytest.approx(5)


@virtual_time
async def test_clean_up_gets_its_time() -> None:
    """A clean-up shorter than its allowance runs to its end."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await bounded(hang(cleanup=CLEANUP_S / 2), limit=5)
    assert asyncio.get_running_loop().time() - began == pytest.approx(5 + CLEANUP_S / 2)


@virtual_time
async def test_a_hanging_clean_up_is_cut_short() -> None:
    """A clean-up that hangs, as bleak's does with a hung bluetoothd, is cancelled too."""
    log: list[str] = []
    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await bounded(hang(cleanup=1e6, log=log), limit=5)
    assert log == ["over"]
    assert asyncio.get_running_loop().time() - began == pytest.approx(5 + CLEANUP_S)


@virtual_time
async def test_the_event_ends_the_wait() -> None:
    """The event comes first: the operation is stopped and the caller told."""
    log: list[str] = []
    ended = asyncio.Event()
    asyncio.get_running_loop().call_later(2, ended.set)
    with pytest.raises(EndedError):
        await bounded(hang(log=log), limit=60, ended=ended)
    assert log == ["over"]


@virtual_time
async def test_a_result_wins_over_an_event_of_the_same_moment() -> None:
    """What was achieved is not thrown away because the link ended just then."""
    ended = asyncio.Event()

    async def answer_and_end() -> str:
        ended.set()
        return "answer"

    assert await bounded(answer_and_end(), limit=5, ended=ended) == "answer"


@virtual_time
async def test_an_operation_cancelled_by_the_backend_does_not_look_like_our_own_cancellation() -> None:
    """A backend that cancels its own call gives an error that can be handled."""

    async def cancelled_inside() -> None:
        raise asyncio.CancelledError

    with pytest.raises(BleakError, match="cancelled"):
        await bounded(cancelled_inside(), limit=5)


@virtual_time
async def test_cancelling_the_caller_ends_the_operation_first() -> None:
    """The operation and its clean-up are over before the cancellation goes on; a second cancel does not orphan it."""
    log: list[str] = []
    caller = asyncio.create_task(bounded(hang(cleanup=3, log=log), limit=60))
    await asyncio.sleep(1)
    caller.cancel()
    await asyncio.sleep(1)
    assert log == []
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert log == ["over"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual_time
async def test_uninterrupted_work_ends_before_the_cancellation_goes_on() -> None:
    """Clean-up that must not be cut short is not, however often its caller is cancelled."""
    log: list[str] = []

    async def tidy() -> None:
        await asyncio.sleep(3)
        log.append("tidy")

    caller = asyncio.create_task(uninterrupted(tidy()))
    for _ in range(2):
        await asyncio.sleep(1)
        caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert log == ["tidy"]
