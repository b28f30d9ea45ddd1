import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from bota_gateway.config import SpoolSettings
from bota_gateway.errors import SpoolWriteError
from bota_gateway.model import Custody, Recording
from bota_gateway.spool import Moment, Spool, Step
from bota_gateway.spool.const import CHECKPOINT_PAGES, DATABASE_NAME, PAGE_BYTES, SCHEMA_VERSION
from bota_gateway.spool.custody import DURABLE
from bota_gateway.spool.database import Transaction
from bota_gateway.spool.failures import as_spool_error
from support.spool_child import scenario
from support.spooling import bring_to, noise

FULL, NORMAL = 2, 1


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("locking_mode", "exclusive"),
        ("page_size", PAGE_BYTES),
        ("auto_vacuum", 0),
        ("secure_delete", 0),
        ("mmap_size", 0),
        ("foreign_keys", 1),
        ("wal_autocheckpoint", CHECKPOINT_PAGES),
        ("max_page_count", (1 << 30) // PAGE_BYTES),
        ("user_version", SCHEMA_VERSION),
    ],
)
async def test_pragmas_are_as_measured(spool: Spool, pragma: str, value: object) -> None:
    """What the build of SQLite or Debian prefers does not matter: each is set."""
    rows = await spool._db.read(f"PRAGMA {pragma}")
    assert rows[0][0] == value


class Commits:
    """Follows SQLite's own trace: the level of syncing in force at each commit."""

    def __init__(self) -> None:
        self.level = FULL
        self.levels: list[int] = []

    def follow(self, statement: str) -> None:
        """SQLite runs this statement."""
        match statement.removeprefix("PRAGMA synchronous = "):
            case "FULL":
                self.level = FULL
            case "NORMAL":
                self.level = NORMAL
            case "COMMIT":
                self.levels.append(self.level)


async def test_each_step_is_synced_as_the_table_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every commit the level in force is FULL for durable steps and NORMAL for the others; no step is untried."""
    commits = Commits()
    original = aiosqlite.connect

    def traced(path: Path, **options: Any) -> aiosqlite.Connection:
        connection = original(path, **options)
        connector = connection._connector

        def connect() -> sqlite3.Connection:
            database = connector()
            database.set_trace_callback(commits.follow)
            return database

        connection._connector = connect
        return connection

    monkeypatch.setattr(aiosqlite, "connect", traced)
    steps: list[Step] = []
    await scenario(tmp_path, lambda step, moment: steps.append(step) if moment is Moment.BEGUN else None)
    found: dict[Step, set[int]] = {}
    for step, level in zip(steps, commits.levels, strict=True):
        found.setdefault(step, set()).add(level)
    assert found == {step: {FULL if step in DURABLE else NORMAL} for step in Step}


async def test_the_pragma_is_what_sqlite_says_it_is(spool: Spool) -> None:
    """The level that the transaction asked for is in force while it runs, by SQLite's own word."""
    seen: list[object] = []

    async def work(_tx: Transaction) -> None:
        rows = await spool._db._db.execute_fetchall("PRAGMA synchronous")
        seen.append(next(iter(rows))[0])

    for step in (Step.STORE_AUDIO, Step.CAPTURE, Step.STORE_AUDIO, Step.CAPTURE):
        await spool._db.transact(step, work)
    assert seen == [NORMAL, FULL, NORMAL, FULL]


class PulledPlugError(Exception):
    """Raised by a test in the middle of a transaction."""


@pytest.mark.parametrize("at", [Moment.BEGUN, Moment.BEFORE_COMMIT])
async def test_a_step_that_fails_leaves_nothing(spool: Spool, at: Moment) -> None:
    """A transaction that raises is rolled back whole, and the next one works."""
    row = await bring_to(spool, Custody.COMPLETING)
    lines = await spool.timeline(row.id)

    def pull_the_plug(_step: Step, moment: Moment) -> None:
        if moment is at:
            raise PulledPlugError

    spool._db._probe = pull_the_plug
    with pytest.raises(PulledPlugError):
        await spool.stored(row.id, verified=True)
    spool._db._probe = lambda _step, _moment: None
    assert await spool.recording(row.id) == row
    assert await spool.timeline(row.id) == lines
    assert (await spool.stored(row.id, verified=True)).state is Custody.STORED


async def test_a_read_never_sees_half_a_transaction(spool: Spool) -> None:
    """Nobody can act on a step before it is on the disk: reads wait for its end."""
    row = await bring_to(spool, Custody.COMPLETING)
    reads: list[asyncio.Task[Recording]] = []
    done_before_commit: list[bool] = []

    def probe(_step: Step, moment: Moment) -> None:
        if moment is Moment.BEGUN:
            reads.append(asyncio.create_task(spool.recording(row.id)))
        else:
            done_before_commit.append(reads[0].done())

    spool._db._probe = probe
    await spool.stored(row.id, verified=True)
    assert done_before_commit == [False, False]
    assert (await reads[0]).state is Custody.STORED


async def test_after_a_failed_sync_everything_is_written_anew_first(spool: Spool, settings: SpoolSettings) -> None:
    """A failed fsync may have lost pages that a later one would pass over: the log is copied before the next step."""
    row = await bring_to(spool, Custody.COMPLETING, data=noise(1 << 20))
    log_file = settings.directory / f"{DATABASE_NAME}-wal"
    log_sizes: list[int] = []

    def fail_to_sync(_step: Step, moment: Moment) -> None:
        if moment is Moment.BEFORE_COMMIT:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error

    spool._db._probe = fail_to_sync
    with pytest.raises(SpoolWriteError):
        await spool.stored(row.id, verified=True)
    assert (spool.health.healthy, log_file.stat().st_size > 0) == (False, True)
    spool._db._probe = lambda _step, _moment: log_sizes.append(log_file.stat().st_size)
    await spool.stored(row.id, verified=True)
    assert log_sizes[0] == 0
    assert spool.health.healthy


def test_unknown_errors_of_sqlite_are_still_ours() -> None:
    """Whatever SQLite raises, callers see the spool's errors only."""
    assert as_spool_error(sqlite3.ProgrammingError("odd"), "step x").error_code == "spool_error"
