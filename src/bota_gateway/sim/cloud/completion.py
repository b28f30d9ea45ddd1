"""What ``upload-complete`` does: verification in E, trust in D1 and D2."""

from typing import Final

from bota_gateway.sim.cloud.call import ApiError, Fields, JsonObject
from bota_gateway.sim.cloud.objects import ObjectStore, StoredObject
from bota_gateway.sim.cloud.options import ApiProfile, CloudOptions
from bota_gateway.sim.cloud.world import UPLOADABLE, Recording, RecordingStatus, World

SHA256: Final = r"[0-9a-f]{64}"


class Completion:
    """Decides about completions and moves the recording's status."""

    def __init__(self, world: World, objects: ObjectStore, profile: ApiProfile, options: CloudOptions) -> None:
        self._world = world
        self._objects = objects
        self._profile = profile
        self._options = options

    async def complete(self, recording: Recording, body: JsonObject) -> None:
        """Returns when the answer is 200.

        Raises:
            ApiError: 400 nothing stored or not pending, 409 contradiction or failed verification, 425 not yet.
        """
        if self._profile is ApiProfile.E:
            await self._verify(recording, body)
        else:
            self._trust(recording)

    def accept(self, recording: Recording, size_bytes: int) -> None:
        """The recording is uploaded."""
        now = self._world.now()
        recording.status = RecordingStatus.UPLOADED
        recording.size_bytes = size_bytes
        recording.uploaded_at = recording.updated_at = now

    def _trust(self, recording: Recording) -> None:
        if recording.status in UPLOADABLE:
            self.accept(recording, self._stored(recording).size)
        elif self._profile is ApiProfile.D2 or self._options.repeat_of_d1 == 400:
            raise ApiError(400, "invalid_request", f"the recording is {recording.status}, not pending")

    async def _verify(self, recording: Recording, body: JsonObject) -> None:
        fields = Fields(body, status=self._options.validation_status)
        sha256 = fields.text("content_sha256", pattern=SHA256)
        size = fields.integer("file_size_bytes", least=1)
        duration = fields.integer("duration_seconds", least=1)
        if self._options.unknown_fields == "refuse":
            fields.refuse_unknown()
        if recording.status not in UPLOADABLE:
            self._repeat(recording, sha256, size)
            return
        stored = self._stored(recording)
        if size is not None and size != stored.size:
            raise _conflict(f"file_size_bytes is {size}, {stored.size} are stored")
        if duration is not None:
            recording.facts["duration_seconds"] = duration
        if sha256 is None:
            self.accept(recording, stored.size)
            return
        await self._verdict(recording, sha256, stored)

    def _repeat(self, recording: Recording, sha256: str | None, size: int | None) -> None:
        """After success: the same hash is confirmed again, anything else contradicts."""
        if sha256 is not None and sha256 != recording.content_sha256:
            raise _conflict("content_sha256 differs from the completed upload's")
        if size is not None and (self._options.size_on_repeat_conflicts or size != recording.size_bytes):
            raise _conflict("file_size_bytes differs from the completed upload's")

    async def _verdict(self, recording: Recording, sha256: str, stored: StoredObject) -> None:
        if recording.polls_left is not None and recording.declared_sha256 != sha256:
            raise _conflict("content_sha256 differs from the one under verification")
        if recording.status is RecordingStatus.INTEGRITY_FAILURE and recording.failed_version == stored.version:
            raise _conflict("the stored bytes do not match; upload them again")
        if recording.polls_left is None:
            recording.declared_sha256 = sha256
            recording.polls_left = self._options.verification_polls
        if recording.polls_left > 0:
            recording.polls_left -= 1
            raise ApiError(425, "verification_in_progress", "the stored bytes are being verified; repeat this call")
        recording.polls_left = None
        if await self._objects.sha256(stored.key) != sha256:
            recording.status = RecordingStatus.INTEGRITY_FAILURE
            recording.failed_version = stored.version
            recording.updated_at = self._world.now()
            raise _conflict("the stored bytes do not match content_sha256")
        recording.content_sha256 = sha256
        recording.verified_at = self._world.now()
        self.accept(recording, stored.size)

    def _stored(self, recording: Recording) -> StoredObject:
        """The newest object of the recording's uploads."""
        found = [stored for upload in recording.uploads if (stored := self._objects.get(upload.key)) is not None]
        if not found:
            raise ApiError(400, "invalid_request", "nothing is stored for this recording")
        return max(found, key=lambda stored: stored.version)


def _conflict(message: str) -> ApiError:
    return ApiError(409, "upload_conflict", message)
