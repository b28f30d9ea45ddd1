"""How long audio stays: until its retention is over, or until its room is needed for what only a recorder has."""

from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import TypeVar

import structlog

from bota_gateway.errors import SpoolFullError
from bota_gateway.model import Custody, Recording
from bota_gateway.spool.custody import Happened, Step, sources_of
from bota_gateway.spool.database import Transaction
from bota_gateway.spool.journal import Detail, load, move
from bota_gateway.spool.room import Room

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

T = TypeVar("T")

BY_HAND: Detail = {"by": "hand"}

SPARE = "state IN ('confirmed', 'stored', 'confirming') AND released_at IS NULL AND verified"
"""Recordings whose audio is here only for its retention: the cloud has proved that it has the same bytes."""


class Retention(Room):
    """Deleting audio on purpose. Custody never depends on it: the cloud has what is deleted here."""

    async def has_room(self, expected_bytes: int, *, spare_bytes: int = 0) -> bool:
        """True when a recording of this size fits beside those that are arriving now.

        Audio that the cloud has proved makes room before its retention is over: a recorder whose own memory is full
        would record no more. Nothing is deleted for a recording that would not even fit then.
        """
        rows = await self._db.read(f"SELECT coalesce(sum(size_bytes), 0) FROM recordings WHERE {SPARE}")  # noqa: S608 - our own words
        await super().has_room(expected_bytes, spare_bytes=spare_bytes + rows[0][0])
        return await self._with_room(lambda: super(Retention, self).has_room(expected_bytes))

    async def _with_room(self, write: Callable[[], Awaitable[T]]) -> T:
        """Do ``write``, as often as room can be made for it."""
        while True:
            try:
                return await write()
            except SpoolFullError:
                if not await self._make_room():
                    raise

    async def forget_due(self, now: float, retention_s: float) -> int:
        """Delete audio whose retention is over; give back of how many recordings.

        A recording whose deletion on its recorder was seen ``retention_s`` seconds before ``now`` or earlier is
        forgotten; never sooner than that after the cloud took it, should the clock have been wrong at the deletion.
        One that the cloud has had for that long is released: its recorder may be lost, or told to keep it.
        """
        rows = await self._db.read(
            """
            SELECT id, state FROM recordings
            WHERE state = 'confirmed' AND max(confirmed_at, coalesce(stored_at, 0)) <= ?
            OR state IN ('stored', 'confirming') AND released_at IS NULL AND stored_at <= ? ORDER BY id
            """,
            (now - retention_s, now - retention_s),
        )
        count = 0
        for row in rows:
            due = self._forget if row["state"] == Custody.CONFIRMED else self._release
            count += await due(row["id"])
        await self._sweep_all()
        self._take_ballast()
        return count

    async def _forget(self, recording_id: int) -> int:
        return await self._drop_audio(Step.FORGET, recording_id, forget)

    async def _release(self, recording_id: int) -> int:
        return await self._drop_audio(Step.RELEASE, recording_id, release)

    async def _drop_audio(
        self, step: Step, recording_id: int, drop: Callable[[Transaction, Recording, Step], Awaitable[Recording]]
    ) -> int:
        """Write down that the audio goes, durably, and only then delete it in slices."""

        async def work(tx: Transaction) -> int:
            row = await load(tx, recording_id)
            if row.state not in sources_of(step):
                return 0  # it was listed again, or its deletion was seen, in between
            await drop(tx, row, step)
            return 1

        count = await self._transaction(step, work)
        await self._sweep(recording_id)
        return count

    async def _make_room(self) -> bool:
        """Delete the audio that is needed least; False when all of it is needed.

        What the cloud took without proving it stays for its whole retention.
        """
        rows = await self._db.read(
            f"""
            SELECT id, state, serial, file_id FROM recordings WHERE {SPARE}
            ORDER BY state = 'confirmed' DESC, stored_at, id LIMIT 1
            """  # noqa: S608 - our own words
        )
        for row in rows:
            log.info("audio_made_room", recorder=row["serial"], recording=row["file_id"])
            await (self._forget if row["state"] == Custody.CONFIRMED else self._release)(row["id"])
        return bool(rows)

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


async def forget(tx: Transaction, row: Recording, step: Step, by: Detail = MappingProxyType({})) -> Recording:
    """Write down that the audio goes of one that its recorder has deleted."""
    gone = tx.now if row.released_at is None else row.released_at
    detail = {"size_bytes": row.size_bytes, **by}
    return await move(tx, row, step, Custody.FORGOTTEN, Happened.FORGOTTEN, detail, released_at=gone)


async def release(tx: Transaction, row: Recording, step: Step, by: Detail = MappingProxyType({})) -> Recording:
    """Write down that the audio goes of one that its recorder still has; its custody stays as it is."""
    detail = {"size_bytes": row.size_bytes, "cloud_id": row.cloud_id, "verified": row.verified, **by}
    return await move(tx, row, step, row.state, Happened.RELEASED, detail, released_at=tx.now)
