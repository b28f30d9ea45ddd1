"""How often the API may be called: the project's published limits, this hub's share, and what the answers say.

Two buckets: every call takes from the general one, a call for an upload URL from both. Whoever waits is served by
priority: what is nearly safe goes before what has only begun (docs/cloud-api.md, "Rate limits").
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from random import Random
from typing import Final

import structlog

from bota_gateway.backoff import Backoff
from bota_gateway.cloud.breaker import Breaker, Pause
from bota_gateway.cloud.const import (
    BURST_OF_MINUTE,
    CALL_S,
    FORBIDDEN_AFTER,
    FORBIDDEN_PROBE_S,
    OUTAGE,
    OUTAGE_AFTER,
    RATE_PAUSE,
    UNAUTHORIZED_PROBE_S,
)
from bota_gateway.pulse import back_within

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


_MINUTE_S: Final = 60.0


class Call(IntEnum):
    """Kinds of call, most urgent first."""

    COMPLETE = 0
    UPLOAD_URL = 1
    CREATE = 2
    DEVICE = 3
    RECONCILE = 4
    INVENTORY = 5


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """Allowances per minute and lengths of pauses; the defaults are the published or reasoned ones (const.py)."""

    requests_per_minute: float = 80
    upload_urls_per_minute: float = 24
    rate_pause: Backoff = RATE_PAUSE
    unauthorized_s: float = UNAUTHORIZED_PROBE_S
    forbidden_s: float = FORBIDDEN_PROBE_S
    outage: Backoff = OUTAGE


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """``X-RateLimit-*`` and ``Retry-After`` of one answer."""

    limit: int | None = None
    remaining: int | None = None
    reset_in_s: float | None = None
    """Seconds from now, by the server's clock."""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of one allowance is spent, for people."""

    name: str
    """``requests`` or ``upload_urls``."""
    per_minute: float
    """What this hub keeps to now: as configured, or less where the server said so."""
    spent_in_minute: int
    """Calls of the last 60 seconds."""
    at_once: int
    """Calls that may go this moment, if nothing else holds them back; 0 while it is paused."""


class _Bucket:
    """Tokens that refill steadily; a pause empties it until a given time."""

    def __init__(self, name: str, per_minute: float) -> None:
        self.name = name
        self.allowance = per_minute
        self._per_minute = per_minute
        self._tokens = self.burst
        self._filled_at = -math.inf
        self.refusals = 0
        self.pause: Pause | None = None
        self._taken_at: deque[float] = deque()

    @property
    def burst(self) -> float:
        return max(1.0, self._per_minute * BURST_OF_MINUTE)

    def _fill(self, now: float) -> None:
        if self._filled_at > -math.inf:
            self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self._per_minute / 60)
        self._filled_at = now
        if self.pause is not None and now >= self.pause.until:
            self.pause = None

    def ready_at(self, now: float) -> float:
        """Loop time at which a token is there, if nobody else takes it."""
        self._fill(now)
        refill = now if self._tokens >= 1 else now + (1 - self._tokens) * 60 / self._per_minute
        return refill if self.pause is None else max(refill, self.pause.until)

    def take(self, now: float) -> None:
        self._tokens -= 1
        self._taken_at.append(now)
        self._let_go(now)

    def give_back(self) -> None:
        self._tokens = min(self.burst, self._tokens + 1)
        if self._taken_at:
            self._taken_at.pop()

    def state(self, now: float) -> Allowance:
        self._fill(now)
        self._let_go(now)
        at_once = 0 if self.pause else max(0, math.floor(self._tokens))
        return Allowance(self.name, self._per_minute, len(self._taken_at), at_once)

    def _let_go(self, now: float) -> None:
        while self._taken_at and now - self._taken_at[0] >= _MINUTE_S:
            self._taken_at.popleft()

    def at_most(self, per_minute: float, tokens: float, now: float) -> None:
        """Follow what the server says is left; never faster than configured."""
        self._fill(now)
        self._per_minute = max(1.0, min(self.allowance, per_minute))
        self._tokens = min(self._tokens, tokens)

    def stop(self, pause: Pause) -> None:
        if self.pause is None or pause.until > self.pause.until:
            self.pause = pause


@dataclass(frozen=True, slots=True)
class Slot:
    """Permission for one call."""

    call: Call
    probes: frozenset[Breaker]
    """The open breakers this call decides about."""


@dataclass(order=True)
class _Waiter:
    call: Call
    turn: int
    slot: asyncio.Future[Slot] = field(compare=False)


class Budget:
    """Admits calls by priority, within the limits, and holds them back while the cloud as a whole refuses."""

    def __init__(self, limits: BudgetLimits, *, share: float, rng: Random) -> None:
        self._limits = limits
        self._share = share
        self._rng = rng
        self._general = _Bucket("requests", limits.requests_per_minute)
        self._urls = _Bucket("upload_urls", limits.upload_urls_per_minute)
        self._key = Breaker(after=1, backoff=Backoff(limits.unauthorized_s, limits.unauthorized_s))
        self._outage = Breaker(after=OUTAGE_AFTER, backoff=limits.outage)
        self._scopes = {
            call: Breaker(after=FORBIDDEN_AFTER, backoff=Backoff(limits.forbidden_s, limits.forbidden_s))
            for call in Call
        }
        self._waiters: list[_Waiter] = []
        self._turn = 0
        self.calls = dict.fromkeys(Call, 0)

    def pauses(self) -> list[Pause]:
        """Everything that holds calls back now, soonest end first; empty when calls flow."""
        found = [self._key.pause, self._outage.pause, self._general.pause, self._urls.pause]
        found += [breaker.pause for breaker in self._scopes.values()]
        return sorted((pause for pause in found if pause is not None), key=lambda pause: pause.until)

    def allowances(self) -> list[Allowance]:
        """How much of each allowance is spent: of all calls, then of upload URLs."""
        now = asyncio.get_running_loop().time()
        return [bucket.state(now) for bucket in (self._general, self._urls)]

    def wait_s(self, call: Call) -> float:
        """Seconds until such a call may go at the earliest, for telling a next time."""
        now = asyncio.get_running_loop().time()
        return max(0.0, self._ready_at(call, now) - now)

    @asynccontextmanager
    async def admitted(self, call: Call) -> AsyncIterator[Slot]:
        """Wait for permission; the body makes the call and tells what came of it (``answered``, ``unanswered``)."""
        slot = await self._admit(call)
        self.calls[call] += 1
        try:
            yield slot
        finally:
            self._give_up_probes(slot)

    def answered(self, slot: Slot, status: int, rates: RateHeaders) -> None:
        """An answer with this HTTP status came."""
        if status >= 500:
            self._fail(slot, self._outage, "cloud_server_error", f"the cloud is out of order, it answers {status}")
            return
        self._succeed(self._outage)
        if status == 401:
            self._fail(slot, self._key, "cloud_unauthorized", "the cloud does not accept this hub's API key")
            return
        self._succeed(self._key)
        if status == 403:
            kind = slot.call.name.lower()
            detail = f"this hub's API key lacks the permission for {kind}"
            self._fail(slot, self._scopes[slot.call], "cloud_forbidden", detail)
            return
        self._succeed(self._scopes[slot.call])
        if status == 429:
            self._rate_limited(slot.call, rates)
        else:
            self._follow(slot.call, rates)

    def unanswered(self, slot: Slot, detail: str) -> None:
        """No answer came, or none that the API would give."""
        self._fail(slot, self._outage, "cloud_unreachable", f"the cloud does not answer: {detail}")

    # -- admission ---------------------------------------------------------------------------------------------

    async def _admit(self, call: Call) -> Slot:
        loop = asyncio.get_running_loop()
        self._turn += 1
        waiter = _Waiter(call, self._turn, loop.create_future())
        self._waiters.append(waiter)
        try:
            while True:
                self._dispatch()
                if waiter.slot.done():
                    return waiter.slot.result()
                nap = self._nap(call, loop.time())
                back_within(nap)
                await asyncio.wait([waiter.slot], timeout=nap)
        except asyncio.CancelledError:
            if waiter.slot.done():
                for bucket in self._buckets(call):
                    bucket.give_back()
                self._give_up_probes(waiter.slot.result())
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _dispatch(self) -> None:
        """Grant whoever may go now, by priority; one that lacks only a URL token does not hold up the others."""
        now = asyncio.get_running_loop().time()
        for waiter in sorted(self._waiters):
            if self._ready_at(waiter.call, now) > now:
                continue
            for bucket in self._buckets(waiter.call):
                bucket.take(now)
            probes = frozenset(breaker for breaker in self._breakers(waiter.call) if breaker.go())
            self._waiters.remove(waiter)
            waiter.slot.set_result(Slot(waiter.call, probes))

    def _give_up_probes(self, slot: Slot) -> None:
        for breaker in slot.probes:
            breaker.probe_over()
        self._dispatch()

    def _nap(self, call: Call, now: float) -> float:
        ready = self._ready_at(call, now)
        return CALL_S if math.isinf(ready) else max(0.001, ready - now)  # a probe is under way, as long as any call

    def _ready_at(self, call: Call, now: float) -> float:
        times = [bucket.ready_at(now) for bucket in self._buckets(call)]
        times += [_breaker_ready_at(breaker, now) for breaker in self._breakers(call)]
        return max(times)

    def _buckets(self, call: Call) -> tuple[_Bucket, ...]:
        return (self._general, self._urls) if call is Call.UPLOAD_URL else (self._general,)

    def _breakers(self, call: Call) -> tuple[Breaker, ...]:
        return (self._key, self._outage, self._scopes[call])

    # -- what answers teach ------------------------------------------------------------------------------------

    def _fail(self, slot: Slot, breaker: Breaker, code: str, detail: str) -> None:
        now = asyncio.get_running_loop().time()
        pause = breaker.failed(code=code, detail=detail, now=now, probe=breaker in slot.probes)
        if pause is not None:
            log.warning("cloud_paused", code=code, reason=detail, for_s=round(pause.until - now, 1))

    def _succeed(self, breaker: Breaker) -> None:
        pause = breaker.pause
        breaker.succeeded()
        if pause is not None:
            log.info("cloud_resumed", code=pause.code)

    def _follow(self, call: Call, rates: RateHeaders) -> None:
        """Spend no more than our share of what the server says is left until its reset."""
        bucket = self._described(call, rates)
        bucket.refusals = 0
        if rates.remaining is None:
            return
        now = asyncio.get_running_loop().time()
        per_minute = bucket.allowance if rates.limit is None else rates.limit * self._share
        bucket.at_most(per_minute, rates.remaining * self._share, now)
        if rates.remaining <= 0 and rates.reset_in_s is not None:
            self._stop(bucket, rates.reset_in_s, "the project's calls for this minute are spent")

    def _rate_limited(self, call: Call, rates: RateHeaders) -> None:
        bucket = self._urls if call is Call.UPLOAD_URL else self._general
        index, bucket.refusals = bucket.refusals, bucket.refusals + 1
        named = rates.retry_after_s if rates.retry_after_s is not None else rates.reset_in_s
        seconds = named if named is not None and named > 0 else self._limits.rate_pause.step(index)
        self._stop(bucket, seconds, "the API says: too many calls")

    def _stop(self, bucket: _Bucket, seconds: float, detail: str) -> None:
        """Pause a bucket, a little longer than said: hubs that share a limit must not all come back at once."""
        seconds = min(self._limits.rate_pause.longest_s, max(0.0, seconds)) * self._rng.uniform(1.0, 1.1)
        bucket.stop(Pause("cloud_rate_limited", detail, asyncio.get_running_loop().time() + seconds))
        log.info("cloud_rate_limited", bucket=bucket.name, for_s=round(seconds, 1))

    def _described(self, call: Call, rates: RateHeaders) -> _Bucket:
        """Which bucket the headers of an upload-url answer describe is not documented; their limit tells."""
        urls_limit = self._urls.allowance / self._share
        small = rates.limit is not None and rates.limit <= urls_limit
        return self._urls if call is Call.UPLOAD_URL and small else self._general


def _breaker_ready_at(breaker: Breaker, now: float) -> float:
    """When a call may pass it; never, by time alone, while a probe is under way."""
    if breaker.may_go(now):
        return now
    if breaker.pause is None or now >= breaker.pause.until:
        return math.inf
    return breaker.pause.until
