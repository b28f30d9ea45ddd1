"""What tests of the spool run in a process of its own: ``python -m support.spool_child ACTION DIRECTORY``.

Each action prints one JSON value on its standard output.
"""

import asyncio
import json
import os
import resource
import signal
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiosqlite
import structlog

from bota_gateway.errors import SpoolError
from bota_gateway.model import Custody
from bota_gateway.spool import Health, Moment, Probe, Spool, Step
from bota_gateway.spool.const import AUDIO_ROW_BYTES
from support.spool_versions import make_version_1
from support.spooling import (
    BOUND,
    SERIAL,
    TurnableClock,
    bring_to,
    entry,
    meet,
    noise,
    pull,
    settings_for,
    sha256,
    step_on,
)

MIB = 1 << 20


async def hold(directory: Path) -> None:
    """Open the spool and keep it until standard input ends."""
    async with Spool.open(settings_for(directory), TurnableClock()):
        say("held")
        await asyncio.to_thread(sys.stdin.read)


async def memory(directory: Path) -> None:
    """How much memory storing and reading 64 MiB takes, in KiB above that of 1 MiB."""
    async with Spool.open(settings_for(directory), TurnableClock()) as spool:
        await spool.note_recorder(SERIAL, address="C0:FF:EE:00:00:01", name=None, rssi=None)
        small, large = await spool.reconcile(SERIAL, [entry(1), entry(2)], complete=True)
        await through(spool, small.id, 1 * MIB)
        before = peak_kib()
        await through(spool, large.id, 64 * MIB)
        say(peak_kib() - before)


async def through(spool: Spool, recording_id: int, size: int) -> None:
    """Store and read back zeros, never holding them at once."""
    await spool.begin_receiving(recording_id)
    piece = bytes(5_000)
    import hashlib  # noqa: PLC0415 - beside its only use, so that the child's memory is what the spool takes

    digest = hashlib.sha256()
    left = size
    while left:
        part = piece[:left]
        digest.update(part)
        left -= len(part)
        await spool.store_audio(recording_id, part)
    await spool.capture(recording_id, size_bytes=size, sha256=digest.hexdigest(), device_sha256=None, binding=BOUND)
    async with aclosing(spool.read_audio(recording_id)) as pieces:
        assert sum([len(part) async for part in pieces]) == size


def peak_kib() -> int:
    """The most memory this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def limited(directory: Path) -> None:
    """Let every write to a file fail, then let them succeed again; tell what was seen."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    data = noise(3 * AUDIO_ROW_BYTES)
    seen: dict[str, Any] = {"codes": []}
    async with Spool.open(settings_for(directory), TurnableClock()) as spool:
        kept = await bring_to(spool, Custody.CAPTURED, 1, data=noise(1000))
        row = await bring_to(spool, Custody.RECEIVING, 2)
        await spool.store_audio(row.id, data[:AUDIO_ROW_BYTES])
        limit_files(0)
        for attempt in (
            lambda: spool.store_audio(row.id, data[AUDIO_ROW_BYTES:]),
            lambda: spool.intend_create(kept.id, idempotency_key="k"),
        ):
            try:
                await attempt()
            except SpoolError as error:
                seen["codes"].append(error.error_code)
        seen["unhealthy"] = [spool.health.healthy, spool.health.code]
        seen["state"] = (await spool.recording(kept.id)).create_intended_at
        limit_files(resource.RLIM_INFINITY)
        await spool.store_audio(row.id, b"")
        await spool.capture(row.id, size_bytes=len(data), sha256=sha256(data), device_sha256=None, binding=BOUND)
        seen["healthy"] = spool.health.healthy
        seen["identical"] = b"".join([piece async for piece in spool.read_audio(row.id)]) == data
    say(seen)


def limit_files(size: int) -> None:
    """Let no file of this process grow beyond ``size``."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def scenario(directory: Path, probe: Probe) -> None:
    """Every step of custody at least once, on a clock that stands still."""
    settings = settings_for(directory)
    clock = TurnableClock()
    async with Spool.open(settings, clock, probe=probe) as spool:
        listed = [entry(n, started_at=1000 + n) for n in (1, 2, 3, 4, 5)]
        first, second, third, _, fifth = await meet(spool, *listed)
        await spool.note_status(SERIAL, battery_percent=50, charging=False, pending=4, recording_now=False)
        await spool.bind(SERIAL, BOUND)
        await spool.schedule_visit(SERIAL, next_visit_at=clock.now + 300, visited=True)
        await spool.begin_receiving(first.id)
        await spool.store_audio(first.id, noise(AUDIO_ROW_BYTES + 1))
        ends: list[int] = []
        await spool.abandon_receiving(first.id, code="transfer_gap", message="-", retry_at=None, ends=ends)
        await spool.note_signal(ends, -71)
        first = await pull(spool, first, noise(2 * AUDIO_ROW_BYTES + 9), chunk=100_000)
        await spool.acknowledged(first.id)
        await spool.postpone(first.id, code="cloud_unreachable", detail="-", next_attempt_at=clock.now + 9)
        await spool.retry(first.id)
        await spool.park(third.id, code="device_error_0x14", detail="-")
        while first.state is not Custody.COMPLETING:
            first = await step_on(spool, first)
        first = await spool.back_to(first.id, Custody.CREATED, reason="integrity failure")
        while first.state is not Custody.STORED:
            first = await step_on(spool, first)
        await spool.intend_confirm(first.id)
        spool._db.health = Health(healthy=False)  # as after a failed write
        await spool.prove_durable()
        await spool.keep_counters({("DC:A6:32:00:00:01", "scan_restarts"): 3, ("", "bluetooth_losses"): 1})
        await spool.pause("radio")
        await spool.resume("radio")
        fifth = await step_on(spool, await pull(spool, fifth, noise(AUDIO_ROW_BYTES + 3)))
        await spool.forget_by_hand(fifth.id, last_copy=True, is_uploading=lambda _: False)
        await spool.reconcile(SERIAL, [entry(2, started_at=1002), entry(3, started_at=1003)], complete=True)
        await spool.begin_receiving(second.id)
        await spool.store_audio(second.id, noise(AUDIO_ROW_BYTES + 1))
    async with Spool.open(settings, clock, probe=probe) as spool:
        await spool.forget_due(clock.now, 0)
        second = await pull(spool, second, noise(AUDIO_ROW_BYTES + 2))
        while second.state is not Custody.STORED:
            second = await step_on(spool, second)
        await spool.forget_due(clock.now, 0)


def crashes(directory: Path) -> None:
    """Kill a process at every moment of every transaction of the scenario; tell where."""
    points: list[tuple[Step, Moment]] = []
    asyncio.run(scenario(directory / "whole", lambda step, moment: points.append((step, moment))))
    for number in range(len(points)):
        child = os.fork()
        if child == 0:
            die_at(number, directory / f"{number:03}")
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, status
    say(points)


def migrations(directory: Path) -> None:
    """Kill a process after every statement of opening a spool of version 1, and of making one; tell the statements."""
    told: dict[str, list[str]] = {"old": [], "new": []}
    for kind, statements in told.items():
        asyncio.run(open_traced(prepared(kind, directory / f"{kind}-whole"), statements.append))
        for number in range(len(statements)):
            child = os.fork()
            if child == 0:
                die_at_statement(number, prepared(kind, directory / f"{kind}-{number:03}"))
            _, status = os.waitpid(child, 0)
            assert os.WTERMSIG(status) == signal.SIGKILL, status
    say(told)


def prepared(kind: str, directory: Path) -> Path:
    """The directory, with a spool of version 1 in it if that is what is to be opened."""
    if kind == "old":
        make_version_1(directory)
    return directory


async def open_traced(directory: Path, follow: Callable[[str], object]) -> None:
    """Open the spool and close it; ``follow`` is told each statement before it runs."""
    connect = aiosqlite.connect

    def traced(path: Path, **options: Any) -> aiosqlite.Connection:
        connection = connect(path, **options)
        connector = connection._connector

        def connected() -> sqlite3.Connection:
            database = connector()
            database.set_trace_callback(follow)
            return database

        connection._connector = connected
        return connection

    aiosqlite.connect = traced  # type: ignore[assignment]  # in this process only
    try:
        async with Spool.open(settings_for(directory), TurnableClock()):
            pass
    finally:
        aiosqlite.connect = connect


def die_at_statement(number: int, directory: Path) -> None:
    """Open the spool and die before the given statement."""
    left = number

    def follow(_statement: str) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    try:
        asyncio.run(open_traced(directory, follow))
    finally:
        os._exit(1)


def die_at(number: int, directory: Path) -> None:
    """Run the scenario and die at the given moment."""
    left = number

    def probe(_step: Step, _moment: Moment) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    try:
        asyncio.run(scenario(directory, probe))
    finally:
        os._exit(1)


def say(value: object) -> None:
    """Print one JSON value."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


ACTIONS: dict[str, Callable[[Path], Coroutine[Any, Any, None]]] = {"hold": hold, "memory": memory, "limited": limited}


def main(action: str, directory: Path) -> None:
    """Run one action."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if action in {"crashes", "migrations"}:
        {"crashes": crashes, "migrations": migrations}[action](directory)
    else:
        asyncio.run(ACTIONS[action](directory))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
