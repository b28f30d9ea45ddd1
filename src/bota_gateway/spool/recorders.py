"""What the spool remembers of recorders between visits."""

from bota_gateway.errors import SpoolError
from bota_gateway.model import Binding, Custody, Membership, RecorderRecord
from bota_gateway.spool.custody import Happened, Step
from bota_gateway.spool.database import Transaction, Value
from bota_gateway.spool.journal import append, binding_columns, to_recorder, to_recording, update
from bota_gateway.spool.part import Part


class Recorders(Part):
    """Recorders: seen, asked, bound, scheduled."""

    async def note_recorder(
        self, serial: str, *, address: str, name: str | None, rssi: int | None, firmware: str | None = None
    ) -> RecorderRecord:
        """Remember that a recorder with this verified serial was met; what is None leaves the older value."""

        async def work(tx: Transaction) -> RecorderRecord:
            rows = await tx.write(
                """
                INSERT INTO recorders (serial, address, name, rssi, firmware, first_seen_at, last_seen_at)
                VALUES (?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (serial) DO UPDATE SET
                    address = excluded.address, name = coalesce(excluded.name, name),
                    rssi = coalesce(excluded.rssi, rssi), firmware = coalesce(excluded.firmware, firmware),
                    last_seen_at = excluded.last_seen_at
                RETURNING *
                """,
                (serial, address, name, rssi, firmware, tx.now, tx.now),
            )
            return to_recorder(rows[0])

        return await self._transaction(Step.NOTE_RECORDER, work)

    async def note_status(
        self,
        serial: str,
        *,
        battery_percent: int | None,
        charging: bool | None,
        pending: int | None,
        recording_now: bool,
        storage_used_mb: int | None = None,
        storage_total_mb: int | None = None,
    ) -> None:
        """Remember what the recorder's status said.

        Raises:
            SpoolError: ``spool_unknown_recorder``.
        """
        await self._set(
            Step.NOTE_STATUS,
            serial,
            battery_percent=battery_percent,
            charging=charging,
            pending=pending,
            recording_now=recording_now,
            storage_used_mb=storage_used_mb,
            storage_total_mb=storage_total_mb,
        )

    async def bind(self, serial: str, binding: Binding) -> None:
        """Remember what the cloud says of this serial.

        Recordings that were captured before the cloud could be asked get the same binding; those captured under a
        known one keep theirs, because they belong to whoever wore the recorder then.

        Raises:
            SpoolError: ``spool_unknown_recorder``.
        """

        async def work(tx: Transaction) -> None:
            await _set_columns(tx, serial, **binding_columns(binding), binding_checked_at=tx.now)
            if binding.membership is not Membership.UNRESOLVED:
                await _bind_waiting(tx, serial, binding)

        await self._transaction(Step.BIND, work)

    async def schedule_visit(
        self,
        serial: str,
        *,
        next_visit_at: float | None,
        waiting_for: str | None = None,
        waiting_detail: str | None = None,
        failed: bool = False,
        visited: bool = False,
    ) -> None:
        """Remember when to visit next and why not earlier.

        Args:
            serial: The recorder.
            next_visit_at: Unix seconds; None for no time of its own.
            waiting_for: Code of the reason; None when all is well.
            waiting_detail: The reason in words.
            failed: The visit failed: raises the count of failures in a row.
            visited: The visit went well: its time is noted and the count goes back to 0.

        Raises:
            SpoolError: ``spool_unknown_recorder``.
        """

        async def work(tx: Transaction) -> None:
            row = await _set_columns(
                tx, serial, next_visit_at=next_visit_at, waiting_for=waiting_for, waiting_detail=waiting_detail
            )
            if failed:
                await _set_columns(tx, serial, attempts=row.attempts + 1)
            elif visited:
                await _set_columns(tx, serial, attempts=0, last_visit_at=tx.now)

        await self._transaction(Step.SCHEDULE_VISIT, work)

    async def recorder(self, serial: str) -> RecorderRecord:
        """One recorder.

        Raises:
            SpoolError: ``spool_unknown_recorder``.
        """
        rows = await self._db.read("SELECT * FROM recorders WHERE serial = ?", (serial,))
        if not rows:
            raise unknown_recorder(serial)
        return to_recorder(rows[0])

    async def recorders(self) -> list[RecorderRecord]:
        """All recorders ever met, by serial."""
        return [to_recorder(row) for row in await self._db.read("SELECT * FROM recorders ORDER BY serial")]

    async def _set(self, step: Step, serial: str, **columns: Value) -> None:
        async def work(tx: Transaction) -> None:
            await _set_columns(tx, serial, **columns)

        await self._transaction(step, work)


def unknown_recorder(serial: str) -> SpoolError:
    """No such row."""
    return SpoolError(
        f"The spool knows no recorder {serial}.",
        code="spool_unknown_recorder",
        remedy="List them with: bota-gateway recorders.",
    )


async def require_recorder(tx: Transaction, serial: str) -> RecorderRecord:
    """The recorder's row, or ``spool_unknown_recorder``."""
    rows = await tx.fetch("SELECT * FROM recorders WHERE serial = ?", (serial,))
    if not rows:
        raise unknown_recorder(serial)
    return to_recorder(rows[0])


async def note_whole_list(tx: Transaction, serial: str) -> None:
    """Remember when a recorder first showed all that it holds: what it lists later is younger than this spool."""
    if await tx.fetch("SELECT 1 FROM recorders WHERE serial = ? AND listed_whole_at IS NULL", (serial,)):
        await tx.write("UPDATE recorders SET listed_whole_at = ? WHERE serial = ?", (tx.now, serial))


async def _set_columns(tx: Transaction, serial: str, **columns: Value) -> RecorderRecord:
    assignments = ", ".join(f"{name} = ?" for name in columns)
    rows = await tx.write(
        f"UPDATE recorders SET {assignments} WHERE serial = ? RETURNING *",  # noqa: S608 - names from this module only
        (*columns.values(), serial),
    )
    if not rows:
        raise unknown_recorder(serial)
    return to_recorder(rows[0])


async def _bind_waiting(tx: Transaction, serial: str, binding: Binding) -> None:
    rows = await tx.fetch(
        "SELECT * FROM recordings WHERE serial = ? AND membership = ? AND state IN (?, ?) AND sha256 IS NOT NULL",
        (serial, Membership.UNRESOLVED.value, Custody.CAPTURED.value, Custody.PARKED.value),
    )
    for row in map(to_recording, rows):
        await update(tx, row.id, **binding_columns(binding))
        await append(
            tx,
            row.id,
            Happened.BOUND,
            {
                "membership": binding.membership.value,
                "device_id": binding.device_id,
                "end_user_id": binding.end_user_id,
            },
        )
