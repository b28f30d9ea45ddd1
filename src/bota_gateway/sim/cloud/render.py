"""A recording as each generation of the API shows it."""

from datetime import datetime

from bota_gateway.sim.cloud.call import JsonObject
from bota_gateway.sim.cloud.options import ApiProfile, CloudOptions
from bota_gateway.sim.cloud.world import Recording, RecordingStatus, Upload, iso


def status_now(recording: Recording, options: CloudOptions, now: float) -> RecordingStatus:
    """Its status at a time: an uploaded recording moves on by itself when the options say so."""
    if recording.status is not RecordingStatus.UPLOADED or recording.uploaded_at is None:
        return recording.status
    age = now - recording.uploaded_at
    if options.completed_after_s is not None and age >= options.completed_after_s:
        return RecordingStatus.FAILED if options.processing_fails else RecordingStatus.COMPLETED
    if options.processing_after_s is not None and age >= options.processing_after_s:
        return RecordingStatus.PROCESSING
    return RecordingStatus.UPLOADED


def render_recording(recording: Recording, profile: ApiProfile, options: CloudOptions, now: float) -> JsonObject:
    """The JSON object of one generation."""
    body: JsonObject = {
        "id": recording.id,
        "device_id": recording.device_id,
        "end_user_id": recording.end_user_id,
        "status": status_now(recording, options, now).value,
        "metadata": recording.metadata,
        "created_at": iso(recording.created_at),
    }
    match profile:
        case ApiProfile.D1:
            return body | _times(recording) | _file_facts(recording)
        case ApiProfile.D2:
            media = [_media(recording, upload) for upload in recording.uploads]
            return body | _times(recording) | {"name": recording.facts.get("name"), "media": media}
        case ApiProfile.E:
            return body | _modern(recording)


def _times(recording: Recording) -> JsonObject:
    started, ended = recording.facts.get("started_at"), recording.facts.get("ended_at")
    duration = None
    if isinstance(started, str) and isinstance(ended, str):
        elapsed = datetime.fromisoformat(ended) - datetime.fromisoformat(started)
        duration = round(elapsed.total_seconds() * 1000)
    return {"started_at": started, "ended_at": ended, "duration_ms": duration, "transcription_id": None}


def _file_facts(recording: Recording) -> JsonObject:
    uploaded = recording.uploaded_at is not None
    return {
        "file_size_bytes": recording.size_bytes if uploaded else None,
        "mime_type": recording.uploads[-1].content_type if uploaded and recording.uploads else None,
        "uploaded_at": iso(recording.uploaded_at),
    }


def _media(recording: Recording, upload: Upload) -> JsonObject:
    uploaded = recording.uploaded_at is not None
    return {
        "id": upload.media_id,
        "type": upload.media_type,
        "mime_type": upload.content_type,
        "file_size_bytes": recording.size_bytes if uploaded else upload.declared_size,
        "status": "uploaded" if uploaded else "pending",
        "captured_at": None,
        "created_at": iso(upload.created_at),
    }


def _modern(recording: Recording) -> JsonObject:
    facts = recording.facts
    body: JsonObject = {
        "project_id": recording.project,
        "name": facts.get("name"),
        "source": facts.get("source"),
        "upload_method": facts.get("upload_method"),
        "recorded_at": facts.get("recorded_at"),
        "duration_seconds": facts.get("duration_seconds"),
        # Seen live as a decimal string; clients must take both.
        "file_size_bytes": None if recording.size_bytes is None else str(recording.size_bytes),
        "content_sha256": recording.content_sha256,
        "content_sha256_verified_at": iso(recording.verified_at),
        "updated_at": iso(recording.updated_at),
        "deleted_at": None,
    }
    if facts.get("recording_uuid") is not None:
        body |= {name: facts.get(name) for name in ("recording_uuid", "recording_generation", "encryption_version")}
    return body
