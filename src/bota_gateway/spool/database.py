"""Transactions on the spool's one connection: named, shielded, synced as their step demands.

All writes go through :meth:`Database.transact`, so that the places where a crash can fall are its steps times
its moments, and nothing else.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import aiosqlite
import structlog

from bota_gateway.errors import SpoolCorruptError, SpoolError, SpoolFullError, SpoolWriteError
from bota_gateway.model import WallClock
from bota_gateway.spool import ballast
from bota_gateway.spool.aside import mark_suspect
from bota_gateway.spool.custody import DURABLE, Step
from bota_gateway.spool.failures import as_spool_error, may_have_lost_a_sync
from bota_gateway.spool.setup import connection, pragma

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

T = TypeVar("T")
Value = str | int | float | bytes | None

QUIET = frozenset({Step.STORE_AUDIO, Step.SWEEP, Step.COUNT})
"""Steps that nobody waits for: they do not raise the revision."""


OF_AUDIO = frozenset({Step.STORE_AUDIO, Step.CAPTURE})
"""Steps that write audio."""


class Moment(StrEnum):
    """Where in a transaction a crash can fall."""

    BEGUN = "begun"
    BEFORE_COMMIT = "before_commit"
    COMMITTED = "committed"


Probe = Callable[[Step, Moment], None]
"""Called at every moment of every transaction. Tests raise or kill the process in it; the product passes none."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the last write reached the disk."""

    healthy: bool
    reason: str | None = None
    code: str | None = None
    since: float | None = None


class Transaction:
    """The statements of one transaction."""

    def __init__(self, db: aiosqlite.Connection, now: float) -> None:
        self._db = db
        self.now = now
        """Wall time of the transaction: all its rows carry the same."""
        self.wrote = False
        self.line: int
        """Number of the newest line that it wrote into a timeline; there once it wrote one."""

    async def fetch(self, sql: str, parameters: Sequence[Value] = ()) -> list[sqlite3.Row]:
        """Rows of a query, seeing what this transaction wrote."""
        return list(await self._db.execute_fetchall(sql, parameters))

    async def write(self, sql: str, parameters: Sequence[Value] = ()) -> list[sqlite3.Row]:
        """Run a statement that writes; rows come from its RETURNING clause."""
        self.wrote = True
        return list(await self._db.execute_fetchall(sql, parameters))


class Database:
    """One connection on its own thread. Reads and transactions take turns: a read never sees half a transaction."""

    def __init__(self, db: aiosqlite.Connection, directory: Path, now: WallClock, probe: Probe | None) -> None:
        self._db = db
        self._directory = directory
        self._now = now
        self._probe = probe or (lambda _step, _moment: None)
        self._turn = asyncio.Lock()
        self._synchronous = "FULL"
        self._sync_in_doubt = False
        self._open = True
        self._damage: str | None = None
        """How it was found damaged. From then on everything is refused, whoever it was that met the damage."""
        self._changed = asyncio.Event()
        self.revision = 0
        """Rises with every step that sync, upload or status may wait for."""
        self.health = Health(healthy=True)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: Path, max_bytes: int, now: WallClock, probe: Probe | None = None
    ) -> AsyncIterator["Database"]:
        """Open the database in ``directory``; see :func:`setup.connection` for what it raises."""
        async with connection(directory, max_bytes, now) as db:
            database = cls(db, directory, now, probe)
            try:
                yield database
            finally:
                async with database._turn:
                    database._open = False
                database.announce()

    async def transact(
        self,
        step: Step,
        work: Callable[[Transaction], Awaitable[T]],
        then: Callable[[T], None] | None = None,
    ) -> T:
        """Do ``work`` as one transaction, on the disk before this returns if the step is durable.

        Cancelling the caller does not cancel the transaction: SQLite would finish its statement regardless, and memory
        would disagree with the disk. It runs to its end, ``then`` brings memory in line, and only then the
        cancellation goes on.
        """
        async with self._turn:
            self._require_usable()
            return await _to_the_end(asyncio.create_task(self._attempt(step, work, then), name=f"spool-{step}"))

    async def read(self, sql: str, parameters: Sequence[Value] = ()) -> list[sqlite3.Row]:
        """Rows of a query over committed state."""
        async with self._turn:
            try:
                return await self.read_immutable(sql, parameters)
            except SpoolCorruptError as damage:
                self._condemn(damage)
                raise

    async def read_immutable(self, sql: str, parameters: Sequence[Value] = ()) -> list[sqlite3.Row]:
        """Rows that no transaction changes once written (audio), without waiting for a turn.

        Raises:
            SpoolCorruptError: this row's bytes are damaged; that says nothing of the journal.
        """
        self._require_usable()
        try:
            return list(await self._db.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            raise as_spool_error(error, "reading") from error

    async def wait_for_change(self, since: int) -> int:
        """Wait until the revision is above ``since``; give back the present one."""
        while self.revision <= since:
            self._require_usable()
            await self._changed.wait()
        return self.revision

    def announce(self) -> None:
        """Raise the revision and wake everyone who waits for it."""
        self.revision += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def _attempt(
        self, step: Step, work: Callable[[Transaction], Awaitable[T]], then: Callable[[T], None] | None
    ) -> T:
        try:
            await self._mend()
            await self._set_synchronous("FULL" if step in DURABLE else "NORMAL")
            transaction = Transaction(self._db, self._now())
            result = await self._within(step, transaction, work)
        except sqlite3.Error as error:
            failure = self._failed(step, error)
            # What audio needs is not for the ballast to give: that is for the steps which make room again.
            if isinstance(failure, SpoolFullError) and step not in OF_AUDIO and ballast.drop(self._directory):
                return await self._attempt(step, work, then)
            raise failure from error
        if transaction.wrote:
            self._succeeded()
        if then is not None:
            then(result)
        if transaction.wrote and step not in QUIET:
            self.announce()
        return result

    async def _within(self, step: Step, transaction: Transaction, work: Callable[[Transaction], Awaitable[T]]) -> T:
        await self._db.execute_fetchall("BEGIN IMMEDIATE")
        try:
            self._probe(step, Moment.BEGUN)
            result = await work(transaction)
            self._probe(step, Moment.BEFORE_COMMIT)
            await self._db.commit()
        except BaseException:
            await self._db.rollback()  # does nothing where SQLite has rolled back by itself
            raise
        self._probe(step, Moment.COMMITTED)
        return result

    async def _set_synchronous(self, level: str) -> None:
        if level != self._synchronous:  # takes effect only outside a transaction
            await pragma(self._db, f"synchronous = {level}")
            self._synchronous = level

    async def _mend(self) -> None:
        """After an I/O error: copy the log into the database, synced, before anything is promised again.

        A failed fsync may have left pages of the log marked clean without having reached the disk, and the next fsync
        would succeed over the gap. Copying writes them anew.
        """
        if not self._sync_in_doubt:
            return
        await self._set_synchronous("FULL")
        if await pragma(self._db, "wal_checkpoint(TRUNCATE)") != 0:
            raise SpoolWriteError("The spool's log could not be brought to the disk after an I/O error.")
        self._sync_in_doubt = False

    def _failed(self, step: Step, error: sqlite3.Error) -> SpoolError:
        self._sync_in_doubt = self._sync_in_doubt or may_have_lost_a_sync(error)
        failure = as_spool_error(error, f"step {step}")
        if isinstance(failure, SpoolCorruptError):
            self._condemn(failure)
        if self.health.healthy or self.health.code != failure.error_code:
            log.error("spool_write_failed", step=str(step), code=failure.error_code, reason=failure.message)
            self.health = Health(healthy=False, reason=failure.message, code=failure.error_code, since=self._now())
            self.announce()
        return failure

    def _condemn(self, damage: SpoolCorruptError) -> None:
        if self._damage is None:
            self._damage = damage.message
            mark_suspect(self._directory, damage.message)
            self.announce()  # so that those who wait learn of it

    def _succeeded(self) -> None:
        if not self.health.healthy:
            log.info("spool_writes_again", after=self.health.code)
            self.health = Health(healthy=True)
            self.announce()

    def _require_usable(self) -> None:
        if not self._open:
            raise SpoolError("The spool is closed.", code="spool_closed", remedy="Start the gateway again.")
        if self._damage is not None:
            raise SpoolCorruptError(self._damage)


async def _to_the_end(task: "asyncio.Task[T]") -> T:
    """Wait for ``task`` even when cancelled meanwhile; then let the cancellation go on."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:  # asked twice; the first request is honoured below
                continue
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("spool_step_failed_while_cancelled", reason=str(error))
        raise
