"""When the cloud as a whole refuses or is silent, everything waits, visibly, and goes on by itself."""

import asyncio
from pathlib import Path

import pytest

from bota_gateway.cloud import BudgetLimits
from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import LostBeforeCommit, Status
from support.uploading import cloud_clock, hub

pytestmark = pytest.mark.virtual_time


async def test_a_bad_key_costs_one_call_per_five_minutes(tmp_path: Path) -> None:
    """However many recordings wait, one probe per interval asks whether the key works; the rest waits for it."""
    async with hub(tmp_path, key="sk_test_wrong", settings={"parallel_uploads": 4}) as it:
        for number in range(10):
            await it.capture(number)
        async with it.running():
            await it.waiting_for("cloud_unauthorized")
            await asyncio.sleep(3600)
            (pause,) = it.api.budget.pauses()
            assert pause.code == "cloud_unauthorized"
            assert sum(it.cloud.counters.calls.values()) <= 4 + 3600 / 300 + 1
            key = it.cloud.add_key("sk_test_wrong")
            assert key.scopes is None
            await asyncio.sleep(900)
        await it.upload()
        await it.assert_stored_once()


async def test_an_outage_is_probed_and_ends_by_itself(tmp_path: Path) -> None:
    """During a night without cloud few calls are made, and in the morning everything is stored."""
    async with hub(tmp_path) as it:
        rule = it.cloud.faults.add("* /*", LostBeforeCommit(), times=None)
        for number in range(10):
            await it.capture(number)
        async with it.running():
            await asyncio.sleep(8 * 3600)
            assert it.cloud.faults.fired(rule) < 8 * 3600 / 300 + 30
            rows = await it.spool.recordings()
            assert all(row.state is Custody.CAPTURED for row in rows)
            assert any(row.waiting_for == "cloud_connection_lost" for row in rows)
            it.cloud.faults.clear()
        started = cloud_clock()
        await it.upload()
        await it.assert_stored_once()
        assert cloud_clock() - started < 1000


async def test_server_faults_on_everything_are_an_outage_too(tmp_path: Path) -> None:
    """503 to every call pauses as silence does."""
    async with hub(tmp_path) as it:
        rule = it.cloud.faults.add("* /*", Status(status=503), times=None)
        for number in range(5):
            await it.capture(number)
        async with it.running():
            await asyncio.sleep(3600)
        assert it.cloud.faults.fired(rule) < 40
        it.cloud.faults.clear()
        await it.upload()
        await it.assert_stored_once()


@pytest.mark.parametrize("retry_after", [None, "30"])
async def test_too_many_calls_pause_and_go_on(tmp_path: Path, retry_after: str | None) -> None:
    """429 with and without Retry-After: nothing is lost, doubled or parked."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add("POST *", Status(status=429, retry_after=retry_after), times=6)
        for number in range(4):
            await it.capture(number)
        await it.upload()
        await it.assert_stored_once()


@pytest.mark.parametrize("retry_after", ["0", "Fri, 31 Dec 1999 23:59:59 GMT"])
async def test_a_refusal_that_asks_for_no_wait_is_not_repeated_at_once(tmp_path: Path, retry_after: str) -> None:
    """A server may ask for a longer wait than ours, not for a shorter one: the call would go out every second."""
    async with hub(tmp_path) as it:
        rule = it.cloud.faults.add("GET /devices/{id}", Status(status=409, retry_after=retry_after), times=None)
        await it.capture(1)
        async with it.running():
            await asyncio.sleep(3600)
            assert 3 <= it.cloud.faults.fired(rule) <= 7
            it.cloud.faults.clear()
        await it.upload()
        await it.assert_stored_once()


@pytest.mark.parametrize("window", ["fixed", "sliding"])
async def test_the_published_limits_are_kept(tmp_path: Path, window: str) -> None:
    """With the default settings no call of a fleet's worth of recordings is ever answered 429."""
    async with hub(tmp_path, limits=None, rate_window=window, requests_per_minute=100, upload_urls_per_minute=30) as it:
        for number in range(90):
            await it.capture(number)
        started = cloud_clock()
        await it.upload()
        await it.assert_stored_once()
        assert not [count for (_, status), count in it.cloud.counters.statuses.items() if status == 429]
        assert cloud_clock() - started < 6 * 60


async def test_hubs_that_share_a_project_get_along(tmp_path: Path) -> None:
    """A limit lower than configured is met with waiting, not with storms: the headers and the 429s teach it."""
    async with hub(tmp_path, limits=None, requests_per_minute=40, upload_urls_per_minute=10) as it:
        for number in range(25):
            await it.capture(number)
        await it.upload()
        await it.assert_stored_once()
        refused = sum(count for (_, status), count in it.cloud.counters.statuses.items() if status == 429)
        assert refused <= 10


async def test_a_missing_scope_stops_its_own_calls_only(tmp_path: Path) -> None:
    """A key that may not create goes on completing what is created, and says what it lacks."""
    async with hub(tmp_path, limits=BudgetLimits(60_000, 60_000, forbidden_s=300)) as it:
        it.cloud.faults.add("POST /recordings", Status(status=403), nth=2, times=40)
        for number in range(6):
            await it.capture(number)
        async with it.running():
            waiting = await it.waiting_for("cloud_forbidden")
            assert waiting.state is Custody.CAPTURED
            while not [row for row in await it.spool.recordings() if row.state is Custody.STORED]:
                await it.spool.wait_for_change(it.spool.revision)
            await asyncio.sleep(3600)
            assert it.cloud.counters.calls["POST /recordings"] <= 3 + 3600 / 300 + 2
        it.cloud.faults.clear()
        await it.upload()
        await it.assert_stored_once()


async def test_a_fault_of_the_gateway_is_no_catastrophe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception nobody foresaw postpones one recording with that reason and lets the others go on."""
    async with hub(tmp_path) as it:
        bad = await it.capture(1)
        await it.capture(2)
        put, broken = it.api.put, [True]

        async def odd(*args: object) -> object:
            if broken[0]:
                broken[0] = False
                raise ZeroDivisionError
            return await put(*args)  # type: ignore[arg-type]  # passed through

        monkeypatch.setattr(it.api, "put", odd)
        async with it.running():
            waiting = await it.waiting_for("upload_internal_error")
            assert waiting.id == bad.id
        await it.upload()
        await it.assert_stored_once()
