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


@dataclass(frozen=True, slots=True)
class _Remembered:
    answer: Answer
    body_digest: str
    at: float


class Idempotency:
    """Remembers answers by project, route and key for 24 hours."""

    def __init__(self, mode: IdempotencyMode, delay_s: float, now: WallClock) -> None:
        self._mode = mode
        self._delay_s = delay_s
        self._now = now
        self._remembered: dict[tuple[str, str, str], _Remembered] = {}
        self._under_way: set[tuple[str, str, str]] = set()

    async def answer(self, route: str, key: str | None, call: Call, handler: Handler) -> Answer:
        """Replays the first answer to this key, or carries the call out.

        Raises:
            ApiError: the key is malformed, in use by a call still running, or (strict) came with another body.
        """
        if key is None or self._mode is IdempotencyMode.NONE:
            return await handler(call)
        if not KEY_SHAPE.fullmatch(key):
            raise ApiError(400, "invalid_request", "Idempotency-Key must be 1-255 letters, digits, - or _")
        slot = (call.project, route, key)
        if (known := self._recall(slot, call)) is not None:
            return known
        if self._mode is IdempotencyMode.DELAYED:
            return self._remember(slot, call, await handler(call))
        if slot in self._under_way:
            raise ApiError(409, "idempotency_in_progress", "a call with this Idempotency-Key is still running")
        self._under_way.add(slot)
        try:
            return self._remember(slot, call, await handler(call))
        finally:
            self._under_way.discard(slot)

    def _recall(self, slot: tuple[str, str, str], call: Call) -> Answer | None:
        known = self._remembered.get(slot)
        if known is None:
            return None
        age = self._now() - known.at
        if age >= const.IDEMPOTENCY_LIFE_S:
            del self._remembered[slot]
            return None
        if self._mode is IdempotencyMode.DELAYED:
            return known.answer if age >= self._delay_s else None
        if known.body_digest != _digest(call):
            raise ApiError(409, "idempotency_conflict", "this Idempotency-Key came with another body before")
        return known.answer

    def _remember(self, slot: tuple[str, str, str], call: Call, answer: Answer) -> Answer:
        self._remembered.setdefault(slot, _Remembered(answer, _digest(call), self._now()))
        return answer


def _digest(call: Call) -> str:
    return hashlib.sha256(json.dumps([dict(call.params), call.body], sort_keys=True).encode()).hexdigest()
