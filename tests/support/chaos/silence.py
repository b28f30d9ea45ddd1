"""Nothing waits in silence: looked at from outside, by the answers that the command line gets."""

from typing import TYPE_CHECKING, Any, Final

from bota_gateway.model import Custody, Recording
from bota_gateway.spool.custody import TO_UPLOAD
from support.judge import ON_THE_RECORDERS_CALENDAR, OVER

if TYPE_CHECKING:
    from support.chaos.world import ChaosWorld

PATIENCE_S: Final = 900.0
"""What has moved within this, or has just been started, needs no reason yet."""

LONGEST_WORK_S: Final = 3600.0
"""Longest time that one step of an upload takes, however slow the link and however tight the budget."""


async def silences(world: "ChaosWorld") -> list[str]:
    """Recordings that neither move nor have a reason and a next time."""
    if not world.alive or world.life.ask is None or not world.life.gateway.ready.is_set():
        return []
    if world.clock_off_by_s or world.now() - world.revived_at < PATIENCE_S:
        return []
    status: Any = await world.life.ask({"ask": "status"})
    if status["problems"]:
        return []  # that is the reason for all of them
    recorders: Any = await world.life.ask({"ask": "recorders"})
    # Who is not in range is visited when it comes, whatever the calendar says; and that is told.
    calendar = {one["serial"] for one in recorders if one["next_attempt_at"] is not None or not one["in_range"]}
    found = []
    for row in await world.spool.recordings():
        idle_s = world.now() - (await world.spool.timeline(row.id))[-1].at
        moves = idle_s < PATIENCE_S or row.state in OVER or row.state is Custody.PARKED
        if not (moves or _is_explained(row, status, calendar, world.now(), idle_s)):
            found.append(f"silent for {idle_s:.0f} s at {world.now():.0f}: {row.key} {row.state} {row.waiting_for}")
    return found


def _is_explained(row: Recording, status: Any, calendar: set[str], now: float, idle_s: float) -> bool:
    if row.waiting_for and row.next_attempt_at is not None and row.next_attempt_at > now - PATIENCE_S:
        return True
    if row.state in ON_THE_RECORDERS_CALENDAR:
        return row.key.serial in calendar
    at_work = {(one["serial"], one["file_id"]) for one in status["uploads"]}
    is_worked_at = (row.key.serial, row.key.file_id) in at_work and idle_s < LONGEST_WORK_S
    return is_worked_at or (row.state in TO_UPLOAD and bool(status["pauses"]))
