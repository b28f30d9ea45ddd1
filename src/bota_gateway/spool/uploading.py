"""Upload's side of custody: from captured to stored, with waiting, parking and retrying."""

import json
from collections.abc import Collection

from bota_gateway.errors import SpoolError
from bota_gateway.model import FORGOTTEN_BY_HAND, Custody, Membership, Recording
from bota_gateway.spool.custody import TO_UPLOAD, Happened, Step
from bota_gateway.spool.database import Transaction, Value
from bota_gateway.spool.journal import (
    FRESH,
    Detail,
    append,
    binding_columns,
    load_for,
    move,
    require_allowed,
    to_recording,
    update,
)
from bota_gateway.spool.part import Part
from bota_gateway.spool.recorders import require_recorder
from bota_gateway.spool.room import Room

STATES_TO_UPLOAD = "('" + "', '".join(sorted(TO_UPLOAD)) + "')"

UNBEGUN: dict[str, Value] = {"cloud_id": None, "idempotency_key": None, "create_intended_at": None}
"""Columns of a recording that the cloud does not know."""

UNCAPTURED: dict[str, Value] = {
    "size_bytes": None,
    "sha256": None,
    "device_sha256": None,
    "profile": None,
    "captured_at": None,
    "look_first": True,
}
"""Columns of a recording that is not here any more; the cloud may have been asked to create one for it. Whose it is
stays known: captured again, it is still that person's, whoever wears the recorder by then."""


class Uploading(Room, Part):
    """From captured to stored."""

    async def next_upload(self, now: float, exclude: Collection[int] = ()) -> Recording | None:
        """The oldest capture with something to do at ``now`` (Unix seconds), leaving out those under way.

        One that waits for its next attempt does not hold others up. A clock that stands before the moment the wait
        began has been set back: the wait counts as over.
        """
        rows = await self._db.read(
            f"""
            SELECT * FROM recordings WHERE state IN {STATES_TO_UPLOAD}
            AND (next_attempt_at IS NULL OR next_attempt_at <= ? OR waiting_since > ?)
            ORDER BY captured_at, id LIMIT ?
            """,  # noqa: S608 - state names only
            (now, now, len(exclude) + 1),
        )
        return next((to_recording(row) for row in rows if row["id"] not in exclude), None)

    async def next_upload_at(self, exclude: Collection[int] = ()) -> float | None:
        """Unix time at which the next upload is due, leaving out those under way.

        The past when one is due now, None when there is none.
        """
        rows = await self._db.read(
            f"""
            SELECT min(CASE WHEN waiting_since > ? THEN 0 ELSE coalesce(next_attempt_at, 0) END) FROM recordings
            WHERE state IN {STATES_TO_UPLOAD} AND id NOT IN (SELECT value FROM json_each(?))
            """,  # noqa: S608 - state names only
            (self._now(), json.dumps(sorted(exclude))),
        )
        at: float | None = rows[0][0]
        return at

    async def intend_create(self, recording_id: int, *, idempotency_key: str, at: float | None = None) -> Recording:
        """Make the intent to create durable before the call.

        Called again after a lost answer it keeps the time of the first intent, which bounds the look-back; its own time
        stands in the timeline. ``at`` is the time by the server's clock (Unix seconds), which no setting of the hub's
        touches; None takes the hub's.
        """

        async def work(tx: Transaction) -> Recording:
            row = await load_for(tx, recording_id, Step.INTEND_CREATE)
            said = tx.now if at is None else at
            first = said if row.create_intended_at is None else row.create_intended_at
            return await move(
                tx,
                row,
                Step.INTEND_CREATE,
                row.state,
                Happened.CREATE_INTENDED,
                {"idempotency_key": idempotency_key, "intended_at": said},
                idempotency_key=idempotency_key,
                create_intended_at=first,
            )

        return await self._transaction(Step.INTEND_CREATE, work)

    async def created(self, recording_id: int, cloud_id: str) -> Recording:
        """Captured → created: the cloud gave it an id."""
        return await self._forward(
            Step.CREATED, recording_id, Custody.CREATED, Happened.CREATED, {"cloud_id": cloud_id}, cloud_id=cloud_id
        )

    async def put_done(self, recording_id: int) -> Recording:
        """Created → put: S3 took exactly our bytes."""
        return await self._forward(Step.PUT_DONE, recording_id, Custody.PUT, Happened.PUT)

    async def intend_complete(self, recording_id: int) -> Recording:
        """Put → completing, durable before the call."""
        return await self._forward(Step.INTEND_COMPLETE, recording_id, Custody.COMPLETING, Happened.COMPLETE_INTENDED)

    async def stored(self, recording_id: int, *, verified: bool) -> Recording:
        """→ stored: the cloud has it; ``verified`` when it proved the digest. The recorder may now be confirmed."""

        async def work(tx: Transaction) -> Recording:
            row = await load_for(tx, recording_id, Step.STORED, Custody.STORED)
            return await move(
                tx,
                row,
                Step.STORED,
                Custody.STORED,
                Happened.STORED,
                {"verified": verified, "cloud_id": row.cloud_id},
                verified=verified,
                stored_at=tx.now,
                **FRESH,
            )

        return await self._transaction(Step.STORED, work)

    async def back_to(self, recording_id: int, state: Custody, *, reason: str) -> Recording:
        """Go back to an earlier state because the cloud, when read, is not where we thought.

        Back to listed deletes the audio here, to have the recorder send it again: only when it is known to be damaged.
        """
        columns = {Custody.CAPTURED: UNBEGUN, Custody.LISTED: UNBEGUN | UNCAPTURED | FRESH}.get(state, {})

        async def work(tx: Transaction) -> Recording:
            row = await load_for(tx, recording_id, Step.BACK_TO, state)
            detail = {"was": row.state.value, "to": state.value, "reason": reason, "cloud_id": row.cloud_id}
            return await move(tx, row, Step.BACK_TO, state, Happened.MOVED_BACK, detail, **columns)

        row = await self._transaction(Step.BACK_TO, work)
        if row.sha256 is None:
            await self._sweep(recording_id)
        return row

    async def postpone(
        self, recording_id: int, *, code: str, detail: str, next_attempt_at: float, counts: bool = True
    ) -> Recording:
        """A step failed, or was in vain: wait until ``next_attempt_at`` (Unix seconds), for the reason ``code``.

        ``counts``: whether it is the recording's own failure, which makes its next wait longer.
        """

        async def work(tx: Transaction) -> Recording:
            row = await load_for(tx, recording_id, Step.POSTPONE)
            return await move(
                tx,
                row,
                Step.POSTPONE,
                row.state,
                Happened.POSTPONED,
                {"code": code, "reason": detail, "next_attempt_at": next_attempt_at},
                attempts=row.attempts + counts,
                next_attempt_at=next_attempt_at,
                waiting_since=tx.now,
                waiting_for=code,
                waiting_detail=detail,
            )

        return await self._transaction(Step.POSTPONE, work)

    async def park(
        self,
        recording_id: int,
        *,
        code: str,
        detail: str,
        figures: Detail | None = None,
        ends: list[int] | None = None,
    ) -> Recording:
        """→ parked: only a human can help; ``retry`` brings it back to where it was.

        ``figures``: of the transfer that ended so, for the timeline; ``ends`` gets the number of its line.
        """

        async def work(tx: Transaction) -> Recording:
            row = await load_for(tx, recording_id, Step.PARK, Custody.PARKED)
            came_from = Custody.LISTED if row.state is Custody.RECEIVING else row.state
            return await move(
                tx,
                row,
                Step.PARK,
                Custody.PARKED,
                Happened.PARKED,
                {"code": code, "reason": detail, "was": row.state.value, **(figures or {})},
                parked_reason=code,
                parked_from=came_from.value,
                next_attempt_at=None,
                waiting_since=None,
                waiting_for=code,
                waiting_detail=detail,
            )

        row = await self._end_incoming(Step.PARK, recording_id, work, ends)
        if row.sha256 is None:
            await self._sweep(recording_id)
        return row

    async def retry(self, recording_id: int | None = None, *, code: str | None = None) -> int:
        """Bring parked recordings back and end the wait of postponed ones; give back how many.

        A recording captured while its recorder belonged to nobody gets the recorder's present binding: whoever asks
        for the retry has settled whose it is. One whose user is the recorder's present one gets that binding, too: the
        recorder may have been registered or bound anew.

        What was forgotten by hand comes back only under its own name, to be pulled again; never among others.

        Args:
            recording_id: Only this one.
            code: Only those that wait, or are parked, for this reason.

        Raises:
            SpoolError: ``spool_unknown_recording``, ``spool_nothing_to_retry`` for one named recording.
        """

        async def work(tx: Transaction) -> int:
            if recording_id is not None:
                return await _retry_one(tx, await load_for_retry(tx, recording_id))
            rows = await tx.fetch(
                f"""
                SELECT * FROM recordings WHERE (state = 'parked' OR waiting_for IS NOT NULL
                AND state IN ('listed', 'confirming', {STATES_TO_UPLOAD[1:]})
                AND parked_reason IS NOT ?
                AND (? IS NULL OR ? IN (waiting_for, parked_reason))
                """,  # noqa: S608 - state names only
                (FORGOTTEN_BY_HAND, code, code),
            )
            return sum([await _retry_one(tx, to_recording(row)) for row in rows])

        return await self._transaction(Step.RETRY, work)

    async def _forward(
        self,
        step: Step,
        recording_id: int,
        target: Custody,
        happened: Happened,
        detail: Detail | None = None,
        **columns: Value,
    ) -> Recording:
        async def work(tx: Transaction) -> Recording:
            row = await load_for(tx, recording_id, step, target)
            return await move(tx, row, step, target, happened, detail, **FRESH, **columns)

        return await self._transaction(step, work)


async def load_for_retry(tx: Transaction, recording_id: int) -> Recording:
    """The row, if there is something to retry about it."""
    rows = await tx.fetch("SELECT * FROM recordings WHERE id = ?", (recording_id,))
    row = to_recording(rows[0]) if rows else await load_for(tx, recording_id, Step.RETRY)
    if row.state is not Custody.PARKED and row.waiting_for is None:
        raise SpoolError(
            f"Recording {row.key} is {row.state} and waits for nothing.",
            code="spool_nothing_to_retry",
            remedy="See what it does with: bota-gateway timeline.",
        )
    return row


async def _retry_one(tx: Transaction, row: Recording) -> int:
    target = row.state if row.parked_from is None else row.parked_from
    require_allowed(row, Step.RETRY, target)
    columns: dict[str, Value] = {}
    binding = (await require_recorder(tx, row.key.serial)).binding
    unowned = row.binding.membership is not Membership.BOUND
    if target in TO_UPLOAD and (unowned or binding.end_user_id == row.binding.end_user_id):
        columns = binding_columns(binding)
        if binding != row.binding:
            await append(tx, row.id, Happened.BOUND, {"end_user_id": binding.end_user_id})
    await update(tx, row.id, state=target.value, parked_reason=None, parked_from=None, **FRESH, **columns)
    await append(tx, row.id, Happened.RETRIED, {"was": row.waiting_for})
    return 1
