"""The crash-point world, in which a schedule is played: faults come and go, then all is well and everything settles."""

import asyncio
import dataclasses
import math
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bota_gateway.cloud.const import UNAUTHORIZED_PROBE_S
from bota_gateway.daemon import counts, gateway, signs
from bota_gateway.errors import GatewayError, SpoolError
from bota_gateway.model import CaptureKey, Recording
from bota_gateway.radio import scanner
from bota_gateway.radio.const import SILENT_S
from bota_gateway.sim.cloud import Rule
from bota_gateway.sim.faults import Faults
from bota_gateway.sim.options import RecorderOptions, StoredRecording
from bota_gateway.spool import Moment as SpoolMoment
from bota_gateway.spool import Step, ballast
from bota_gateway.spool.room import Room
from support.chaos.at_cloud import Lent
from support.chaos.at_hub import SpoolLost
from support.chaos.happening import Happening
from support.chaos.human import Human
from support.chaos.scene import OVER, scenario_of, stored_of
from support.chaos.schedule import Schedule
from support.chaos.setup import Quirk, Recorded
from support.chaos.silence import silences
from support.crash_world import SMALL_TABLE, World
from support.doors import Classes
from support.effects import Point
from support.evidence import Evidence, Word
from support.gathering import copy_spool, diagnostics, held_by
from support.plain_air.air import PlainAir
from support.plain_air.bleak_classes import plain_backends
from support.plain_air.recorder import PlainRecorder

RESTART_S = 5.0
"""Seconds after which systemd starts a service again that ended by itself."""

STOP_S = 90.0
"""Seconds in which a gateway that is told to stop has to have ended: systemd kills it then."""

SETTLES_WITHIN_S = 30 * 3600.0
"""Virtual time in which everything has to come to rest once all is well, beside two visits. The longest wait is a day:
a recorder that the cloud did not know is asked about again after that."""

LOOK_EVERY_S = 30.0
"""How often it is looked whether everything has come to rest, in virtual time."""

LOOKS = 12
"""How often in a schedule it is looked whether anything waits in silence."""

CALLS_AT_ONCE = 9
"""Calls that may be under way, or go before it is sure that the key is refused, when it is; in each life."""

USUAL_PACE = 60_000.0
"""Bytes a second of a link."""

TIMER_GRAIN_S = 1e-6
"""Timers fire this much early at most, and sums of times are rounded."""

PLENTY = 1 << 40
SOMEBODY_ELSE = "eu_somebodyElse"


class ChaosWorld(World):
    """Plays one schedule. Made by :func:`chaos_world`."""

    recorders: dict[str, PlainRecorder]  # type: ignore[assignment]  # on another air

    def __init__(self, directory: Path, schedule: Schedule) -> None:
        super().__init__(directory, scenario_of(schedule), (), marking=False)
        self.schedule = schedule
        self.ether = PlainAir(bytes_per_s=USUAL_PACE, seed=schedule.seed)
        self.usual_options = RecorderOptions(
            absent=SMALL_TABLE, advertising_interval_s=schedule.pace.advertising_s, advertise_again_after_s=0.1
        )
        self.clock_off_by_s = 0.0
        self.clock_is_trusted = True
        self.disk_free: int | None = None
        """Bytes; None for plenty."""
        self.on_write: Any = None
        """Called at each moment of each transaction of the spool; may raise."""
        self.fired: Counter[str] = Counter()
        """What has really happened, by kind."""
        self.trouble: list[str] = []
        """Broken promises that only this world can see."""
        self.wearers: dict[str, str] = {}
        self._rules: dict[int, Rule] = {}
        self._unplugged: dict[int, Any] = {}
        self._cut_by: set[int] = set()
        self.alive = False
        self._back_at = math.inf
        self.revived_at = 0.0

    # -- the whole -----------------------------------------------------------------------------------------------------

    async def play(self) -> None:
        """Play the schedule, let everything settle, let a human do what only a human can, and stop."""
        await self.revive()
        start = asyncio.get_running_loop().time()
        moments = iter(sorted([*self.schedule.moments(), *self._looks()], key=lambda moment: moment[0]))
        for at, begins, happening in moments:
            await self._pass(start + min(at, self.schedule.pace.horizon_s))
            if happening is None:
                self.trouble += await silences(self)
            else:
                await (self._begins(happening) if begins else happening.end(self))
        await self._pass(start + self.schedule.pace.horizon_s)
        await self._calm()
        if await self.settles():
            await Human(self).settle()
        await self.revive()
        if self.life.ask is not None:
            self.diagnostics = await diagnostics(self.life.ask, await self.spool.recordings())
        await self.stop(back_after_s=math.inf)
        self._count_firings()

    def _looks(self) -> Iterator[tuple[float, bool, None]]:
        """When it is looked whether anything waits in silence."""
        for number in range(1, LOOKS + 1):
            yield number * self.schedule.pace.horizon_s / (LOOKS + 1), True, None

    async def _begins(self, happening: Happening) -> None:
        if happening.counted and not (isinstance(happening, Quirk) and not happening.lasts):
            self.fired[happening.name] += 1
        await happening.begin(self)

    async def _calm(self) -> None:
        """From here on nothing goes wrong any more."""
        for happening in self.schedule.happenings:
            if happening.lasts:
                await happening.end(self)
        self._count_firings()
        self.cloud.faults.clear()
        for recorder in self.recorders.values():
            recorder.faults.clear()
        self.on_write = None
        if self.alive:
            self.life.effects.die_at = None
        await self.revive()

    async def settles(self) -> bool:
        """Whether everything comes to rest in time; what does not is ``trouble``."""
        within = SETTLES_WITHIN_S + 2 * self.schedule.pace.visits[-1]
        until = asyncio.get_running_loop().time() + within
        while not (self.alive and self.life.gateway.ready.is_set() and await self._is_at_rest()):
            if asyncio.get_running_loop().time() > until:
                await self.life.gateway.ready.wait()
                rows = [f"{row.key} {row.state} {row.waiting_for}" for row in await self.spool.recordings()]
                rows += [f"{one.serial} {one.waiting_for}" for one in await self.spool.recorders()]
                self.trouble.append(f"unsettled after {within:.0f} s: {'; '.join(rows)}")
                return False
            await self._pass(asyncio.get_running_loop().time() + LOOK_EVERY_S)
        return True

    async def evidence(self) -> Evidence:
        """As that of the crash-point world; a recording that somebody took, or had forgotten, waits for nobody."""
        evidence = await super().evidence()
        over = evidence.taken | evidence.forgotten
        waits = {held: code for held, code in evidence.waits.items() if held not in over}
        return dataclasses.replace(evidence, waits=waits)

    async def _is_at_rest(self) -> bool:
        """As in the crash-point world; and what has grown on a recorder is known as it is now."""
        rows = await self.spool.recordings()
        pulled = {(row.key, row.duration_s if row.sha256 else None) for row in rows}
        for serial, recorder in self.recorders.items():
            for one in recorder.recordings:
                key = CaptureKey(serial, one.file_id, one.started_at)
                if not pulled & {(key, one.duration_s), (key, None)}:
                    return False
        if not any(isinstance(one, SpoolLost) for one in self.schedule.happenings):
            return await super()._is_at_rest()
        return await self._rests_without_the_past(rows)

    async def _rests_without_the_past(self, rows: Sequence[Recording]) -> bool:
        """A spool that was lost need not know what was over before."""
        known = {(row.key.serial, row.key.file_id, row.key.started_at) for row in rows}
        everything = self.witness.made
        held = {held_by(serial, one) for serial, recorder in self.recorders.items() for one in recorder.recordings}
        self.witness.made = [
            one
            for one in everything
            if dataclasses.replace(one, wearer=None) in held or (one.serial, one.file_id, one.started_at) in known
        ]
        try:
            return await super()._is_at_rest()
        finally:
            self.witness.made = everything

    async def retry_all(self) -> None:
        """Somebody asks for another try of everything."""
        if self.alive and self.life.gateway.ready.is_set():
            with suppress(GatewayError):  # the disk fails: whoever asked is told so
                self.fired["humanretries"] += await self.spool.retry()

    async def forget_one(self, nth: int) -> None:
        """Somebody has one recording forgotten that is not yet; of what is not done, if there is any."""
        rows = [row for row in await self._rows_to_ask_for() if not row.forgotten_by_hand]
        rows = [row for row in rows if row.state not in OVER] or rows
        if rows:
            self.fired["humanforgets"] += await self.forget(rows[nth % len(rows)])

    async def want_all_again(self) -> None:
        """Somebody wants everything after all that was forgotten by hand."""
        for row in await self._rows_to_ask_for():
            if row.forgotten_by_hand:
                with suppress(GatewayError):  # the disk fails, or it died: then it stays forgotten
                    await self.want_again(row)
                    self.fired["humanwantsagain"] += 1

    async def _rows_to_ask_for(self) -> list[Recording]:
        """What somebody who asks can be shown; nothing while no gateway answers."""
        if not (self.alive and self.life.ask is not None and self.life.gateway.ready.is_set()):
            return []
        return await self.spool.recordings()

    # -- the air -------------------------------------------------------------------------------------------------------

    async def _join_air(self, name: str) -> Classes:
        return plain_backends(self.ether.adapter(name))

    def _leave_air(self, name: str) -> None:
        self.ether.remove(name)

    # -- lives ---------------------------------------------------------------------------------------------------------

    def hub_now(self) -> float:
        """The hub's clock, which may be off."""
        return self.now() + self.clock_off_by_s

    async def revive(self) -> None:
        """Start the gateway, if it does not run."""
        if not self._has_died():
            return
        await self._begin()
        self.alive = True
        self._back_at = math.inf
        self.revived_at = self.now()
        gateway, effects = self.life.gateway, self.life.effects
        gateway._now, gateway._clock_is_trusted = self.hub_now, lambda: self.clock_is_trusted
        effects.die = self._die
        noted = effects.spool

        def note(step: Step, moment: SpoolMoment) -> None:
            noted(step, moment)
            if self.on_write is not None and not effects.over:
                self.on_write(step, moment)

        effects.spool = note  # type: ignore[method-assign]  # the one place where a disk's failure can be played

    def _die(self) -> None:
        self.life.spool.mkdir(exist_ok=True)  # it may die before it was made
        super()._die()

    def _has_died(self) -> bool:
        """Whether it died around an effect, which is noted here."""
        if self.alive and self._died.is_set():
            self.fired["diesaround"] += 1
            self._bury(RESTART_S)
        return not self.alive

    def kill(self, *, back_after_s: float) -> None:
        """As a SIGKILL at this moment."""
        if not self._has_died():
            self.life.effects.over = True
            self._die()
            self._bury(back_after_s)

    def kill_around(self, kind: str, nth: int, moment: str) -> None:
        """As a SIGKILL at a moment of the n-th effect of a kind from now on."""
        if not self._has_died():
            effects = self.life.effects
            effects.die_at = Point(kind, effects._count[kind] + nth, moment)

    async def stop(self, *, back_after_s: float) -> None:
        """As a SIGTERM."""
        if self._has_died():
            return
        self.life.gateway.stop()
        self.life.effects.die_at = None
        done, _ = await asyncio.wait({self.life.task}, timeout=STOP_S)
        if not done:
            self.trouble.append(f"did not stop within {STOP_S:.0f} s")
            self.kill(back_after_s=back_after_s)
            return
        self._ended(back_after_s)

    def _ended(self, back_after_s: float) -> None:
        """The process has ended by itself."""
        error = self.life.task.exception()
        if isinstance(error, SpoolError):
            self.fired["exit 3"] += 1
        elif error is not None:
            self.trouble.append(f"the gateway ended: {error!r}")
        copy_spool(self.life.spool, self.next_spool)
        self.life.effects.over = True
        self._leave_air(self.life.adapter)
        self._over(back_after_s)

    def _bury(self, back_after_s: float) -> None:
        self.life.task.cancel()
        self._remains.append(self.life.task)
        self._over(back_after_s)

    def _over(self, back_after_s: float) -> None:
        if back_after_s < math.inf:
            shutil.rmtree(self.life.spool)  # the next life has a copy of everything
        self.alive, self._back_at = False, asyncio.get_running_loop().time() + back_after_s

    @property
    def next_spool(self) -> Path:
        """Where the next life finds its spool; there once the present one is over."""
        return self._spool_of(len(self.lives) + 1)

    async def _pass(self, until: float) -> None:
        """Let time pass, and start the gateway again when it is time."""
        loop = asyncio.get_running_loop()
        while (left := until - loop.time()) > TIMER_GRAIN_S:
            if not self.alive:
                await asyncio.sleep(min(left, max(0.0, self._back_at - loop.time())))
                if loop.time() >= self._back_at - TIMER_GRAIN_S:
                    await self.revive()
                continue
            died = asyncio.ensure_future(self._died.wait())
            try:
                await asyncio.wait({died, self.life.task}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                died.cancel()
            if not self._has_died() and self.life.task.done():
                self._ended(RESTART_S)

    # -- what happenings do --------------------------------------------------------------------------------------------

    def put(self, serial: str, *recordings: StoredRecording) -> None:
        """As in the crash-point world; but whose they are can't be known for sure where a recorder is lent.

        The cloud only ever tells whose the recorder is when it is asked.
        """
        super().put(serial, *recordings)
        if any(isinstance(one, Lent) and one.serial == serial for one in self.schedule.happenings):
            made = self.witness.made
            made[-len(recordings) :] = [dataclasses.replace(one, wearer=None) for one in made[-len(recordings) :]]

    def make(self, new: Recorded) -> None:
        """A recorder makes a recording; file ids on one recorder differ."""
        recorder = self.recorders[new.serial]
        earlier = [one for one in self.witness.made if (one.serial, one.file_id) == (new.serial, new.file_id)]
        deleted = {told.held for told in self.witness.told if told.word is Word.CONFIRM}
        if new.file_id in recorder.firmware.recordings or not set(earlier) <= deleted:
            return
        self.put(new.serial, stored_of(new))

    def arm(self, why: Happening, rule: Rule) -> None:
        """The cloud misbehaves from now on."""
        self._rules[id(why)] = self.cloud.faults.arm(rule)

    def disarm(self, why: Happening) -> int:
        """The cloud behaves again; gives back how many calls it struck."""
        rule = self._rules.pop(id(why), None)
        if rule is None:
            return 0
        fired = self.cloud.faults.disarm(rule)
        self._count_rule(rule, fired)
        return fired

    def no_storm(self, refused: int, lasts: float) -> None:
        """A key that is refused is tried once in a while, not by every call."""
        at_most = CALLS_AT_ONCE * len(self.lives) + lasts / UNAUTHORIZED_PROBE_S
        if refused > at_most:
            self.trouble.append(f"a storm of {refused} refused calls in {lasts:.0f} s")

    def unplug(self, why: Happening) -> None:
        """Connections to the cloud end, and no more come about."""
        self._cut_by.add(id(why))
        accepts = self.network._accepts
        self._unplugged |= accepts
        accepts.clear()
        if self.alive:
            for stream in list(self.life.backend._streams):
                stream.end()

    def plug_in(self, why: Happening) -> None:
        """The cloud can be reached again, unless something else stands in the way."""
        self._cut_by.discard(id(why))
        if not self._cut_by:
            self.network._accepts.update(self._unplugged)

    def lend(self, serial: str) -> None:
        """A recorder gets another wearer."""
        self.cloud.devices.bind(serial, SOMEBODY_ELSE)

    def rebind(self, serial: str, user: str | None = None) -> None:
        """A recorder is bound to its wearer, or to a given user, again."""
        user = user or self.wearers[serial]
        if self.cloud.devices.by_serial(serial).end_user_id != user:
            self.cloud.devices.bind(serial, user)

    # -- counting ------------------------------------------------------------------------------------------------------

    def _count_firings(self) -> None:
        for key, rule in list(self._rules.items()):
            self._count_rule(rule, self.cloud.faults.disarm(rule))
            del self._rules[key]
        for recorder in self.recorders.values():
            self.fired.update(str(firing.kind) for firing in recorder.faults.fired)
            recorder.faults.fired.clear()

    def _count_rule(self, rule: Rule, fired: int) -> None:
        fault: Any = rule.fault
        name = f"{fault.kind} {getattr(fault, 'status', getattr(fault, 'refusal', ''))}".rstrip()
        self.fired[f"cloud {name}"] += fired

    # -- seams ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def seams(self) -> Iterator[None]:
        """Those of the crash-point world, and the size of the disk."""

        def disk_free(_room: Room) -> int:
            return PLENTY if self.disk_free is None else self.disk_free

        with super().seams(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(Room, "_disk_free", disk_free)
            # Beats of seconds, and scanning anew when nobody advertises, would be most of what happens in a week.
            patch.setattr(signs, "STATUS_LINE_EVERY_S", 3600.0)
            patch.setattr(counts, "KEEP_EVERY_S", 3600.0)
            patch.setattr(gateway, "PROVE_EVERY_S", max(gateway.PROVE_EVERY_S, self.schedule.pace.advertising_s))
            patch.setattr(scanner, "SILENT_S", max(SILENT_S, 3 * self.schedule.pace.advertising_s))
            patch.setattr(ballast, "BALLAST_BYTES", 1 << 16)  # it is copied at each death
            yield


@asynccontextmanager
async def chaos_world(directory: Path, schedule: Schedule) -> AsyncIterator[ChaosWorld]:
    """The world of a schedule, before anything has happened in it. Wants a loop of ``one_thread``."""
    it = ChaosWorld(directory, schedule)
    async with AsyncExitStack() as stack:
        stack.enter_context(it.seams())
        stack.enter_context(it.witness.logging())
        await stack.enter_async_context(it.cloud)
        for number, serial in enumerate(schedule.serials):
            it.wearers[serial] = it.cloud.devices.register(serial).end_user_id or ""
            faults = Faults(seed=schedule.seed * 10 + number)
            recorder = PlainRecorder(
                it.ether,
                serial=serial,
                options=it.usual_options,
                faults=faults,
                heard=it.witness.heard,
                acted=it.acted,
            )
            it.recorders[serial] = await stack.enter_async_context(recorder)
        yield it
