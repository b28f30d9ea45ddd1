"""Looking for a capture's recording in the cloud, by the capture key in its metadata.

Source: docs/cloud-api.md, "Lost answers". No filter asks for a key, so the user's newest recordings are read.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

import structlog

from bota_gateway.cloud import CloudRecording
from bota_gateway.errors import CloudProtocolError
from bota_gateway.model import Recording
from bota_gateway.upload.const import (
    KNOWN_FRESH_S,
    LOOK_AHEAD_ROWS,
    LOOK_BACK_AT_MOST,
    LOOK_BACK_MARGIN_S,
    LOOK_BACK_ROWS,
)
from bota_gateway.upload.describe import CAPTURE_KEY, capture_key
from bota_gateway.upload.setbacks import Gone
from bota_gateway.upload.tools import Tools

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

KNOWN_OWNERS: Final = 64
"""Owners whose newest recordings are remembered at once; more are not uploading within half a minute."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Recordings that a walk found, by capture key."""

    at: float
    """Loop time of the walk."""
    back_to: float
    """Unix seconds by the server's clock before which it did not look."""
    thorough: bool
    """Whether it looked at everything since then, and not only at the newest."""
    by_key: dict[str, list[CloudRecording]]

    @property
    def fresh(self) -> bool:
        """Whether it is young enough to rely on."""
        return asyncio.get_running_loop().time() - self.at <= KNOWN_FRESH_S

    def answers(self, began: float, *, thorough: bool) -> bool:
        """Whether it tells of a recording that began then (Unix seconds)."""
        return self.fresh and self.back_to <= began and (self.thorough or not thorough)


@dataclass(slots=True)
class Finding:
    """Looks, with a memory of half a minute for the many captures that one visit brings."""

    tools: Tools
    _known: dict[str, _Known] = field(default_factory=dict)

    async def after_lost_answer(self, recording: Recording) -> list[CloudRecording]:
        """Recordings of this capture, oldest first, searched freshly back to the first intent.

        One that was forgotten by hand and is here again still has the cloud's id, which needs no search.

        Raises:
            CloudError: The search could not be finished, so nothing may be concluded from it.
        """
        if recording.cloud_id is not None and (known := await self._known_before(recording)):
            return [known]
        intended = recording.create_intended_at or 0
        found = await self._walk(recording, intended - LOOK_BACK_MARGIN_S, LOOK_BACK_ROWS, LOOK_BACK_AT_MOST)
        return found.get(capture_key(recording), [])

    async def _known_before(self, recording: Recording) -> CloudRecording | None:
        try:
            seen = await self.tools.read(recording)
        except Gone:
            return None
        is_owners = seen.end_user_id in {None, recording.binding.end_user_id}
        return seen if is_owners and seen.metadata.get(CAPTURE_KEY) == capture_key(recording) else None

    async def before_create(self, recording: Recording) -> list[CloudRecording]:
        """The same before a first create: another hub may have met the recorder, or this hub's spool been lost.

        Where the spool says that it follows a lost one (``look_first``) the search must come to its end. Else it is a
        precaution: it looks only at the newest recordings, and a list that can't be walked does not stop uploads.

        Raises:
            CloudError: The cloud can't be asked; or the search that must come to its end did not.
        """
        owner = str(recording.binding.end_user_id)
        began = recording.key.started_at - LOOK_BACK_MARGIN_S
        known = self._known.get(owner)
        if known is None or not known.answers(began, thorough=recording.look_first):
            try:
                known = await self._look(recording, began)
            except CloudProtocolError as error:
                if recording.look_first:
                    raise
                log.warning("cloud_recordings_unreadable", code=error.error_code, reason=error.message)
                return []
            self._remember(owner, known)
        return known.by_key.get(capture_key(recording), [])

    async def _look(self, recording: Recording, began: float) -> _Known:
        at = asyncio.get_running_loop().time()
        at_most = LOOK_BACK_AT_MOST if recording.look_first else LOOK_AHEAD_ROWS
        return _Known(at, began, recording.look_first, await self._walk(recording, began, LOOK_BACK_ROWS, at_most))

    def _remember(self, owner: str, known: _Known) -> None:
        self._known = {key: old for key, old in self._known.items() if old.fresh} | {owner: known}
        while len(self._known) > KNOWN_OWNERS:
            del self._known[next(iter(self._known))]

    async def _walk(
        self, recording: Recording, back_to: float, at_least: int, at_most: int
    ) -> dict[str, list[CloudRecording]]:
        """The owner's recordings by capture key, oldest first, created since ``back_to`` (Unix, server's clock)."""
        newest_first: list[CloudRecording] = []
        rows = 0
        owner = str(recording.binding.end_user_id)
        async for seen in self.tools.api.recordings(end_user_id=owner):
            is_owners = seen.end_user_id in {None, owner}  # a server may pass over the filter
            if not seen.deleted and is_owners and CAPTURE_KEY in seen.metadata:
                newest_first.append(seen)
            rows += 1
            old = seen.created_at is not None and seen.created_at < back_to
            if (old and rows >= at_least) or rows >= at_most:
                break
        by_key: dict[str, list[CloudRecording]] = {}
        newest_first.reverse()  # sorting keeps the order of equal times
        for seen in sorted(newest_first, key=lambda one: one.created_at or 0):
            by_key.setdefault(str(seen.metadata[CAPTURE_KEY]), []).append(seen)
        return by_key
