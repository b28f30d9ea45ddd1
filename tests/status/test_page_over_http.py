"""What the status page's server answers, over a real socket to a real gateway."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import Status
from bota_gateway.status import web
from support.world import Running, World, speech

pytestmark = pytest.mark.virtual_time

SERIAL = "BOTAPIN001"
TOKEN = "correct-horse-battery"
ADDRESS = "127.0.0.1:0"
PATHS = ("/", "/login", "/page.css", "/page.js", "/healthz", "/readyz", "/metrics", "/api/status", "/api/nothing")


@asynccontextmanager
async def asked(running: Running, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    page = running.gateway.page
    assert page is not None
    await page.served.wait()
    assert page.address is not None
    host, port = page.address
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", **options) as client:
        yield client


@asynccontextmanager
async def serving(tmp_path: Path, **status: Any) -> AsyncIterator[tuple[World, Running, httpx.AsyncClient]]:
    async with (
        World.open(tmp_path) as world,
        world.gateway(status={"listen": ADDRESS, **status}, visits={"interval_s": 10}) as running,
        asked(running) as client,
    ):
        yield world, running, client


def token_file(directory: Path, token: str = TOKEN) -> Path:
    path = directory / "token"
    path.write_text(f"{token}\n")
    return path


async def test_a_page_asks_for_no_more_recordings_than_it_shows(tmp_path: Path) -> None:
    """A hub remembers hundreds of thousands: of what is done nothing comes, of all the newest; nonsense is refused."""
    async with serving(tmp_path) as (world, running, client):
        await world.recorder(SERIAL, speech(1), speech(2))
        await running.all_in(Custody.CONFIRMED)
        assert (await client.get("/api/recordings?state=open&newest=200")).json() == []
        (newest,) = (await client.get("/api/recordings?newest=1")).json()
        assert newest == (await client.get("/api/recordings")).json()[0]
        for number in ("many", "nan"):
            refused = await client.get(f"/api/recordings?newest={number}")
            assert (refused.status_code, refused.json()["error"]) == (404, "status_bad_question")


async def test_without_listen_nothing_is_served(tmp_path: Path) -> None:
    """The page is off until somebody asks for it."""
    async with World.open(tmp_path) as world, world.gateway() as running:
        assert running.gateway.page is None


async def test_it_tells_what_the_command_line_tells(tmp_path: Path) -> None:
    """The same answers from the same place: status, recorders, recordings, a timeline, and why."""
    async with serving(tmp_path) as (world, running, client):
        await world.recorder(SERIAL, speech(1))
        await running.all_in(Custody.CONFIRMED)
        for question, parameters, command in [
            ("recordings", {}, ("recordings", "--json")),
            ("timeline", {"recording": "00000001"}, ("timeline", "00000001", "--json")),
            ("why", {"of": "00000001"}, ("why", "00000001", "--json")),
        ]:
            answer = (await client.get(f"/api/{question}", params=parameters)).json()
            assert answer == (await running.ask(*command)).json
        assert (await client.get("/api/status")).json()["health"] == "ok"
        assert [one["serial"] for one in (await client.get("/api/recorders")).json()] == [SERIAL]


@pytest.mark.parametrize("question", ["retry", "audio", "follow", "pause", "forget", "../status", "x"])
async def test_nothing_can_be_changed_and_no_audio_got(tmp_path: Path, question: str) -> None:
    """Only questions of a short list; whoever opens the page can look and nothing else."""
    async with serving(tmp_path) as (_world, _running, client):
        assert (await client.get(f"/api/{question}", params={"recording": "00000001", "piece": 0})).status_code == 404
        assert (await client.post("/api/status")).status_code == 405


async def test_an_unknown_recording_is_refused_in_words(tmp_path: Path) -> None:
    """Code, sentence and remedy, as on the command line."""
    async with serving(tmp_path) as (_world, _running, client):
        answer = await client.get("/api/timeline", params={"recording": "4711"})
        assert (answer.status_code, answer.json()["error"]) == (404, "status_no_such_recording")


@pytest.mark.parametrize(
    "question", ["recordings?state=lost", "happenings?level=loud", "happenings?lines=-1", "happenings?lines=x"]
)
async def test_a_bad_question_is_refused_in_words(tmp_path: Path, question: str) -> None:
    """What was wrong with it and what may be asked; nothing is logged as a defect."""
    async with serving(tmp_path) as (world, _running, client):
        answer = await client.get(f"/api/{question}")
        assert (answer.status_code, answer.json()["error"]) == (404, "status_bad_question")
        assert "status_question_failed" not in world.log.getvalue()


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_has_the_strict_headers(tmp_path: Path, path: str) -> None:
    """No frame, no foreign script, no sniffing, no referrer, nothing cached: errors and redirects included."""
    async with serving(tmp_path) as (_world, _running, client):
        answer = await client.get(path)
        assert {name: answer.headers.get(name) for name in web.HEADERS} == dict(web.HEADERS)


async def test_a_name_that_points_here_from_elsewhere_is_refused(tmp_path: Path) -> None:
    """A web site can let its name resolve to 127.0.0.1; its Host header gives it away."""
    async with serving(tmp_path) as (_world, _running, client):
        for host in ("evil.example", "evil.example:8470"):
            assert (await client.get("/api/status", headers={"Host": host})).status_code == 421
        for host in ("localhost", "127.0.0.1:8470", "[::1]:8470"):
            assert (await client.get("/api/status", headers={"Host": host})).status_code == 200


async def test_health_is_told_to_programs(tmp_path: Path) -> None:
    """The path healthz while the process works; readyz only while it does its job, else 503 with the reason."""
    async with serving(tmp_path) as (world, running, client):
        assert (await client.get("/healthz")).text == "ok\n"
        assert (await client.get("/readyz")).status_code == 200
        nowhere = {"adapters": ("bumble:tcp-client:127.0.0.1:1",)}
        del world, running
    async with (
        World.open(tmp_path / "other") as world,
        world.gateway(adapters=False, radio=nowhere, status={"listen": ADDRESS}) as running,
        asked(running) as client,
    ):
        await asyncio.sleep(5)
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.text.startswith("failing: ")
        assert (await client.get("/healthz")).status_code == 200


async def test_what_was_forgotten_by_hand_rings_no_alert(tmp_path: Path) -> None:
    """It is counted, but not among the parked, which the alert for what needs a person watches."""
    async with serving(tmp_path) as (world, running, client):
        await world.recorder(SERIAL, speech(1), end_user=None)
        await running.all_in(Custody.PARKED)
        assert 'state="parked"} 1.0' in (await client.get("/metrics")).text
        await running.ask("forget", "00000001", "--yes")
        text = (await client.get("/metrics")).text
        assert 'state="parked"} 0.0' in text
        assert 'state="forgotten_by_hand"} 1.0' in text


async def test_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    """Parsed by Prometheus's own parser; states, bytes and happenings have the numbers of the run."""
    async with serving(tmp_path) as (world, running, client):
        await world.recorder(SERIAL, speech(1), speech(2))
        await running.all_in(Custody.CONFIRMED, count=2)
        answer = await client.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain")
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }
        assert samples["bota_gateway_recordings", "confirmed"] == 2
        assert samples["bota_gateway_recordings", "parked"] == 0
        assert samples["bota_gateway_health", "ok"] == 1
        assert samples["bota_gateway_received_bytes_total",] == 10_000
        assert samples["bota_gateway_uploaded_bytes_total",] == 10_000
        assert samples["bota_gateway_happenings_total", "recording_captured", "info"] == 2
        assert samples["bota_gateway_recorder_battery_ratio", SERIAL] > 0
        assert samples["process_resident_memory_bytes",] > 0
        assert all(name.startswith(("bota_gateway_", "process_")) for name, *_ in samples)


async def test_a_page_is_told_live(tmp_path: Path) -> None:
    """Server-sent events: status at once and again, and each happening as it is logged."""
    async with serving(tmp_path) as (world, _running, client):
        async with client.stream("GET", "/api/live") as live:
            assert live.headers["Content-Type"] == "text/event-stream"
            assert live.headers["Cache-Control"] == "no-store"
            lines = live.aiter_lines()
            assert await anext(lines) == "event: status"
            await world.recorder(SERIAL, speech(1))
            happened = []
            kind = ""
            async for line in lines:
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind == "happening":
                    happened.append(json.loads(line.removeprefix("data: "))["event"])
                    if "recording_stored" in happened:
                        break
        assert happened.index("recording_captured") < happened.index("recording_stored")


async def test_pages_that_watch_are_bounded_and_leave_nothing(tmp_path: Path) -> None:
    """More pages than a hub can feed are refused; closed ones make room."""
    async with serving(tmp_path) as (_world, running, client):
        async with AsyncExits(client) as open_pages:
            for _ in range(web.WATCHERS):
                assert await open_pages.watch() == 200
            assert await open_pages.watch() == 503
        page = running.gateway.page
        assert page is not None
        await asyncio.sleep(2 * web.LIVE_EVERY_S)  # a page that was closed is noticed when it is told something
        async with AsyncExits(client) as open_pages:
            assert await open_pages.watch() == 200


class AsyncExits:
    """Pages that stay open until the block ends."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._open: list[Any] = []

    async def __aenter__(self) -> Self:
        return self

    async def watch(self) -> int:
        """Open one more."""
        stream = self._client.stream("GET", "/api/live")
        response = await stream.__aenter__()
        self._open.append(stream)
        return int(response.status_code)

    async def __aexit__(self, *_exc: object) -> None:
        for stream in self._open:
            await stream.__aexit__(None, None, None)


# -- with a token --------------------------------------------------------------------------------------------


async def test_with_a_token_everything_asks_for_it(tmp_path: Path) -> None:
    """Without it only health, the form and its looks; a person is led to the form."""
    async with serving(tmp_path, token_file=token_file(tmp_path)) as (_world, _running, client):
        codes = {path: (await client.get(path)).status_code for path in (*PATHS, "/api/live")}
        assert {path for path, code in codes.items() if code == 200} == {"/login", "/page.css", "/healthz"}
        assert codes["/"] == 303
        assert {codes[path] for path in ("/metrics", "/readyz", "/api/status", "/api/live", "/page.js")} == {401}


async def test_a_program_gives_the_token_as_bearer(tmp_path: Path) -> None:
    """As Prometheus does with its authorization setting."""
    async with serving(tmp_path, token_file=token_file(tmp_path)) as (_world, _running, client):
        assert (await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 200
        assert (await client.get("/metrics", headers={"Authorization": "Bearer wrong"})).status_code == 401
        assert (await client.get("/metrics", headers={"Authorization": "Basic eDp5"})).status_code == 401


async def test_a_person_gives_the_token_once(tmp_path: Path) -> None:
    """The form sets a cookie that no script can read and no other site can send; a wrong token sets none."""
    async with serving(tmp_path, token_file=token_file(tmp_path)) as (_world, _running, client):
        wrong = await client.post("/login", data={"token": "guess"})
        assert (wrong.status_code, wrong.headers["Location"]) == (303, "/login?wrong")
        assert "Set-Cookie" not in wrong.headers
        right = await client.post("/login", data={"token": TOKEN})
        assert (right.status_code, right.headers["Location"]) == (303, "/")
        assert "HttpOnly" in right.headers["Set-Cookie"]
        assert "SameSite=Strict" in right.headers["Set-Cookie"]
        assert (await client.get("/api/status")).status_code == 200


@pytest.mark.parametrize("guess", [b"guess", b"\xff\xfe"])
async def test_guessing_is_slow(tmp_path: Path, guess: bytes) -> None:
    """Each wrong token costs a second, in the form, in a header and in a cookie; so does what is no text at all."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with serving(tmp_path, token_file=token_file(tmp_path)) as (_world, _running, client):
        for way, refusal in (
            (client.post("/login", content=b"token=" + guess, headers=form), 303),
            (client.get("/metrics", headers={b"Authorization": b"Bearer " + guess}), 401),
            (client.get("/metrics", headers={b"Cookie": b"bota_gateway_token=" + guess}), 401),
        ):
            began = asyncio.get_running_loop().time()
            assert (await way).status_code == refusal
            assert asyncio.get_running_loop().time() - began >= web.WRONG_TOKEN_S


async def test_another_host_name_is_fine_with_a_token(tmp_path: Path) -> None:
    """On the LAN the hub has a name; the token protects it, not the name."""
    async with serving(tmp_path, token_file=token_file(tmp_path)) as (_world, _running, client):
        headers = {"Host": "hub.local:8470", "Authorization": f"Bearer {TOKEN}"}
        assert (await client.get("/api/status", headers=headers)).status_code == 200


@pytest.mark.parametrize("text", [None, "short", "\n"])
async def test_a_token_that_is_none_serves_no_page_and_stops_nothing_else(tmp_path: Path, text: str | None) -> None:
    """A missing or short token is said in status with the way to make one; recordings are served all the same."""
    path = tmp_path / "nowhere" if text is None else token_file(tmp_path, text)
    async with World.open(tmp_path) as world, world.gateway(status={"listen": ADDRESS, "token_file": path}) as running:
        await world.recorder(SERIAL, speech(1))
        await running.all_in(Custody.CONFIRMED)
        assert running.gateway.page is not None
        assert running.gateway.page.address is None
        down = running.gateway.failing["status page"].error
        assert down.error_code == "status_no_token"
        assert "openssl rand" in down.next_step


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """Which address, and what to change; the gateway goes on."""
    async with serving(tmp_path) as (world, running, client):
        taken = f"{client.base_url.host}:{client.base_url.port}"
        async with World.open(tmp_path / "other") as other, other.gateway(status={"listen": taken}) as second:
            async with asyncio.timeout(60):
                while "status_no_page" not in (await second.ask("status")).out:
                    pass
            down = second.gateway.failing["status page"].error
            assert down.error_code == "status_no_page"
            assert taken in down.message
        del world, running


# -- what it must not tell -------------------------------------------------------------------------------------


async def test_no_secret_is_on_any_path(tmp_path: Path) -> None:
    """No key, no presigned URL, no signature, no token: after a run with failing calls that had all of them."""
    async with serving(tmp_path) as (world, running, client):
        world.cloud.faults.add("PUT *", Status(status=403), times=1)
        pin = await world.recorder(SERIAL, speech(1))
        await running.all_in(Custody.CONFIRMED)
        world.cloud.faults.add("* /recordings*", Status(status=401), times=None)
        world.add(pin, speech(2))
        await running.until(lambda: running.gateway.pauses, within=3600)
        told = ""
        for path in (*PATHS, "/api/recorders", "/api/recordings", "/api/happenings", "/api/why"):
            told += (await client.get(path)).text
        told += (await client.get("/api/timeline", params={"recording": "00000001"})).text
        assert world.cloud.api_key not in told
        assert "X-Amz-" not in told
        assert "Signature" not in told
        assert "Bearer" not in told
