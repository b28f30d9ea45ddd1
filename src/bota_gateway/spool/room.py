"""How much audio still fits: the quota of the spool's file, and the floor of free space on its disk."""

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bota_gateway.config import SpoolSettings
from bota_gateway.errors import SpoolFullError
from bota_gateway.model import FORGOTTEN_BY_HAND, Custody, Recording, WallClock
from bota_gateway.pulse import back_within
from bota_gateway.spool import aside, ballast
from bota_gateway.spool.const import FORGET_ROWS, JOURNAL_RESERVE_BYTES, PAGE_BYTES
from bota_gateway.spool.custody import TO_UPLOAD, Step
from bota_gateway.spool.database import Database, Health, Transaction
from bota_gateway.spool.incoming import Incoming
from bota_gateway.spool.part import Part

PAGES = "SELECT page_count, freelist_count FROM pragma_page_count(), pragma_freelist_count()"


@dataclass(frozen=True, slots=True)
class SpoolUsage:
    """How full the spool is and what it holds."""

    used_bytes: int
    """Pages in use. The file itself never shrinks; its free pages are used again."""
    file_bytes: int
    quota_bytes: int
    disk_free_bytes: int
    min_free_bytes: int
    counts: dict[Custody, int]
    """Recordings by state, without those that were forgotten by hand."""
    forgotten_by_hand: int
    oldest_waiting_at: float | None
    """When the oldest recording that still waits for the cloud was captured, Unix seconds."""
    health: Health
    full: str | None
    """Why no more audio is taken; None while there is room for a row."""
    set_aside: tuple[Path, ...]
    """Directories with damaged spools that came before this one."""


class Room(Part):
    """Forecasts and limits of space."""

    def __init__(self, database: Database, settings: SpoolSettings, now: WallClock) -> None:
        super().__init__(database, settings, now)
        self._incoming: dict[int, Incoming] = {}

    async def has_room(self, expected_bytes: int, *, spare_bytes: int = 0) -> bool:
        """True when a recording of this size fits beside those that are arriving now.

        Args:
            expected_bytes: Its size, as far as known.
            spare_bytes: What could be deleted for it.

        Raises:
            SpoolFullError: it does not; the message has the figures.
        """
        promised = sum(max(0, other.expected_bytes - other.stored_bytes) for other in self._incoming.values())
        rows = await self._db.read(PAGES)
        self._judge(rows[0][0], rows[0][1] + spare_bytes // PAGE_BYTES, expected_bytes + promised)
        return True

    async def usage(self) -> SpoolUsage:
        """How full the spool is and what it holds."""
        rows = await self._db.read(PAGES)
        pages, free_pages = rows[0]
        # One statement, so that both counts are of one moment; the index by state has all that the first one needs.
        rows = await self._db.read(
            """
            SELECT state, count(*) FROM recordings GROUP BY state UNION ALL
            SELECT ?, count(*) FROM recordings WHERE state = 'parked' AND parked_reason = ?
            """,
            (FORGOTTEN_BY_HAND, FORGOTTEN_BY_HAND),
        )
        found = {str(name): int(count) for name, count in rows}
        by_hand = found.pop(FORGOTTEN_BY_HAND)
        counts = {state: found.get(state, 0) for state in Custody}
        counts[Custody.PARKED] -= by_hand
        marks = ", ".join("?" * len(TO_UPLOAD))
        oldest = await self._db.read(
            f"SELECT min(captured_at) FROM recordings WHERE state IN ({marks})",  # noqa: S608 - question marks only
            sorted(TO_UPLOAD),
        )
        return SpoolUsage(
            used_bytes=(pages - free_pages) * PAGE_BYTES,
            file_bytes=pages * PAGE_BYTES,
            quota_bytes=self._settings.max_bytes,
            disk_free_bytes=self._disk_free(),
            min_free_bytes=self._settings.min_free_bytes,
            counts=counts,
            forgotten_by_hand=by_hand,
            oldest_waiting_at=oldest[0][0],
            health=self._db.health,
            full=self._why_full(pages, free_pages, 1),
            set_aside=tuple(aside.directories(self._settings.directory)),
        )

    async def _require_room(self, tx: Transaction, size: int) -> None:
        """Room for ``size`` bytes of audio now, within a transaction."""
        pages, free_pages = (await tx.fetch(PAGES))[0]
        self._judge(pages, free_pages, size)

    def _judge(self, pages: int, free_pages: int, size: int) -> None:
        reason = self._why_full(pages, free_pages, size)
        if reason is not None:
            raise SpoolFullError(reason)

    def _why_full(self, pages: int, free_pages: int, size: int) -> str | None:
        used = (pages - free_pages) * PAGE_BYTES
        if used + size + JOURNAL_RESERVE_BYTES > self._settings.max_bytes:
            return (
                f"No room for {_mb(size)}: the spool holds {_mb(used)} of the {_mb(self._settings.max_bytes)} of "
                f"spool.max_bytes, and {_mb(JOURNAL_RESERVE_BYTES)} of that are kept for custody."
            )
        growth = size - free_pages * PAGE_BYTES  # free pages are used first and cost the disk nothing
        free = self._disk_free()
        if growth > 0 and free - growth < self._settings.min_free_bytes:
            return (
                f"No room for {_mb(size)}: the disk has {_mb(free)} free, and spool.min_free_bytes keeps "
                f"{_mb(self._settings.min_free_bytes)} free."
            )
        return None

    def _take_ballast(self) -> None:
        ballast.take(self._settings.directory, self._disk_free() - self._settings.min_free_bytes)

    def _disk_free(self) -> int:
        try:
            return shutil.disk_usage(self._settings.directory).free
        except OSError:  # pulled out, or failing: it takes no audio, and the next write tells more
            return 0

    async def _end_incoming(
        self,
        step: Step,
        recording_id: int,
        work: Callable[[Transaction], Awaitable[Recording]],
        ends: list[int] | None,
    ) -> Recording:
        """A step after which nothing arrives any more. ``ends`` gets the number of the line that it wrote."""

        async def with_line(tx: Transaction) -> tuple[Recording, int]:
            return await work(tx), tx.line

        def then(done: tuple[Recording, int]) -> None:
            self._incoming.pop(recording_id, None)
            if ends is not None:
                ends.append(done[1])

        row, _ = await self._transaction(step, with_line, then)
        return row

    async def _sweep(self, recording_id: int) -> None:
        """Delete the audio of a recording that no longer owns any, in slices."""

        async def work(tx: Transaction) -> bool:
            rows = await tx.fetch(
                """
                SELECT audio.id FROM audio JOIN recordings ON recordings.id = recording_id
                WHERE recording_id = ? AND (released_at IS NOT NULL OR sha256 IS NULL AND state <> 'receiving')
                ORDER BY number LIMIT ?
                """,
                (recording_id, FORGET_ROWS),
            )
            for row in rows:
                await tx.write("DELETE FROM audio WHERE id = ?", (row["id"],))
            return len(rows) == FORGET_ROWS

        while await self._transaction(Step.SWEEP, work):
            back_within(0)  # gigabytes on a slow card take their time


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
