"""Why something was left for later although nothing failed: stable codes, for spool, logs and ``docs/errors.md``.

What fails is an error of ``errors.py`` instead, and is tried again with back-off.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a recorder was left without (or before) pulling everything, or a recording was left on it."""

    STRANGER = "recorder_stranger"
    """Its serial is not in the project: looked at once, remembered, left alone.

    Nothing if it is a neighbour's. Else register it in the dashboard; that is noticed within minutes in the hour after
    this hub met it, and at once after: bota-gateway retry SERIAL.
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

    Nothing if it is seconds old. Else see why the cloud gives no answer: bota-gateway why.
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


class Why(StrEnum):
    """Why a recording is parked before it is captured: only a human can help, and its recorder keeps it."""

    EMPTY = "recording_empty"
    """Its transfer has no byte: nothing a cloud could keep, and no proof that there was nothing.

    Look at it with the vendor's app. If there is nothing to be had, delete it there. If there is, restart it,
    then retry.
    """
    SHA_MISMATCH = "transfer_sha_mismatch"
    """The CRC passes, and the recorder says that these are not the bytes: twice, or it is not parked.

    Retry once. If it stays: pull it with the vendor's app, and report the recorder's firmware.
    """
    TOO_LONG = "transfer_too_long"
    """More than ``wire.max_recording_bytes`` came, without an end.

    If recordings that long are possible, raise wire.max_recording_bytes, then retry. Else restart the recorder first.
    """
    UNKNOWN_COMMAND = "transfer_device_error_0x01"
    """The recorder does not know the command.

    Restart the recorder, then retry. If it stays: report its firmware, and pull it with the vendor's app.
    """
    UNKNOWN_ID = "transfer_device_error_0x03"
    """The recorder does not accept the recording's id.

    Restart the recorder, then retry. If it stays: report its firmware, and pull it with the vendor's app.
    """
    STORAGE_FULL = "transfer_device_error_0x10"
    """The recorder's storage is full, and it gives this recording no more.

    Let other recordings be pulled and deleted first, or make room with the vendor's app, then retry.
    """
    NO_STORAGE_KEY = "transfer_device_error_0x14"
    """The recording exists, but the recorder can't unlock its storage key.

    Charge and restart the recorder, then retry. If it stays, only the vendor can help.
    """
    TOKEN_EXPIRED = "transfer_device_error_0x21"  # noqa: S105 - a code
    """The recorder's own token has expired.

    Connect the recorder to the vendor's app, which renews it, then retry.
    """
    NEEDS_V2 = "transfer_needs_v2"
    """The recorder gives this recording only by version 2 of the protocol, which this gateway does not speak.

    Pull it with the vendor's app.
    """


NOT_SERVED = frozenset({Reason.STRANGER, Reason.DENIED, Reason.NOT_ALLOWED})
"""Recorders that are none of ours: looked at again after ``visits.stranger_recheck_s``, not when they come by."""
