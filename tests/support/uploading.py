"""A spool, an uploader and the emulated cloud, on one clock that jumps."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from pydantic import SecretStr

from bota_gateway.cloud import BotaApi, BudgetLimits
from bota_gateway.config import CloudSettings, Settings
from bota_gateway.daemon.tidying import Tidying
from bota_gateway.model import Binding, Custody, Membership, Recording
from bota_gateway.sim.cloud import CloudOptions, EmulatedCloud
from bota_gateway.spool import Spool
from bota_gateway.upload import Registrar, Uploader
from bota_gateway.upload.const import Timing
from support.spooling import entry, pull, settings_for, sha256

SERIAL = "BP000001"
STARTS_AT = 1_800_000_000.0
GENEROUS = BudgetLimits(requests_per_minute=60_000, upload_urls_per_minute=60_000)
"""For tests that are not about the budget."""


def speech(size: int = 10_000, seed: int = 0) -> bytes:
    """Bytes that begin as an Ogg file does."""
    return b"OggS" + Random(seed).randbytes(size - 4)


@dataclass
class HubClock:
    """A hub's clock, which a test sets by its offset from the cloud's."""

    offset_s: float = 0.0

    def __call__(self) -> float:
        """Unix seconds."""
        return cloud_clock() + self.offset_s


@dataclass
class Hub:
    """One hub's upload side."""

    cloud: EmulatedCloud
    spool: Spool
    api: BotaApi
    settings: CloudSettings
    timing: Timing
    wall: HubClock
    sent: dict[int, bytes] = field(default_factory=dict)
    """What was captured, by the recording's number."""

    async def capture(
        self, number: int = 1, data: bytes | None = None, *, serial: str = SERIAL, started_at: int = 1_790_000_000
    ) -> Recording:
        """A capture under the recorder's present binding."""
        data = speech(seed=number) if data is None else data
        await self.spool.note_recorder(serial, address="C0:FF:EE:00:00:01", name="Bota Pin", rssi=-50)
        await self.spool.reconcile(serial, [entry(number, started_at=started_at)], complete=False)
        rows = await self.spool.recordings(serial=serial)
        (row,) = [row for row in rows if row.key.file_id == f"{number:08x}" and row.state is Custody.LISTED]
        row = await pull(self.spool, row, data, binding=self.binding(serial))
        self.sent[row.id] = data
        return row

    def binding(self, serial: str = SERIAL) -> Binding:
        """What the cloud says of the recorder now."""
        device = self.cloud.devices.by_serial(serial)
        bound = Membership.UNBOUND if device.end_user_id is None else Membership.BOUND
        return Binding(bound, device.id, device.end_user_id, device.binding_generation)

    def uploader(self, **changes: Any) -> Uploader:
        """A new one, as after a restart."""
        given: dict[str, Any] = {"settings": self.settings, "timing": self.timing} | changes
        settings = given.pop("settings")
        return Uploader(self.spool, self.api, settings, self.wall, "hub-1", rng=Random(1), **given)

    def registrar(self, settings: Settings | None = None) -> Registrar:
        """A new one."""
        return Registrar(self.spool, self.api, settings or Settings(), self.wall, rng=Random(1))

    @asynccontextmanager
    async def running(self, *parts: Uploader | Registrar | Tidying) -> AsyncIterator[None]:
        """Parts at work (an uploader if none is named) until the block ends."""
        tasks = [asyncio.create_task(part.run()) for part in parts or (self.uploader(),)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    async def upload(self, *states: Custody, within: float = 86_400.0, uploader: Uploader | None = None) -> None:
        """Run an uploader until every capture is in one of these states (default: stored)."""
        wanted = set(states or (Custody.STORED,))
        async with self.running(uploader or self.uploader()), asyncio.timeout(within):
            while True:
                revision = self.spool.revision
                if all(row.state in wanted for row in await self.spool.recordings()):
                    return
                await self.spool.wait_for_change(revision)

    async def waiting_for(self, code: str, within: float = 86_400.0) -> Recording:
        """The first recording that waits for this reason, as soon as one does."""
        async with asyncio.timeout(within):
            while True:
                revision = self.spool.revision
                for row in await self.spool.recordings():
                    if row.waiting_for == code:
                        return row
                await self.spool.wait_for_change(revision)

    async def assert_stored_once(self) -> None:
        """Every capture is stored here, once in the cloud, and bit-identical in the bucket."""
        rows = await self.spool.recordings()
        assert rows
        for row in rows:
            assert row.state is Custody.STORED
            assert row.cloud_id is not None
            path = self.cloud.object_path(row.cloud_id)
            assert path is not None
            assert sha256(path.read_bytes()) == sha256(self.sent[row.id])
        assert len(self.cloud.recordings) == len(rows)
        assert set(self.cloud.counters.creates.values()) == {1}


@asynccontextmanager
async def second_hub(directory: Path, first: Hub) -> AsyncIterator[Hub]:
    """Another hub of the same project; or the same one after its spool was lost."""
    wall = HubClock()
    async with (
        Spool.open(settings_for(directory), wall) as spool,
        BotaApi(first.settings, SecretStr(first.cloud.api_key), wall, limits=GENEROUS, rng=Random(2)) as api,
    ):
        yield Hub(first.cloud, spool, api, first.settings, first.timing, wall)


def cloud_clock() -> float:
    """The cloud's clock: goes with the loop's, which jumps."""
    return STARTS_AT + asyncio.get_running_loop().time()


@asynccontextmanager
async def hub(
    directory: Path,
    profile: str = "e",
    *,
    settings: dict[str, Any] | None = None,
    limits: BudgetLimits | None = GENEROUS,
    timing: Timing | None = None,
    key: str | None = None,
    **options: Any,
) -> AsyncIterator[Hub]:
    """A hub whose recorder ``SERIAL`` is registered and bound.

    Args:
        directory: Of the spool.
        profile: The generation the emulated cloud speaks.
        settings: Of the hub's ``[cloud]`` section.
        limits: Of the budget; None takes them from the settings.
        timing: Of the uploader.
        key: Another than the project's.
        options: Of the emulated cloud, which has no rate limit unless one is named here.
    """
    unlimited = {"requests_per_minute": None, "upload_urls_per_minute": None}
    choice = CloudOptions(**(unlimited | options))
    async with EmulatedCloud(profile, seed=1, options=choice, now=cloud_clock) as cloud:
        cloud.devices.register(SERIAL)
        cloud_settings = CloudSettings(
            **({"api_base": cloud.api_base, "s3_hosts": (cloud.s3_host,)} | (settings or {}))
        )
        api_key, wall = SecretStr(key or cloud.api_key), HubClock()
        async with (
            Spool.open(settings_for(directory), wall) as spool,
            BotaApi(cloud_settings, api_key, wall, limits=limits, rng=Random(1)) as api,
        ):
            yield Hub(cloud, spool, api, cloud_settings, timing or Timing(), wall)
