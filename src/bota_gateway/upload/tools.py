"""What every step works with, and what several of them do."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from bota_gateway.cloud import BotaApi, CloudRecording
from bota_gateway.config import CloudSettings
from bota_gateway.errors import CloudRefusedError, SpoolError
from bota_gateway.model import Custody, Recording, WallClock
from bota_gateway.spool import Happened, Spool
from bota_gateway.upload.const import PIECE_BYTES, Timing
from bota_gateway.upload.content import SNIFF_BYTES, content_type_of
from bota_gateway.upload.setbacks import Gone, Parked, Rotten, Why

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(slots=True)
class Working:
    """One upload under way, for whoever watches."""

    serial: str
    file_id: str
    size_bytes: int
    step: Custody
    sent_bytes: int = 0
    """Of the present PUT."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Spool, cloud and clock."""

    spool: Spool
    api: BotaApi
    settings: CloudSettings
    now: WallClock
    hub_id: str
    timing: Timing

    async def content_type(self, recording: Recording) -> str:
        """As set, or by the first bytes.

        Raises:
            Parked: The API would not take such a file.
        """
        if self.settings.content_type != "auto":
            return self.settings.content_type
        async with aclosing(self.audio(recording)) as pieces:
            head = await anext(pieces, b"")
        found = content_type_of(head[:SNIFF_BYTES])
        if found is None:
            raise Parked(
                Why.UNSUPPORTED_AUDIO,
                "Its first bytes are no audio file the cloud takes. Export it and look; or set cloud.content_type.",
            )
        return found

    async def audio(self, recording: Recording) -> AsyncGenerator[bytes, None]:
        """The captured bytes in pieces.

        Raises:
            Rotten: They are not all there.
        """
        try:
            async with aclosing(self.spool.read_audio(recording.id, piece_bytes=PIECE_BYTES)) as pieces:
                async for piece in pieces:
                    yield piece
        except SpoolError as error:
            if error.error_code not in {"spool_no_audio", "spool_audio_missing"}:
                raise
            raise Rotten(error.message) from None

    async def read(self, recording: Recording) -> CloudRecording:
        """The recording as the cloud has it.

        Raises:
            Gone: The cloud does not know it.
        """
        try:
            seen = await self.api.recording(str(recording.cloud_id))
        except CloudRefusedError as error:
            if error.status == 404:
                raise Gone(recording.cloud_id) from None
            raise
        if seen.deleted:
            raise Gone(recording.cloud_id)
        return seen

    async def anew(self, recording: Recording, gone: Gone) -> Recording:
        """Back to captured, for a new recording in the cloud, if a human asked for it; else it is parked.

        Raises:
            Parked: Not asked yet.
        """
        if not await self.human_said(recording, gone.code):
            raise Parked(gone.code, gone.detail) from gone
        return await self.spool.back_to(recording.id, Custody.CAPTURED, reason=gone.detail)

    async def pull_again(self, recording: Recording, rotten: Rotten) -> Recording:
        """Back to listed, if a human asked for it; else it is parked, and what is left of it kept.

        Raises:
            Parked: Not asked yet.
        """
        if not await self.human_said(recording, rotten.code):
            raise Parked(rotten.code, rotten.detail) from rotten
        return await self.spool.back_to(recording.id, Custody.LISTED, reason=rotten.detail)

    async def human_said(self, recording: Recording, code: str) -> bool:
        """Whether it was parked for this reason before, and a human then asked for another try."""
        entries = await self.spool.timeline(recording.id)
        parkings = [
            at
            for at, line in enumerate(entries)
            if line.happened == Happened.PARKED and line.detail.get("code") == code
        ]
        retries = (line for line in entries[parkings[-1] :] if line.happened == Happened.RETRIED) if parkings else ()
        return any(line.detail.get("was") == code for line in retries)

    async def store(self, recording: Recording, *, verified: bool) -> Recording:
        """The cloud has it: the recorder may delete."""
        row = await self.spool.stored(recording.id, verified=verified)
        log.info("recording_stored", cloud_id=row.cloud_id, verified=verified, bytes=row.size_bytes)
        return row
