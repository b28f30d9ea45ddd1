"""Routes of recordings: create, get, list, delete."""

from typing import Final

from bota_gateway.sim.cloud.call import Answer, ApiError, Call, Fields, JsonObject, Route
from bota_gateway.sim.cloud.counters import Counters
from bota_gateway.sim.cloud.devices import DeviceRoutes
from bota_gateway.sim.cloud.objects import ObjectStore
from bota_gateway.sim.cloud.options import ApiProfile, CloudOptions, Paging
from bota_gateway.sim.cloud.paging import page, query_filter
from bota_gateway.sim.cloud.render import render_recording, status_now
from bota_gateway.sim.cloud.world import Recording, World

UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
SOURCES: Final = frozenset({"device", "app_import", "api_upload"})
UPLOAD_METHODS: Final = frozenset({"ble", "import", "wifi", "cellular"})
CAPTURE_KEYS: Final = ("capture_key", "capture", "idempotency_key")
"""Where a creator may keep its capture key in ``metadata``; the first that is there names the capture in counters."""


class RecordingRoutes:
    """``/recordings`` in the chosen generation."""

    def __init__(
        self,
        world: World,
        objects: ObjectStore,
        counters: Counters,
        devices: DeviceRoutes,
        profile: ApiProfile,
        options: CloudOptions,
    ) -> None:
        self._world = world
        self._objects = objects
        self._counters = counters
        self._devices = devices
        self._profile = profile
        self._options = options

    def routes(self) -> list[Route]:
        """The endpoints."""
        return [
            Route("POST", "/recordings", "recordings:write", self.create, idempotent_by_key=True),
            Route("GET", "/recordings", "recordings:read", self.list),
            Route("GET", "/recordings/{id}", "recordings:read", self.get),
            Route("DELETE", "/recordings/{id}", "recordings:write", self.delete),
        ]

    async def create(self, call: Call) -> Answer:
        """Makes a recording, every time it is asked, unless a uuid and generation say it is a known one."""
        fields = Fields(call.body, status=self._options.validation_status)
        device_id = fields.text("device_id", required=self._profile is ApiProfile.D1)
        end_user_id = self._end_user(call, fields, device_id)
        facts = self._facts(fields)
        if self._options.unknown_fields == "refuse":
            fields.refuse_unknown()
        if (known := self._same_capture(call.project, device_id, facts)) is not None:
            return Answer(200, self.render(known))
        recording = self._make(call.project, device_id, end_user_id, facts)
        return Answer(201, self.render(recording))

    async def get(self, call: Call) -> Answer:
        """One recording of the project."""
        return Answer(200, self.render(self.find(call)))

    async def list(self, call: Call) -> Answer:
        """The project's recordings, newest first."""
        now = self._world.now()
        found = [
            recording
            for recording in self._world.recordings_of(call.project)
            if query_filter(
                call.query,
                {
                    "device_id": recording.device_id,
                    "end_user_id": recording.end_user_id,
                    "status": status_now(recording, self._options, now),
                },
                ("device_id", "end_user_id", "status"),
            )
        ]
        modern = self._profile is ApiProfile.E
        paging = self._options.recording_paging or (Paging.CURSOR if modern else Paging.OFFSET)
        return page(found, call.query, paging=paging, default_limit=20 if modern else 25, render=self.render)

    async def delete(self, call: Call) -> Answer:
        """Removes a recording and its audio."""
        recording = self.find(call)
        for upload in recording.uploads:
            self._objects.remove(upload.key)
        del self._world.recordings[recording.id]
        return Answer(204)

    def find(self, call: Call) -> Recording:
        """The recording in the path; another project's does not exist."""
        recording = self._world.recordings.get(call.params["id"])
        if recording is None or recording.project != call.project:
            raise ApiError(404, "not_found", f"no recording {call.params['id']}")
        return recording

    def render(self, recording: Recording) -> JsonObject:
        """As this generation shows it."""
        return render_recording(recording, self._profile, self._options, self._world.now())

    def _end_user(self, call: Call, fields: Fields, device_id: str | None) -> str:
        """Whose recording it becomes; a bound device speaks for its user when the body names none."""
        device = None if device_id is None else self._devices.find(call.project, device_id)
        named = fields.text("end_user_id", required=self._profile is not ApiProfile.D1)
        if named is None:
            if device is None or device.end_user_id is None:
                raise fields.invalid("end_user_id", "is required: the device is not bound")
            return device.end_user_id
        user = self._world.end_users.get(named)
        if user is None or user.project != call.project:
            raise ApiError(404, "not_found", f"no end user {named}", field="end_user_id")
        return named

    def _facts(self, fields: Fields) -> JsonObject:
        facts: JsonObject = {"name": fields.text("name"), "metadata": fields.mapping("metadata") or {}}
        if self._profile is not ApiProfile.E:
            return facts | {"started_at": fields.time("started_at"), "ended_at": fields.time("ended_at")}
        return facts | {
            "recorded_at": fields.time("recorded_at"),
            "source": fields.choice("source", SOURCES) or "api_upload",
            "upload_method": fields.choice("upload_method", UPLOAD_METHODS),
            "recording_uuid": fields.text("recording_uuid", pattern=UUID),
            "recording_generation": fields.integer("recording_generation", least=1),
            "encryption_version": fields.integer("encryption_version", least=2),
        }

    def _same_capture(self, project: str, device_id: str | None, facts: JsonObject) -> Recording | None:
        identity = (facts.get("recording_uuid"), facts.get("recording_generation"))
        if None in identity:
            return None
        for recording in self._world.recordings_of(project):
            known = (recording.facts.get("recording_uuid"), recording.facts.get("recording_generation"))
            if known == identity and recording.device_id == device_id:
                return recording
        return None

    def _make(self, project: str, device_id: str | None, end_user_id: str, facts: JsonObject) -> Recording:
        now = self._world.now()
        recording = Recording(
            id=self._world.ids.make("rec"),
            project=project,
            end_user_id=end_user_id,
            device_id=device_id,
            created_at=now,
            updated_at=now,
            facts=facts,
        )
        self._world.recordings[recording.id] = recording
        self._counters.creates[capture_key(recording)] += 1
        return recording


def capture_key(recording: Recording) -> str:
    """What its creator calls the capture; the recording's own id when it calls it nothing."""
    for name in CAPTURE_KEYS:
        if isinstance(key := recording.metadata.get(name), str):
            return key
    return recording.id
