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
    by_key: dict[str, list[CloudRecording]]


@dataclass(slots=True)
class Finding:
    """Looks, with a memory of half a minute for the many captures that one visit brings."""

    tools: Tools
    _known: dict[tuple[str, str | None], _Known] = field(default_factory=dict)

    async def after_lost_answer(self, recording: Recording) -> list[CloudRecording]:
        """Recordings of this capture, oldest first, searched freshly back to the first intent.

        Raises:
            CloudError: The search could not be finished, so nothing may be concluded from it.
        """
        intended = (recording.create_intended_at or 0) + self.tools.api.clock.offset_s
        found = await self._walk(recording, intended - LOOK_BACK_MARGIN_S, LOOK_BACK_ROWS, LOOK_BACK_AT_MOST)
        return found.get(capture_key(recording), [])

    async def before_create(self, recording: Recording) -> list[CloudRecording]:
        """The same before a first create: another hub may have met the recorder, or this hub's spool been lost.

        A precaution: it looks only at the newest recordings, and a list that can't be walked does not stop uploads.
        """
        owner = self._owner(recording)
        now = asyncio.get_running_loop().time()
        began = recording.key.started_at - LOOK_BACK_MARGIN_S
        known = self._known.get(owner)
        if known is None or now - known.at > KNOWN_FRESH_S or began < known.back_to:
            try:
                by_key = await self._walk(recording, began, LOOK_BACK_ROWS, LOOK_AHEAD_ROWS)
            except CloudProtocolError as error:
                log.warning("cloud_recordings_unreadable", code=error.error_code, reason=error.message)
                return []
            fresh = {key: old for key, old in self._known.items() if now - old.at <= KNOWN_FRESH_S}
            self._known = dict(list(fresh.items())[-KNOWN_OWNERS:])
            known = self._known[owner] = _Known(now, began, by_key)
        return known.by_key.get(capture_key(recording), [])

    async def _walk(
        self, recording: Recording, back_to: float, at_least: int, at_most: int
    ) -> dict[str, list[CloudRecording]]:
        """The owner's recordings by capture key, oldest first, created since ``back_to`` (Unix, server's clock)."""
        user, device = self._owner(recording)
        newest_first: list[CloudRecording] = []
        rows = 0
        async for seen in self.tools.api.recordings(end_user_id=user, device_id=device):
            if not seen.deleted and CAPTURE_KEY in seen.metadata:
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

    def _owner(self, recording: Recording) -> tuple[str, str | None]:
        device_id = recording.binding.device_id if self.tools.settings.send_device_id else None
        return str(recording.binding.end_user_id), device_id
