"""The spool: the gateway's only memory, and the one place where sync and upload meet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from bota_gateway.config import SpoolSettings
from bota_gateway.model import Custody, WallClock
from bota_gateway.spool.const import DATABASE_NAME
from bota_gateway.spool.counting import Counting
from bota_gateway.spool.custody import Happened, Step
from bota_gateway.spool.database import Database, Health, Probe, Transaction
from bota_gateway.spool.forgetting import Forgetting
from bota_gateway.spool.journal import move, to_recording
from bota_gateway.spool.lock import directory_lock
from bota_gateway.spool.pausing import Pausing
from bota_gateway.spool.reading import Reading
from bota_gateway.spool.receiving import Receiving
from bota_gateway.spool.recorders import Recorders
from bota_gateway.spool.uploading import Uploading

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Spool(Recorders, Receiving, Uploading, Forgetting, Reading, Counting, Pausing):
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

    async def _recover(self) -> int:
        async def work(tx: Transaction) -> int:
            rows = await tx.fetch("SELECT * FROM recordings WHERE state = 'receiving'")
            for row in map(to_recording, rows):
                await move(tx, row, Step.RECOVER, Custody.LISTED, Happened.INTERRUPTED)
            return len(rows)

        return await self._transaction(Step.RECOVER, work)
