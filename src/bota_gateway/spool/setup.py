"""Opens the database: is it a spool, of which version, is it whole; then pragmas and migrations.

Nothing is written before the file is known to be a spool of a version that this program understands. A damaged one is
set aside for a new one.
"""

import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from pathlib import Path

import aiosqlite
import structlog

from bota_gateway.errors import (
    SpoolCorruptError,
    SpoolError,
    SpoolForeignError,
    SpoolFullError,
    SpoolTooNewError,
    SpoolWriteError,
)
from bota_gateway.model import WallClock
from bota_gateway.spool import aside, ballast
from bota_gateway.spool.const import (
    APPLICATION_ID,
    CHECKPOINT_PAGES,
    DATABASE_NAME,
    LOG_LIMIT_BYTES,
    OLDEST_SQLITE,
    PAGE_BYTES,
    SCHEMA_VERSION,
)
from bota_gateway.spool.failures import as_spool_error

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

BUSY_S = 1.0
"""How long SQLite waits for a lock. Our own lock keeps gateways apart: whoever else holds one won't let go soon."""

CHECKS = ("integrity_check(recorders)", "integrity_check(recordings)", "quick_check(timeline)")
"""Made at every start. A row that an index lacks would wait for ever, unseen; so indexes of what waits are compared,
too. The timeline is long, and nothing is decided by it. Walking gigabytes of audio takes minutes on an SD card, and its
bytes are checked against their digest whenever they are read for an upload."""


TABLES = frozenset({"recorders", "recordings", "audio", "timeline", "spool"})
NAMES_OF_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"


@asynccontextmanager
async def connection(directory: Path, max_bytes: int, now: WallClock) -> AsyncIterator[aiosqlite.Connection]:
    """The one connection to the spool in ``directory``, checked, configured and migrated.

    Raises:
        SpoolForeignError: the file is some other program's.
        SpoolTooNewError: a newer version wrote it.
        SpoolWriteError: the disk refused.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise SpoolError(
            f"This Python's SQLite is {sqlite3.sqlite_version}; the spool needs {needed} or newer.",
            code="spool_sqlite_too_old",
            remedy="Install a newer Python or SQLite.",
        )
    db = await _open_whole(directory, max_bytes, now)
    try:
        yield db
    finally:
        await db.close()


async def _open_whole(directory: Path, max_bytes: int, now: WallClock) -> aiosqlite.Connection:
    aside.finish(directory, now())
    reason = aside.why_suspect(directory)
    if reason is None:
        try:
            return await _open_with_ballast(directory, max_bytes)
        except SpoolCorruptError as damage:
            reason = damage.message
    aside.set_aside(directory, reason, now())
    return await _open_with_ballast(directory, max_bytes)


async def _open_with_ballast(directory: Path, max_bytes: int) -> aiosqlite.Connection:
    try:
        return await _open(directory, max_bytes)
    except SpoolFullError:
        if not ballast.drop(directory):
            raise
        return await _open(directory, max_bytes)


async def _open(directory: Path, max_bytes: int) -> aiosqlite.Connection:
    path = directory / DATABASE_NAME
    _make_private(path)
    with _said(path):
        db = await aiosqlite.connect(path, isolation_level=None, timeout=BUSY_S)
    try:
        with _said(path):
            await _prepare(db, path, max_bytes)
    except BaseException:
        await db.close()
        raise
    return db


def _make_private(path: Path) -> None:
    """Make the file, if there is none, readable by its owner alone; SQLite gives its log the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise SpoolWriteError(f"The spool {path} can't be written: {error.strerror or error}.") from error


@contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise as_spool_error(error, f"opening {path}") from error


async def _prepare(db: aiosqlite.Connection, path: Path, max_bytes: int) -> None:
    db.row_factory = sqlite3.Row
    version = await _identify(db, path)
    await _configure(db, max_bytes)
    if version:
        await _check(db, path)
    await _migrate(db, version)
    await _follow(db, path.parent)
    await _settle(db)


async def pragma(db: aiosqlite.Connection, text: str) -> int | str | None:
    """Run one pragma and give back the first value of its answer, if any."""
    rows = list(await db.execute_fetchall(f"PRAGMA {text}"))
    return rows[0][0] if rows else None


async def _identify(db: aiosqlite.Connection, path: Path) -> int:
    """The schema version of the file; 0 for a new one."""
    await pragma(db, "locking_mode = EXCLUSIVE")  # nobody else may open it, and no shared memory file is needed
    application = await pragma(db, "application_id")
    version = await pragma(db, "user_version")
    return recognise(path, application, version, {row[0] for row in await db.execute_fetchall(NAMES_OF_TABLES)})


def recognise(path: Path, application: object, version: object, tables: Collection[str]) -> int:
    """The schema version of the file, by what its header says and which tables it has; 0 for a new one.

    Raises:
        SpoolForeignError: it is some other program's.
        SpoolCorruptError: it is ours, and its header is damaged.
        SpoolTooNewError: a newer version wrote it.
    """
    if application == 0 and version == 0 and not tables:
        return 0
    if application != APPLICATION_ID and TABLES.isdisjoint(tables):
        raise SpoolForeignError(f"{path} is a database of some other program, not a spool.")
    if application != APPLICATION_ID:
        raise SpoolCorruptError(f"The spool {path} is damaged: its header does not say what it is.")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise SpoolTooNewError(
            f"The spool {path} has schema version {version}; this program knows versions up to {SCHEMA_VERSION}."
        )
    return version


async def _configure(db: aiosqlite.Connection, max_bytes: int) -> None:
    await pragma(db, f"page_size = {PAGE_BYTES}")
    await pragma(db, "auto_vacuum = NONE")
    mode = await pragma(db, "journal_mode = WAL")
    if mode != "wal":
        raise SpoolError(f"SQLite keeps journal mode {mode} where WAL is needed.", code="spool_no_wal")
    await pragma(db, "synchronous = FULL")
    await pragma(db, f"wal_autocheckpoint = {CHECKPOINT_PAGES}")
    await pragma(db, f"journal_size_limit = {LOG_LIMIT_BYTES}")
    await pragma(db, "secure_delete = OFF")  # Debian builds it ON: a delete would write everything it deletes
    await pragma(db, "mmap_size = 0")  # an I/O error on a mapped page is a SIGBUS
    await pragma(db, "foreign_keys = ON")
    await pragma(db, f"max_page_count = {max_bytes // PAGE_BYTES}")


async def _check(db: aiosqlite.Connection, path: Path) -> None:
    for check in CHECKS:
        verdict = await pragma(db, check)
        if verdict != "ok":
            raise SpoolCorruptError(f"The spool {path} fails its check: {verdict}.")


async def _migrate(db: aiosqlite.Connection, version: int) -> None:
    """Apply each newer schema file in a transaction of its own."""
    for number in range(version + 1, SCHEMA_VERSION + 1):
        try:
            await db.executescript(
                f"BEGIN IMMEDIATE;\n{schema(number)}\n"
                f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {number};\nCOMMIT;"
            )
        except BaseException:
            await db.rollback()
            raise
        level = logging.INFO if version else logging.DEBUG  # how a new one is made is no news
        log.log(level, "spool_migrated", from_version=number - 1, to_version=number)


async def _follow(db: aiosqlite.Connection, directory: Path) -> None:
    """Note in a spool that has met no recorder yet that an earlier one was lost, with what it knew.

    Not part of its making, so that it is noted also when a crash came between the setting aside and the first recorder.
    """
    lost = aside.directories(directory)
    if lost:
        await db.execute_fetchall(
            "UPDATE spool SET follows = ? WHERE follows IS NULL AND NOT EXISTS (SELECT 1 FROM recorders)",
            (lost[-1].name,),
        )


def schema(number: int) -> str:
    """The statements that make version ``number`` out of the one before."""
    return resources.files(__package__).joinpath("schema", f"{number:03}.sql").read_text("utf-8")


async def _settle(db: aiosqlite.Connection) -> None:
    """Bring what a killed process left in the log into the database, synced.

    After a failed sync the kernel may hold pages of the log as clean that never reached the disk; copying them makes
    them dirty again. On a full disk this may fail: the log then stays, which SQLite reads just as well.
    """
    try:
        await pragma(db, "wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError as error:
        log.warning("spool_not_settled", reason=str(error))
