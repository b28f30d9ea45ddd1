"""The rate limiter: a bucket for all calls of a project and one for upload URLs."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from bota_gateway.sim.cloud import const
from bota_gateway.sim.cloud.options import CloudOptions


@dataclass(slots=True)
class Bucket:
    """So many calls per window; rejected calls count as well, which is the stricter reading."""

    limit: int
    window: Literal["fixed", "sliding"]
    _times: deque[float] = field(default_factory=deque)

    def take(self, now: float) -> bool:
        """Notes a call; False when it is over the limit."""
        self._forget(now)
        allowed = len(self._times) < self.limit
        # Beyond twice the limit nothing changes any more: the memory of a flood stays bounded.
        if len(self._times) < 2 * self.limit:
            self._times.append(now)
        return allowed

    def remaining(self, now: float) -> int:
        """Calls left in the present window."""
        self._forget(now)
        return max(self.limit - len(self._times), 0)

    def reset_at(self, now: float) -> float:
        """Unix seconds at which there is room again."""
        self._forget(now)
        if self.window == "fixed":
            return self._window_start(now) + const.RATE_WINDOW_S
        if len(self._times) < self.limit:
            return now
        return self._times[-self.limit] + const.RATE_WINDOW_S

    def _forget(self, now: float) -> None:
        horizon = self._window_start(now) if self.window == "fixed" else now - const.RATE_WINDOW_S
        while self._times and (self._times[0] < horizon if self.window == "fixed" else self._times[0] <= horizon):
            self._times.popleft()

    @staticmethod
    def _window_start(now: float) -> float:
        return now // const.RATE_WINDOW_S * const.RATE_WINDOW_S


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call may go on, and the headers its answer carries either way."""

    allowed: bool
    headers: Mapping[str, str]


class RateLimiter:
    """Both buckets, per project."""

    def __init__(self, options: CloudOptions) -> None:
        self._options = options
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def take(self, project: str, now: float, *, upload_url: bool) -> Verdict:
        """Notes a call. An upload-url call counts in both buckets, and its answer describes the tighter one."""
        buckets = [self._bucket(project, "general", self._options.requests_per_minute)]
        if upload_url:
            buckets.append(self._bucket(project, "upload_urls", self._options.upload_urls_per_minute))
        active = [bucket for bucket in buckets if bucket is not None]
        if not active:
            return Verdict(True, {})
        verdicts = [bucket.take(now) for bucket in active]  # every bucket notes the call, whatever another says
        tightest = min(active, key=lambda bucket: bucket.remaining(now))
        return Verdict(all(verdicts), self._headers(tightest, now, allowed=all(verdicts)))

    def _bucket(self, project: str, name: str, limit: int | None) -> Bucket | None:
        if limit is None:
            return None
        return self._buckets.setdefault((project, name), Bucket(limit, self._options.rate_window))

    def _headers(self, bucket: Bucket, now: float, *, allowed: bool) -> dict[str, str]:
        reset_at = bucket.reset_at(now)
        headers = {
            "X-RateLimit-Limit": str(bucket.limit),
            "X-RateLimit-Remaining": str(bucket.remaining(now)),
            "X-RateLimit-Reset": str(ceil(reset_at)),
        }
        if not allowed and self._options.rate_retry_after:
            headers["Retry-After"] = str(max(ceil(reset_at - now), 1))
        return headers
