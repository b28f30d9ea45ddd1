"""What to do with the recordings a recorder lists. Pure: rows in, plan out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from bota_gateway.model import Custody, Recording
from bota_gateway.sync.schedule import LONGEST_RECORDING_WAIT_S


@dataclass(frozen=True, slots=True)
class Held:
    """A listed recording that nothing is done with in this visit, and why."""

    recording: Recording
    code: str
    detail: str
    until: float | None = None
    """Unix seconds when it is looked at again; None when that depends on something else than time."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one visit should do, each part in the order to do it."""

    pull: tuple[Recording, ...] = ()
    confirm: tuple[Recording, ...] = ()
    uploading: tuple[Recording, ...] = ()
    """Captured here and on their way to the cloud: a link may linger for them."""
    held: tuple[Held, ...] = ()


def make_plan(rows: Iterable[Recording], *, now: float, may_confirm: bool) -> Plan:
    """Sort the rows of one recorder's present list into what to pull, confirm, wait for and leave.

    Args:
        rows: what :meth:`Spool.reconcile` gave back: only recordings that the recorder lists right now.
        now: Unix seconds.
        may_confirm: whether ``recorders.confirm`` permits deletion at all.

    Returns:
        The plan. Recordings that failed before come after those that did not, else the oldest comes first.
    """
    pull: list[Recording] = []
    confirm: list[Recording] = []
    uploading: list[Recording] = []
    held: list[Held] = []
    for row in rows:
        match row.state:
            case Custody.LISTED | Custody.RECEIVING:
                waits = _waits(row, now)
                held.append(waits) if waits else pull.append(row)
            case Custody.CAPTURED | Custody.CREATED | Custody.PUT | Custody.COMPLETING:
                uploading.append(row)
            case Custody.STORED | Custody.CONFIRMING:
                # Confirming and still listed: the write was lost, or the recorder did not act on it. Permission is
                # given again; it takes nothing that the cloud does not have.
                waits = _waits(row, now)
                if not may_confirm:
                    held.append(Held(row, "recording_confirm_never", "recorders.confirm = never keeps it there."))
                elif waits:
                    held.append(waits)
                else:
                    confirm.append(row)
            case Custody.PARKED:
                held.append(Held(row, row.parked_reason or "recording_parked", row.waiting_detail or ""))
            case Custody.CONFIRMED | Custody.FORGOTTEN:
                pass  # no longer on the recorder when the row was read
            case _ as never:
                assert_never(never)
    return Plan(tuple(sorted(pull, key=_pull_order)), tuple(confirm), tuple(uploading), tuple(held))


def _waits(row: Recording, now: float) -> Held | None:
    """What an earlier transfer, or a confirm in vain, left to wait for."""
    # A clock that stands before the wait's beginning, or further before its end than any wait is long, was set back.
    if row.next_attempt_at is None or not 0 < row.next_attempt_at - now <= LONGEST_RECORDING_WAIT_S:
        return None
    if row.waiting_since is not None and row.waiting_since > now:
        return None
    return Held(row, row.waiting_for or "recording_waits", row.waiting_detail or "", row.next_attempt_at)


def _pull_order(row: Recording) -> tuple[int, int, int]:
    # A start of 0 means the recorder's clock was not set: such recordings are no older than any other.
    return row.attempts, row.key.started_at or 1 << 32, row.id
