"""The spool: the gateway's only memory, and the one place where sync and upload meet."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from bota_gateway.config import SpoolSettings
from bota_gateway.model import Custody, Recording, WallClock
from bota_gateway.spool.const import DATABASE_NAME
from bota_gateway.spool.custody import Happened, Step, sources_of
from bota_gateway.spool.database import Database, Health, Probe, Transaction
from bota_gateway.spool.journal import load, move, to_recording
from bota_gateway.spool.lock import directory_lock
from bota_gateway.spool.reading import Reading
from bota_gateway.spool.receiving import Receiving
from bota_gateway.spool.recorders import Recorders
from bota_gateway.spool.uploading import Uploading

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Spool(Recorders, Receiving, Uploading, Reading):
    """Recorders, custody and audio on disk. Made by :meth:`open`.

    Every method that changes something is one transaction with its line in the timeline, and has happened wholly or
    not at all, also when its caller is cancelled. A step that custody.py calls durable is synced when it returns.
    """

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: SpoolSettings, now: WallClock, *, probe: Probe | None = None
    ) -> AsyncIterator["Spool"]:
        """Open the spool, alone; transfers that a crash cut off go back to listed.

        A damaged database is set aside, never deleted, and a new one begun (see ``aside.py``).

        Args:
            settings: Where it is and how large it may grow.
            now: The wall clock.
            probe: For tests of crashes: called at every moment of every transaction.

        Raises:
            SpoolLockedError: another gateway has it.
            SpoolTooNewError: a newer version wrote it.
            SpoolForeignError: the file is some other program's.
            SpoolCorruptError: damage that the check at the start did not find; the next start sets the file aside.
            SpoolWriteError: the directory or the disk refuses.
        """
        with directory_lock(settings.directory):
            async with Database.open(settings.directory, settings.max_bytes, now, probe) as database:
                spool = cls(database, settings, now)
                interrupted = await spool._recover()
                await spool._sweep_all()
                spool._take_ballast()
                log.info(
                    "spool_opened", path=str(settings.directory / DATABASE_NAME), interrupted_transfers=interrupted
                )
                yield spool

    @property
    def revision(self) -> int:
        """Rises with every change that sync, upload or status may wait for."""
        return self._db.revision

    @property
    def health(self) -> Health:
        """Whether the last write reached the disk, and if not, why."""
        return self._db.health

    async def wait_for_change(self, since: int) -> int:
        """Wait until :attr:`revision` is above ``since``; give back the present one.

        Raises:
            SpoolError: ``spool_closed``.
        """
        return await self._db.wait_for_change(since)

    async def prove_durable(self) -> None:
        """After a failed write: show that the disk keeps what is written, before anything is promised again.

        Raises:
            SpoolError: it does not.
        """
        if self.health.healthy:
            return

        async def work(tx: Transaction) -> None:
            await tx.write("UPDATE spool SET proved_at = ?", (tx.now,))

        await self._transaction(Step.PROVE, work)

    async def forget_due(self, now: float, retention_s: float) -> int:
        """Delete audio whose retention is over; give back of how many recordings.

        A recording whose deletion on its recorder was seen ``retention_s`` seconds before ``now`` or earlier is
        forgotten. One that the cloud has had for that long is released: its recorder may be lost, or told to keep it.
        """
        rows = await self._db.read(
            """
            SELECT id, state FROM recordings WHERE state = 'confirmed' AND confirmed_at <= ?1
            OR state IN ('stored', 'confirming') AND released_at IS NULL AND stored_at <= ?1 ORDER BY id
            """,
            (now - retention_s,),
        )
        count = 0
        for row in rows:
            due = self._forget if row["state"] == Custody.CONFIRMED else self._release
            count += await due(row["id"])
        await self._sweep_all()
        self._take_ballast()
        return count

    async def _forget(self, recording_id: int) -> int:
        async def work(tx: Transaction, row: Recording) -> None:
            gone = tx.now if row.released_at is None else row.released_at
            detail = {"size_bytes": row.size_bytes}
            await move(tx, row, Step.FORGET, Custody.FORGOTTEN, Happened.FORGOTTEN, detail, released_at=gone)

        return await self._drop_audio(Step.FORGET, recording_id, work)

    async def _release(self, recording_id: int) -> int:
        async def work(tx: Transaction, row: Recording) -> None:
            detail = {"size_bytes": row.size_bytes, "cloud_id": row.cloud_id, "verified": row.verified}
            await move(tx, row, Step.RELEASE, row.state, Happened.RELEASED, detail, released_at=tx.now)

        return await self._drop_audio(Step.RELEASE, recording_id, work)

    async def _drop_audio(
        self, step: Step, recording_id: int, drop: Callable[[Transaction, Recording], Awaitable[None]]
    ) -> int:
        """Write down that the audio goes, durably, and only then delete it in slices."""

        async def work(tx: Transaction) -> int:
            row = await load(tx, recording_id)
            if row.state not in sources_of(step):
                return 0  # it was listed again, or its deletion was seen, in between
            await drop(tx, row)
            return 1

        count = await self._transaction(step, work)
        await self._sweep(recording_id)
        return count

    async def _recover(self) -> int:
        async def work(tx: Transaction) -> int:
            rows = await tx.fetch("SELECT * FROM recordings WHERE state = 'receiving'")
            for row in map(to_recording, rows):
                await move(tx, row, Step.RECOVER, Custody.LISTED, Happened.INTERRUPTED)
            return len(rows)

        return await self._transaction(Step.RECOVER, work)

    async def _sweep_all(self) -> None:
        """Delete audio that an interrupted sweep or a crash left behind."""
        rows = await self._db.read(
            """
            SELECT DISTINCT recording_id FROM audio JOIN recordings ON recordings.id = recording_id
            WHERE released_at IS NOT NULL OR sha256 IS NULL AND state <> 'receiving'
            """
        )
        for row in rows:
            await self._sweep(row["recording_id"])
