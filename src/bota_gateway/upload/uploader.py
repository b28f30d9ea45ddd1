"""Carries captured recordings to stored, several at once, each at its own pace."""

import asyncio
import math
from collections.abc import Awaitable
from random import Random

import structlog
from structlog.contextvars import bound_contextvars

from bota_gateway.cloud import BotaApi
from bota_gateway.config import CloudSettings
from bota_gateway.errors import CloudError, SpoolError
from bota_gateway.model import Custody, Recording, WallClock
from bota_gateway.pulse import back_within, lasting
from bota_gateway.spool import Spool
from bota_gateway.upload.completing import Completing
from bota_gateway.upload.const import LONGEST_NAP_S, Timing
from bota_gateway.upload.creating import Creating
from bota_gateway.upload.putting import Putting
from bota_gateway.upload.setbacks import Gone, Parked, Postponed, Rotten, Setback, StillVerifying, Why, setback_of
from bota_gateway.upload.tools import Tools, Working

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Uploader:
    """Takes the oldest recording that has something to do, as far as it goes now.

    Args:
        spool: Where recordings wait, and where every step is written down before and after it is taken.
        api: The cloud, entered.
        settings: The ``[cloud]`` section.
        now: The wall clock; times of next attempts are told in it.
        hub_id: Names this hub in a recording's metadata.
        timing: How long causes wait.
        rng: Jitter.
    """

    def __init__(
        self,
        spool: Spool,
        api: BotaApi,
        settings: CloudSettings,
        now: WallClock,
        hub_id: str,
        *,
        timing: Timing | None = None,
        rng: Random | None = None,
    ) -> None:
        self._tools = Tools(spool, api, settings, now, hub_id, timing or Timing())
        self._spool = spool
        self._rng = rng or Random()  # noqa: S311 - jitter
        self._creating = Creating(self._tools)
        self._putting = Putting(self._tools)
        self._completing = Completing(self._tools)
        self._choosing = asyncio.Lock()
        self.working: dict[int, Working] = {}
        """What is under way now, by the recording's number in the spool."""

    async def run(self) -> None:
        """Upload until cancelled. A recording that fails waits or is parked, and holds no other up.

        May be called again after it ended.

        Raises:
            SpoolError: The spool can't be written: nothing more can be promised.
        """
        async with asyncio.TaskGroup() as group:
            for number in range(self._tools.settings.parallel_uploads):
                group.create_task(lasting(f"uploader {number + 1}", self._work))

    async def _work(self) -> None:
        while True:
            back_within(math.inf)  # until another one has chosen
            async with self._choosing:
                recording = await self._next()
                key = recording.key
                self.working[recording.id] = Working(
                    key.serial, key.file_id, recording.size_bytes or 0, recording.state
                )
            back_within(0)
            try:
                # A person may have had it forgotten before it stood in ``working``, which forbids that.
                recording = await self._spool.recording(recording.id)
                with bound_contextvars(recorder=key.serial, recording=key.file_id):
                    await self._attempt(recording)
            finally:
                del self.working[recording.id]

    async def _next(self) -> Recording:
        """The next recording to work at, as soon as there is one."""
        while True:
            revision = self._spool.revision
            now = self._tools.now()
            recording = await self._spool.next_upload(now, exclude=self.working)
            if recording is not None:
                return recording
            due = await self._spool.next_upload_at(exclude=self.working)
            nap = LONGEST_NAP_S if due is None else min(LONGEST_NAP_S, max(0.0, due - now))
            back_within(nap)
            try:
                async with asyncio.timeout(nap):
                    await self._spool.wait_for_change(revision)
            except TimeoutError:
                continue

    async def _carry(self, recording: Recording) -> None:
        """Step by step until it is stored; ends early by a setback."""
        working = self.working[recording.id]
        while True:
            working.step = recording.state
            match recording.state:
                case Custody.CAPTURED:
                    step = self._creating.run(recording)
                case Custody.CREATED:
                    step = self._putting.run(recording, working)
                case Custody.PUT | Custody.COMPLETING:
                    step = self._completing.run(recording)
                case _:
                    return
            recording = await self._or_anew(recording, step)

    async def _or_anew(self, recording: Recording, step: Awaitable[Recording]) -> Recording:
        try:
            return await step
        except Gone as gone:
            return await self._tools.anew(recording, gone)
        except Rotten as rotten:
            return await self._tools.pull_again(recording, rotten)

    async def _attempt(self, recording: Recording) -> None:
        """Make an attempt and write down how it ended."""
        timing = self._tools.timing
        try:
            await self._carry(recording)
        except StillVerifying as verifying:
            await self._await_proof(recording, verifying)
        except Setback as setback:
            await self._write_down(recording, setback)
        except CloudError as error:
            await self._write_down(recording, setback_of(error, timing))
        except SpoolError:
            raise
        except Exception:
            log.exception("upload_failed_unexpectedly", code=Why.INTERNAL.value)
            detail = "A fault of the gateway; the log has it. Report it."
            await self._write_down(recording, Postponed(Why.INTERNAL, detail, backoff=timing.refused))

    async def _write_down(self, recording: Recording, setback: Setback) -> None:
        if isinstance(setback, Parked):
            await self._spool.park(recording.id, code=setback.code, detail=setback.detail)
            log.error("recording_parked", code=setback.code, reason=setback.detail)
            return
        if not isinstance(setback, Postponed):
            raise TypeError(type(setback))
        attempts = (await self._spool.recording(recording.id)).attempts
        wait = max(setback.at_least_s, setback.backoff.step(attempts)) if setback.after_s is None else setback.after_s
        at = self._tools.now() + wait * self._rng.uniform(1.0, 1.2)
        await self._spool.postpone(
            recording.id, code=setback.code, detail=setback.detail, next_attempt_at=at, counts=setback.counts
        )
        log.warning("upload_postponed", code=setback.code, reason=setback.detail, next_attempt_at=at)

    async def _await_proof(self, recording: Recording, verifying: StillVerifying) -> None:
        """Ask again soon, then less often. Many at once ask less often each, to leave the budget to others."""
        timing, row = self._tools.timing, await self._spool.recording(recording.id)
        completing = await self._spool.recordings(states={Custody.COMPLETING})
        others = sum(one.waiting_for == Why.VERIFYING for one in completing)
        looks = row.attempts if row.waiting_for == Why.VERIFYING else 0
        if looks == 0:
            log.info("recording_verifying", cloud_id=row.cloud_id)
        wait = timing.verifying.step(looks) if looks < timing.verifying_looks else timing.verifying_later_s
        wait = max(wait, min(timing.verifying_spread_cap_s, others * timing.verifying_spread_s))
        at = self._tools.now() + wait * self._rng.uniform(1.0, 1.1)
        await self._spool.postpone(recording.id, code=verifying.code, detail=verifying.detail, next_attempt_at=at)
