"""Forgetting by hand, as people are told of it: what it is about, what is lost, and what became of it."""

from collections.abc import Callable

import structlog

from bota_gateway.model import Custody, Recording, WallClock
from bota_gateway.spool import Loss, Spool, require_forgettable
from bota_gateway.status.live import Live
from bota_gateway.status.words import duration

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Told = Callable[[Recording], dict[str, object]]
"""A recording as answers tell of it."""


class Forgetting:
    """Tells what would be lost, and forgets."""

    def __init__(self, spool: Spool, now: WallClock, live: Live, told: Told) -> None:
        self._spool = spool
        self._now = now
        self._live = live
        self._told = told

    def look(self, row: Recording) -> dict[str, object]:
        """What would be lost now; nothing is done.

        Raises:
            SpoolError: ``forget_in_use``, ``forget_nothing_to_do``.
        """
        require_forgettable(row, is_uploading=self._live.is_uploading(row.id))
        return self._said(row, self._spool.loss(row)) | {"forgotten": False}

    async def forget(self, row: Recording, *, last_copy: bool) -> dict[str, object]:
        """Forget it, and tell what was lost; raises as :meth:`Spool.forget_by_hand`."""
        before, lost = await self._spool.forget_by_hand(
            row.id, last_copy=last_copy, is_uploading=self._live.is_uploading
        )
        log.info(
            "recording_forgotten_by_hand",
            recorder=before.key.serial,
            recording=before.key.file_id,
            was=before.state.value,
            lost=lost.value,
            size=before.size_bytes,
            cloud_id=before.cloud_id,
        )
        return self._said(before, lost) | {"forgotten": True}

    def _said(self, row: Recording, lost: Loss) -> dict[str, object]:
        is_last = lost is Loss.LAST_COPY
        return {
            "recording": self._told(row),
            "loss": lost.value,
            "last_copy": is_last,
            "says": self._says(row, lost),
        }

    def _says(self, row: Recording, lost: Loss) -> str:
        at = self._spool.last_listed_at(row)
        listed = "" if at is None else f" (listed {duration(max(0.0, self._now() - at))} ago)"
        unless = "this hub does not fetch it again unless you retry it"
        match lost:
            case Loss.NOTHING if row.state is Custody.CONFIRMED:
                return "Nothing is lost: the cloud has it verified, and its recorder has deleted it."
            case Loss.NOTHING:
                return "Nothing is lost: the cloud has it verified. Its recorder is told so as before."
            case Loss.NO_AUDIO if listed:
                return f"Nothing is lost: there is no audio of it here. Its recorder holds it{listed}; {unless}."
            case Loss.NO_AUDIO:
                return f"There is no audio of it here. Its recorder may hold it; {unless}."
            case Loss.COPY:
                begun = _begun(row)
                return f"The copy here is lost. Its recorder still holds it{listed} and keeps it; {unless}.{begun}"
            case Loss.LAST_COPY if row.cloud_id is not None and row.stored_at is not None:
                what = "the cloud says that it has it, and has proved nothing"
            case _:
                seen = "has not listed it lately" if listed else "is not known to list it any more"
                what = f"its recorder {seen}{listed}, and the cloud has not verified it"
        return (
            f"THIS HUB HOLDS THE LAST COPY that it knows of: {what}. Save it first: bota-gateway export.{_begun(row)}"
        )


def _begun(row: Recording) -> str:
    """What stays in the cloud of an upload that was begun."""
    if row.cloud_id is None or row.stored_at is not None:
        return ""
    return f" In the cloud it stays as it is now, begun as {row.cloud_id}."
