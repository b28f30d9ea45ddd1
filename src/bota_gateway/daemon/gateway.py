"""The gateway: radio, sync, spool and upload wired together, supervised as one task group.

Nothing here knows how a recording moves; this module only decides what runs, and what happens when a part fails.
"""

import asyncio
import platform
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import SecretStr

from bota_gateway.cloud import Allowance, BotaApi, Pause
from bota_gateway.config import Settings
from bota_gateway.daemon import clock
from bota_gateway.daemon.counts import keep_counts
from bota_gateway.daemon.pausing import Pausing
from bota_gateway.daemon.signs import Signs
from bota_gateway.daemon.supervise import Down, keep_running
from bota_gateway.daemon.systemd import ServiceManager
from bota_gateway.daemon.tidying import Tidying
from bota_gateway.errors import SpoolCorruptError, SpoolError, SpoolWriteError
from bota_gateway.model import RecorderRecord, WallClock
from bota_gateway.pulse import Pulses, back_within, lasting
from bota_gateway.radio import PRESENT_S, Adapter, AdapterState, Radio, ScanTrouble, Tally
from bota_gateway.spool import Spool
from bota_gateway.status.answers import Answers
from bota_gateway.status.live import Heard
from bota_gateway.status.report import Report
from bota_gateway.status.server import StatusServer
from bota_gateway.status.story import Story
from bota_gateway.sync import LinkProgress, Rounds, Unmet
from bota_gateway.upload import Registrar, Uploader, Working

if TYPE_CHECKING:
    from bota_gateway.status.web import StatusPage

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

PROVE_EVERY_S = 15.0
"""How often a disk that refused a write is tried again: a card that stalls comes back within a minute."""
DISK_PATIENCE_S = 600.0
"""A disk that refuses every write for this long does not come back under the files that are open now: a new process
opens it anew, should it have been put in again."""


class Gateway:
    """The daemon without its process: ``run`` until ``stop``.

    Args:
        settings: The whole configuration.
        key: The project's API key.
        adapters: Adapters to use instead of the hub's own: the demo and the tests bring a virtual radio.
        now: The wall clock.
        clock_is_trusted: Whether recorders may be given the time of this hub.
        seed: Makes jitter repeatable; None for real life.
        story: What was logged last, for whoever follows it.
    """

    def __init__(
        self,
        settings: Settings,
        key: SecretStr,
        *,
        adapters: Sequence[Adapter] | None = None,
        now: WallClock = time.time,
        clock_is_trusted: Callable[[], bool] = clock.is_trusted,
        seed: int | None = None,
        story: Story | None = None,
    ) -> None:
        self._settings = settings
        self._key = key
        self._adapters = adapters
        self._now = now
        self._clock_is_trusted = clock_is_trusted
        self._rng = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._story = story or Story()
        self._stop = asyncio.Event()
        self._down: dict[str, Down] = {}
        """Parts that are down, by their names."""
        self._manager = ServiceManager()
        self._supervisors: list[asyncio.Task[None]] = []
        """Of the parts; all of them run as long as the gateway does."""
        self.ready = asyncio.Event()
        """Set once the spool is open and the parts have been started."""
        self.spool: Spool
        """Open while ``run`` runs, from ``ready`` on."""
        self._radio: Radio | None = None
        self._tally = Tally()
        self._rounds: Rounds | None = None
        self._uploader: Uploader | None = None
        self._registrar: Registrar | None = None
        self._api: BotaApi | None = None
        self.page: StatusPage | None = None
        self._pausing: Pausing | None = None

    @property
    def failing(self) -> dict[str, Down | ScanTrouble]:
        """What is down, why and until when: parts of the daemon, and adapters that do not scan, hear or open."""
        down: dict[str, Down | ScanTrouble] = dict(self._down)
        if self._radio_scans():  # that it runs again needs no more proof
            down.pop("radio", None)
        return {**down, **(self._radio.troubles if self._radio else {})}

    @property
    def adapters(self) -> list[AdapterState]:
        """The adapters in use; none while the radio is down."""
        return [station.state() for station in self._radio.stations] if self._radio else []

    @property
    def radio_counts(self) -> Mapping[tuple[str, str], int]:
        """What the radio went through in all lives of this hub, by adapter and name."""
        return self._tally.counts

    @property
    def uploads(self) -> list[Working]:
        """What each upload is doing right now."""
        return list(self._uploader.working.values()) if self._uploader else []

    def is_uploading(self, recording_id: int) -> bool:
        """Whether an upload has this recording in hand."""
        return self._uploader is not None and recording_id in self._uploader.working

    @property
    def pauses(self) -> list[Pause]:
        """Why the cloud is not asked now; empty when it is."""
        return self._api.budget.pauses() if self._api else []

    @property
    def clock_is_trusted(self) -> bool:
        """Whether this hub's clock is synchronised."""
        return self._clock_is_trusted()

    @property
    def budget(self) -> list[Allowance]:
        """How much of what may be asked of the cloud is spent."""
        return self._api.budget.allowances() if self._api else []

    @property
    def paused(self) -> Mapping[str, float]:
        """What a person has paused, and since when."""
        return self._pausing.since if self._pausing else {}

    @property
    def cloud_answered(self) -> bool:
        """Whether any answer of the cloud came since the start."""
        return self._api is not None and self._api.clock.known

    def asks_in(self, recorder: RecorderRecord) -> float | None:
        """Seconds until the cloud is asked whose it is; None where that takes a visit first."""
        return self._registrar.asks_in(recorder) if self._registrar else None

    @property
    def links(self) -> list[LinkProgress]:
        """What each link is doing right now; empty while the radio is down."""
        return self._rounds.links if self._rounds else []

    @property
    def unmet(self) -> list[Unmet]:
        """Recorders in range that have not told their serial yet; none while the radio is down."""
        return self._rounds.unmet if self._rounds else []

    @property
    def heard(self) -> dict[str, Heard]:
        """Who advertised lately, by address; nobody while the radio is down."""
        if self._radio is None:
            return {}
        clock = asyncio.get_running_loop().time()
        return {
            address: Heard(one.rssi, clock - one.at, clock - one.at <= PRESENT_S)
            for address, one in self._radio.sightings.items()
        }

    def stop(self) -> None:
        """Ask ``run`` to end: links are closed, transfers under way are given back, nothing is lost."""
        self._stop.set()

    async def run(self) -> None:
        """Run until stopped.

        Raises:
            ConfigError: when the configuration can't be used.
            SpoolError: when the spool can't be opened, is found damaged, or can't be written for ten minutes.
        """
        lost: BaseException | None = None
        self._manager.status("opening and checking the spool")
        async with (
            Spool.open(self._settings.spool, self._now) as self.spool,
            BotaApi(self._settings.cloud, self._key, self._now) as api,
        ):
            self._tally = Tally(await self.spool.counters(), self.spool.keep_counters)
            self._pausing = Pausing(self.spool, await self.spool.paused())
            try:
                async with asyncio.TaskGroup() as parts:
                    tasks = [
                        parts.create_task(part, name=name) for name, part in self._parts(api, self._pausing).items()
                    ]
                    tasks.append(parts.create_task(lasting("disk", self._mind_the_disk), name="disk"))
                    self._supervisors = tasks
                    self.ready.set()
                    log.info(
                        "gateway_started", version=version("bota-gateway"), spool=str(self._settings.spool.directory)
                    )
                    await self._stop.wait()
                    self._manager.stopping()
                    log.info("gateway_stopping")
                    for task in tasks:
                        task.cancel()
            except* (SpoolWriteError, SpoolCorruptError) as failures:
                lost = failures.exceptions[0]
                while isinstance(lost, BaseExceptionGroup):
                    lost = lost.exceptions[0]
                log.error("durability_lost", reason=str(lost))  # noqa: TRY400 - the words say it, not the traceback
            # Not from within except*: up to Python 3.11.3, which Debian 12 has, that wraps it in a group.
            if lost is not None:
                raise lost from None
        log.info("gateway_stopped")

    def _parts(self, api: BotaApi, pausing: Pausing) -> dict[str, Any]:
        settings = self._settings
        pulses = Pulses()
        pulses.begin()
        self._api = api
        self._uploader = uploader = Uploader(self.spool, api, settings.cloud, self._now, platform.node(), rng=self._rng)
        self._registrar = registrar = Registrar(self.spool, api, settings, self._now, rng=self._rng)
        report = Report(self.spool, self._now, self)
        may_confirm = settings.recorders.confirm == "after_stored"
        answers = Answers(self.spool, self._now, self, report, self._story, pausing, may_confirm=may_confirm)
        runs: dict[str, Callable[[], Awaitable[None]]] = {
            "radio": lambda: pausing.obeying("radio", lambda: self._once_durable(self._listen)),
            "uploader": lambda: pausing.obeying("uploads", lambda: self._once_durable(uploader.run)),
            "registrar": registrar.run,
            "counters": lambda: keep_counts(self._tally, self.spool),
            "status socket": StatusServer(settings.status.socket, answers.answer).run,
            "housekeeping": Tidying(self.spool, self._now, settings.spool.retention_hours * 3600).run,
            **self._page(answers, report),
            "watchdog": Signs(self._manager, report, self._radio_is_known, lambda: self._supervisors, pulses).run,
        }
        return {name: keep_running(name, run, self._down) for name, run in runs.items()}

    def _page(self, answers: Answers, report: Report) -> dict[str, Callable[[], Awaitable[None]]]:
        if not self._settings.status.listen:
            return {}
        from bota_gateway.status.metrics import Metrics  # noqa: PLC0415 - a hub without the page spares its memory
        from bota_gateway.status.web import StatusPage  # noqa: PLC0415 - as above

        metrics = Metrics(self.spool, self._now, self, self._story)
        self.page = StatusPage(self._settings.status, answers, report, self._story, metrics)
        return {"status page": self.page.run}

    async def _once_durable(self, run: Callable[[], Awaitable[None]]) -> None:
        """Nothing is pulled or uploaded again before the disk has shown that it keeps what is written."""
        await self.spool.prove_durable()
        await run()

    async def _mind_the_disk(self) -> None:
        """Try a disk that refused a write until it takes one; parts that failed on it start again by themselves.

        Raises:
            SpoolWriteError: it refused everything for too long.
        """
        loop = asyncio.get_running_loop()
        good_at = loop.time()
        while True:
            try:
                await self.spool.prove_durable()
                good_at = loop.time()
            except SpoolWriteError as refused:
                if loop.time() - good_at > DISK_PATIENCE_S:
                    raise
                log.debug("spool_not_durable", reason=refused.message)
            except SpoolCorruptError:
                raise
            except SpoolError as other:  # full: whoever needs room says so, and uploads make some
                log.debug("spool_not_durable", reason=other.message)
            back_within(PROVE_EVERY_S)
            await asyncio.sleep(PROVE_EVERY_S)

    async def _listen(self) -> None:
        """The radio and the visits that depend on it fail and restart together."""
        radio = Radio(self._adapters, self._settings.radio, self._now, self._tally)
        rounds = Rounds(radio, self.spool, self._settings, self._now, self._clock_is_trusted, self._rng)
        self._radio, self._rounds = radio, rounds
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(lasting("radio", radio.run))
                parts.create_task(lasting("rounds", rounds.run))
        finally:
            self._radio = self._rounds = None

    def _radio_is_known(self) -> bool:
        """Whether the radio scans, or has said why not."""
        troubles = self.failing.keys() - self._down.keys()
        silent = "radio" in self._down or "radio" in self.paused
        return silent or bool(troubles) or self._radio_scans()

    def _radio_scans(self) -> bool:
        scanners = self._radio.scanners.values() if self._radio else ()
        return any(scanner.counters.starts for scanner in scanners)
