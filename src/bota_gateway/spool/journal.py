"""One custody step: check that it is allowed, change the row, append to the timeline. All within a transaction."""

import json
import sqlite3
from collections.abc import Mapping

from bota_gateway.errors import SpoolError
from bota_gateway.model import Binding, CaptureKey, Custody, Membership, RecorderRecord, Recording, TimelineEntry
from bota_gateway.spool.custody import Happened, Step, allowed
from bota_gateway.spool.database import Transaction, Value

Fact = str | int | float | bool | None
Detail = Mapping[str, Fact]

REPEATS = frozenset({Happened.POSTPONED, Happened.CONFIRM_INTENDED})
"""Happenings that, with the same code again, raise a count on the last line instead of adding one."""

FRESH: dict[str, Value] = {
    "attempts": 0,
    "next_attempt_at": None,
    "waiting_since": None,
    "waiting_for": None,
    "waiting_detail": None,
}
"""Columns of a recording that nothing holds up: every step forward sets them."""


async def load(tx: Transaction, recording_id: int) -> Recording:
    """The row.

    Raises:
        SpoolError: ``spool_unknown_recording``.
    """
    rows = await tx.fetch("SELECT * FROM recordings WHERE id = ?", (recording_id,))
    if not rows:
        raise unknown_recording(recording_id)
    return to_recording(rows[0])


async def load_for(tx: Transaction, recording_id: int, step: Step, target: Custody | None = None) -> Recording:
    """The row, if ``step`` may take it to ``target`` (None: may leave it in its state).

    Raises:
        SpoolError: ``spool_unknown_recording``, or ``spool_bad_transition``.
    """
    row = await load(tx, recording_id)
    require_allowed(row, step, row.state if target is None else target)
    return row


def require_allowed(row: Recording, step: Step, target: Custody) -> None:
    """Raise ``spool_bad_transition`` unless custody.py has an arc for it."""
    if not allowed(step, row.state, target):
        raise SpoolError(
            f"Recording {row.key} is {row.state}; step {step} can't take it to {target}.",
            code="spool_bad_transition",
            remedy="This is a fault of the gateway; nothing was changed. Report it with: bota-gateway timeline.",
        )


async def move(
    tx: Transaction,
    row: Recording,
    step: Step,
    target: Custody,
    happened: Happened,
    detail: Detail | None = None,
    **columns: Value,
) -> Recording:
    """Take ``row`` to ``target``, set ``columns``, and write the line ``happened``."""
    require_allowed(row, step, target)
    changed = await update(tx, row.id, state=target.value, **columns)
    await append(tx, row.id, happened, detail)
    return changed


async def update(tx: Transaction, recording_id: int, **columns: Value) -> Recording:
    """Set columns of one row. Their names come from this package's code, never from outside."""
    assignments = ", ".join(f"{name} = ?" for name in columns)
    rows = await tx.write(
        f"UPDATE recordings SET {assignments} WHERE id = ? RETURNING *",  # noqa: S608 - see the docstring
        (*columns.values(), recording_id),
    )
    return to_recording(rows[0])


async def append(tx: Transaction, recording_id: int, happened: Happened, detail: Detail | None = None) -> None:
    """Add a line to the timeline."""
    facts = dict(detail or {})
    if happened in REPEATS and await _repeat(tx, recording_id, happened, facts):
        return
    rows = await tx.write(
        "INSERT INTO timeline (recording_id, at, happened, detail) VALUES (?, ?, ?, ?) RETURNING id",
        (recording_id, tx.now, happened.value, json.dumps(facts)),
    )
    tx.line = rows[0]["id"]


async def _repeat(tx: Transaction, recording_id: int, happened: Happened, facts: dict[str, Fact]) -> bool:
    rows = await tx.fetch(
        "SELECT id, at, happened, detail FROM timeline WHERE recording_id = ? ORDER BY id DESC LIMIT 1",
        (recording_id,),
    )
    if not rows or rows[0]["happened"] != happened:
        return False
    last = json.loads(rows[0]["detail"])
    if last.get("code") != facts.get("code"):
        return False
    facts["times"] = last.get("times", 1) + 1
    facts["first_at"] = last.get("first_at", rows[0]["at"])
    await tx.write("UPDATE timeline SET at = ?, detail = ? WHERE id = ?", (tx.now, json.dumps(facts), rows[0]["id"]))
    return True


def unknown_recording(recording_id: int) -> SpoolError:
    """No such row."""
    return SpoolError(
        f"The spool has no recording number {recording_id}.",
        code="spool_unknown_recording",
        remedy="List them with: bota-gateway recordings.",
    )


def _binding(row: sqlite3.Row) -> Binding:
    return Binding(
        membership=Membership(row["membership"]),
        device_id=row["device_id"],
        end_user_id=row["end_user_id"],
        binding_generation=row["binding_generation"],
    )


def binding_columns(binding: Binding) -> dict[str, Value]:
    """The columns that hold a binding, in either table."""
    return {
        "membership": binding.membership.value,
        "device_id": binding.device_id,
        "end_user_id": binding.end_user_id,
        "binding_generation": binding.binding_generation,
    }


def to_recording(row: sqlite3.Row) -> Recording:
    """A row of ``recordings`` as the model's type."""
    return Recording(
        id=row["id"],
        key=CaptureKey(row["serial"], row["file_id"], row["started_at"]),
        take=row["take"],
        duration_s=row["duration_s"],
        size_kib=row["size_kib"],
        encrypted_at_rest=bool(row["encrypted_at_rest"]),
        state=Custody(row["state"]),
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        device_sha256=row["device_sha256"],
        profile=row["profile"],
        binding=_binding(row),
        idempotency_key=row["idempotency_key"],
        create_intended_at=row["create_intended_at"],
        cloud_id=row["cloud_id"],
        verified=None if row["verified"] is None else bool(row["verified"]),
        attempts=row["attempts"],
        next_attempt_at=row["next_attempt_at"],
        waiting_for=row["waiting_for"],
        waiting_detail=row["waiting_detail"],
        parked_reason=row["parked_reason"],
        parked_from=None if row["parked_from"] is None else Custody(row["parked_from"]),
        listed_at=row["listed_at"],
        captured_at=row["captured_at"],
        stored_at=row["stored_at"],
        confirmed_at=row["confirmed_at"],
        released_at=row["released_at"],
        waiting_since=row["waiting_since"],
        look_first=bool(row["look_first"]),
    )


def to_recorder(row: sqlite3.Row) -> RecorderRecord:
    """A row of ``recorders`` as the model's type."""
    return RecorderRecord(
        serial=row["serial"],
        address=row["address"],
        name=row["name"],
        firmware=row["firmware"],
        binding=_binding(row),
        binding_checked_at=row["binding_checked_at"],
        battery_percent=row["battery_percent"],
        charging=None if row["charging"] is None else bool(row["charging"]),
        storage_used_mb=row["storage_used_mb"],
        storage_total_mb=row["storage_total_mb"],
        pending=row["pending"],
        recording_now=bool(row["recording_now"]),
        rssi=row["rssi"],
        first_seen_at=row["first_seen_at"],
        last_seen_at=row["last_seen_at"],
        last_visit_at=row["last_visit_at"],
        next_visit_at=row["next_visit_at"],
        waiting_for=row["waiting_for"],
        waiting_detail=row["waiting_detail"],
        attempts=row["attempts"],
    )


def to_entry(row: sqlite3.Row) -> TimelineEntry:
    """A row of ``timeline`` as the model's type."""
    return TimelineEntry(at=row["at"], happened=row["happened"], detail=json.loads(row["detail"]))
