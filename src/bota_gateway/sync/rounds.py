"""Goes round the recorders in range: who is due is visited, the longest-waiting first, a few at a time."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from bota_gateway.config import Settings
from bota_gateway.errors import GatewayError, RadioError, SpoolCorruptError, SpoolFullError, SpoolWriteError
from bota_gateway.model import Custody, RecorderRecord, WallClock
from bota_gateway.pulse import back_within, watched
from bota_gateway.radio import PRESENT_S, Radio, Sighting
from bota_gateway.spool import Spool
from bota_gateway.sync.afterwards import note_signal
from bota_gateway.sync.const import AWAY_S, SOON_S
from bota_gateway.sync.patience import Patience
from bota_gateway.sync.progress import LinkProgress
from bota_gateway.sync.reasons import Reason
from bota_gateway.sync.schedule import Findings, backoff_after, due_in, interval_after
from bota_gateway.sync.visit import Hub, Visit

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Presence:
    """One address in range. Event loop time."""

    since: float
    heard_at: float
    not_before: float = 0.0
    """For an address that is not the last known one of any recorder: when it may be tried again."""
    failures: int = 0
    """As before: tries in a row that did not even bring a serial."""
    error: GatewayError | None = None
    """As before: how the last one failed."""
    unnoted_until: float = 0.0
    """For a known recorder: when it may be visited again, where the spool had no room to note that."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """A recorder in range that no visit has identified."""

    address: str
    rssi: int
    heard_ago_s: float
    failures: int
    error: GatewayError | None
    again_at: float
    """Loop time of the next visit."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    sighting: Sighting
    record: RecorderRecord | None
    due_in: float


@dataclass(frozen=True, slots=True)
class _Planned:
    """When a recorder's next visit was put on the calendar, by both clocks."""

    next_visit_at: float
    wall: float
    loop: float


@dataclass(frozen=True, slots=True)
class _Known:
    """What the spool remembered at one revision."""

    revision: int
    by_address: Mapping[str, RecorderRecord]
    """Where each recorder was met last: a hint that spares strangers a connection, never an identity."""
    to_confirm: frozenset[str]
    """Serials of recorders that may delete something."""


class Rounds:
    """The loop of visits.

    Args:
        radio: Running, by someone else.
        spool: What is known of recorders and recordings; changes in it wake this loop.
        settings: The whole configuration.
        now: The wall clock.
        clock_is_trusted: Whether recorders may be given the time of this machine.
        rng: For jitter.
    """

    def __init__(
        self,
        radio: Radio,
        spool: Spool,
        settings: Settings,
        now: WallClock,
        clock_is_trusted: Callable[[], bool],
        rng: Random,
    ) -> None:
        self._radio = radio
        self._settings = settings
        self._hub = Hub(spool, settings, now, clock_is_trusted, rng, Patience(settings))
        self._wake = asyncio.Event()
        self._present: dict[str, _Presence] = {}
        self._links: dict[str, LinkProgress] = {}
        self._serials: set[str] = set()
        """Serials that are visited right now."""
        self._idle_visits: Counter[str] = Counter()
        self._known = _Known(-1, {}, frozenset())
        self._planned: dict[str, _Planned] = {}
        """By serial; of this process."""

    @property
    def links(self) -> list[LinkProgress]:
        """What each link is doing right now; for reading only."""
        return list(self._links.values())

    @property
    def unmet(self) -> list[Unmet]:
        """Those in range whose serial is not known: not visited yet, or failing since they were met."""
        clock = asyncio.get_running_loop().time()
        return [
            Unmet(one.address, one.rssi, clock - one.at, here.failures, here.error, here.not_before)
            for one in self._radio.sightings.values()
            if clock - one.at <= PRESENT_S
            and one.address not in self._known.by_address
            and one.address not in self._links
            and (here := self._present.get(one.address)) is not None
        ]

    async def run(self) -> None:
        """Visit until cancelled; a failed visit is put off and stops no other.

        Raises:
            SpoolWriteError: durability is lost (within an exception group, as all task groups raise).
            SpoolCorruptError: likewise.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(self._radio.wait_for_change, self._radio.revision))
            tasks.create_task(self._watch(self._hub.spool.wait_for_change, self._hub.spool.revision))
            while True:
                self._wake.clear()
                back_within(0)
                delay = await self._begin_due_visits(tasks)
                back_within(delay + SOON_S)
                try:
                    async with asyncio.timeout(delay):
                        await self._wake.wait()
                    await asyncio.sleep(SOON_S)
                except TimeoutError:
                    pass

    async def _watch(self, wait_for_change: Callable[[int], Awaitable[int]], revision: int) -> None:
        while True:
            revision = await wait_for_change(revision)
            self._wake.set()

    # -- who is due ----------------------------------------------------------------------------------------------------

    async def _begin_due_visits(self, tasks: asyncio.TaskGroup) -> float:
        """Start what can start now; give back the seconds after which to look again at the latest."""
        await self._refresh_known()
        soonest = PRESENT_S  # often enough to tell who went away from who only was quiet
        for candidate in sorted(self._candidates(), key=lambda each: each.due_in):
            if candidate.due_in > 0:
                soonest = min(soonest, candidate.due_in)
            elif chosen := self._radio.choose(candidate.sighting, self._loads()):
                self._begin(tasks, replace(candidate, sighting=chosen))
        return max(soonest, SOON_S)

    async def _refresh_known(self) -> None:
        """What the spool remembers, read again only when it changed."""
        spool = self._hub.spool
        revision = spool.revision
        if revision == self._known.revision:
            return
        records = sorted(await spool.recorders(), key=lambda record: record.last_seen_at)
        to_confirm = frozenset[str]()
        if self._settings.recorders.confirm == "after_stored":
            to_confirm = frozenset(row.key.serial for row in await spool.recordings(states={Custody.STORED}))
        self._known = _Known(revision, {record.address: record for record in records}, to_confirm)

    def _candidates(self) -> list[_Candidate]:
        clock = asyncio.get_running_loop().time()
        self._forget_departed(clock)
        heard = [
            sighting
            for sighting in self._radio.sightings.values()
            if clock - sighting.at <= PRESENT_S and sighting.address not in self._links
        ]
        candidates = [self._candidate(sighting, self._presence(sighting), clock) for sighting in heard]
        return [each for each in candidates if each.record is None or each.record.serial not in self._serials]

    def _candidate(self, sighting: Sighting, presence: _Presence, clock: float) -> _Candidate:
        record = self._known.by_address.get(sighting.address)
        if record is None:
            wait = max(presence.since, presence.not_before) - clock
            return _Candidate(sighting, None, wait)
        wait = due_in(
            record,
            now=self._now_for(record),
            here_for=clock - presence.since,
            to_confirm=record.serial in self._known.to_confirm,
            visits=self._settings.visits,
            recorders=self._settings.recorders,
        )
        return _Candidate(sighting, record, max(wait, presence.unnoted_until - clock))

    def _now_for(self, record: RecorderRecord) -> float:
        """The wall clock by which its next visit was planned: one that was set since makes no wait longer or shorter.

        After a restart it is the hub's present one; schedule.py sees that no wait is absurd then.
        """
        planned = self._planned.get(record.serial)
        if planned is None or planned.next_visit_at != record.next_visit_at:
            return self._hub.now()
        return planned.wall + asyncio.get_running_loop().time() - planned.loop

    def _presence(self, sighting: Sighting) -> _Presence:
        presence = self._present.get(sighting.address)
        if presence is None:
            presence = self._present[sighting.address] = _Presence(sighting.at, sighting.at)
        elif sighting.at - presence.heard_at > AWAY_S:
            presence.since = sighting.at
        presence.heard_at = max(presence.heard_at, sighting.at)
        return presence

    def _forget_departed(self, clock: float) -> None:
        for address, presence in list(self._present.items()):
            gone = clock - presence.heard_at > AWAY_S and clock > presence.not_before
            if gone and address not in self._links and address not in self._radio.sightings:
                del self._present[address]

    def _loads(self) -> Counter[str]:
        """Links of each adapter, up or about to be."""
        return Counter(link.adapter for link in self._links.values())

    # -- one visit -----------------------------------------------------------------------------------------------------

    def _begin(self, tasks: asyncio.TaskGroup, candidate: _Candidate) -> None:
        """Take the place at once: the task itself starts later."""
        sighting, record = candidate.sighting, candidate.record
        progress = LinkProgress(sighting.address, sighting.adapter, since=asyncio.get_running_loop().time())
        self._links[sighting.address] = progress
        claims = {record.serial} if record else set()
        self._serials |= claims
        tasks.create_task(self._visit(candidate, progress, claims), name=f"visit {sighting.address}")

    async def _visit(self, candidate: _Candidate, progress: LinkProgress, claims: set[str]) -> None:
        """One visit, whatever becomes of it. ``claims`` are the serials that it holds."""
        sighting = candidate.sighting
        hint = candidate.record.serial if candidate.record else None
        try:
            with watched(f"visit to {hint or sighting.address}"), bound_contextvars(address=sighting.address):
                log.debug("visit_started", recorder=hint, adapter=sighting.adapter, rssi=sighting.rssi)
                try:
                    await self._connect_and_visit(sighting, progress, claims)
                except (SpoolWriteError, SpoolCorruptError):
                    raise  # durability is at stake: for the whole daemon to decide
                except GatewayError as error:
                    await self._failed(progress, sighting, hint, error)
                except Exception as error:  # one recorder's oddity, or our mistake, must not stop the others
                    log.exception("visit_crashed")
                    fault = f"A fault of the gateway ({type(error).__name__}); the log has it."  # which redacts it
                    await self._failed(progress, sighting, hint, GatewayError(fault))
        finally:
            self._serials -= claims
            del self._links[sighting.address]
            if presence := self._present.get(sighting.address):
                presence.heard_at = asyncio.get_running_loop().time()  # held, so silent, but not away
            self._wake.set()
        await note_signal(self._radio, self._hub.spool, progress)  # the visit is over: nobody waits for this

    async def _connect_and_visit(self, sighting: Sighting, progress: LinkProgress, claims: set[str]) -> None:
        def claim(serial: str) -> bool:
            if serial in self._serials - claims:
                return False
            self._serials.add(serial)
            claims.add(serial)
            return True

        async with self._radio.connect(sighting) as link:
            progress.adapter = link.adapter  # what was heard since may have changed the choice
            visit = Visit(link, sighting.name, self._hub, progress, claim)
            findings = await visit.run()
        await self._ended(visit, findings, progress)

    async def _ended(self, visit: Visit, findings: Findings, progress: LinkProgress) -> None:
        serial, settings = visit.serial, self._settings.visits
        # By address, too: where two recorders have one serial, or one has two addresses, the spool knows only the last.
        self._put_off(progress.address, settings.interval_s)
        if findings.reason is Reason.VISITED_ELSEWHERE:
            delay = settings.interval_s  # the calendar of that serial belongs to the other visit
        else:
            is_idle = findings.reason is None and findings.had_nothing
            self._idle_visits[serial] = self._idle_visits[serial] + 1 if is_idle else 0
            delay = interval_after(findings, self._idle_visits[serial], settings)
            await self._schedule(
                progress.address,
                serial,
                delay,
                waiting_for=findings.reason,
                waiting_detail=visit.left.detail if visit.left else None,
                visited=True,
            )
        # Most visits of a day find nothing new: only for whoever looks closely.
        is_news = visit.pulled or visit.confirmed or findings.reason or self._had_failed(visit, progress)
        log.log(
            logging.INFO if is_news else logging.DEBUG,
            "visit_ended",
            recorder=serial,
            code=findings.reason,
            reason=visit.left.detail if visit.left else None,
            pulled=visit.pulled,
            confirmed=len(visit.confirmed),
            seconds=round(asyncio.get_running_loop().time() - progress.since, 1),
            next_in=round(delay),
        )

    async def _failed(self, progress: LinkProgress, sighting: Sighting, hint: str | None, error: GatewayError) -> None:
        """Put the next try on the calendar: of the recorder if the spool knows it by now, else of its address."""
        serial = progress.serial or hint
        hub = self._hub
        record = next((each for each in await hub.spool.recorders() if each.serial == serial), None)
        if record is None:
            presence = self._present[progress.address]
            presence.failures += 1
            presence.error = error
            delay = backoff_after(error, presence.failures, hub.rng)
            self._put_off(progress.address, delay)
        else:
            delay = backoff_after(error, record.attempts + 1, hub.rng)
            await self._schedule(
                progress.address,
                record.serial,
                delay,
                waiting_for=error.error_code,
                waiting_detail=error.message,
                failed=True,
            )
        # People walk away and radios fade all day long: that is no warning.
        level = logging.INFO if isinstance(error, RadioError) else logging.WARNING
        log.log(
            level,
            "visit_failed",
            recorder=serial,
            adapter=progress.adapter,
            rssi=sighting.rssi,
            code=error.error_code,
            reason=error.message,
            remedy=error.next_step,
            next_in=round(delay),
        )

    def _had_failed(self, visit: Visit, progress: LinkProgress) -> bool:
        """Whether this visit is the first one after some that failed."""
        presence = self._present.get(progress.address)
        return visit.follows_failure or (presence is not None and presence.failures > 0)

    async def _schedule(self, address: str, serial: str, delay: float, **noted: Any) -> None:
        """Note when the next visit is; a disk without room for that puts this recorder off, and ends no other visit."""
        at = self._plan_visit(serial, delay)
        try:
            await self._hub.spool.schedule_visit(serial, next_visit_at=at, **noted)
        except SpoolFullError:  # which the spool has told
            wait = max(delay, self._settings.visits.interval_s)
            self._present[address].unnoted_until = asyncio.get_running_loop().time() + wait

    def _plan_visit(self, serial: str, delay: float) -> float:
        """Unix time of the next visit."""
        wall, loop = self._hub.now(), asyncio.get_running_loop().time()
        self._planned[serial] = _Planned(wall + delay, wall, loop)
        return wall + delay

    def _put_off(self, address: str, delay: float) -> None:
        self._present[address].not_before = asyncio.get_running_loop().time() + delay
