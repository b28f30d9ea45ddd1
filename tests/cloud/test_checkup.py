"""A check-up: how the cloud looks from here, read only, against the emulated one and against what else may answer."""

import pytest
from pydantic import SecretStr

from bota_gateway.cloud.api import Glance
from bota_gateway.cloud.checkup import DOCUMENTED_S3_HOST, Checkup, Health, allows, check_up, host_troubles
from bota_gateway.config import CloudSettings, Profile
from bota_gateway.errors import CloudError
from bota_gateway.sim.cloud.faults import EditedAnswer, OversizedBody, Redirect, Slow, Stall, Status
from support.emulated_cloud import START, Client, Clock, emulated
from support.odd_server import RESET, answer, odd_server
from support.virtual_time import virtual_time

RESTRICTED = "rk_test_onlysome"


async def looked(client: Client, *, key: str | None = None, hub: Clock | None = None) -> Checkup:
    settings = CloudSettings(api_base=client.cloud.api_base)
    return await check_up(settings, SecretStr(key or client.cloud.api_key), hub or Clock())


def code(asked: object) -> str:
    assert isinstance(asked, CloudError)
    return asked.error_code


@pytest.mark.parametrize("profile", ["d1", "d2", "e"])
async def test_each_generation_is_recognised(profile: str) -> None:
    """By the newest recording; nothing is written for it."""
    async with emulated(profile) as client:
        recording = await client.create()
        seen = await looked(client)
    assert (seen.health, seen.profile, seen.refusal, seen.lacks) == (Health.HEALTHY, Profile(profile), None, [])
    assert isinstance(seen.devices, Glance)
    assert isinstance(seen.recordings, Glance)
    assert (seen.recordings.row or {})["id"] == recording
    assert {name for name, calls in client.cloud.counters.calls.items() if calls} <= {
        *("POST /recordings", "GET /devices", "GET /recordings"),
    }
    assert seen.rates is not None
    assert seen.rates.limit == 100


async def test_an_empty_project_shows_no_generation() -> None:
    """Unknown is not taken for the newest."""
    async with emulated() as client:
        seen = await looked(client)
    assert (seen.profile, seen.refusal) == (None, None)


async def test_the_servers_clock_is_compared() -> None:
    """A hub an hour behind learns that."""
    async with emulated() as client:
        seen = await looked(client, hub=Clock(START - 3600))
    assert seen.clock_offset_s == pytest.approx(3600, abs=2)


async def test_a_wrong_key_is_refused_once() -> None:
    """The second call would be refused as well, and says nothing new."""
    async with emulated() as client:
        seen = await looked(client, key="sk_test_wrong")
        assert client.cloud.counters.calls["GET /recordings"] == 0
    assert code(seen.refusal) == "cloud_unauthorized"
    assert seen.health is Health.HEALTHY


@pytest.mark.parametrize(
    ("scopes", "lacks"),
    [
        (["devices:read", "recordings:read"], []),
        (["recordings:read"], ["devices:read"]),
        (["devices:read"], ["recordings:read"]),
        (["recordings:write"], ["devices:read", "recordings:read"]),
    ],
)
async def test_scopes_that_a_key_lacks_are_named(scopes: list[str], lacks: list[str]) -> None:
    """A missing one does not hide the other, and is no refusal of the key."""
    async with emulated() as client:
        client.cloud.add_key(RESTRICTED, scopes=scopes)
        seen = await looked(client, key=RESTRICTED)
    assert (seen.lacks, seen.refusal) == (lacks, None)


async def test_without_a_key_nothing_is_asked_that_needs_one() -> None:
    """Whether the API is there can be seen all the same."""
    async with emulated() as client:
        seen = await check_up(CloudSettings(api_base=client.cloud.api_base), None, Clock())
        assert not any(client.cloud.counters.calls.values())
    assert (seen.health, seen.devices, seen.recordings) == (Health.HEALTHY, None, None)


@pytest.mark.parametrize(
    ("fault", "health"),
    [
        (Status(status=503), Health.UNHEALTHY),
        (EditedAnswer(replace={"status": "unhealthy"}), Health.UNHEALTHY),
        (Status(status=404), Health.SILENT),
        (Status(status=200, body="html"), Health.STRANGER),
        (Status(status=200, body="rubbish"), Health.STRANGER),
        (Redirect(location="http://portal.example/login", status=302), Health.STRANGER),
        (OversizedBody(extra_bytes=1 << 20), Health.STRANGER),
    ],
)
async def test_what_answers_is_judged(fault: Status, health: Health) -> None:
    """The API, an older one, one in trouble, or a captive portal."""
    async with emulated() as client:
        client.cloud.faults.add("GET /health", fault)
        assert (await looked(client)).health is health


async def test_a_captive_portal_never_gets_a_second_look_at_the_key() -> None:
    """It answers everything with its page: the key is not judged by that."""
    async with odd_server(answer(200, raw=b"<html>Welcome, please log in</html>")) as portal:
        seen = await check_up(CloudSettings(api_base=portal.base), SecretStr("sk_test_key"), Clock())
        assert [request.target.partition("?")[0] for request in portal.received] == ["/health", "/v1/devices"]
    assert seen.health is Health.STRANGER
    assert code(seen.refusal) == "cloud_bad_answer"


@pytest.mark.parametrize("answers", [(), (RESET,)])
async def test_nobody_there(answers: tuple[bytes, ...]) -> None:
    """One call in vain is enough to see it."""
    async with odd_server(*answers) as odd:
        base = odd.base if answers else "http://127.0.0.1:1/v1"
        seen = await check_up(CloudSettings(api_base=base), SecretStr("sk_test_key"), Clock())
        assert len(odd.received) == len(answers)
    assert code(seen.health) == ("cloud_connection_lost" if answers else "cloud_no_connection")
    assert (seen.devices, seen.refusal) == (None, None)


@virtual_time
async def test_a_slow_answer_is_timed_and_silence_ends() -> None:
    """Whoever stands there waits seconds, not minutes."""
    async with emulated() as client:
        client.cloud.faults.add("GET /health", Slow(delay_s=4))
        assert (await looked(client)).took_s == pytest.approx(4, abs=0.5)
        client.cloud.faults.add("GET /health", Stall())
        seen = await looked(client)
    assert code(seen.health) == "cloud_timeout"
    assert seen.took_s == pytest.approx(15, abs=0.5)


@pytest.mark.parametrize(
    ("hosts", "odd"),
    [
        (["*.amazonaws.com", "127.0.0.1:9000", "bucket.example", "*.example.com:444"], 0),
        (["https://bucket.example"], 1),
        (["bucket.*.com"], 1),
        (["*"], 1),
        (["*.com"], 1),
        (["*.*.com"], 1),
    ],
)
def test_hosts_that_match_nothing_or_all_are_told(hosts: list[str], odd: int) -> None:
    """A pattern that can't match looks allowed and is not."""
    assert len(list(host_troubles(hosts))) == odd


def test_the_published_host_is_allowed_by_default() -> None:
    """And by no other list than one that has it."""
    assert allows(CloudSettings().s3_hosts, DOCUMENTED_S3_HOST)
    assert not allows(["bucket.example"], DOCUMENTED_S3_HOST)
