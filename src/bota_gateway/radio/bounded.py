"""Waits that end, whatever the other side does: bleak's calls hang when bluetoothd hangs."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from bleak.exc import BleakError

from bota_gateway.radio.const import CLEANUP_S

T = TypeVar("T")


class EndedError(Exception):
    """The event that ends the wait came first."""


async def bounded(operation: Coroutine[Any, Any, T], *, limit: float, ended: asyncio.Event | None = None) -> T:
    """Run ``operation`` for at most ``limit`` seconds, or until ``ended`` is set.

    However it ends, the operation is over when this returns: cancelled, and cancelled again every `CLEANUP_S` seconds
    while its clean-up hangs. ``asyncio.timeout`` alone would cancel once and then wait for that clean-up for ever.

    Raises:
        TimeoutError: ``limit`` passed.
        EndedError: ``ended`` was set.
        BleakError: the backend cancelled the operation by itself.
    """
    task = asyncio.create_task(operation)
    watch = asyncio.create_task(ended.wait()) if ended else None
    try:
        await asyncio.wait({task, watch} if watch else {task}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finished = task.done()
    finally:
        await _finish(task, watch)
    if finished:
        if task.cancelled():
            raise BleakError("the Bluetooth backend cancelled the operation")
        return task.result()
    if ended and ended.is_set():
        raise EndedError
    raise TimeoutError


async def uninterrupted(operation: Coroutine[Any, Any, T]) -> T:
    """Run ``operation`` to its end even when the caller is cancelled meanwhile; then pass the cancellation on.

    For clean-up that leaves a recorder held when it is cut short. The operation must be bounded by itself.
    """
    task = asyncio.create_task(operation)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled and not task.exception():
        raise asyncio.CancelledError
    return task.result()


async def _finish(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel what still runs and return when all of it has ended, even when the caller is cancelled meanwhile."""
    running = {task for task in tasks if task}
    cancelled = False
    while running := {task for task in running if not task.done()}:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=CLEANUP_S)
        except asyncio.CancelledError:
            cancelled = True
    for ended in tasks:
        if ended and not ended.cancelled():
            ended.exception()  # looked at, so that asyncio does not report it as never retrieved
    if cancelled:
        raise asyncio.CancelledError
