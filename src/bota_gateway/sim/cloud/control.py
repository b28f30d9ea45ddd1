"""Steering from another process: ``/_sim/`` beside ``/v1``, no part of the API.

============================  ===================================================================================
``GET /_sim/state``           devices, recordings, objects, orphans; no secrets
``GET /_sim/counters``        what ``Counters.report`` gives
``GET /_sim/faults``          every rule with how often it matched and struck
``POST /_sim/faults``         arms a rule: ``{"route": ..., "fault": {"kind": ...}, "nth", "times", ...}``
``DELETE /_sim/faults``       the cloud behaves again
``POST /_sim/devices``        registers: ``{"serial": ..., "end_user": ..., "model", ...}``; end_user null: unbound
``POST /_sim/devices/bind``   ``{"serial": ..., "end_user": ...}``; end_user null unbinds
============================  ===================================================================================

There is no authentication: the emulator listens on loopback and holds nothing of worth.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bota_gateway.sim.cloud.counters import Counters
from bota_gateway.sim.cloud.faults import CloudFaults, Rule
from bota_gateway.sim.cloud.objects import ObjectStore
from bota_gateway.sim.cloud.world import HOME_PROJECT, World


class _Registration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    serial: Annotated[str, Field(min_length=1)]
    end_user: str | None = ""
    model: str = "bota_pin"
    project: str = HOME_PROJECT
    device_id: str | None = None


class _Binding(BaseModel):
    model_config = ConfigDict(extra="forbid")

    serial: str
    end_user: str | None = ""


Body = TypeVar("Body", bound=BaseModel)
Handle = Callable[[web.Request], Awaitable[web.Response]]


class Control:
    """The control endpoint."""

    def __init__(
        self,
        world: World,
        objects: ObjectStore,
        faults: CloudFaults,
        counters: Counters,
        changed: Callable[[], None],
    ) -> None:
        self._world = world
        self._objects = objects
        self._faults = faults
        self._counters = counters
        self._changed = changed

    def add_to(self, app: web.Application) -> None:
        """Adds the routes to the API's application."""
        app.router.add_get("/_sim/state", self._state)
        app.router.add_get("/_sim/counters", self._count)
        app.router.add_get("/_sim/faults", self._rules)
        app.router.add_post("/_sim/faults", self._arm)
        app.router.add_delete("/_sim/faults", self._clear)
        app.router.add_post("/_sim/devices", self._register)
        app.router.add_post("/_sim/devices/bind", self._bind)

    async def _state(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "devices": [asdict(device) for device in self._world.devices.by_id.values()],
                "recordings": [asdict(recording) for recording in self._world.recordings.values()],
                "objects": [
                    {**asdict(stored), "sha256": await self._objects.sha256(stored.key)}
                    for stored in self._objects.all()
                ],
                "orphans": [recording.id for recording in self._world.orphans()],
            }
        )

    async def _count(self, _request: web.Request) -> web.Response:
        return web.json_response(self._counters.report())

    async def _rules(self, _request: web.Request) -> web.Response:
        return web.json_response(self._faults.report())

    async def _arm(self, request: web.Request) -> web.Response:
        self._faults.arm(await _parsed(request, Rule))
        return web.json_response(self._faults.report(), status=201)

    async def _clear(self, _request: web.Request) -> web.Response:
        self._faults.clear()
        return web.Response(status=204)

    async def _register(self, request: web.Request) -> web.Response:
        wanted = await _parsed(request, _Registration)
        device = self._world.devices.register(
            wanted.serial, wanted.end_user, model=wanted.model, project=wanted.project, device_id=wanted.device_id
        )
        self._changed()
        return web.json_response(asdict(device), status=201)

    async def _bind(self, request: web.Request) -> web.Response:
        wanted = await _parsed(request, _Binding)
        devices = self._world.devices
        try:
            if wanted.end_user is None:
                device = devices.unbind(wanted.serial)
            else:
                device = devices.bind(wanted.serial, wanted.end_user)
        except KeyError as error:
            raise web.HTTPNotFound(text=str(error)) from error
        self._changed()
        return web.json_response(asdict(device))


async def _parsed(request: web.Request, model: type[Body]) -> Body:
    """The request's body, or a 400 that says what is wrong with it."""
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
