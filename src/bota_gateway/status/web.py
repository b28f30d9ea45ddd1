"""The status page and what programs ask over HTTP: health, readiness, metrics. Reads only; changes nothing.

Without a token it is served on loopback alone, and only to pages that were opened there: a web site that lets its name
point to 127.0.0.1 is refused by its Host header. With ``status.token_file`` it may be served on any address.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from importlib.resources import files
from typing import Any, Final

import structlog
from aiohttp import web

from bota_gateway.config import StatusSettings, is_loopback
from bota_gateway.errors import GatewayError, StatusError
from bota_gateway.status.answers import Answers
from bota_gateway.status.metrics import METRICS_TYPE, Metrics
from bota_gateway.status.report import Report
from bota_gateway.status.story import Story, Wanted
from bota_gateway.status.words import json_text

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

QUESTIONS: Final = frozenset({"status", "recorders", "recordings", "timeline", "why", "happenings"})
"""What may be asked here: nothing that changes anything, and no audio."""
LIVE_EVERY_S: Final = 2.0
"""A page shows progress as new as this."""
LIVE_AT_MOST_S: Final = 0.5
"""However much happens, a page is told no more often: a phone must keep up."""
WATCHERS: Final = 16
"""Pages that are told live at once; more are a mistake, and each costs the hub work."""
WRONG_TOKEN_S: Final = 1.0
"""Wait after a wrong token, so that it can't be guessed by trying."""
SHUTDOWN_S: Final = 0.5
"""Answers under way get this long when the gateway stops; a page that watches asks again by itself."""
COOKIE: Final = "bota_gateway_token"
OPEN_TO_ALL: Final = frozenset({"/healthz", "/login", "/page.css"})
"""Paths without anything to protect."""
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "bota-gateway",
}
_PAGE: Final = {
    "/": ("index.html", "text/html"),
    "/login": ("login.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}


class StatusPage:
    """Serves while ``run`` runs.

    Args:
        settings: Where, and with which token.
        answers: Of the status socket.
        report: Health.
        story: What happens.
        metrics: For Prometheus.
    """

    def __init__(
        self, settings: StatusSettings, answers: Answers, report: Report, story: Story, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._answers = answers
        self._report = report
        self._story = story
        self._metrics = metrics
        self._token: str | None = None
        self._watching: set[asyncio.Task[Any]] = set()
        """One for each page that is told live."""
        self.address: tuple[str, int] | None = None
        """Where it is served; None while it is not."""
        self.served = asyncio.Event()
        """Set while it is."""

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            StatusError: the token can't be read, or the address can't be served on.
        """
        self._token = await asyncio.to_thread(token_in, self._settings)
        application = web.Application(middlewares=[self._guard])
        application.add_routes(
            [
                *(web.get(path, self._page) for path in _PAGE),
                web.post("/login", self._login),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._scrape),
                web.get("/api/live", self._live),
                web.get("/api/{question}", self._ask),
            ]
        )
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            host, port = self._settings.address
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as refused:
                raise StatusError(
                    f"The status page can't be served on {self._settings.listen}: {refused.strerror or refused}.",
                    code="status_no_page",
                    remedy="Name a free port on an address of this machine in status.listen.",
                ) from None
            self.address = runner.addresses[0][:2]
            self.served.set()
            log.info("status_page_served", url=f"http://{self._settings.listen}/", token=self._token is not None)
            await asyncio.get_running_loop().create_future()
        finally:
            self.address = None
            self.served.clear()
            for page in self._watching:  # they would read from the spool while that closes
                page.cancel()
            await asyncio.gather(*self._watching, return_exceptions=True)
            await runner.cleanup()

    # -- who may ask -------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._refuse_foreign_host(request)
            await self._refuse_without_token(request)
            response = await handler(request)
        except web.HTTPException as answer:
            answer.headers.update(HEADERS)
            raise
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _refuse_foreign_host(self, request: web.Request) -> None:
        if self._token is None and not is_loopback(request.url.host or ""):
            raise web.HTTPMisdirectedRequest(text="This page is for this machine alone.\n")

    async def _refuse_without_token(self, request: web.Request) -> None:
        if self._token is None or request.path in OPEN_TO_ALL:
            return
        given = (request.headers.get("Authorization", "").removeprefix("Bearer "), request.cookies.get(COOKIE, ""))
        if any(map(self._is_token, given)):
            return
        if any(given):
            await asyncio.sleep(WRONG_TOKEN_S)
        if request.path == "/":
            raise web.HTTPSeeOther("/login")
        raise web.HTTPUnauthorized(text="A token is needed.\n", headers={"WWW-Authenticate": "Bearer"})

    def _is_token(self, text: str) -> bool:
        # A header may hold bytes that are no text, which arrive as halves of surrogate pairs.
        return self._token is not None and hmac.compare_digest(text.encode(errors="replace"), self._token.encode())

    async def _login(self, request: web.Request) -> web.StreamResponse:
        try:
            given = str((await request.post()).get("token", ""))
        except UnicodeDecodeError:
            given = ""
        if not self._is_token(given):
            await asyncio.sleep(WRONG_TOKEN_S)
            raise web.HTTPSeeOther("/login?wrong")
        welcome = web.HTTPSeeOther("/")
        welcome.set_cookie(COOKIE, given, httponly=True, samesite="Strict", max_age=30 * 86_400)
        raise welcome

    # -- answers -----------------------------------------------------------------------------------------------------

    async def _page(self, request: web.Request) -> web.StreamResponse:
        name, content_type = _PAGE[request.path]
        return _file(name, content_type)

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        question = request.match_info["question"]
        if question not in QUESTIONS:
            raise web.HTTPNotFound(text="No such question.\n")
        try:
            answer = await self._answers.answer({**request.query, "ask": question})
        except GatewayError as said:
            wrong = {"error": said.error_code, "message": said.message, "remedy": said.next_step}
            return _json(wrong, status=404)
        return _json(answer)

    async def _healthz(self, _request: web.Request) -> web.StreamResponse:
        """Whether the loop turns and the spool answers: for whoever would restart the process."""
        await self._report.status()
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.StreamResponse:
        """Whether it does its job: for whoever wants to be told when it does not."""
        status = await self._report.status()
        ready = status["health"] != "failing"
        return web.Response(text=f"{status['health']}: {status['summary']}\n", status=200 if ready else 503)

    async def _scrape(self, _request: web.Request) -> web.StreamResponse:
        health = str((await self._report.status())["health"])
        return web.Response(body=await self._metrics.text(health), headers={"Content-Type": METRICS_TYPE})

    async def _live(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: ``status`` every two seconds, ``happening`` for each log line."""
        if len(self._watching) >= WATCHERS:
            raise web.HTTPServiceUnavailable(text="Too many pages are open.\n")
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment] # a handler is always one
        self._watching.add(task)
        try:
            with suppress(ConnectionError):  # the page was closed
                await self._tell(response)
        finally:
            self._watching.discard(task)
        return response

    async def _tell(self, response: web.StreamResponse) -> None:
        number = self._story.number
        while True:
            await _send(response, "status", await self._report.status())
            for happening in self._story.since(number):
                number = happening.number
                if Wanted("info").takes(happening):
                    await _send(response, "happening", asdict(happening))
            await asyncio.sleep(LIVE_AT_MOST_S)
            try:
                async with asyncio.timeout(LIVE_EVERY_S - LIVE_AT_MOST_S):
                    await self._story.wait(number)
            except TimeoutError:
                continue


def token_in(settings: StatusSettings) -> str | None:
    """The token that the page asks for; None without one.

    Raises:
        StatusError: its file can't be read, or holds none worth the name.
    """
    if settings.token_file is None:
        return None
    try:
        token = settings.token_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as unreadable:
        raise StatusError(
            f"The token file {settings.token_file} can't be read: {unreadable}.",
            code="status_no_token",
            remedy="Make one: openssl rand -hex 16 > FILE, readable by the gateway's user alone.",
        ) from None
    if len(token) < 16:
        raise StatusError(
            f"The token in {settings.token_file} is shorter than 16 characters.",
            code="status_no_token",
            remedy="Make a longer one: openssl rand -hex 16",
        )
    return token


async def _send(response: web.StreamResponse, kind: str, what: Any) -> None:
    await response.write(f"event: {kind}\ndata: {json_text(what)}\n\n".encode())


def _json(answer: object, status: int = 200) -> web.Response:
    return web.json_response(answer, status=status, dumps=json_text)


def _file(name: str, content_type: str) -> web.Response:
    text = files("bota_gateway.status").joinpath("page", name).read_text("utf-8")
    return web.Response(text=text, content_type=content_type)
