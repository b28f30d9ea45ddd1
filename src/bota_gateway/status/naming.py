"""How people name a recording: by its file id or the first digits of it, with as much of its key as it takes."""

from collections.abc import Iterable

from bota_gateway.errors import StatusError
from bota_gateway.model import Recording


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
