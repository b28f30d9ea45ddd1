"""The doctor on the cloud: real HTTP to the emulated one, and to what else may answer in its place."""

from pathlib import Path
from typing import Any

import pytest

from bota_gateway.cli.doctor.cloud import S3, Api, Budget, Generation, Key, Scopes
from bota_gateway.cli.doctor.facts import Facts
from bota_gateway.sim.cloud.faults import Slow, Stall, Status
from support.doctoring import KEY, Patient, answering, patient
from support.emulated_cloud import Client, emulated
from support.odd_server import answer, odd_server
from support.virtual_time import virtual_time

RESTRICTED = "rk_live_onlysome"


@pytest.fixture
def hub(tmp_path: Path) -> Patient:
    return patient(tmp_path)


def use(hub: Patient, client: Client, *, key: str | None = None, **cloud: object) -> None:
    hub.sections["cloud"] = {
        "api_base": client.cloud.api_base,
        "api_key": key or client.cloud.api_key,
        "s3_hosts": [client.cloud.s3_host],
        **cloud,
    }
    hub.change(now=client.cloud.world.now)


# -- key ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "code", "words"),
    [
        ("rk_live_abc", "key_restricted", "live data"),
        ("sk_test_abc", "key_secret", "a restricted one would do"),
        ("abc", "key_unusable", "[config_key_shape]"),
        (None, "key_unusable", "[config_no_key]"),
    ],
)
async def test_the_key(hub: Patient, key: str | None, code: str, words: str) -> None:
    """Of which kind it is, or what is wrong with it; never what it is."""
    hub.sections["cloud"] = {"api_key": key}
    (found,) = await hub.look(Key)
    assert (found.code, words in found.found) == (code, True)
    assert found.verdict == ("failure" if code == "key_unusable" else "ok")
    assert key is None or key not in f"{found.found} {found.remedy}".replace("sk_live_, sk_test_", "")


@pytest.mark.parametrize(("mode", "code"), [(0o600, "key_restricted"), (0o644, "key_unusable")])
async def test_the_installed_key_is_the_services(hub: Patient, mode: int, code: str) -> None:
    """It goes before what this user's environment says, and nobody else may read it."""
    hub.hub.installed_key.write_text(f"{RESTRICTED}\n")
    hub.hub.installed_key.chmod(mode)
    (found,) = await hub.look(Key)
    assert found.code == code
    assert str(hub.hub.installed_key) in found.found
    assert ("[config_key_exposed]" in found.found) == (mode == 0o644)


async def test_a_credential_is_found_where_systemd_puts_it(hub: Patient) -> None:
    """As the service itself finds it."""
    (hub.place / "bota-api-key").write_text(RESTRICTED)
    hub.change(environ={"CREDENTIALS_DIRECTORY": str(hub.place)})
    (found,) = await hub.look(Key)
    assert (found.code, "credential" in found.found) == ("key_restricted", True)


@pytest.mark.parametrize("installed", [True, False])
async def test_a_key_that_only_root_reads(hub: Patient, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    """Which is right; so it is no failure, and what needs it is not judged."""

    def closed(*_: object, **__: object) -> None:
        raise PermissionError

    file = hub.hub.installed_key if installed else hub.place / "key"
    file.write_text(RESTRICTED)
    if not installed:
        hub.change(installed_key=hub.place / "none")
        hub.sections["cloud"] = {"api_key_file": file}
        assert await hub.codes(Key) == ["key_unusable"]  # open to all, as this test made it
        file.chmod(0o600)
        assert await hub.codes(Key) == ["key_restricted"]
    # These tests may run as root, for whom nothing is closed.
    real = type(file).open
    monkeypatch.setattr(
        type(file), "open", lambda path, *more, **by: (closed if path == file else real)(path, *more, **by)
    )
    (key, scopes) = await hub.look(Key, Scopes)
    assert (key.code, key.found.startswith(str(file)), scopes.code) == ("key_closed", True, "scopes_no_key")


# -- api ---------------------------------------------------------------------------------------------------------------


async def test_the_api_is_reached(hub: Patient) -> None:
    """Also without any key."""
    async with emulated() as client:
        use(hub, client)
        assert await hub.codes(Api) == ["api_reached"]
        hub.sections["cloud"]["api_key"] = None
        assert await hub.codes(Api) == ["api_reached"]


async def test_the_api_is_in_trouble(hub: Patient) -> None:
    """It says so itself."""
    async with emulated() as client:
        use(hub, client)
        client.cloud.faults.add("GET /health", Status(status=503))
        (found,) = await hub.look(Api)
    assert (found.code, found.verdict) == ("api_unhealthy", "failure")


@pytest.mark.parametrize("page", [Status(status=404, body="html"), Status(status=404)])
async def test_an_api_without_that_page_is_the_api(hub: Patient, page: Status) -> None:
    """Older generations may lack it: that the key is understood is proof enough."""
    async with emulated("d1") as client:
        use(hub, client)
        client.cloud.faults.add("GET /health", page)
        assert await hub.codes(Api) == ["api_reached"]


async def test_a_captive_portal(hub: Patient) -> None:
    """It answers everything with its page; the key is not blamed for that."""
    async with odd_server(answer(200, raw=b"<html>Log in</html>")) as portal:
        hub.sections["cloud"] = {"api_base": portal.base, "api_key": KEY}
        found = await hub.look(Api, Scopes)
    assert [one.code for one in found] == ["api_stranger", "scopes_unclear"]
    assert (found[0].verdict, found[1].verdict) == ("failure", "not_checked")


async def test_nobody_answers(hub: Patient) -> None:
    """One failure: what hangs on it is not checked."""
    found = await hub.look(Api, Scopes, Generation, Budget)
    assert [one.code for one in found] == ["api_silent", "scopes_unreached", "profile_unread", "budget_shared"]
    assert "[cloud_no_connection]" in found[0].found


@virtual_time
async def test_an_api_that_is_slow(hub: Patient) -> None:
    """Slow is a warning; silent within the check's patience is a failure, and ends."""
    async with emulated() as client:
        use(hub, client)
        client.cloud.faults.add("GET /health", Slow(delay_s=5))
        (found,) = await hub.look(Api)
        assert (found.code, found.verdict) == ("api_slow", "warning")
        client.cloud.faults.add("GET /health", Stall())
        (found,) = await hub.look(Api)
    assert (found.code, "[cloud_timeout]" in found.found) == ("api_silent", True)


# -- scopes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "scopes", "code", "verdict"),
    [
        (None, [], "scopes_everything", "ok"),
        (RESTRICTED, ["devices:read", "recordings:read"], "scopes_reads", "ok"),
        (RESTRICTED, ["devices:read"], "scopes_lacks", "failure"),
        ("sk_test_wrong", [], "scopes_refused", "failure"),
    ],
)
async def test_what_the_key_may_do(hub: Patient, key: str | None, scopes: list[str], code: str, verdict: str) -> None:
    """As far as reading shows it: nothing is written to find out."""
    async with emulated() as client:
        client.cloud.add_key(RESTRICTED, scopes=scopes)
        use(hub, client, key=key)
        (found,) = await hub.look(Scopes)
        written = [name for name, calls in client.cloud.counters.calls.items() if calls and not name.startswith("GET")]
    assert (found.code, found.verdict, written) == (code, verdict, [])
    if code == "scopes_lacks":
        assert found.found == "the key lacks recordings:read"


async def test_what_only_writing_shows_the_gateway_has_met(hub: Patient) -> None:
    """A restricted key that may read and not write is found out by a running gateway."""
    pause = {"code": "cloud_forbidden", "message": "the key lacks the permission for create", "next_attempt_in_s": 9}
    async with emulated() as client, answering(hub.socket, pauses=[pause]):
        use(hub, client)
        assert await hub.codes(Scopes) == ["scopes_everything", "scopes_forbidden"]


# -- profile -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoken", "wanted", "code"),
    [
        ("e", "auto", "profile_spoken"),
        ("d1", "d1", "profile_spoken"),
        ("d2", "e", "profile_other"),
        ("e", "d1", "profile_other"),
    ],
)
async def test_the_generation(hub: Patient, spoken: str, wanted: str, code: str) -> None:
    """A setting that another generation answers to is a failure: uploads would be refused."""
    async with emulated(spoken) as client:
        use(hub, client, profile=wanted)
        assert await hub.codes(Generation) == ["profile_unshown"]
        await client.create()
        (found,) = await hub.look(Generation)
    assert (found.code, found.verdict) == (code, "failure" if code == "profile_other" else "ok")


# -- s3 ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cloud", "code", "verdict"),
    [
        ({}, "s3_allowed", "ok"),
        ({"s3_hosts": ["bucket.example"]}, "s3_unusual", "warning"),
        ({"s3_hosts": ["bucket.example"], "api_base": "http://127.0.0.1:1/v1"}, "s3_allowed", "ok"),
        ({"s3_hosts": ["https://*.amazonaws.com", "*.amazonaws.com"]}, "s3_odd", "warning"),
        ({"s3_hosts": []}, "s3_none", "failure"),
    ],
)
async def test_where_uploads_may_go(hub: Patient, cloud: dict[str, object], code: str, verdict: str) -> None:
    """Judged by the list alone while nothing is uploaded."""
    hub.sections["cloud"] = {"api_base": "https://api.bota.dev/v1", **cloud}
    (found,) = await hub.look(S3)
    assert (found.code, found.verdict) == (code, verdict)


async def test_a_host_that_the_gateway_refused(hub: Patient) -> None:
    """Its name comes from the gateway, which met it; each one once."""
    detail = "the upload URL's host other.example is not among cloud.s3_hosts"
    waits = {"waiting_for": "cloud_host_not_allowed", "waiting_detail": detail}
    async with answering(hub.socket, {"recordings": [waits, waits, {"waiting_for": None}]}):
        (found,) = await hub.look(S3)
    assert (found.code, found.verdict, found.found) == ("s3_refused", "failure", detail)


# -- budget ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cloud", "codes"),
    [
        ({}, ["budget_shared"]),
        ({"share": 1.0}, ["budget_greedy"]),
        ({"share": 0.02}, ["budget_starved"]),
        ({"requests_per_minute": 500}, ["budget_above"]),
    ],
)
async def test_the_share_of_the_budget(hub: Patient, cloud: dict[str, Any], codes: list[str]) -> None:
    """Reckoned, and compared with the limit that the API's answers tell."""
    async with emulated() as client:
        use(hub, client, **cloud)
        assert await hub.codes(Budget) == codes


async def test_a_budget_that_others_have_spent(hub: Patient) -> None:
    """The limit is the whole project's."""
    async with emulated(requests_per_minute=20) as client:
        use(hub, client, requests_per_minute=20)
        for _ in range(17):
            await client.get("/devices")
        (found,) = await hub.look(Budget)
    assert (found.code, found.found) == ("budget_spent", "only 1 of the project's 20 calls a minute are left")


async def test_several_checks_ask_the_cloud_once(hub: Patient) -> None:
    """What they need in common costs the project's budget two calls."""
    async with emulated() as client:
        use(hub, client)
        await hub.look(Api, Scopes, Generation, S3, Budget)
        assert sum(client.cloud.counters.calls.values()) == 2


async def test_facts_need_a_configuration(hub: Patient) -> None:
    """Without one they say why, instead of looking somewhere else."""
    async with Facts(hub.settings(), hub.hub) as facts:
        assert facts.usable.spool.directory == hub.spool
