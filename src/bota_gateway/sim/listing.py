"""The list of recordings as notifications, in the forms that firmware may use (docs/protocol.md, "Recording list")."""

from collections.abc import Sequence

from bota_gateway.protocol.recording_list import ENTRY_BYTES, ListEntry, encode_list_notification
from bota_gateway.sim.options import EmptyList, ListForm


def list_notifications(
    entries: Sequence[ListEntry], form: ListForm, empty: EmptyList, largest_value: int
) -> list[bytes]:
    """Returns what to notify, in order.

    Args:
        entries: What the recorder holds.
        form: How it frames them.
        empty: What it says when it holds nothing.
        largest_value: Bytes of one notification. At an ATT MTU of 23 that is less than an entry: nothing but the
            count, if the form has one, can be said then.
    """
    if not entries:
        return {EmptyList.ZERO: [b"\0"], EmptyList.SILENT: [], EmptyList.EMPTY_NOTIFICATION: [b""]}[empty]
    count = None if form is ListForm.BARE else min(len(entries), 0xFF)
    fitting = (largest_value - (0 if count is None else 1)) // ENTRY_BYTES
    if fitting == 0:
        return [] if count is None else [bytes((count,))]
    at_once = 1 if form is ListForm.SPLIT else fitting
    pieces = [entries[at : at + at_once] for at in range(0, len(entries), at_once)]
    return [
        encode_list_notification(piece, count if at == 0 or form is ListForm.COUNTED_EACH else None)
        for at, piece in enumerate(pieces)
    ]
