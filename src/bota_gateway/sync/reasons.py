"""Why something was left for later although nothing failed: stable codes, for spool, logs and ``docs/errors.md``.

What fails is an error of ``errors.py`` instead, and is tried again with back-off.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a recorder was left without (or before) pulling everything, or a recording was left on it."""

    STRANGER = "recorder_stranger"
    """Its serial is not in the project: looked at once, remembered, left alone.

    Nothing if it is a neighbour's. Else register it in the dashboard; that is noticed within a day.
    """
    DENIED = "recorder_denied"
    """Its serial stands in ``recorders.deny``.

    Remove it from recorders.deny if it should be served.
    """
    NOT_ALLOWED = "recorder_not_allowed"
    """``recorders.allow`` names serials, and not this one.

    Add it to recorders.allow if it should be served.
    """
    UNRESOLVED = "recorder_unresolved"
    """The cloud has not said yet whose it is; nobody's audio is taken on suspicion.

    Check the hub's network: bota-gateway status says whether the cloud answers.
    """
    LOW_BATTERY = "recorder_low_battery"
    """Low on battery and not charging: a transfer costs it what its owner may need for the next recording.

    Put it on its charger.
    """
    SYNC_ACTIVE = "recorder_sync_active"
    """It is uploading by itself; the cloud would not notice that the same recording came twice.

    Nothing: it is visited again.
    """
    NEEDS_V2 = "recorder_needs_v2"
    """It speaks version 2, which this gateway does not; its version-1 list can't tell which recordings are which.

    Pull it with the vendor's app; this version of the gateway can't.
    """
    VISITED_ELSEWHERE = "recorder_visited_elsewhere"
    """Another link to the same serial is at work: an old address, or two recorders with one serial.

    Nothing, unless two recorders really carry one serial: then report them.
    """
    LIST_CONTRADICTORY = "recorder_list_contradictory"
    """It lists one file id with differing facts: that id is neither pulled nor confirmed, all others are served.

    Pull that recording with the vendor's app, and report the recorder's firmware.
    """
    TIME_UP = "visit_time_up"
    """``visits.at_most_s`` passed; its owner's phone gets a chance, the rest follows in the next visit.

    Nothing: the rest follows in the next visit.
    """
    SPOOL_FULL = "spool_full"
    """No room for more audio; the recorder is the safest place for what it still holds.

    Wait for uploads, raise spool.max_bytes, or free space on the disk.
    """

    CONFIRM_REFUSED = "recording_confirm_refused"
    """Its recorder refuses the permission to delete it.

    Nothing to do: the cloud has it, and the permission is repeated. If it stays, restart the recorder.
    """
    CONFIRM_UNHEEDED = "recording_confirm_unheeded"
    """Its recorder was told that it may delete it, and still lists it.

    Nothing to do: the cloud has it, and some recorders delete later. If it stays, restart the recorder.
    """


NOT_SERVED = frozenset({Reason.STRANGER, Reason.DENIED, Reason.NOT_ALLOWED})
"""Recorders that are none of ours: looked at again after ``visits.stranger_recheck_s``, not when they come by."""
