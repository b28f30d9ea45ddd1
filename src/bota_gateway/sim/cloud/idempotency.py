"""``Idempotency-Key`` in the ways servers have been seen to honour it."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from bota_gateway.model import WallClock
from bota_gateway.sim.cloud import const
from bota_gateway.sim.cloud.call import Answer, ApiError, Call, Handler
from bota_gateway.sim.cloud.options import IdempotencyMode

KEY_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")


Slot = tuple[str, str, str]
"""Project, route and key."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    outcome: Answer | ApiError
    body_digest: str
    at: float


class Idempotency:
    """Remembers outcomes, refusals included, by project, route and key for 24 hours."""

    def __init__(self, mode: IdempotencyMode, delay_s: float, now: WallClock) -> None:
        self._mode = mode
        self._delay_s = delay_s
        self._now = now
        self._remembered: dict[Slot, _Remembered] = {}
        self._under_way: set[Slot] = set()

    async def answer(self, route: str, key: str | None, call: Call, handler: Handler) -> Answer:
        """Replays the first outcome under this key, or carries the call out.

        Raises:
            ApiError: the call was refused, now or then; the key is malformed, in use by a call still running, or
                (strict) came with another body.
        """
        if key is None or self._mode is IdempotencyMode.NONE:
            return await handler(call)
        if not KEY_SHAPE.fullmatch(key):
            raise ApiError(400, "invalid_request", "Idempotency-Key must be 1-255 letters, digits, - or _")
        slot = (call.project, route, key)
        outcome = self._recall(slot, call)
        if outcome is None:
            outcome = await self._carry_out(slot, call, handler)
        if isinstance(outcome, ApiError):
            raise outcome
        return outcome

    def _recall(self, slot: Slot, call: Call) -> Answer | ApiError | None:
        self._forget_old()
        known = self._remembered.get(slot)
        if known is None:
            return None
        if self._mode is IdempotencyMode.DELAYED:
            return known.outcome if self._now() - known.at >= self._delay_s else None
        if known.body_digest != _digest(call):
            return ApiError(409, "idempotency_conflict", "this Idempotency-Key came with another body before")
        return known.outcome

    async def _carry_out(self, slot: Slot, call: Call, handler: Handler) -> Answer | ApiError:
        if self._mode is IdempotencyMode.STRICT and slot in self._under_way:
            return ApiError(409, "idempotency_in_progress", "a call with this Idempotency-Key is still running")
        self._under_way.add(slot)
        outcome: Answer | ApiError
        try:
            outcome = await handler(call)
        except ApiError as error:
            outcome = error
        finally:
            self._under_way.discard(slot)
        self._remembered.setdefault(slot, _Remembered(outcome, _digest(call), self._now()))
        return outcome

    def _forget_old(self) -> None:
        """The oldest come first, as they were put in."""
        horizon = self._now() - const.IDEMPOTENCY_LIFE_S
        while self._remembered and next(iter(self._remembered.values())).at <= horizon:
            del self._remembered[next(iter(self._remembered))]


def _digest(call: Call) -> str:
    return hashlib.sha256(json.dumps([dict(call.params), call.body], sort_keys=True).encode()).hexdigest()
