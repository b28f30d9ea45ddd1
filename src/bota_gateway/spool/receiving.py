"""Sync's side of custody: what a recorder lists, bytes arriving, capture, and permission to delete."""

import json
from collections.abc import Mapping, Sequence

import structlog

from bota_gateway.errors import SpoolError
from bota_gateway.model import Binding, Custody, ListedRecording, Recording
from bota_gateway.spool import unpulled
from bota_gateway.spool.const import AUDIO_ROW_BYTES
from bota_gateway.spool.custody import Happened, Step
from bota_gateway.spool.database import Transaction
from bota_gateway.spool.incoming import Incoming
from bota_gateway.spool.journal import FRESH, Detail, append, binding_columns, load_for, move, to_recording, update
from bota_gateway.spool.reconciling import Change, Comparison, Finding, compare
from bota_gateway.spool.recorders import note_whole_list, require_recorder
from bota_gateway.spool.retention import Retention

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

NO_AUDIO = "DELETE FROM audio WHERE recording_id = ?"

TOLD: dict[Change, str] = {
    Change.NEW: "recording_listed",
    Change.NEW_TAKE: "recording_listed",
    Change.LISTED_AGAIN: "recording_listed",
    Change.CONFIRM_AGAIN: "recording_still_there",
    Change.DELETION_SEEN: "recording_deletion_seen",
    Change.VANISHED: "recording_vanished",
}
"""The log event of each change that is worth one."""


class Receiving(Retention):
    """From the recorder's list to the capture, and from stored to confirmed."""

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

        comparison, rows = await self._transaction(Step.RECONCILE, work)
        for finding in comparison.findings:
            _tell(serial, finding)
        return rows

    async def begin_receiving(self, recording_id: int) -> Recording:
        """Listed → receiving, from the first byte: a transfer can't be resumed."""
        await self._sweep(recording_id)

        async def work(tx: Transaction) -> Recording:
            row = await load_for(tx, recording_id, Step.BEGIN_RECEIVING, Custody.RECEIVING)
            await tx.write(NO_AUDIO, (recording_id,))
            return await move(tx, row, Step.BEGIN_RECEIVING, Custody.RECEIVING, Happened.RECEIVING)

        def then(row: Recording) -> None:
            self._incoming[recording_id] = Incoming(expected_bytes=row.size_kib << 10)

        return await self._transaction(Step.BEGIN_RECEIVING, work, then)

    async def store_audio(self, recording_id: int, data: bytes) -> None:
        """Append bytes to a recording being received; whole rows of 256 KiB are written, unsynced, the rest is kept.

        When it raises, the bytes are still held and nothing else has changed: call it again with ``b""`` to try once
        more, or abandon the transfer.

        Raises:
            SpoolFullError: quota or free-space floor reached.
            SpoolWriteError: the disk refused.
            SpoolError: ``spool_bad_transition``: it is not being received.
        """
        incoming = self._incoming_of(recording_id)
        incoming.rest += data
        incoming.digest.update(data)
        if len(incoming.rest) < AUDIO_ROW_BYTES:
            return

        async def work(tx: Transaction) -> int:
            await load_for(tx, recording_id, Step.STORE_AUDIO)
            self._require_current(recording_id, incoming)
            whole = len(incoming.rest) // AUDIO_ROW_BYTES
            await self._require_room(tx, whole * AUDIO_ROW_BYTES)
            for index in range(whole):
                await _write_row(tx, recording_id, incoming, index)
            return whole

        def then(whole: int) -> None:
            incoming.rows += whole
            incoming.stored_bytes += whole * AUDIO_ROW_BYTES
            del incoming.rest[: whole * AUDIO_ROW_BYTES]

        await self._with_room(lambda: self._transaction(Step.STORE_AUDIO, work, then))

    async def capture(
        self,
        recording_id: int,
        *,
        size_bytes: int,
        sha256: str,
        device_sha256: str | None,
        binding: Binding,
        profile: str = "plain",
        figures: Detail | None = None,
    ) -> Recording:
        """Receiving → captured: the last bytes and the row in one synced transaction. The recorder may be acknowledged.

        Args:
            recording_id: The recording.
            size_bytes: Length the receiver counted.
            sha256: Digest the receiver computed, lower-case hex.
            device_sha256: Digest the recorder sent, if any.
            binding: Whose recorder it is now.
            profile: How it was sent, ``plain`` or ``p10``.
            figures: Facts for the timeline, such as goodput.

        Raises:
            SpoolError: ``spool_capture_differs``: length or digest are not those of the bytes handed in.
            SpoolFullError: no room for the rest.
            SpoolWriteError: the disk refused; nothing may be acknowledged.
        """
        incoming = self._incoming_of(recording_id)
        _require_same(incoming, size_bytes, sha256)

        async def work(tx: Transaction) -> Recording:
            row = await load_for(tx, recording_id, Step.CAPTURE, Custody.CAPTURED)
            self._require_current(recording_id, incoming)
            await _require_stored(tx, recording_id, incoming)
            await self._require_room(tx, len(incoming.rest))
            if incoming.rest:
                await _write_row(tx, recording_id, incoming, 0)
            return await move(
                tx,
                row,
                Step.CAPTURE,
                Custody.CAPTURED,
                Happened.CAPTURED,
                {"size_bytes": size_bytes, "sha256": sha256, "device_sha256": device_sha256, **(figures or {})},
                size_bytes=size_bytes,
                sha256=sha256,
                device_sha256=device_sha256,
                profile=profile,
                captured_at=tx.now,
                **binding_columns(binding),
                **FRESH,
            )

        def then(_row: Recording) -> None:
            self._incoming.pop(recording_id, None)

        return await self._with_room(lambda: self._transaction(Step.CAPTURE, work, then))

    async def abandon_receiving(
        self, recording_id: int, *, code: str, message: str, retry_at: float | None, figures: Detail | None = None
    ) -> Recording:
        """Receiving → listed: drop what arrived, and say why and when (Unix seconds) to try again.

        ``figures``: facts of the transfer for the timeline, as in :meth:`capture`.
        """

        async def work(tx: Transaction) -> Recording:
            row = await load_for(tx, recording_id, Step.ABANDON_RECEIVING, Custody.LISTED)
            incoming = self._incoming.get(recording_id)
            return await move(
                tx,
                row,
                Step.ABANDON_RECEIVING,
                Custody.LISTED,
                Happened.RECEIVING_ABANDONED,
                {
                    "code": code,
                    "reason": message,
                    "retry_at": retry_at,
                    "received_bytes": incoming.total_bytes if incoming else 0,
                    **(figures or {}),
                },
                attempts=row.attempts + 1,
                next_attempt_at=retry_at,
                waiting_since=tx.now,
                waiting_for=code,
                waiting_detail=message,
            )

        def then(_row: Recording) -> None:
            self._incoming.pop(recording_id, None)

        row = await self._transaction(Step.ABANDON_RECEIVING, work, then)
        await self._sweep(recording_id)
        return row

    async def acknowledged(self, recording_id: int) -> None:
        """Note in the timeline that the recorder was told its transfer arrived."""

        async def work(tx: Transaction) -> None:
            row = await load_for(tx, recording_id, Step.ACKNOWLEDGED)
            await append(tx, row.id, Happened.ACKNOWLEDGED)

        await self._transaction(Step.ACKNOWLEDGED, work)

    async def intend_confirm(self, recording_id: int) -> Recording:
        """Stored → confirming, durable before the recorder is told that it may delete. Repeated for each telling.

        One that was told in vain keeps its reason, and its count of tries, until the deletion is seen.
        """

        async def work(tx: Transaction) -> Recording:
            row = await load_for(tx, recording_id, Step.INTEND_CONFIRM, Custody.CONFIRMING)
            if row.state is Custody.CONFIRMING and row.waiting_for is not None:
                return row
            return await move(
                tx, row, Step.INTEND_CONFIRM, Custody.CONFIRMING, Happened.CONFIRM_INTENDED, None, **FRESH
            )

        return await self._transaction(Step.INTEND_CONFIRM, work)

    def receiving_bytes(self) -> Mapping[int, int]:
        """Bytes that have arrived of each recording being received, by its number."""
        return {number: incoming.total_bytes for number, incoming in self._incoming.items()}

    def _incoming_of(self, recording_id: int) -> Incoming:
        incoming = self._incoming.get(recording_id)
        if incoming is None:
            raise _not_receiving(recording_id)
        return incoming

    def _require_current(self, recording_id: int, incoming: Incoming) -> None:
        """A transfer that was given up must not write into the one that followed it."""
        if self._incoming.get(recording_id) is not incoming:
            raise _not_receiving(recording_id)


def _not_receiving(recording_id: int) -> SpoolError:
    return SpoolError(
        f"Recording number {recording_id} is not being received by this transfer.",
        code="spool_bad_transition",
        remedy="This is a fault of the gateway; nothing was changed.",
    )


async def _write_row(tx: Transaction, recording_id: int, incoming: Incoming, index: int) -> None:
    """The next row but ``index`` of the bytes held."""
    start = index * AUDIO_ROW_BYTES
    await tx.write(
        "INSERT INTO audio (recording_id, number, data) VALUES (?, ?, ?)",
        (recording_id, incoming.rows + index, bytes(incoming.rest[start : start + AUDIO_ROW_BYTES])),
    )


def _require_same(incoming: Incoming, size_bytes: int, sha256: str) -> None:
    found = incoming.digest.hexdigest()
    if incoming.total_bytes != size_bytes or found != sha256:
        raise _differs(
            f"The receiver counted {size_bytes} bytes with SHA-256 {sha256}; the spool was handed "
            f"{incoming.total_bytes} bytes with {found}."
        )


async def _require_stored(tx: Transaction, recording_id: int, incoming: Incoming) -> None:
    rows = await tx.fetch(
        "SELECT count(*), coalesce(sum(length(data)), 0) FROM audio WHERE recording_id = ?", (recording_id,)
    )
    if tuple(rows[0]) != (incoming.rows, incoming.stored_bytes):
        raise _differs(
            f"The spool wrote {incoming.rows} rows with {incoming.stored_bytes} bytes and finds "
            f"{rows[0][0]} with {rows[0][1]}."
        )


def _differs(message: str) -> SpoolError:
    """What the spool holds of a capture is not what arrived."""
    return SpoolError(
        message,
        code="spool_capture_differs",
        remedy="Nothing was acknowledged: the recorder keeps the recording and it is pulled again.",
    )


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
