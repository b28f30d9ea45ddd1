"""One visit to one recorder: verify, look, list, confirm, pull, confirm, leave.

A recorder with a usable version-2 part is left alone in this version, with the reason ``recorder_needs_v2``: its
version-1 list also names its version-2 recordings under short ids, how those derive from the full ids is not known for
sure, and a version-2 recording must neither be pulled nor confirmed as version 1. Without the version-2 list nothing
tells the two apart. The recordings stay safe where they are.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

import structlog
from structlog.contextvars import bound_contextvars

from bota_gateway.config import Settings
from bota_gateway.errors import GattError, SpoolError, SpoolFullError, TransferError, TransferRetry
from bota_gateway.model import FORGOTTEN_BY_HAND, Custody, Membership, RecorderRecord, Recording, WallClock
from bota_gateway.protocol.control import confirm_command
from bota_gateway.protocol.device_status import DeviceStatus, StatusFlag
from bota_gateway.protocol.errors_on_wire import BUSY, transfer_code
from bota_gateway.protocol.recording_list import recording_id
from bota_gateway.pulse import back_within
from bota_gateway.radio import Link
from bota_gateway.spool import Spool
from bota_gateway.spool.custody import WITH_AUDIO
from bota_gateway.sync import recorder
from bota_gateway.sync.const import FAILURES_IN_A_ROW, REGISTRAR_WAIT_S, SMALLEST_MTU
from bota_gateway.sync.patience import Patience
from bota_gateway.sync.plan import Plan, make_plan
from bota_gateway.sync.progress import LinkProgress
from bota_gateway.sync.pull import Puller
from bota_gateway.sync.reasons import Reason
from bota_gateway.sync.schedule import RECORDING_BACKOFF, Findings, is_served, wait_after

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Hub:
    """What every visit works with."""

    spool: Spool
    settings: Settings
    now: WallClock
    clock_is_trusted: Callable[[], bool]
    """False while this machine's clock may be wrong: no recorder is given the time then."""
    rng: Random
    patience: Patience


@dataclass(frozen=True, slots=True)
class Left:
    """The visit ends before everything is pulled."""

    reason: Reason
    detail: str


class Visit:
    """One link's work.

    Args:
        link: To the recorder.
        name: As advertised; a hint for people.
        hub: What every visit works with.
        progress: Where to tell how far it is.
        claim: Asked with the verified serial; False when another link already serves that recorder.
    """

    def __init__(
        self, link: Link, name: str | None, hub: Hub, progress: LinkProgress, claim: Callable[[str], bool]
    ) -> None:
        self._link = link
        self._name = name
        self._hub = hub
        self._progress = progress
        self._claim = claim
        self._began = asyncio.get_running_loop().time()
        self._record: RecorderRecord
        """Set by the first gate."""
        self._status: DeviceStatus | None = None
        self._listed: frozenset[int] = frozenset()
        self._contradictory: frozenset[str] = frozenset()
        self._had_nothing = True
        self.serial = ""
        """Verified; empty until the recorder told it."""
        self.pulled = 0
        self.confirmed: set[int] = set()
        """Recordings that the recorder was told it may delete."""
        self._refused: set[int] = set()
        """Recordings whose confirm it refused."""
        self.left: Left | None = None

    async def run(self) -> Findings:
        """Do what can be done; what could not is in ``left``.

        Raises:
            RadioError: the link failed, at whatever point.
            RecorderError: the recorder said something that can't be followed.
            SpoolError: durability is not given; nothing was acknowledged or confirmed without it.
        """
        self.serial = self._progress.serial = await recorder.read_serial(self._link)
        with bound_contextvars(recorder=self.serial):
            self.left = await self._gates() or await self._exchange()
        return self._findings()

    @property
    def follows_failure(self) -> bool:
        """Whether the visit before this one failed, or was ended early."""
        return self._record.attempts > 0 or self._record.waiting_for is not None

    # -- whether to pull at all ----------------------------------------------------------------------------------------

    async def _gates(self) -> Left | None:
        gates: tuple[Callable[[], Awaitable[Left | None]], ...] = (
            self._is_ours,
            self._is_known,
            self._is_willing,
            self._speaks_v1,
        )
        for gate in gates:
            if left := await gate():
                return left
        return None

    async def _is_ours(self) -> Left | None:
        if not self._claim(self.serial):
            return Left(Reason.VISITED_ELSEWHERE, "Another link to this serial is at work.")
        firmware = await recorder.read_firmware(self._link)
        self._record = await self._hub.spool.note_recorder(
            self.serial, address=self._link.address, name=self._name, rssi=self._link.rssi, firmware=firmware
        )
        level = logging.INFO if self._record.last_visit_at is None else logging.DEBUG
        log.log(level, "recorder_verified", firmware=firmware, mtu=self._link.mtu, rssi=self._link.rssi)
        match is_served(self.serial, self._hub.settings.recorders):
            case Reason.DENIED:
                return Left(Reason.DENIED, "recorders.deny names it.")
            case Reason.NOT_ALLOWED:
                return Left(Reason.NOT_ALLOWED, "recorders.allow names others, and not this one.")
            case _:
                return None

    async def _is_known(self) -> Left | None:
        if self._record.binding.membership is Membership.UNRESOLVED:
            await self._await_registrar()
        match self._record.binding.membership:
            case Membership.STRANGER:
                return Left(Reason.STRANGER, "Its serial is not in the project.")
            case Membership.UNRESOLVED:
                return Left(Reason.UNRESOLVED, "The cloud has not said yet whose it is.")
            case _:
                return None

    async def _await_registrar(self) -> None:
        """The cloud is asked as soon as a new serial stands in the spool; it mostly answers within this visit."""
        spool = self._hub.spool
        try:
            async with asyncio.timeout(REGISTRAR_WAIT_S):
                while self._record.binding.membership is Membership.UNRESOLVED:
                    revision = spool.revision
                    self._record = await spool.recorder(self._record.serial)
                    if self._record.binding.membership is Membership.UNRESOLVED:
                        await spool.wait_for_change(revision)
        except TimeoutError:
            return

    async def _is_willing(self) -> Left | None:
        hub = self._hub
        if hub.clock_is_trusted():
            await recorder.set_time(self._link, hub.now(), hub.settings.recorders.time_zone_minutes)
        status = self._status = await recorder.read_status(self._link)
        await self._note_status(status, status.pending_recordings)
        if status.sync_active:
            return Left(Reason.SYNC_ACTIVE, "It is uploading by itself.")
        least = hub.settings.recorders.low_battery_percent
        is_low = status.battery_percent < least or bool(status.flags & StatusFlag.LOW_BATTERY)
        if is_low and not status.charging:
            return Left(Reason.LOW_BATTERY, f"Its battery is at {status.battery_percent} % and not charging.")
        return None

    async def _note_status(self, status: DeviceStatus, pending: int) -> None:
        await self._hub.spool.note_status(
            self._record.serial,
            battery_percent=status.battery_percent,
            charging=status.charging,
            pending=pending,
            recording_now=status.recording_now,
            storage_used_mb=status.storage_used_mb,
            storage_total_mb=status.storage_total_mb,
        )

    async def _speaks_v1(self) -> Left | None:
        if await recorder.has_v2(self._link):
            return Left(Reason.NEEDS_V2, "It speaks version 2; which of its recordings are version 1 is not known.")
        return None

    # -- lists, confirms, transfers ------------------------------------------------------------------------------------

    async def _exchange(self) -> Left | None:
        plan = await self._look()
        self._had_nothing = not (plan.pull or plan.confirm or plan.uploading)
        for held in plan.held:
            log.debug("recording_held", recording=held.recording.key.file_id, code=held.code, reason=held.detail)
        await self._confirm(plan.confirm)
        left = await self._pull(plan.pull)
        if left is None or left.reason is not Reason.TIME_UP:
            await self._linger()
        if self.confirmed:
            await self._look()
            await self._put_off_unheeded()
            if self._status is not None:  # what it said it holds was before the deletions
                await self._note_status(self._status, len(self._listed))
        if left is None and self._contradictory:
            ids = ", ".join(sorted(self._contradictory)[:5])
            return Left(Reason.LIST_CONTRADICTORY, f"It lists these file ids twice, differently: {ids}.")
        return left

    async def _look(self) -> Plan:
        """Read the list and bring the spool in line with it."""
        if self._link.mtu <= SMALLEST_MTU:
            log.warning("link_mtu_small", mtu=self._link.mtu)
        outcome = await recorder.read_list(self._link, self._hub.settings.wire)
        listed = recorder.listed_recordings(outcome)
        log.log(
            logging.INFO if outcome.rubbish else logging.DEBUG,
            "list_read",
            recordings=len(listed),
            duplicates=outcome.duplicates,
            rubbish=outcome.rubbish,
            ended_by=outcome.ended_by,
        )
        self._contradictory = outcome.contradictory
        complete = outcome.complete or outcome.nothing_heard
        rows = await self._hub.spool.reconcile(self._record.serial, listed, complete=complete)
        self._listed = frozenset(row.id for row in rows)
        return self._plan(rows)

    def _plan(self, rows: Sequence[Recording]) -> Plan:
        may_confirm = self._hub.settings.recorders.confirm == "after_stored"
        return make_plan(rows, now=self._hub.now(), may_confirm=may_confirm)

    async def _confirm(self, rows: Sequence[Recording]) -> None:
        for row in rows:
            if row.id in self.confirmed | self._refused:
                continue
            await self._hub.spool.intend_confirm(row.id)
            command = confirm_command(recording_id(row.key.file_id))
            try:
                await self._link.write(command.characteristic, command.value)
            except GattError as error:
                if not error.refused:
                    raise
                self._refused.add(row.id)
                at = await self._confirm_later(row, Reason.CONFIRM_REFUSED, error.message)
                log.warning("confirm_refused", recording=row.key.file_id, reason=error.message, next_attempt_at=at)
                continue  # the others must not wait for it
            self.confirmed.add(row.id)
            log.info("recording_confirmed", recording=row.key.file_id, cloud_id=row.cloud_id)

    async def _put_off_unheeded(self) -> None:
        """What was confirmed in this visit and is listed all the same is told again, less and less often."""
        for row in await self._hub.spool.recordings(serial=self._record.serial, states={Custody.CONFIRMING}):
            if row.id in self.confirmed & self._listed:
                detail = "Its recorder was told that it may delete it, and still lists it."
                at = await self._confirm_later(row, Reason.CONFIRM_UNHEEDED, detail)
                log.info("confirm_unheeded", recording=row.key.file_id, tries=row.attempts + 1, next_attempt_at=at)

    async def _confirm_later(self, row: Recording, code: Reason, detail: str) -> float:
        at = self._hub.now() + wait_after(row.attempts + 1, RECORDING_BACKOFF, self._hub.rng)
        await self._hub.spool.postpone(row.id, code=code, detail=detail, next_attempt_at=at)
        return at

    async def _replan(self) -> Plan:
        """What can be confirmed now, or perhaps soon, of what the recorder listed in this visit.

        Asked for after each pull, of a spool that remembers every recording of years: so only for those states.
        """
        rows = await self._hub.spool.recordings(serial=self._record.serial, states=WITH_AUDIO)
        return self._plan([row for row in rows if row.id in self._listed])

    async def _pull(self, rows: Sequence[Recording]) -> Left | None:
        hub, clock = self._hub, asyncio.get_running_loop().time
        puller = Puller(
            link=self._link,
            spool=hub.spool,
            wire=hub.settings.wire,
            binding=self._record.binding,
            progress=self._progress,
            now=hub.now,
            rng=hub.rng,
            patience=hub.patience,
            still_recording=self._status is not None and self._status.recording_now,
        )
        failures = 0
        no_room: Left | None = None
        for count, row in enumerate(rows):
            if clock() - self._began > hub.settings.visits.at_most_s:
                return Left(Reason.TIME_UP, f"{len(rows) - count} recordings follow in the next visit.")
            try:
                await hub.spool.has_room(row.size_kib * 1024)
            except SpoolFullError as error:
                no_room = Left(Reason.SPOOL_FULL, error.message)
                continue  # a smaller one may fit
            try:
                with bound_contextvars(recording=row.key.file_id):
                    await puller.pull(row)
                self.pulled += 1
                failures = 0
            except SpoolFullError as error:
                return Left(Reason.SPOOL_FULL, error.message)
            except SpoolError as error:
                if error.error_code != FORGOTTEN_BY_HAND:
                    raise
                continue  # while it waited for its turn
            except TransferError as error:
                if error.error_code == transfer_code(BUSY):
                    return Left(Reason.SYNC_ACTIVE, error.message)
                failures += error.retry is not TransferRetry.NEVER
                if failures >= FAILURES_IN_A_ROW:
                    raise
            await self._confirm((await self._replan()).confirm)
        return no_room

    async def _linger(self) -> None:
        """Wait a few seconds for uploads of this recorder that may be about to finish, to confirm in this visit."""
        hub = self._hub
        until = asyncio.get_running_loop().time() + hub.settings.visits.linger_s
        while True:
            revision = hub.spool.revision
            plan = await self._replan()
            await self._confirm(plan.confirm)
            if not any(self._may_finish_soon(row) for row in plan.uploading):
                return
            back_within(hub.settings.visits.linger_s)
            try:
                async with asyncio.timeout_at(until):
                    await hub.spool.wait_for_change(revision)
            except TimeoutError:
                return

    def _may_finish_soon(self, row: Recording) -> bool:
        settings = self._hub.settings
        if settings.recorders.confirm == "never" or self._link.lost.is_set():
            return False
        return row.next_attempt_at is None or row.next_attempt_at <= self._hub.now() + settings.visits.linger_s

    def _findings(self) -> Findings:
        status = self._status
        return Findings(
            reason=self.left.reason if self.left else None,
            had_nothing=self._had_nothing,
            recording_now=status is not None and status.recording_now,
            storage_used=status.storage_used_mb / status.storage_total_mb
            if status and status.storage_total_mb
            else None,
        )
