"""How people name recorders and recordings: by the end of a serial, by the beginning of a file id."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from bota_gateway.errors import StatusError
from bota_gateway.model import FORGOTTEN_BY_HAND, OPEN, Custody, RecorderRecord, Recording

if TYPE_CHECKING:
    from bota_gateway.spool import Spool  # commands that only ask need none of it, and answer sooner

SHOWN_STATES: Mapping[str, frozenset[Custody]] = {
    **{state.value: frozenset({state}) for state in Custody},
    "open": OPEN,
    FORGOTTEN_BY_HAND: frozenset({Custody.PARKED}),
}
"""What recordings can be asked for by; those that were forgotten by hand do not count as parked, nor as open."""


def recorder_named(recorders: Iterable[RecorderRecord], name: str) -> RecorderRecord | None:
    """The recorder with this serial or address, else the only one whose serial or address ends so."""
    known = list(recorders)
    exact = [one for one in known if one.serial == name]
    ending = [one for one in known if one.serial.upper().endswith(name.upper()) or one.address == name.upper()]
    return exact[0] if exact else ending[0] if len(ending) == 1 else None


async def recording_named(spool: "Spool", name: str) -> Recording:
    """As `named`, of all that the spool knows, which are too many to read them all."""
    return named(await spool.recordings(file_id=_parts(name)[1].lower()), name)


def named(recordings: Iterable[Recording], name: str) -> Recording:
    """Find ``FILE_ID``, its first digits, ``SERIAL/FILE_ID`` or ``SERIAL/FILE_ID/START``.

    Where a key came back with other content the newest take is meant.

    Raises:
        StatusError: none fits, or several do.
    """
    serial, file_id, start = _parts(name)
    found = [
        one
        for one in recordings
        if one.key.file_id.startswith(file_id.lower())
        and serial in (None, one.key.serial)
        and start in (None, str(one.key.started_at))
    ]
    if not found:
        raise StatusError(
            f"There is no recording {name}.",
            code="status_no_such_recording",
            remedy="List them: bota-gateway recordings",
        )
    keys = {one.key for one in found}
    if len(keys) > 1:
        raise StatusError(
            f"{name} fits {len(keys)} recordings.",
            code="status_ambiguous_recording",
            remedy="Give more of its name: " + ", ".join(sorted(map(str, keys))[:5]),
        )
    return found[-1]


def _parts(name: str) -> tuple[str | None, str, str | None]:
    match name.split("/"):
        case [file_id]:
            return None, file_id, None
        case [serial, file_id]:
            return serial, file_id, None
        case [serial, file_id, start]:
            return serial, file_id, start
        case _:
            return name, "", None
