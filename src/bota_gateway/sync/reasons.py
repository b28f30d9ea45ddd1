"""Why a visit left early although nothing failed: stable codes, for the spool, the logs and ``docs/errors.md``.

What fails is an error of ``errors.py`` instead, and is tried again with back-off.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a recorder was left without (or before) pulling everything; a visit that did all has none."""

    STRANGER = "recorder_stranger"
    """Its serial is not in the project: looked at once, remembered, left alone."""
    DENIED = "recorder_denied"
    """Its serial stands in ``recorders.deny``."""
    NOT_ALLOWED = "recorder_not_allowed"
    """``recorders.allow`` names serials, and not this one."""
    UNRESOLVED = "recorder_unresolved"
    """The cloud has not said yet whose it is; nobody's audio is taken on suspicion."""
    LOW_BATTERY = "recorder_low_battery"
    """Low on battery and not charging: a transfer costs it what its owner may need for the next recording."""
    SYNC_ACTIVE = "recorder_sync_active"
    """It is uploading by itself; the cloud would not notice that the same recording came twice."""
    NEEDS_V2 = "recorder_needs_v2"
    """It speaks version 2, which this gateway does not; its version-1 list can't tell which recordings are which."""
    VISITED_ELSEWHERE = "recorder_visited_elsewhere"
    """Another link to the same serial is at work: an old address, or two recorders with one serial."""
    LIST_CONTRADICTORY = "recorder_list_contradictory"
    """It lists one file id with differing facts: that id is neither pulled nor confirmed, all others are served."""
    TIME_UP = "visit_time_up"
    """``visits.at_most_s`` passed; its owner's phone gets a chance, the rest follows in the next visit."""
    SPOOL_FULL = "spool_full"
    """No room for more audio; the recorder is the safest place for what it still holds."""


NOT_SERVED = frozenset({Reason.STRANGER, Reason.DENIED, Reason.NOT_ALLOWED})
"""Recorders that are none of ours: looked at again after ``visits.stranger_recheck_s``, not when they come by."""
