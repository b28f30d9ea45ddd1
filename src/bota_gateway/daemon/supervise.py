"""Keeps the gateway's parts running: a crash of one is seen, reported and followed by a restart, never by silence."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from bota_gateway.backoff import Backoff
from bota_gateway.errors import GatewayError, SpoolCorruptError
from bota_gateway.pulse import lasting
from bota_gateway.status.redact import redact

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

RESTART = Backoff(1.0, 60.0)
"""A part that fails once is back at once: most causes pass by themselves. One that keeps failing is tried every minute:
a technician who mends the cause should not wait longer."""
PROVEN_S = 30.0
"""A part that failed counts as down until it has run this long: to fail again may take it 25 s, where BlueZ can't start
and D-Bus waits for it, and all that time nothing is well."""
SETTLED_S = 300.0
"""A part that ran this long has recovered: the next failure starts again with the shortest wait."""


@dataclass(frozen=True, slots=True)
class Down:
    """A part that is down."""

    error: GatewayError
    again_at: float
    """Loop time of its next start."""


async def keep_running(part: str, run: Callable[[], Awaitable[None]], failing: dict[str, Down]) -> None:
    """Run ``run`` until cancelled; start it again with growing waits when it fails or ends.

    Args:
        part: Its name, for the log.
        run: Starts the part afresh at each call.
        failing: Says why the part is down, and when it is or was tried again; status reads it.

    Raises:
        SpoolCorruptError: the spool is damaged: only a new start can deal with that.
    """
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        began = loop.time()
        proof = loop.call_later(PROVEN_S, failing.pop, part, None)
        try:
            failure = await _outcome(part, run)
        finally:
            proof.cancel()
        if loop.time() - began > SETTLED_S:
            failures = 0
        wait = RESTART.step(failures)
        failures += 1
        down = failing[part] = Down(_as_gateway_error(part, failure), loop.time() + wait)
        log.error("part_failed", exc_info=_traceback(failure), **_told(part, down.error, wait))
        await asyncio.sleep(wait)
        log.info("part_restarted", part=part)


async def _outcome(part: str, run: Callable[[], Awaitable[None]]) -> BaseException:
    try:
        await lasting(part, run)
    except Exception as failure:  # noqa: BLE001 - whatever it was, it is reported and the part restarted
        root = _root(failure)
        if isinstance(root, SpoolCorruptError):
            raise root from None
        return root
    raise AssertionError("what lasts does not return")


def _traceback(failure: BaseException) -> BaseException | None:
    """An error of ours says everything in words; anything else needs its traceback."""
    return None if isinstance(failure, GatewayError) else failure


def _told(part: str, error: GatewayError, wait: float) -> dict[str, object]:
    return {
        "part": part,
        "code": error.error_code,
        "reason": error.message,
        "remedy": error.next_step,
        "retry_in_s": round(wait),
    }


def _as_gateway_error(part: str, failure: BaseException) -> GatewayError:
    if isinstance(failure, GatewayError):
        return failure
    return GatewayError(redact(f"The {part} failed unexpectedly: {type(failure).__name__}: {failure}."))


def _root(failure: BaseException) -> BaseException:
    """Unwrap what task groups wrap: the first leaf is what happened first."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
