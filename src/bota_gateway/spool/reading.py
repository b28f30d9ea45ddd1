"""What can be read from the spool: recordings, their timelines, their audio."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass

from bota_gateway.errors import SpoolCorruptError, SpoolError
from bota_gateway.model import FORGOTTEN_BY_HAND, OPEN, Custody, Recording, TimelineEntry
from bota_gateway.spool.const import AUDIO_ROW_BYTES, PIECE_BYTES
from bota_gateway.spool.journal import to_entry, to_recording, unknown_recording
from bota_gateway.spool.part import Part

_LOST_REMEDY = "Do not confirm it; check the disk. If the recorder still lists it, it can be pulled again."


@dataclass(frozen=True, slots=True)
class Held:
    """Recordings that one reason holds up."""

    code: str
    parked: bool
    """Whether only a person can help."""
    count: int
    detail: str
    """In words, of the newest."""


class Reading(Part):
    """Reads; nothing here changes anything."""

    async def recording(self, recording_id: int) -> Recording:
        """One recording.

        Raises:
            SpoolError: ``spool_unknown_recording``.
        """
        rows = await self._db.read("SELECT * FROM recordings WHERE id = ?", (recording_id,))
        if not rows:
            raise unknown_recording(recording_id)
        return to_recording(rows[0])

    async def recordings(
        self,
        *,
        states: Collection[Custody] | None = None,
        serial: str | None = None,
        file_id: str = "",
        by_hand: bool | None = None,
        newest: int | None = None,
    ) -> list[Recording]:
        """Recordings in the order they were listed. A hub has hundreds of thousands: ask for no more than is needed.

        Args:
            states: In any of these; None for all.
            serial: Of this recorder; None for all.
            file_id: Those whose file id begins so.
            by_hand: Those that were forgotten by hand, or those that were not; None for both.
            newest: So many at most, those that were listed last; None for all.
        """
        chosen = sorted(Custody if states is None else states)
        marks = ", ".join("?" * len(chosen))
        rows = await self._db.read(
            f"""
            SELECT * FROM recordings WHERE state IN ({marks}) AND coalesce(serial = ?, TRUE) AND instr(file_id, ?) = 1
            AND coalesce((parked_reason IS ?) = ?, TRUE)
            ORDER BY id DESC LIMIT coalesce(?, -1)
            """,  # noqa: S608 - question marks only
            (*chosen, serial, file_id, FORGOTTEN_BY_HAND, by_hand, newest),
        )
        return [to_recording(row) for row in reversed(rows)]

    async def holder_of(self, cloud_id: str) -> Recording | None:
        """The newest recording that the cloud gave this id for; None if there is none."""
        rows = await self._db.read("SELECT * FROM recordings WHERE cloud_id = ? ORDER BY id DESC LIMIT 1", (cloud_id,))
        return to_recording(rows[0]) if rows else None

    async def same_capture(self, row: Recording) -> Recording | None:
        """Another capture of the very bytes of ``row``, under the same file id of the same recorder, that goes first.

        Recorders may list a recording anew with another start (their clock was set since), or duration. Of several
        the one goes first that the cloud knows, or may know, then the one that was listed first. None: it is ``row``.
        """
        rows = await self._db.read(
            """
            SELECT * FROM recordings WHERE serial = ? AND file_id = ? AND sha256 = ? AND size_bytes = ?
            ORDER BY cloud_id IS NULL, create_intended_at IS NULL, id LIMIT 1
            """,
            (row.key.serial, row.key.file_id, row.sha256, row.size_bytes),
        )
        first = to_recording(rows[0])
        return None if first.id == row.id else first

    async def timeline(self, recording_id: int) -> list[TimelineEntry]:
        """The story of one recording, oldest line first.

        Raises:
            SpoolError: ``spool_unknown_recording``.
        """
        await self.recording(recording_id)
        rows = await self._db.read("SELECT * FROM timeline WHERE recording_id = ? ORDER BY id", (recording_id,))
        return [to_entry(row) for row in rows]

    async def transfers(self, since: float, *, at_most: int) -> list[tuple[str, TimelineEntry]]:
        """How transfers since then (Unix seconds) ended: serial and line, the newest first, of those with figures."""
        rows = await self._db.read(
            """
            SELECT serial, timeline.* FROM timeline JOIN recordings ON recordings.id = recording_id
            WHERE happened IN ('captured', 'receiving_abandoned', 'parked') AND at >= ?
            AND json_extract(detail, '$.adapter') IS NOT NULL ORDER BY at DESC LIMIT ?
            """,
            (since, at_most),
        )
        return [(row["serial"], to_entry(row)) for row in rows]

    async def held(self) -> list[Held]:
        """How many recordings wait or are parked for each reason, with the words of the newest.

        What was forgotten by hand waits for nothing.
        """
        marks = ", ".join("?" * len(OPEN))
        rows = await self._db.read(
            f"""
            SELECT coalesce(parked_reason, waiting_for) AS code, state = 'parked' AS parked, count(*) AS count,
                waiting_detail, max(id)
            FROM recordings WHERE state IN ({marks}) AND code IS NOT NULL AND code <> ?
            GROUP BY code, parked ORDER BY code, parked
            """,  # noqa: S608 - question marks only
            (*sorted(OPEN), FORGOTTEN_BY_HAND),
        )
        return [
            Held(row["code"], bool(row["parked"]), row["count"], row["waiting_detail"] or row["code"]) for row in rows
        ]

    async def read_audio(self, recording_id: int, *, piece_bytes: int = PIECE_BYTES) -> AsyncGenerator[bytes, None]:
        """The recording's bytes in pieces, the next one read while the caller sends the last.

        Memory stays near three pieces, however long the recording. Close it (``contextlib.aclosing``) when leaving
        early.

        Args:
            recording_id: A captured recording whose audio is still here.
            piece_bytes: Bytes per piece, rounded down to whole rows of 256 KiB, one row at least.

        Raises:
            SpoolError: ``spool_unknown_recording``; ``spool_no_audio`` when it is not captured, or deleted here after
                its retention; ``spool_audio_missing`` when fewer bytes can be read than were captured.
        """
        row = await self.recording(recording_id)
        left = audio_bytes(row)
        rows_per_piece = max(1, piece_bytes // AUDIO_ROW_BYTES)
        number = 0
        ahead = asyncio.create_task(self._piece(recording_id, number, rows_per_piece))
        try:
            while left > 0:
                piece = await ahead
                left -= len(piece)
                number += rows_per_piece
                if not piece or left < 0:
                    raise _audio_missing(row, left)
                if left > 0:
                    ahead = asyncio.create_task(self._piece(recording_id, number, rows_per_piece))
                yield piece
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def audio_piece(self, recording_id: int, number: int) -> bytes:
        """Piece ``number`` (from 0) of 1 MiB; empty behind the last one. Raises as :meth:`read_audio`."""
        audio_bytes(await self.recording(recording_id))
        rows_per_piece = PIECE_BYTES // AUDIO_ROW_BYTES
        return await self._piece(recording_id, number * rows_per_piece, rows_per_piece)

    async def _piece(self, recording_id: int, first: int, count: int) -> bytes:
        try:
            rows = await self._db.read_immutable(
                "SELECT data FROM audio WHERE recording_id = ? AND number >= ? AND number < ? ORDER BY number",
                (recording_id, first, first + count),
            )
        except SpoolCorruptError as damage:  # one recording's bytes; the journal may well be whole
            raise SpoolError(
                f"The audio of recording number {recording_id} can't be read: {damage.message}",
                code="spool_audio_missing",
                remedy=_LOST_REMEDY,
            ) from damage
        return b"".join(row["data"] for row in rows)


def audio_bytes(row: Recording) -> int:
    """How many bytes the spool should have of a recording.

    Raises:
        SpoolError: ``spool_no_audio``: none.
    """
    if row.forgotten_by_hand:
        raise SpoolError(
            f"The audio of {row.key} was deleted here by hand.",
            code="spool_no_audio",
            remedy="If its recorder still has it, bota-gateway retry with its name has it pulled again.",
        )
    if row.size_bytes is None:
        raise SpoolError(
            f"The spool has no audio of {row.key}: it is {row.state}.",
            code="spool_no_audio",
            remedy="It was not captured here: if it is still on its recorder, it is pulled when that is visited.",
        )
    if row.released_at is not None:
        raise SpoolError(
            f"The audio of {row.key} was deleted here, after its retention or by hand; it is {row.state}.",
            code="spool_no_audio",
            remedy=f"The cloud has it as {row.cloud_id}.",
        )
    return row.size_bytes


def _audio_missing(row: Recording, left: int) -> SpoolError:
    return SpoolError(
        f"The audio of {row.key} does not have its {row.size_bytes} bytes: {left} more were expected at its end.",
        code="spool_audio_missing",
        remedy=_LOST_REMEDY,
    )
