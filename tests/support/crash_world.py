"""A whole world around the real gateway, in which it can die at any point and start again from what is on disk.

The gateway is the daemon's own object with all its rooms. Around it: simulated recorders on a virtual radio, an
emulated cloud on a network of memory, a clock that jumps. Nothing depends on real time, so that the same run happens
every time.

A death shuts every door of the life at once: its spool's files are copied as they are, its adapter vanishes from the
air, its connections end. Whatever the remains still do, they do behind shut doors; the next life starts on the copy.
"""

import asyncio
import functools
import hashlib
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from httpcore._async import http11
from pydantic import SecretStr

import bota_gateway.spool.ballast
import bota_gateway.spool.reading
import bota_gateway.spool.receiving
import bota_gateway.upload.tools
from bota_gateway.cloud import api, transport
from bota_gateway.config import Settings
from bota_gateway.daemon import Gateway
from bota_gateway.errors import GatewayError, StatusError
from bota_gateway.model import Custody, Recording
from bota_gateway.radio.bumble_backend import backends
from bota_gateway.sim.cloud import CloudOptions
from bota_gateway.sim.faults import Fault
from bota_gateway.sim.options import Group, RecorderOptions, StoredRecording
from bota_gateway.sim.virtual_radio import VirtualRadio
from bota_gateway.spool import Spool
from bota_gateway.status.server import Answer, StatusServer
from support.doors import Classes, Pending, WatchedRecorder, WatchedTransport, watch_statements, watched_adapter
from support.effects import Effects, Moment, Point
from support.evidence import Evidence, Held
from support.gathering import SPOOL_FILES, cloud_copies, copy_spool, diagnostics, digest_of, files_of, spool_facts
from support.memory_net import MemoryBackend, MemoryCloud, MemoryNetwork
from support.one_thread import sqlite_in_one_thread
from support.witness import IS_DEAD, Witness

WALL_AT_ZERO = 1_790_000_000.0
"""Unix time when the loop's clock reads 0: the wall clock goes with it."""

SETTLES_WITHIN_S = 12 * 3600.0
"""Virtual time in which every scenario has to come to rest, whatever happened."""

LOOK_FIRST_S, LOOK_LONGEST_S = 1.0, 15.0
"""How soon, and how seldom at most, it is looked whether everything has come to rest, in virtual time."""

ADVERTISING_S = 4.0
"""Seldom, so that a run is not filled with advertisements; the standard allows up to 10.24 s."""

AUDIO_ROW_BYTES = 4096
"""A row of audio, a piece of an upload and the ballast, much smaller than in life: few packets make several rows."""

SMALL_TABLE = frozenset(Group) - {Group.TIME_SYNC}
"""Characteristics that no visit uses are left out: they only cost time in discovery."""

Death = Point | int
"""Where a life ends: a point by its name, or by its place in the order of that life, counted from 1."""

LIFE: ContextVar["Life"] = ContextVar("life")
"""The life in which something happens."""


@dataclass(frozen=True, eq=False)
class Scenario:
    """What recorders hold, how the cloud is, and what goes wrong or is done from outside meanwhile."""

    name: str
    recordings: Mapping[str, Sequence[StoredRecording]]
    """By serial."""
    profile: str = "e"
    cloud: Mapping[str, Any] = field(default_factory=dict)
    """Options of the emulated cloud."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Sections of the gateway's."""
    recorder: Mapping[str, Any] = field(default_factory=dict)
    """Options of the recorders."""
    recorder_faults: Sequence[Fault] = ()
    arrange: Callable[["World"], None] = lambda _world: None
    """Last touches before anything runs: faults of the cloud, bindings."""
    outside: Callable[["World"], Awaitable[bool]] | None = None
    """What people do: called again and again, also after a death. True once nothing is left to do."""
    waits: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Serial and file id of recordings that end up waiting for a human, with the code."""
    rests: frozenset[Custody] = frozenset({Custody.CONFIRMED, Custody.FORGOTTEN, Custody.PARKED})
    """States in which rows come to rest."""


@dataclass
class Life:
    """One run of the gateway, from its start to its death."""

    adapter: str
    """Its name on the air."""
    spool: Path
    effects: Effects
    backend: MemoryBackend
    gateway: Gateway
    task: asyncio.Task[None]
    ask: Answer | None = None
    """Answers what the command line asks; there once the gateway listens."""


class World:
    """Everything around the gateway. Made by :func:`world`."""

    def __init__(self, directory: Path, scenario: Scenario, deaths: Sequence[Death], *, marking: bool) -> None:
        self.directory = directory
        self.scenario = scenario
        self.air = VirtualRadio(bytes_per_s=60_000)
        self.network = MemoryNetwork()
        options = CloudOptions(**({"requests_per_minute": None, "upload_urls_per_minute": None} | dict(scenario.cloud)))
        self.cloud = MemoryCloud(self.network, scenario.profile, seed=1, options=options, now=self.now)
        self.witness = Witness(self.cloud, self.now, lambda: self.life.spool)
        self.recorders: dict[str, WatchedRecorder] = {}
        self.lives: list[Life] = []
        self.marks: list[str] = []
        """What would survive a death at each point."""
        self.diagnostics: dict[str, bytes] = {}
        """What the last life answered to every question about it."""
        self.notes: dict[str, Any] = {}
        """For what happens outside to remember how far it is."""
        self._marking = marking
        self._deaths = list(deaths)
        self._died = asyncio.Event()
        self._pending: Pending = {}
        self._remains: list[asyncio.Task[None]] = []

    def now(self) -> float:
        """The wall clock, of hub and cloud alike."""
        return WALL_AT_ZERO + asyncio.get_running_loop().time()

    @property
    def life(self) -> Life:
        """The present life."""
        return self.lives[-1]

    @property
    def spool(self) -> Spool:
        """The present life's spool."""
        return self.life.gateway.spool

    # -- recorders -----------------------------------------------------------------------------------------------------

    def put(self, serial: str, *recordings: StoredRecording) -> None:
        """Put new recordings on a recorder."""
        self.witness.note_made(serial, *recordings)
        self.recorders[serial].add(*recordings)

    def take(self, serial: str, file_id: str) -> StoredRecording:
        """Somebody else takes a recording off a recorder."""
        stored = self.recorders[serial].firmware.recordings.pop(file_id)
        self.witness.taken.add(self.witness.held(serial, stored))
        return stored

    def give_back(self, serial: str, stored: StoredRecording) -> None:
        """What was taken is there again."""
        self.witness.taken.discard(self.witness.held(serial, stored))
        self.recorders[serial].add(stored)

    def acted(self, recorder: WatchedRecorder) -> None:
        """A recorder has done what was written to it, and is about to answer."""
        effect = self._pending.pop(recorder.address.upper(), None)
        if effect is not None:
            effect.reach(Moment.ACTED)

    # -- what a person wants no more -----------------------------------------------------------------------------------

    async def forget(self, row: Recording) -> bool:
        """Somebody has the hub forget a recording, also its last copy; False when that is refused.

        Cut off by a death, it may have happened or not. What the cloud has stored must be there all the same.
        """
        held = self._made_of(row) if row.stored_at is None else set()
        self.witness.forgotten |= held
        self.witness.ever_forgotten |= held
        try:
            await self._ask({"ask": "forget", "recording": str(row.key), "last_copy": True})
        except GatewayError:
            self.witness.forgotten -= held
            return False
        return True

    async def want_again(self, row: Recording) -> None:
        """Somebody asks for a forgotten recording after all."""
        await self._ask({"ask": "retry", "recording": str(row.key)})
        if not self.life.effects.over:
            self.witness.forgotten -= self._made_of(row)

    async def _ask(self, question: dict[str, object]) -> object:
        if self.life.ask is None:
            raise StatusError("The gateway does not listen yet.")
        return await self.life.ask(question)

    def _made_of(self, row: Recording) -> set[Held]:
        """What recorders made under this name: all of it, as several takes share one."""
        key = (row.key.serial, row.key.file_id, row.key.started_at)
        return {one for one in self.witness.made if (one.serial, one.file_id, one.started_at) == key}

    # -- lives ---------------------------------------------------------------------------------------------------------

    async def live(self) -> bool:
        """Let the gateway run until everything has come to rest, starting it again after each death; then stop it.

        False when it does not come to rest in time.
        """
        rests = True
        try:
            async with asyncio.timeout(SETTLES_WITHIN_S):
                await self._begin()
                while not await self._comes_to_rest():
                    await self._begin()
        except TimeoutError:
            rests = False
        if self.life.ask is not None:
            self.diagnostics = await diagnostics(self.life.ask, await self.spool.recordings())
        self.life.gateway.stop()
        await self.life.task
        self.life.effects.over = True
        self._leave_air(self.life.adapter)
        return rests

    async def _begin(self) -> None:
        number = len(self.lives) + 1
        name = f"hci{number}"
        effects = Effects(self._deaths.pop(0) if self._deaths else None, self._die)
        if self._marking:
            effects.noted = self._mark
        spool = self._spool_of(number)
        gateway = Gateway(
            self._settings(spool),
            SecretStr(self.cloud.api_key),
            adapters=[watched_adapter(name, await self._join_air(name), effects, self._pending)],
            now=self.now,
            clock_is_trusted=lambda: True,
            seed=number,
        )
        self._died.clear()
        task = asyncio.create_task(self._run(gateway, effects), name=f"life-{number}")
        self.lives.append(Life(name, spool, effects, MemoryBackend(self.network), gateway, task))

    async def _join_air(self, name: str) -> Classes:
        """An adapter, as bleak's classes see it."""
        return backends(await self.air.adapter(name))

    def _leave_air(self, name: str) -> None:
        """An adapter is gone without a word."""
        self.air.remove(name)

    async def _run(self, gateway: Gateway, effects: Effects) -> None:
        LIFE.set(self.life)
        IS_DEAD.set(lambda: effects.over)
        await gateway.run()

    def _spool_of(self, number: int) -> Path:
        return self.directory / f"life-{number}"

    def _settings(self, spool: Path) -> Settings:
        given = self.scenario.settings
        own: dict[str, Mapping[str, Any]] = {
            "spool": {"directory": spool, "min_free_bytes": 0},
            "cloud": {"api_base": self.cloud.api_base, "s3_hosts": (self.cloud.s3_host,)},
            "status": {"socket": spool / "status.sock"},
        }
        return Settings.model_validate({name: {**own.get(name, {}), **given.get(name, {})} for name in {*own, *given}})

    def _die(self) -> None:
        """As a SIGKILL at this very moment."""
        copy_spool(self.life.spool, self._spool_of(len(self.lives) + 1))
        self.life.backend.cut()
        self._leave_air(self.life.adapter)
        self._pending.clear()
        self._died.set()

    async def _comes_to_rest(self) -> bool:
        """False when the gateway died instead."""
        life, nap = self.life, LOOK_FIRST_S
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(nap):
                    await self._died.wait()
            nap = min(nap * 1.2, LOOK_LONGEST_S)
            if self._died.is_set():
                life.task.cancel()
                self._remains.append(life.task)
                return False
            if life.task.done():
                await life.task  # raises what ended it
                raise AssertionError("the gateway ended by itself")
            if life.gateway.ready.is_set() and await self._is_at_rest():
                return True

    async def _is_at_rest(self) -> bool:
        if self.scenario.outside is not None and not await self.scenario.outside(self):
            return False
        if self._died.is_set() or self.life.gateway.links:
            return False
        if any(record.next_visit_at is None for record in await self.spool.recorders()):
            return False  # the first visit of this life is still to come
        rows = await self.spool.recordings()
        known = {(row.key.serial, row.key.file_id, row.key.started_at) for row in rows}
        everything = set(self.witness.made) - self.witness.taken
        met = all((one.serial, one.file_id, one.started_at) in known for one in everything)
        return met and all(row.state in self.scenario.rests for row in rows) and self._recorders_are_done(rows)

    def _recorders_are_done(self, rows: Sequence[Recording]) -> bool:
        """They hold nothing but what rests in the spool, too."""
        over = {Custody.CONFIRMED, Custody.FORGOTTEN}
        resting = {(row.key.serial, row.key.file_id) for row in rows if row.state not in over}
        return all(
            (serial, one.file_id) in resting
            for serial, recorder in self.recorders.items()
            for one in recorder.recordings
        )

    def _mark(self) -> None:
        """Everything that survives a death at this moment, as one digest.

        The spool's files byte by byte, the cloud, the recorders, what is on its way to them, and the time.
        """
        cloud, spool = self.cloud.world, self.life.spool
        survives = (
            round(self.now()),
            [digest_of(spool / name) for name in SPOOL_FILES if (spool / name).exists()],
            (cloud.devices.by_id, cloud.recordings, self.cloud.objects.all(), self.cloud.faults.report()),
            [
                (
                    sorted(recorder.firmware.recordings),
                    recorder.connected,
                    recorder.firmware.transfer is not None,
                    recorder.faults.fired,
                    recorder.seen.confirms,
                )
                for recorder in self.recorders.values()
            ],
            self.life.effects.under_way,
        )
        self.marks.append(hashlib.sha256(repr(survives).encode()).hexdigest())

    # -- the end -------------------------------------------------------------------------------------------------------

    async def evidence(self) -> Evidence:
        """Everything that is known after :meth:`live`."""
        await asyncio.gather(*self._remains, return_exceptions=True)
        facts = await spool_facts(self._settings(self.life.spool).spool, self.now)
        witness, waits = self.witness, self.scenario.waits
        texts = {"log": "\n".join(witness.log).encode(), **self.diagnostics}
        return Evidence(
            made=witness.made,
            still_held=[
                witness.held(serial, one) for serial, recorder in self.recorders.items() for one in recorder.recordings
            ],
            told=witness.told,
            cloud=cloud_copies(self.cloud),
            rows=facts.rows,
            audio=facts.audio,
            timelines=facts.timelines,
            recorders=facts.recorders,
            events=witness.events,
            texts=texts | dict(files_of(self.directory)),
            secrets=witness.secrets,
            waits={one: waits[one.serial, one.file_id] for one in witness.made if (one.serial, one.file_id) in waits},
            taken=frozenset(witness.taken),
            forgotten=frozenset(witness.forgotten),
            ever_forgotten=frozenset(witness.ever_forgotten),
            may_confirm=self.scenario.settings.get("recorders", {}).get("confirm") != "never",
        )

    @contextmanager
    def seams(self) -> Iterator[None]:
        """The doors are in the product while the block runs."""
        open_spool, make_client = Spool.open, transport.make_client

        @asynccontextmanager
        async def opened(settings: Any, now: Any) -> AsyncIterator[Spool]:
            life = LIFE.get(None)
            async with open_spool(settings, now, probe=life.effects.spool if life else None) as spool:
                if life is not None:
                    # Steps of the opening itself came before anybody could watch.
                    watch_statements(spool._db._db._conn, life.effects, begun=life.effects.transactions)
                yield spool

        def client(trust: Any, *, connections: int) -> httpx.AsyncClient:
            made, life = make_client(trust, connections=connections), LIFE.get()
            made._transport = WatchedTransport(life.effects, life.backend, self._is_api)
            return made

        with pytest.MonkeyPatch.context() as patch, sqlite_in_one_thread():
            patch.setattr(Spool, "open", opened)
            patch.setattr(api, "make_client", client)
            patch.setattr(api, "system_trust", _trust)
            patch.setattr(StatusServer, "run", _serve_nobody)
            patch.setattr(tempfile, "tempdir", str(self.directory.parent))  # the cloud syncs, too
            for missing in ("trio", "sniffio"):  # httpcore tries to import them at every lock, which takes its time
                patch.setitem(sys.modules, missing, None)
            # Connections that are idle grow old by the loop's clock, not by how long the run takes.
            patch.setattr(http11, "time", SimpleNamespace(monotonic=asyncio.get_running_loop().time))
            for room in (bota_gateway.spool.receiving, bota_gateway.spool.reading):
                patch.setattr(room, "AUDIO_ROW_BYTES", AUDIO_ROW_BYTES)
            patch.setattr(bota_gateway.upload.tools, "PIECE_BYTES", AUDIO_ROW_BYTES)
            patch.setattr(bota_gateway.spool.ballast, "BALLAST_BYTES", AUDIO_ROW_BYTES)
            yield

    def _is_api(self, url: httpx.URL) -> bool:
        return self.cloud.api_base.startswith(f"{url.scheme}://{url.netloc.decode('ascii')}/")


@asynccontextmanager
async def world(directory: Path, scenario: Scenario, *deaths: Death, marking: bool = False) -> AsyncIterator[World]:
    """The world of a scenario, before anything has happened in it. Wants a loop of ``one_thread``.

    Args:
        directory: For the spools of all lives.
        scenario: What it is like.
        deaths: Where the first lives end; the one after them lives.
        marking: Whether to note at each point what would survive a death there.
    """
    it = World(directory, scenario, deaths, marking=marking)
    options = RecorderOptions(absent=SMALL_TABLE, advertising_interval_s=ADVERTISING_S, **scenario.recorder)
    async with AsyncExitStack() as stack:
        stack.enter_context(it.seams())
        stack.enter_context(it.witness.logging())
        await stack.enter_async_context(it.cloud)
        for serial in scenario.recordings:
            it.cloud.devices.register(serial)
        scenario.arrange(it)
        for serial, recordings in scenario.recordings.items():
            recorder = WatchedRecorder(it.air, serial=serial, options=options, heard=it.witness.heard, acted=it.acted)
            recorder.faults.add(*scenario.recorder_faults)
            it.recorders[serial] = recorder
            it.put(serial, *recordings)
            await stack.enter_async_context(recorder)
        yield it


async def _serve_nobody(server: StatusServer) -> None:
    """A socket would make the clock wait for it; who asks is given the answers without one."""
    LIFE.get().ask = server._answer
    await asyncio.get_running_loop().create_future()


_trust = functools.cache(transport.system_trust)
"""The system's certificates, read once: they cost more than a whole run."""
