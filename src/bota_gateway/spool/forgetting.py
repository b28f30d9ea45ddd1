"""Forgetting by hand: what would be lost by it, and the one step that does it.

No recorder is ever told anything because of it. What the cloud has stored goes its way as before, without its audio
here; everything else is parked, and its audio here deleted.
"""

from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Final

from bota_gateway.errors import SpoolError
from bota_gateway.model import FORGOTTEN_BY_HAND, Custody, Recording
from bota_gateway.spool.custody import Happened, Step
from bota_gateway.spool.database import Transaction, Value
from bota_gateway.spool.journal import FRESH, load, move
from bota_gateway.spool.listing import Listing
from bota_gateway.spool.retention import BY_HAND, forget, release
from bota_gateway.spool.room import Room
from bota_gateway.spool.uploading import UNCAPTURED

IN_CLOUD: Final = frozenset({Custody.STORED, Custody.CONFIRMING, Custody.CONFIRMED})

LISTED_LATELY_S: Final = 86_400.0
"""A recorder that has not shown a recording for a day may be lost, or emptied by its owner's phone."""

RESTING: Final[dict[str, Value]] = FRESH | {
    "parked_reason": FORGOTTEN_BY_HAND,
    "parked_from": Custody.LISTED.value,
    "waiting_for": FORGOTTEN_BY_HAND,
    "waiting_detail": "Somebody had it forgotten: nobody works on it here.",
}
"""Columns of a recording that was forgotten by hand."""


class Loss(StrEnum):
    """What is lost when a recording is forgotten."""

    NOTHING = "nothing"
    """The cloud has it, and proved it."""
    NO_AUDIO = "no_audio"
    """There is nothing of it here; its recorder has it, or nobody."""
    COPY = "copy"
    """The audio here. Its recorder listed it lately, and keeps it."""
    LAST_COPY = "last_copy"
    """The only audio of it that this hub knows to be whole."""


class Forgetting(Listing, Room):
    """What a person does who wants no more work on a recording, or its audio gone from here."""

    def loss(self, row: Recording) -> Loss:
        """What would be lost now."""
        if row.state in IN_CLOUD:
            return Loss.NOTHING if row.verified else Loss.LAST_COPY
        if row.sha256 is None:
            return Loss.NO_AUDIO
        at = self.last_listed_at(row)
        return Loss.COPY if at is not None and 0 <= self._now() - at <= LISTED_LATELY_S else Loss.LAST_COPY

    async def forget_by_hand(
        self, recording_id: int, *, last_copy: bool, is_uploading: Callable[[int], bool]
    ) -> tuple[Recording, Loss]:
        """Delete the audio here; and unless the cloud has it, park the recording until a person wants it again.

        Args:
            recording_id: The recording.
            last_copy: Whether it may be the last copy that goes.
            is_uploading: Whether an upload of it is under way. Asked within the transaction: who takes it up after
                that looks at it again, and finds it forgotten.

        Returns:
            The row before, and what was lost.

        Raises:
            SpoolError: ``spool_unknown_recording``, ``forget_in_use``, ``forget_nothing_to_do``, ``forget_last_copy``;
                nothing has changed then.
            SpoolFullError: likewise.
        """

        async def work(tx: Transaction) -> tuple[Recording, Loss]:
            row = await load(tx, recording_id)
            require_forgettable(row, is_uploading=is_uploading(row.id))
            lost = self.loss(row)
            if lost is Loss.LAST_COPY and not last_copy:
                raise _is_last_copy(row)
            await _forget_by_hand(tx, row, lost)
            return row, lost

        done = await self._transaction(Step.FORGET_BY_HAND, work)
        with suppress(SpoolError):  # it is forgotten all the same; housekeeping deletes what is left of its audio
            await self._sweep(recording_id)
        return done


def require_forgettable(row: Recording, *, is_uploading: bool) -> None:
    """Raise ``forget_in_use`` or ``forget_nothing_to_do``."""
    if row.state is Custody.RECEIVING or is_uploading:
        raise SpoolError(
            f"Recording {row.key} is being {'uploaded' if is_uploading else 'received'} right now.",
            code="forget_in_use",
            remedy="Try again in a moment; or first bota-gateway pause radio, or pause uploads, and resume it after.",
        )
    if row.forgotten_by_hand or row.state is Custody.FORGOTTEN or row.released_at is not None:
        raise SpoolError(
            f"Recording {row.key} is {row.state}, and this hub has no audio of it.",
            code="forget_nothing_to_do",
            remedy="Nothing to do. Its story: bota-gateway timeline.",
        )


async def _forget_by_hand(tx: Transaction, row: Recording, lost: Loss) -> None:
    if row.state is Custody.CONFIRMED:
        await forget(tx, row, Step.FORGET_BY_HAND, BY_HAND)
        return
    if row.state in IN_CLOUD:
        await release(tx, row, Step.FORGET_BY_HAND, BY_HAND)
        return
    detail = {"was": row.state.value, "lost": lost.value, "size_bytes": row.size_bytes, "cloud_id": row.cloud_id}
    columns = RESTING if row.sha256 is None else RESTING | UNCAPTURED
    await move(tx, row, Step.FORGET_BY_HAND, Custody.PARKED, Happened.FORGOTTEN_BY_HAND, detail, **columns)


def _is_last_copy(row: Recording) -> SpoolError:
    return SpoolError(
        f"This hub holds the last copy of {row.key} that it knows of.",
        code="forget_last_copy",
        remedy="Save it first: bota-gateway export. To delete it all the same: bota-gateway forget --last-copy.",
    )
