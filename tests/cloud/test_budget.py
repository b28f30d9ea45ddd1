"""The budget on a clock that jumps: rates, priorities, pauses and probes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.backoff import Backoff
from bota_gateway.cloud.breaker import Breaker
from bota_gateway.cloud.budget import Budget, BudgetLimits, Call, RateHeaders, Slot

pytestmark = pytest.mark.virtual_time
NONE = RateHeaders()


def budget(requests: float = 60, urls: float = 30, share: float = 1.0) -> Budget:
    """Small figures, easy to count with."""
    return Budget(BudgetLimits(requests, urls), share=share, rng=Random(1))


def time() -> float:
    """Of the loop."""
    return asyncio.get_running_loop().time()


async def call(it: Budget, kind: Call = Call.CREATE, status: int = 200, rates: RateHeaders = NONE) -> float:
    """One call; when it went."""
    async with it.admitted(kind) as slot:
        went = time()
        it.answered(slot, status, rates)
    return went


@asynccontextmanager
async def under_way(it: Budget, kind: Call) -> AsyncIterator[Slot]:
    """A call whose outcome the block tells."""
    async with it.admitted(kind) as slot:
        yield slot


@pytest.mark.parametrize(("kind", "per_minute"), [(Call.CREATE, 60), (Call.UPLOAD_URL, 30)])
async def test_no_minute_has_more_than_allowed_and_a_quarter(kind: Call, per_minute: int) -> None:
    """In every window of a minute, wherever it begins: burst and steady rate together."""
    it = budget()
    times = [await call(it, kind) for _ in range(300)]
    for at in times:
        assert len([other for other in times if at <= other < at + 60]) <= per_minute * 1.25 + 1
    assert times[-1] - times[0] <= (300 / per_minute) * 60


async def test_upload_urls_take_from_both() -> None:
    """Asking for upload URLs uses up general calls as well."""
    it = budget(requests=8, urls=60)
    await call(it, Call.UPLOAD_URL)
    await call(it, Call.UPLOAD_URL)
    assert it.wait_s(Call.COMPLETE) == pytest.approx(7.5)


async def test_what_is_spent_is_told() -> None:
    """Calls of the last minute count, older ones and those never made do not; nothing may go while it is paused."""
    it = budget(requests=60, urls=30)
    await call(it, Call.UPLOAD_URL)
    await call(it)
    requests, urls = it.allowances()
    assert (requests.spent_in_minute, requests.at_once, requests.per_minute) == (2, 13, 60)
    assert (urls.spent_in_minute, urls.at_once) == (1, 6)
    async with under_way(it, Call.CREATE) as slot:
        it.answered(slot, 429, RateHeaders(retry_after_s=30))
    assert it.allowances()[0].at_once == 0
    await asyncio.sleep(61)
    assert [(one.spent_in_minute, one.at_once) for one in it.allowances()] == [(0, 15), (0, 7)]


async def test_the_most_urgent_goes_first() -> None:
    """When calls are scarce, what is nearly safe goes before what has only begun."""
    it = budget(requests=4)
    await call(it)
    order: list[Call] = []

    async def wait(kind: Call) -> None:
        await call(it, kind)
        order.append(kind)

    async with asyncio.TaskGroup() as group:
        for kind in reversed(Call):
            group.create_task(wait(kind))
    assert order == sorted(Call)


async def test_one_that_lacks_a_url_token_holds_no_other_up() -> None:
    """Creates go on while upload URLs are exhausted."""
    it = budget(requests=600, urls=4)
    await call(it, Call.UPLOAD_URL)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(call(it, Call.UPLOAD_URL))
        started = time()
        assert await call(it, Call.CREATE) == started
    assert waiting.result() >= started + 14


async def test_a_cancelled_wait_takes_nothing() -> None:
    """Neither a place in the queue nor a token is lost."""
    it = budget(requests=4)
    await call(it)
    tasks = [asyncio.create_task(call(it, Call.COMPLETE)) for _ in range(5)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    started = time()
    assert await call(it, Call.INVENTORY) <= started + 15.1


async def test_a_grant_that_meets_a_cancellation_is_given_back() -> None:
    """Cancelled in the very moment it was granted: the token goes to the next."""
    it = budget(requests=4)
    await call(it)
    first = asyncio.create_task(call(it, Call.COMPLETE))
    await asyncio.sleep(0)
    it._general.give_back()
    it._dispatch()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    started = time()
    assert await call(it) == started


async def test_little_left_slows_down() -> None:
    """Of what the server says is left, only our share is spent until more is there."""
    it = budget(requests=60, share=0.5)
    await call(it, rates=RateHeaders(limit=100, remaining=4, reset_in_s=30))
    started = time()
    times = [await call(it) - started for _ in range(4)]
    assert times[:2] == [0, 0]
    assert times[2] >= 0.9


async def test_a_smaller_limit_is_believed_a_larger_one_is_not() -> None:
    """The published figures disagree: the strictest counts."""
    for limit, least, most in ((12, 40, 80), (10_000, 5, 15)):
        it = budget(requests=60)
        await call(it, rates=RateHeaders(limit=limit, remaining=limit))
        started = time()
        for _ in range(25):
            await call(it)
        assert least * 1 <= time() - started <= most * 2


async def test_nothing_left_waits_for_the_reset() -> None:
    """Calls stop before the server has to refuse them."""
    it = budget()
    await call(it, rates=RateHeaders(limit=100, remaining=0, reset_in_s=40))
    started = time()
    (pause,) = it.pauses()
    assert pause.code == "cloud_rate_limited"
    assert 40 <= await call(it) - started <= 45


@pytest.mark.parametrize(
    ("rates", "least", "most"),
    [
        (RateHeaders(retry_after_s=20, reset_in_s=50), 20, 22.1),
        (RateHeaders(reset_in_s=50), 50, 55.1),
        (RateHeaders(), 5, 5.6),
        (RateHeaders(retry_after_s=0), 5, 5.6),
        (RateHeaders(reset_in_s=-100), 5, 5.6),
        (RateHeaders(retry_after_s=10**9), 900, 991),
    ],
)
async def test_a_429_pauses_its_bucket(rates: RateHeaders, least: float, most: float) -> None:
    """As long as Retry-After says, else until the reset, else five seconds; never beyond a quarter of an hour."""
    it = budget()
    await call(it, status=429, rates=rates)
    started = time()
    assert least <= await call(it) - started <= most


async def test_repeated_429s_without_a_word_back_off() -> None:
    """5, 10, 20, 40 seconds; one success begins anew."""
    it = budget()
    waits = []
    for _ in range(4):
        before = time()
        waits.append(await call(it, status=429) - before)
    assert [round(wait / 5) for wait in waits] == [0, 1, 2, 4]
    await call(it)
    await call(it, status=429)
    assert it.wait_s(Call.CREATE) < 6


async def test_a_refused_upload_url_stops_upload_urls_only() -> None:
    """The scarcer bucket is paused by itself."""
    it = budget()
    await call(it, Call.UPLOAD_URL, 429, RateHeaders(retry_after_s=100))
    assert it.wait_s(Call.UPLOAD_URL) >= 100
    assert it.wait_s(Call.COMPLETE) == 0


async def test_which_bucket_headers_describe_is_told_by_their_limit() -> None:
    """An upload-url answer may speak of either."""
    it = budget()
    await call(it, Call.UPLOAD_URL, 200, RateHeaders(limit=30, remaining=0, reset_in_s=60))
    assert it.wait_s(Call.UPLOAD_URL) >= 60
    assert it.wait_s(Call.COMPLETE) == 0
    await call(it, Call.COMPLETE, 200, RateHeaders(limit=60, remaining=0, reset_in_s=30))
    assert it.wait_s(Call.COMPLETE) >= 30


async def test_a_refused_key_is_probed_by_one_call_at_a_time() -> None:
    """Every five minutes one call asks; what it learns decides about all."""
    it = budget()
    answers = {"status": 401}
    went: list[float] = []

    async def worker() -> None:
        for _ in range(3):
            async with it.admitted(Call.CREATE) as slot:
                went.append(time())
                await asyncio.sleep(1)
                it.answered(slot, answers["status"], NONE)

    started = time()
    async with asyncio.TaskGroup() as group:
        await call(it, status=401)
        for _ in range(5):
            group.create_task(worker())
        await asyncio.sleep(1000)
        assert [round(at - started) for at in went] == [300, 601, 902]
        answers["status"] = 200
    assert len(went) == 15
    assert went[-1] - started < 1250
    assert it.pauses() == []


async def test_a_probe_that_is_cancelled_lets_another_go() -> None:
    """A probe without result must not close the door for ever."""
    it = budget()
    await call(it, status=401)

    async def hang() -> None:
        async with under_way(it, Call.CREATE):
            await asyncio.sleep(10_000)

    probe = asyncio.create_task(hang())
    await asyncio.sleep(400)
    other = asyncio.create_task(call(it))
    await asyncio.sleep(400)
    assert not other.done()
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    before = time()
    assert await other == pytest.approx(before, abs=1)


async def test_three_silences_in_a_row_are_an_outage() -> None:
    """Pauses of 5, 10, 20 seconds and so on up to five minutes, and the first answer ends them."""
    it = budget(requests=600)

    async def silence() -> float:
        async with it.admitted(Call.CREATE) as slot:
            went = time()
            it.unanswered(slot, "no answer")
        return went

    started = time()
    times = [await silence() - started for _ in range(13)]
    assert times[:3] == [0, 0, 0]
    gaps = [round(after - before) for before, after in pairwise(times[2:])]
    assert gaps == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]
    await call(it)
    assert it.pauses() == []
    assert it.wait_s(Call.CREATE) == 0


async def test_a_missing_scope_stops_its_own_kind() -> None:
    """Three 403s to one kind of call; the other kinds go on, and a single 403 stops nothing."""
    it = budget(requests=6000)
    for _ in range(2):
        await call(it, Call.CREATE, 403)
    await call(it, Call.CREATE, 200)
    for _ in range(2):
        await call(it, Call.CREATE, 403)
    assert it.wait_s(Call.CREATE) == 0
    await call(it, Call.CREATE, 403)
    assert it.wait_s(Call.CREATE) == 300
    assert it.wait_s(Call.COMPLETE) == 0


async def test_stragglers_do_not_lengthen_a_pause() -> None:
    """Calls that were under way when the key was refused prove nothing new."""
    it = budget()
    async with under_way(it, Call.CREATE) as first, under_way(it, Call.COMPLETE) as second:
        it.answered(first, 401, NONE)
        await asyncio.sleep(100)
        it.answered(second, 401, NONE)
    assert it.wait_s(Call.CREATE) == 200


@given(st.lists(st.sampled_from(["fail", "succeed", "wait"]), max_size=60))
def test_a_breaker_always_lets_something_go_in_time(moves: list[str]) -> None:
    """Whatever happens, waiting for its pause to end is enough for a call to go."""
    breaker, now = Breaker(after=2, backoff=Backoff(5, 60)), 0.0
    for move in moves:
        if move == "wait":
            now += 7
        elif breaker.may_go(now):
            probe = breaker.go()
            if move == "fail":
                breaker.failed(code="c", detail="d", now=now, probe=probe)
            else:
                breaker.succeeded()
                assert breaker.pause is None
            if probe:
                breaker.probe_over()
    assert breaker.may_go(now + 60)
