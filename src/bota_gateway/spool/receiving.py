"""Sync's side of custody: bytes arriving, capture, and permission to delete."""

import json
from collections.abc import Collection

import structlog

from bota_gateway.errors import SpoolError
from bota_gateway.model import Binding, Custody, Membership, Recording
from bota_gateway.spool.const import AUDIO_ROW_BYTES
from bota_gateway.spool.custody import Happened, Step
from bota_gateway.spool.database import Transaction, Value
from bota_gateway.spool.incoming import Incoming
from bota_gateway.spool.journal import (
    FRESH,
    Detail,
    append,
    binding_columns,
    load,
    load_for,
    move,
)
from bota_gateway.spool.retention import Retention

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

NO_AUDIO = "DELETE FROM audio WHERE recording_id = ?"


class Receiving(Retention):
    """From the first byte to the capture, and from stored to confirmed."""

    async def begin_receiving(self, recording_id: int) -> Recording:
        """Listed → receiving, from the first byte: a transfer can't be resumed.

        Raises:
            SpoolError: ``forgotten_by_hand``: a person had it forgotten since it was listed.
        """
        await self._sweep(recording_id)

        async def work(tx: Transaction) -> Recording:
            if (await load(tx, recording_id)).forgotten_by_hand:
                raise _forgotten(recording_id)
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
        ends: list[int] | None = None,
    ) -> Recording:
        """Receiving → captured: the last bytes and the row in one synced transaction. The recorder may be acknowledged.

        Args:
            recording_id: The recording.
            size_bytes: Length the receiver counted.
            sha256: Digest the receiver computed, lower-case hex.
            device_sha256: Digest the recorder sent, if any.
            binding: Whose recorder it is now. One that was captured before stays whose it was then.
            profile: How it was sent, ``plain`` or ``p10``.
            figures: Facts for the timeline, such as goodput.
            ends: Gets the number of the timeline's line that has them, for :meth:`note_signal`.

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
                **binding_columns(binding if row.binding.membership is Membership.UNRESOLVED else row.binding),
                **await _intent_of_another(tx, row),
                **FRESH,
            )

        return await self._with_room(lambda: self._end_incoming(Step.CAPTURE, recording_id, work, ends))

    async def abandon_receiving(
        self,
        recording_id: int,
        *,
        code: str,
        message: str,
        retry_at: float | None,
        figures: Detail | None = None,
        ends: list[int] | None = None,
    ) -> Recording:
        """Receiving → listed: drop what arrived, and say why and when (Unix seconds) to try again.

        ``figures`` and ``ends``: as in :meth:`capture`.
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

        row = await self._end_incoming(Step.ABANDON_RECEIVING, recording_id, work, ends)
        await self._sweep(recording_id)
        return row

    async def acknowledged(self, recording_id: int) -> None:
        """Note in the timeline that the recorder was told its transfer arrived."""

        async def work(tx: Transaction) -> None:
            row = await load_for(tx, recording_id, Step.ACKNOWLEDGED)
            await append(tx, row.id, Happened.ACKNOWLEDGED)

        await self._transaction(Step.ACKNOWLEDGED, work)

    async def note_signal(self, ends: Collection[int], rssi: int) -> None:
        """Add to transfers, by the lines that they ended with, how strongly (dBm) their recorder was heard afterwards.

        A line that is no longer there, or damaged, is passed over: it is only a figure.
        """

        async def work(tx: Transaction) -> None:
            await tx.write(
                """
                UPDATE timeline SET detail = json_set(detail, '$.rssi_end', ?)
                WHERE id IN (SELECT value FROM json_each(?)) AND json_valid(detail)
                AND happened IN ('captured', 'receiving_abandoned', 'parked')
                """,
                (rssi, json.dumps(sorted(ends))),
            )

        await self._transaction(Step.NOTE_SIGNAL, work)

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


def _forgotten(recording_id: int) -> SpoolError:
    return SpoolError(
        f"A person had recording number {recording_id} forgotten.",
        code="forgotten_by_hand",
        remedy="If it is wanted after all, and its recorder still has it: bota-gateway retry with its name.",
    )


async def _intent_of_another(tx: Transaction, row: Recording) -> dict[str, Value]:
    """What the cloud may know of this capture from before it was forgotten by hand, under another start perhaps.

    With it, the upload looks for that first, and makes no second one.
    """
    if row.create_intended_at is not None:
        return {}
    rows = await tx.fetch(
        """
        SELECT create_intended_at, cloud_id FROM recordings WHERE serial = ? AND file_id = ? AND id <> ?
        AND sha256 IS NULL AND create_intended_at IS NOT NULL ORDER BY id DESC LIMIT 1
        """,
        (row.key.serial, row.key.file_id, row.id),
    )
    return dict(rows[0]) if rows else {}


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
