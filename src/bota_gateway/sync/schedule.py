"""Who is visited when. Pure: what is known of a recorder in, seconds out.

The advertisement does not say what a recorder holds, so it is visited when it comes into range, then at an interval.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from bota_gateway.backoff import Backoff
from bota_gateway.config import RecorderSettings, VisitSettings
from bota_gateway.errors import (
    AdapterError,
    ConnectError,
    ConnectKind,
    GatewayError,
    GattError,
    LinkLostError,
    PairingError,
    PairingStalledError,
)
from bota_gateway.model import Membership, RecorderRecord
from bota_gateway.radio import backoff_of
from bota_gateway.sync.const import STORAGE_NEAR_FULL
from bota_gateway.sync.reasons import NOT_SERVED, Reason

JITTER: Final = (0.75, 1.25)
"""Spreads hubs and recorders that failed together, so that they do not come back together."""

LINK_LOST_BACKOFF: Final = Backoff(5, 600)
"""After a link that ended: usually someone walked out of range, and is heard again when back. After a pairing that
stalled, too: the next link begins encrypted, while this one would stay silent for half a minute."""

GATT_BACKOFF: Final = Backoff(15, 900)
"""After an operation that was refused or not answered: firmware may stall for a while, right after an update say."""

ADAPTER_BACKOFF: Final = Backoff(5, 60)
"""Not the recorder's fault; radio/ waits for the adapter itself."""

OTHER_BACKOFF: Final = Backoff(30, 1800)
"""For all failures without a line of their own: the recorder said something odd, or we have a defect."""

RECORDING_BACKOFF: Final = Backoff(60, 3600)
"""For a recording whose transfer failed: its recorder is visited meanwhile, others come first."""

LONGEST_RECORDING_WAIT_S: Final = RECORDING_BACKOFF.longest_s * JITTER[1]


CONFIRMABLE: Final = frozenset({None, Reason.TIME_UP, Reason.SPOOL_FULL})
"""Reasons of the last visit that do not stand in the way of confirming what was stored since."""


LONGEST_BACKOFF_S: Final = 2 * 3600.0
"""No back-off is longer, those of radio/ (an hour at most) included; a wait beyond it shows that the clock was set
back."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a visit found that bears on the time of the next one."""

    reason: Reason | None = None
    """Why the recorder was left without pulling everything; None when nothing hindered."""
    had_nothing: bool = False
    """It held nothing that was new here or waited for a confirm."""
    recording_now: bool = False
    storage_used: float | None = None
    """Part of its storage in use, 0 to 1; None when it did not say."""


def interval_after(findings: Findings, idle_visits: int, settings: VisitSettings) -> float:
    """Seconds from the end of a visit that did not fail to the next one.

    Args:
        findings: what that visit found.
        idle_visits: how many visits in a row, this one included, found nothing.
        settings: the bounds.
    """
    if findings.reason in NOT_SERVED:
        return settings.stranger_recheck_s
    if findings.reason in (Reason.LOW_BATTERY, Reason.NEEDS_V2):
        return settings.longest_s
    if findings.reason is Reason.TIME_UP:
        return settings.shortest_s
    if findings.recording_now or (findings.storage_used or 0) >= STORAGE_NEAR_FULL:
        return settings.shortest_s
    if findings.reason is None and findings.had_nothing:
        return Backoff(settings.interval_s, settings.longest_s).step(idle_visits)
    return settings.interval_s


def backoff_after(error: GatewayError, failures: int, rng: Random) -> float:
    """Seconds from a failed visit to the next try, by its error and by how many failed in a row."""
    return wait_after(failures, _backoff(error), rng)


def wait_after(failures: int, backoff: Backoff, rng: Random) -> float:
    """Seconds to wait after this many failures in a row (at least 1), jittered by a quarter either way."""
    return backoff.step(failures - 1) * rng.uniform(*JITTER)


def _backoff(error: GatewayError) -> Backoff:
    match error:
        case ConnectError():
            return backoff_of(error.kind)
        case PairingError():
            return backoff_of(ConnectKind.AUTHENTICATION)
        case AdapterError():
            return ADAPTER_BACKOFF
        case LinkLostError() | PairingStalledError():
            return LINK_LOST_BACKOFF
        case GattError():
            return GATT_BACKOFF
        case _:
            return OTHER_BACKOFF


def is_served(serial: str, settings: RecorderSettings) -> Reason | None:
    """Why the operator's settings leave this serial alone; None when they do not."""
    if serial in settings.deny:
        return Reason.DENIED
    if settings.allow and serial not in settings.allow:
        return Reason.NOT_ALLOWED
    return None


def due_in(
    record: RecorderRecord,
    *,
    now: float,
    here_for: float,
    to_confirm: bool,
    visits: VisitSettings,
    recorders: RecorderSettings,
) -> float:
    """Seconds until a recorder in range should be visited; negative when it has been waiting that long.

    Args:
        record: what the spool remembers of it.
        now: Unix seconds.
        here_for: seconds since it came into range.
        to_confirm: the cloud has a recording of it that the recorder may now delete.
        visits: intervals.
        recorders: who is served.
    """
    at_once = -here_for
    if record.next_visit_at is None or _has_changed(record, recorders):
        return at_once
    wait = record.next_visit_at - now
    if wait > _longest_wait(record, visits):
        return at_once  # no wait is ever that long: the clock was set back since
    if record.attempts == 0 and record.waiting_for not in NOT_SERVED:
        since_visit = now - (record.last_visit_at or 0)
        has_arrived = here_for < since_visit
        if has_arrived or (to_confirm and record.waiting_for in CONFIRMABLE):
            wait = min(wait, max(at_once, visits.shortest_s - since_visit))
    return max(wait, at_once)  # it can't have waited longer than it has been here


def _has_changed(record: RecorderRecord, settings: RecorderSettings) -> bool:
    """Whether the reason it waits for has gone: the cloud answered otherwise, or the operator changed the settings."""
    membership = record.binding.membership
    match record.waiting_for:
        case Reason.STRANGER:
            return membership is not Membership.STRANGER
        case Reason.UNRESOLVED:
            return membership is not Membership.UNRESOLVED
        case Reason.DENIED | Reason.NOT_ALLOWED:
            return is_served(record.serial, settings) is None
        case _:
            return False


def _longest_wait(record: RecorderRecord, settings: VisitSettings) -> float:
    if record.waiting_for in NOT_SERVED:
        return settings.stranger_recheck_s
    return max(settings.longest_s, settings.interval_s, settings.shortest_s, LONGEST_BACKOFF_S)
