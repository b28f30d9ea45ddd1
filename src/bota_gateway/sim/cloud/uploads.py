"""Routes around a recording's bytes: upload-url, upload-complete, download-url, upload-relay."""

from dataclasses import dataclass
from typing import Final

from bota_gateway.sim.cloud.call import Answer, ApiError, Call, Fields, JsonObject, Route
from bota_gateway.sim.cloud.completion import Completion
from bota_gateway.sim.cloud.counters import Counters
from bota_gateway.sim.cloud.objects import ObjectStore
from bota_gateway.sim.cloud.options import ApiProfile, CloudOptions
from bota_gateway.sim.cloud.presigned import PresignedUrls
from bota_gateway.sim.cloud.recordings import RecordingRoutes
from bota_gateway.sim.cloud.world import UPLOADABLE, Recording, Upload, World, iso

_AUDIO_D1: Final = frozenset(f"audio/{name}" for name in ("wav", "mpeg", "mp4", "webm", "ogg", "flac"))
_AUDIO_D2: Final = _AUDIO_D1 | {"audio/opus"}
CONTENT_TYPES: Final = {
    ApiProfile.D1: _AUDIO_D1,
    ApiProfile.D2: _AUDIO_D2 | {"image/jpeg", "image/png", "video/mp4"},
    ApiProfile.E: _AUDIO_D2 | {"audio/aac"},
}
"""What each generation's upload-url page lists (docs/cloud-api.md, "Calls")."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where objects go and who signs for it."""

    base_url: str
    """Of S3 with the bucket, without trailing slash."""
    urls: PresignedUrls


class UploadRoutes:
    """The upload cycle in the chosen generation."""

    def __init__(
        self,
        world: World,
        objects: ObjectStore,
        counters: Counters,
        recordings: RecordingRoutes,
        bucket: Bucket,
        profile: ApiProfile,
        options: CloudOptions,
    ) -> None:
        self._world = world
        self._objects = objects
        self._counters = counters
        self._recordings = recordings
        self._bucket = bucket
        self._profile = profile
        self._options = options
        self._completion = Completion(world, objects, profile, options)

    def routes(self) -> list[Route]:
        """The endpoints."""
        download = "POST" if self._profile is ApiProfile.D2 else "GET"
        base = "/recordings/{id}"
        return [
            Route("POST", f"{base}/upload-url", "recordings:write", self.upload_url, upload_url=True),
            Route("POST", f"{base}/upload-complete", "recordings:write", self.complete),
            Route(download, f"{base}/download-url", "recordings:read", self.download_url),
            Route("POST", f"{base}/upload-relay", "recordings:write", self.relay, raw_body=True),
        ]

    async def upload_url(self, call: Call) -> Answer:
        """A presigned PUT for the recording's bytes. Repeatable until the upload is complete."""
        recording = self._recordings.find(call)
        if recording.status not in UPLOADABLE:
            raise ApiError(400, "invalid_request", f"the recording is {recording.status}, not pending")
        upload = self._new_upload(recording, call)
        signed_headers = self._signed_headers(upload)
        url = self._bucket.urls.issue(
            "PUT",
            f"{self._bucket.base_url}/{upload.key}",
            headers=signed_headers,
            expires_s=self._options.url_life_s,
        )
        expires_at = iso(self._world.now() + self._options.url_life_s)
        return Answer(200, self._url_answer(url, expires_at, upload, signed_headers))

    async def complete(self, call: Call) -> Answer:
        """Ends an upload; what that means depends on the generation."""
        recording = self._recordings.find(call)
        self._counters.completes[recording.id] += 1
        await self._completion.complete(recording, call.body)
        return Answer(200, self._recordings.render(recording))

    async def download_url(self, call: Call) -> Answer:
        """A presigned GET of the stored bytes; refused until the upload is complete."""
        recording = self._recordings.find(call)
        if recording.status in UPLOADABLE or not recording.uploads:
            raise ApiError(400, "invalid_request", "nothing was uploaded yet")
        upload = self._wanted_media(recording, call)
        life_s = self._options.url_life_s
        url = self._bucket.urls.issue("GET", f"{self._bucket.base_url}/{upload.key}", headers={}, expires_s=life_s)
        if self._profile is ApiProfile.E:
            size = None if recording.size_bytes is None else str(recording.size_bytes)
            body: JsonObject = {"content_type": upload.content_type, "file_size_bytes": size, "expires_in": life_s}
        else:
            body = {
                "media_id": upload.media_id,
                "content_type": upload.content_type,
                "file_size_bytes": recording.size_bytes,
                "expires_at": iso(self._world.now() + life_s),
            }
        return Answer(200, {"download_url": url, **body})

    async def relay(self, call: Call) -> Answer:
        """Takes a recorder's ciphertext and marks the recording uploaded; decrypting is not emulated."""
        recording = self._recordings.find(call)
        if recording.status not in UPLOADABLE:
            raise ApiError(400, "invalid_request", f"the recording is {recording.status}, not pending")
        if not call.raw:
            raise ApiError(400, "invalid_request", "the body is empty")
        upload = Upload(
            key=f"{recording.project}/{recording.id}/relayed",
            content_type="application/octet-stream",
            declared_size=len(call.raw),
            created_at=self._world.now(),
        )
        with self._objects.incoming(upload.key, upload.content_type) as incoming:
            incoming.write(call.raw)
            await incoming.commit()
        recording.uploads.append(upload)
        self._completion.accept(recording, len(call.raw))
        return Answer(200, self._recordings.render(recording))

    def _new_upload(self, recording: Recording, call: Call) -> Upload:
        fields = Fields(call.body, status=self._options.validation_status)
        media_type = "audio"
        if self._profile is ApiProfile.D2:
            media_type = fields.choice("type", frozenset({"audio", "image", "video"}), required=True) or media_type
            fields.time("captured_at")
        content_type = fields.text("content_type", required=self._profile is not ApiProfile.D2) or "audio/opus"
        if content_type not in CONTENT_TYPES[self._profile]:
            raise fields.invalid("content_type", f"{content_type!r} is not supported")
        declared_size = fields.integer("file_size_bytes", least=1)
        if self._options.unknown_fields == "refuse":
            fields.refuse_unknown()
        return self._note(
            recording, self._options.content_type_answers.get(content_type, content_type), declared_size, media_type
        )

    def _note(self, recording: Recording, content_type: str, declared_size: int | None, media_type: str) -> Upload:
        """D2 makes a medium and an object per call; the others keep one object per recording."""
        prefix = f"{recording.project}/{recording.id}"
        media_id = self._world.ids.make("med") if self._profile is ApiProfile.D2 else None
        key = f"{prefix}/{media_id}/audio" if media_id else f"{prefix}/audio"
        upload = Upload(key, content_type, declared_size, self._world.now(), media_id, media_type)
        if media_id is None:
            recording.uploads.clear()
        recording.uploads.append(upload)
        return upload

    def _signed_headers(self, upload: Upload) -> dict[str, str]:
        headers = {"Content-Type": upload.content_type}
        if self._options.sign_length and upload.declared_size is not None:
            headers["Content-Length"] = str(upload.declared_size)
        return headers

    def _url_answer(
        self, url: str, expires_at: str | None, upload: Upload, signed_headers: dict[str, str]
    ) -> JsonObject:
        body: JsonObject = {"upload_url": url, "expires_at": expires_at}
        with_headers = self._options.upload_headers
        if with_headers or (with_headers is None and self._profile is not ApiProfile.E):
            body["headers"] = signed_headers
        if self._profile is ApiProfile.D2:
            body["media_id"] = upload.media_id
        if self._profile is ApiProfile.E:
            body |= {"content_type": upload.content_type, "upload_token": self._world.ids.make("up")}
        return body

    def _wanted_media(self, recording: Recording, call: Call) -> Upload:
        wanted = call.body.get("media_id")
        for upload in recording.uploads:
            if wanted is not None and upload.media_id == wanted:
                return upload
        if wanted is not None:
            raise ApiError(404, "not_found", f"no media {wanted}", field="media_id")
        return recording.uploads[-1]
