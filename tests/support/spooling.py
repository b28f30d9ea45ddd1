"""Bringing a spool into a wanted state by its public steps."""

import hashlib
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bota_gateway.config import SpoolSettings
from bota_gateway.model import Binding, Custody, ListedRecording, Membership, Recording
from bota_gateway.spool import Moment, Spool, Step

SERIAL = "BP1A2B3C4D"
BOUND = Binding(Membership.BOUND, device_id="dev_1", end_user_id="eu_1", binding_generation=1)
PATH_TO_STORED = (Custody.CAPTURED, Custody.CREATED, Custody.PUT, Custody.COMPLETING, Custody.STORED)


class TurnableClock:
    """A wall clock that stands still until a test turns it."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Unix seconds."""
        return self.now


def settings_for(directory: Path, *, max_bytes: int = 1 << 30, min_free_bytes: int = 0) -> SpoolSettings:
    """Settings of a spool in a directory of the test."""
    return SpoolSettings(directory=directory, max_bytes=max_bytes, min_free_bytes=min_free_bytes)


@contextmanager
def failing(
    spool: Spool,
    steps: Collection[Step] = frozenset(Step),
    code: int = sqlite3.SQLITE_IOERR_WRITE,
    *,
    moment: Moment = Moment.BEFORE_COMMIT,
    after: int = 0,
) -> Iterator[list[Step]]:
    """These steps fail as SQLite fails, but for the first ``after`` of them; gives back those that did."""
    failed: list[Step] = []
    left = after

    def fail(step: Step, at: Moment) -> None:
        nonlocal left
        if step not in steps or at is not moment:
            return
        left -= 1
        if left < 0:
            failed.append(step)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = code
            raise error

    before, spool._db._probe = spool._db._probe, fail
    try:
        yield failed
    finally:
        spool._db._probe = before


def entry(number: int = 1, *, duration_s: int = 60, size_kib: int = 240, started_at: int = 1000) -> ListedRecording:
    """What a recorder lists."""
    return ListedRecording(f"{number:08x}", started_at, duration_s, size_kib, encrypted_at_rest=False)


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that differ everywhere and are the same at every call."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


def sha256(data: bytes) -> str:
    """Lower-case hex digest."""
    return hashlib.sha256(data).hexdigest()


async def meet(spool: Spool, *listed: ListedRecording, serial: str = SERIAL) -> list[Recording]:
    """A recorder is met and shows a complete list."""
    await spool.note_recorder(serial, address="C0:FF:EE:00:00:01", name="Bota Pin", rssi=-50)
    return await spool.reconcile(serial, listed, complete=True)


async def pull(
    spool: Spool, row: Recording, data: bytes, *, binding: Binding = BOUND, chunk: int = 60_000, **more: Any
) -> Recording:
    """Receive and capture a listed recording; ``more`` is of the capture."""
    await spool.begin_receiving(row.id)
    for start in range(0, len(data), chunk):
        await spool.store_audio(row.id, data[start : start + chunk])
    told = {"figures": {"packets": 7}} | more
    return await spool.capture(
        row.id, size_bytes=len(data), sha256=sha256(data), device_sha256=None, binding=binding, **told
    )


async def step_on(spool: Spool, row: Recording) -> Recording:
    """The next upload step, as if the cloud had agreed."""
    match row.state:
        case Custody.CAPTURED:
            await spool.intend_create(row.id, idempotency_key=f"key-{row.id}")
            return await spool.created(row.id, f"rec_{row.id}")
        case Custody.CREATED:
            return await spool.put_done(row.id)
        case Custody.PUT:
            return await spool.intend_complete(row.id)
        case Custody.COMPLETING:
            return await spool.stored(row.id, verified=True)
        case _:
            raise AssertionError(row.state)


async def bring_to(
    spool: Spool, state: Custody, number: int = 1, *, data: bytes = b"OggS audio", serial: str = SERIAL
) -> Recording:
    """A recording in the wanted state; others of the recorder are left as they are."""
    await spool.note_recorder(serial, address="C0:FF:EE:00:00:01", name="Bota Pin", rssi=-50)
    (row,) = await spool.reconcile(serial, [entry(number)], complete=False)
    if state is Custody.LISTED:
        return row
    if state is Custody.PARKED:
        return await spool.park(row.id, code="device_error_0x14", detail="its storage key is lost")
    if state is Custody.RECEIVING:
        return await spool.begin_receiving(row.id)
    row = await pull(spool, row, data)
    for _ in PATH_TO_STORED:
        if row.state is state:
            return row
        if row.state is Custody.STORED:
            break
        row = await step_on(spool, row)
    row = await spool.intend_confirm(row.id)
    if state is Custody.CONFIRMING:
        return row
    await spool.reconcile(serial, await _still_there(spool, row), complete=True)
    if state is Custody.FORGOTTEN:
        await spool._forget(row.id)
    return await spool.recording(row.id)


async def _still_there(spool: Spool, gone: Recording) -> list[ListedRecording]:
    """A list that lacks one recording and shows all others as the spool knows them."""
    return [
        ListedRecording(row.key.file_id, row.key.started_at, row.duration_s, row.size_kib, row.encrypted_at_rest)
        for row in await spool.recordings(serial=gone.key.serial)
        if row.id != gone.id and row.state not in {Custody.CONFIRMED, Custody.FORGOTTEN}
    ]


async def happened(spool: Spool, recording_id: int) -> list[str]:
    """The timeline's lines, by name."""
    return [line.happened for line in await spool.timeline(recording_id)]
