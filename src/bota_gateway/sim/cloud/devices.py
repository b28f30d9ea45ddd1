"""Routes of devices: get, list, register."""

from bota_gateway.sim.cloud.call import Answer, ApiError, Call, Fields, JsonObject, Route
from bota_gateway.sim.cloud.options import ApiProfile, CloudOptions, Paging
from bota_gateway.sim.cloud.paging import page
from bota_gateway.sim.cloud.world import Device, World, iso


class DeviceRoutes:
    """``/devices`` in the chosen generation."""

    def __init__(self, world: World, profile: ApiProfile, options: CloudOptions) -> None:
        self._world = world
        self._profile = profile
        self._options = options

    def routes(self) -> list[Route]:
        """The endpoints."""
        return [
            Route("GET", "/devices", "devices:read", self.list),
            Route("POST", "/devices", "devices:write", self.create, idempotent_by_key=True),
            Route("GET", "/devices/{id}", "devices:read", self.get),
        ]

    async def get(self, call: Call) -> Answer:
        """One device of the project."""
        return Answer(200, self._render(self.find(call.project, call.params["id"])))

    async def list(self, call: Call) -> Answer:
        """The project's devices, newest first. No generation can filter by serial."""
        devices = self._world.devices.of(call.project)
        if "end_user_id" in call.query:
            devices = [device for device in devices if device.end_user_id == call.query["end_user_id"]]
        default_limit = 20 if self._profile is ApiProfile.E else 25
        paging = self._paging(filtered="end_user_id" in call.query)
        return page(devices, call.query, paging=paging, default_limit=default_limit, render=self._render)

    async def create(self, call: Call) -> Answer:
        """Registers by serial: 201 for a new one, 200 for one the project has, 409 for another project's."""
        fields = Fields(call.body, status=self._options.validation_status)
        serial = fields.required_text("serial_number")
        for device in self._world.devices.by_id.values():
            if device.serial == serial:
                if device.project != call.project:
                    raise ApiError(409, "resource_already_exists", "the device belongs to another project")
                return Answer(200, self._render(device))
        model = fields.text("model") or fields.text("device_type") or "bota_pin"
        return Answer(201, self._render(self._world.devices.register(serial, None, model=model, project=call.project)))

    def find(self, project: str, device_id: str) -> Device:
        """A device by id; another project's does not exist."""
        device = self._world.devices.by_id.get(device_id)
        if device is None or device.project != project:
            raise ApiError(404, "not_found", f"no device {device_id}")
        return device

    def _paging(self, *, filtered: bool) -> Paging:
        if self._options.device_paging is not None:
            return self._options.device_paging
        if self._profile is not ApiProfile.E:
            return Paging.OFFSET
        # The reviewed backend advances on neither offset nor cursor once end_user_id filters the list.
        return Paging.STUCK if filtered else Paging.CURSOR

    def _render(self, device: Device) -> JsonObject:
        body: JsonObject = {
            "id": device.id,
            "serial_number": device.serial,
            "name": device.name,
            "firmware_version": device.firmware_version,
            "status": "unbound" if device.end_user_id is None else "bound",
            "end_user_id": device.end_user_id,
            "metadata": device.metadata,
            "created_at": iso(device.created_at),
        }
        if self._profile is ApiProfile.D1:
            bound_at = None if device.end_user_id is None else iso(device.created_at)
            return {**body, "device_type": device.model, "bound_at": bound_at}
        body |= {"model": device.model, "project_id": device.project, "last_heartbeat_at": None}
        if self._profile is ApiProfile.E:
            body |= {"binding_generation": device.binding_generation, "deleted_at": None}
        return body
