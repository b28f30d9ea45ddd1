"""The API's HTTP front: authentication, rate limit, scopes, idempotency, error bodies, faults."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import structlog
from aiohttp import web

from bota_gateway.sim.cloud import const
from bota_gateway.sim.cloud.call import Answer, ApiError, Call, JsonObject, Route
from bota_gateway.sim.cloud.counters import Counters
from bota_gateway.sim.cloud.envelope import error_body
from bota_gateway.sim.cloud.faults import CloudFaults, Status
from bota_gateway.sim.cloud.idempotency import Idempotency
from bota_gateway.sim.cloud.limits import RateLimiter, Verdict
from bota_gateway.sim.cloud.misbehave import Misbehaviour
from bota_gateway.sim.cloud.options import CloudOptions
from bota_gateway.sim.cloud.world import Key, World

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Changed = Callable[[], None]


class ApiServer:
    """Serves routes under ``/v1``."""

    def __init__(
        self,
        world: World,
        faults: CloudFaults,
        counters: Counters,
        idempotency: Idempotency,
        options: CloudOptions,
        stopping: asyncio.Event,
        changed: Changed,
    ) -> None:
        self._world = world
        self._faults = faults
        self._counters = counters
        self._idempotency = idempotency
        self._options = options
        self._changed = changed
        self._limiter = RateLimiter(options)
        self._misbehaviour = Misbehaviour(self._commanded, stopping)

    def app(self, routes: list[Route]) -> web.Application:
        """The web application; ``/health`` lies outside ``/v1`` and needs no key."""
        app = web.Application(client_max_size=const.RELAY_MAX_BYTES)
        app.router.add_get("/health", self._health)
        for route in routes:
            app.router.add_route(route.method, f"/v1{route.template}", self._handler(route))
        app.router.add_route("*", "/v1/{rest:.*}", self._unknown)
        return app

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self._counters.called(route.name, self._world.now())
            # Read before anything may reset the connection: a call that is carried out later still needs it.
            raw = await request.read()
            fault = self._faults.take(route.name, request.path)
            response = await self._misbehaviour.answer(fault, request, lambda: self._right_answer(route, request, raw))
            self._counters.answered(route.name, response.status)
            log.debug(
                "sim_cloud_answered",
                route=route.name,
                path=request.path,
                status=response.status,
                fault=None if fault is None else fault.kind,
            )
            return response

        return handle

    async def _right_answer(self, route: Route, request: web.Request, raw: bytes) -> web.Response:
        verdict = Verdict(True, {})
        try:
            key = self._authenticate(request)
            verdict = self._limiter.take(key.project, self._world.now(), upload_url=route.upload_url)
            _admit(key, route, verdict)
            call = _call(key, route, request, raw)
            idempotency_key = request.headers.get("Idempotency-Key") if route.idempotent_by_key else None
            answer = await self._idempotency.answer(route.name, idempotency_key, call, route.handler)
        except ApiError as error:
            return self._error(error, verdict)
        finally:
            self._changed()
        return _response(answer, verdict)

    def _authenticate(self, request: web.Request) -> Key:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        key = self._world.keys.get(secret)
        if scheme != "Bearer" or key is None:
            raise ApiError(401, "unauthorized", "missing or invalid API key")
        return key

    def _error(self, error: ApiError, verdict: Verdict) -> web.Response:
        body = error_body(error, self._options.error_variant, request_id=self._world.ids.make("req"))
        return web.json_response(body, status=error.status, headers=dict(verdict.headers))

    def _commanded(self, fault: Status) -> web.Response:
        error = ApiError(fault.status, fault.code, fault.message)
        variant = fault.variant or self._options.error_variant
        return web.json_response(error_body(error, variant, request_id="req_commanded"), status=fault.status)

    async def _health(self, request: web.Request) -> web.StreamResponse:
        async def right_answer() -> web.Response:
            return web.json_response({"status": "healthy", "database": "connected", "billing": "disabled"})

        fault = self._faults.take("GET /health", request.path)
        return await self._misbehaviour.answer(fault, request, right_answer)

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        self._counters.called("unknown", self._world.now())
        return self._error(ApiError(404, "not_found", f"no route {request.method} {request.path}"), Verdict(True, {}))


def _admit(key: Key, route: Route, verdict: Verdict) -> None:
    if not verdict.allowed:
        raise ApiError(429, "rate_limit_exceeded", "too many requests")
    if key.scopes is not None and route.scope not in key.scopes:
        raise ApiError(403, "forbidden", f"the key lacks the scope {route.scope}")


def _call(key: Key, route: Route, request: web.Request, raw: bytes) -> Call:
    return Call(
        project=key.project,
        params=dict(request.match_info),
        query=dict(request.query),
        body={} if route.raw_body else _json_object(raw),
        raw=raw,
    )


def _json_object(raw: bytes) -> JsonObject:
    if not raw:
        return {}
    if len(raw) > const.API_BODY_MAX_BYTES:
        raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "invalid_request", "the body is too large")
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise ApiError(400, "invalid_request", "the body is not JSON") from error
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_request", "the body is not a JSON object")
    return body


def _response(answer: Answer, verdict: Verdict) -> web.Response:
    if answer.body is None:
        return web.Response(status=answer.status, headers=dict(verdict.headers))
    return web.json_response(answer.body, status=answer.status, headers=dict(verdict.headers))
