"""What a recorder lists, brought into the spool."""

import json
from collections.abc import Sequence

import structlog

from bota_gateway.config import SpoolSettings
from bota_gateway.model import Custody, ListedRecording, Recording, WallClock
from bota_gateway.spool import unpulled
from bota_gateway.spool.custody import Happened, Step
from bota_gateway.spool.database import Database, Transaction
from bota_gateway.spool.journal import FRESH, append, move, to_recording, update
from bota_gateway.spool.part import Part
from bota_gateway.spool.reconciling import Change, Comparison, Finding, compare
from bota_gateway.spool.recorders import note_whole_list, require_recorder

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

TOLD: dict[Change, str] = {
    Change.NEW: "recording_listed",
    Change.NEW_TAKE: "recording_listed",
    Change.LISTED_AGAIN: "recording_listed",
    Change.CONFIRM_AGAIN: "recording_still_there",
    Change.DELETION_SEEN: "recording_deletion_seen",
    Change.VANISHED: "recording_vanished",
}
"""The log event of each change that is worth one."""


class Listing(Part):
    """Lists of recorders."""

    def __init__(self, database: Database, settings: SpoolSettings, now: WallClock) -> None:
        super().__init__(database, settings, now)
        self._listed_at: dict[str, dict[int, float]] = {}
        """By serial and recording: when it was last seen on its recorder, in this life of the gateway."""

    async def reconcile(self, serial: str, listed: Sequence[ListedRecording], *, complete: bool) -> list[Recording]:
        """Bring the spool in line with what a recorder lists, in one transaction.

        Args:
            serial: The recorder, known by ``note_recorder``.
            listed: Its entries; repeats are ignored.
            complete: Whether the list is known to be whole. Only then is an absent recording taken for deleted.

        Returns:
            The rows of everything listed, after the change, oldest start first.

        Raises:
            SpoolError: ``spool_unknown_recorder``.
        """

        async def work(tx: Transaction) -> tuple[Comparison, list[Recording]]:
            await require_recorder(tx, serial)
            rows = await tx.fetch(
                """
                SELECT * FROM recordings WHERE serial = ?
                AND (state NOT IN ('confirmed', 'forgotten') OR file_id IN (SELECT value FROM json_each(?)))
                """,
                (serial, json.dumps(sorted({entry.file_id for entry in listed}))),
            )
            comparison = compare(map(to_recording, rows), listed, complete=complete)
            changed = [await _apply(tx, serial, finding) for finding in comparison.findings]
            if complete:
                await note_whole_list(tx, serial)
            present = [
                *comparison.standing,
                *(row for finding, row in zip(comparison.findings, changed, strict=True) if finding.entry is not None),
            ]
            if any(finding.change is Change.NEW for finding in comparison.findings):
                await unpulled.prune(tx, serial, [row.id for row in present])
            return comparison, sorted(present, key=lambda row: (row.key.started_at, row.id))

        def then(done: tuple[Comparison, list[Recording]]) -> None:
            present = dict.fromkeys((row.id for row in done[1]), self._now())
            self._listed_at[serial] = present if complete else self._listed_at.get(serial, {}) | present

        comparison, rows = await self._transaction(Step.RECONCILE, work, then)
        for finding in comparison.findings:
            _tell(serial, finding)
        return rows

    def last_listed_at(self, row: Recording) -> float | None:
        """When its recorder listed it, in Unix seconds.

        None when its last whole list did not have it, or none was read since the start.
        """
        return self._listed_at.get(row.key.serial, {}).get(row.id)


async def _apply(tx: Transaction, serial: str, finding: Finding) -> Recording:
    match finding:
        case Finding(Change.NEW | Change.NEW_TAKE, row, ListedRecording() as entry):
            return await _insert(tx, serial, entry, take=0 if row is None else row.take + 1)
        case Finding(Change.FACTS, Recording() as row, ListedRecording() as entry):
            await append(tx, row.id, Happened.LISTED_DIFFERENTLY, _facts(entry))
            return await update(
                tx,
                row.id,
                duration_s=entry.duration_s,
                size_kib=entry.size_kib,
                encrypted_at_rest=entry.encrypted_at_rest,
            )
        case Finding(Change.LISTED_AGAIN, Recording() as row, ListedRecording() as entry):
            return await move(
                tx,
                row,
                Step.RECONCILE,
                Custody.LISTED,
                Happened.LISTED_AGAIN,
                _facts(entry),
                duration_s=entry.duration_s,
                size_kib=entry.size_kib,
                encrypted_at_rest=entry.encrypted_at_rest,
                **FRESH,
            )
        case Finding(Change.CONFIRM_AGAIN, Recording() as row, _):
            return await move(
                tx,
                row,
                Step.RECONCILE,
                Custody.CONFIRMING,
                Happened.LISTED_AGAIN,
                {"was": row.state},
                confirmed_at=None,
            )
        case Finding(Change.DELETION_SEEN, Recording() as row, _):
            return await move(
                tx,
                row,
                Step.RECONCILE,
                Custody.CONFIRMED,
                Happened.DELETION_SEEN,
                {"was": row.state},
                confirmed_at=tx.now,
                **FRESH,
            )
        case Finding(Change.VANISHED, Recording() as row, _):
            return await move(
                tx,
                row,
                Step.RECONCILE,
                Custody.FORGOTTEN,
                Happened.VANISHED,
                {"was": row.state},
                parked_reason=None,
                parked_from=None,
                **FRESH,
            )
        case _:
            raise AssertionError(finding)


async def _insert(tx: Transaction, serial: str, entry: ListedRecording, *, take: int) -> Recording:
    rows = await tx.write(
        """
        INSERT INTO recordings
            (serial, file_id, started_at, take, duration_s, size_kib, encrypted_at_rest, state, listed_at, look_first)
        SELECT serial, ?, ?, ?, ?, ?, ?, ?, ?, follows IS NOT NULL AND listed_whole_at IS NULL
        FROM spool, recorders WHERE serial = ? RETURNING *
        """,
        (
            entry.file_id,
            entry.started_at,
            take,
            entry.duration_s,
            entry.size_kib,
            entry.encrypted_at_rest,
            Custody.LISTED.value,
            tx.now,
            serial,
        ),
    )
    row = to_recording(rows[0])
    await append(tx, row.id, Happened.LISTED, {**_facts(entry), "take": take})
    return row


def _facts(entry: ListedRecording) -> dict[str, str | int | float | bool | None]:
    return {
        "duration_s": entry.duration_s,
        "size_kib": entry.size_kib,
        "encrypted_at_rest": entry.encrypted_at_rest,
    }


def _tell(serial: str, finding: Finding) -> None:
    event = TOLD.get(finding.change)
    if event is None:
        return
    seen = finding.entry or (finding.row and finding.row.key)
    log.info(
        event,
        recorder=serial,
        recording=seen.file_id if seen else None,
        was=str(finding.row.state) if finding.row else None,
        duration_s=finding.entry.duration_s if finding.entry else None,
        size_kib=finding.entry.size_kib if finding.entry else None,
    )
