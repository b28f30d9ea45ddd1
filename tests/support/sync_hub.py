"""A hub with real radio, sync and spool rooms, on the virtual radio; the cloud is played by the spool's own steps."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bota_gateway.config import Settings
from bota_gateway.model import Binding, Custody, Membership, RecorderRecord, Recording
from bota_gateway.protocol import uuids
from bota_gateway.protocol.control import decode_command
from bota_gateway.radio import Adapter, Link, Radio
from bota_gateway.radio.bumble_backend import backends
from bota_gateway.sim.options import StoredRecording
from bota_gateway.sim.virtual_radio import VirtualRadio
from bota_gateway.spool import Moment, Spool, Step
from bota_gateway.spool.custody import TO_UPLOAD
from bota_gateway.sync import Rounds
from support.spooling import BOUND, noise, step_on

WALL_AT_ZERO = 1_790_000_000.0
"""Unix time when the loop's clock reads 0: wall and loop time go together here."""


def stored(number: int = 1, *, size: int = 5_000, started_at: int = 1_780_000_000, **more: Any) -> StoredRecording:
    """A recording on a recorder, with bytes of its own."""
    return StoredRecording(f"{number:08x}", started_at + number, 10, noise(size, number), **more)


@dataclass
class SyncHub:
    """What a test can look at and turn."""

    air: VirtualRadio
    spool: Spool
    radio: Radio
    rounds: Rounds
    settings: Settings
    bindings: dict[str, Binding]
    """What the played cloud says of each serial; the others are bound."""
    cloud_up: asyncio.Event
    """While set, the played cloud answers and stores."""
    effects: list[str]
    """Durable steps and writes to recorders, in the order in which they happened."""
    wall_offset: list[float]
    """Its one number is added to the wall clock: a test sets the clock with it."""

    def now(self) -> float:
        """The wall clock."""
        return WALL_AT_ZERO + asyncio.get_running_loop().time() + self.wall_offset[0]

    async def until(self, condition: Callable[[], Any], *, within: float = 3600.0) -> Any:
        """Wait until ``condition`` gives something true (it may be async); asked again at each change of the spool.

        Raises:
            TimeoutError: after ``within`` seconds of the loop's clock.
        """
        async with asyncio.timeout(within):
            while True:
                revision = self.spool.revision
                answer = condition()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer:
                    return answer
                await self.spool.wait_for_change(revision)

    async def states(self, serial: str | None = None) -> dict[str, Custody]:
        """State of each recording by file id."""
        return {row.key.file_id: row.state for row in await self.spool.recordings(serial=serial)}

    async def all_in(self, *states: Custody, count: int = 1) -> list[Recording]:
        """The recordings once there are ``count`` of them, all in one of ``states``."""

        async def reached() -> list[Recording]:
            rows = await self.spool.recordings()
            return rows if len(rows) >= count and all(row.state in states for row in rows) else []

        return list(await self.until(reached))

    async def recorder(self, serial: str) -> RecorderRecord | None:
        """What the spool knows of a recorder."""
        return next((record for record in await self.spool.recorders() if record.serial == serial), None)

    async def waiting_for(self, serial: str, reason: str) -> RecorderRecord:
        """The recorder once its visits wait for ``reason``."""

        async def waits() -> RecorderRecord | None:
            record = await self.recorder(serial)
            return record if record is not None and record.waiting_for == reason else None

        record: RecorderRecord = await self.until(waits)
        return record

    async def visited(self, serial: str, *, since: float = 0.0) -> RecorderRecord:
        """The recorder once a visit that began or ended after ``since`` (Unix seconds) went well."""

        async def went_well() -> RecorderRecord | None:
            record = await self.recorder(serial)
            return record if record is not None and (record.last_visit_at or 0) > since else None

        record: RecorderRecord = await self.until(went_well)
        return record

    async def audio(self, recording_id: int) -> bytes:
        """The bytes that the spool holds."""
        return b"".join([piece async for piece in self.spool.read_audio(recording_id)])


@asynccontextmanager
async def hub_with(
    directory: Path,
    air: VirtualRadio,
    *,
    adapters: Sequence[str] = ("hci0",),
    bindings: Mapping[str, Binding] | None = None,
    cloud_up: bool = True,
    clock_is_trusted: bool = True,
    **sections: Mapping[str, Any],
) -> AsyncIterator[SyncHub]:
    """Run a hub in ``directory`` on ``air``.

    Args:
        directory: Of the spool; a hub that is started on it again goes on from there.
        air: The virtual radio; its stations for the adapters are made here.
        adapters: Names of the adapters.
        bindings: What the played cloud says of serials; the others are bound.
        cloud_up: Whether the played cloud answers and stores from the start.
        clock_is_trusted: Whether recorders are given the time.
        **sections: Changes to sections of the settings, such as ``visits={"linger_s": 0}``.

    Raises:
        ExceptionGroup: A part of the hub ended by an error; the test inside the block is cancelled then.
    """
    settings = Settings.model_validate(
        {**sections, "spool": {"directory": directory, "min_free_bytes": 0, **sections.get("spool", {})}}
    )
    effects: list[str] = []
    offset = [0.0]

    def now() -> float:
        return WALL_AT_ZERO + asyncio.get_running_loop().time() + offset[0]

    def probe(step: Step, moment: Moment) -> None:
        if moment is Moment.COMMITTED:
            effects.append(f"spool {step}")

    devices = [await air.adapter(name) for name in adapters]
    async with AsyncExitStack() as stack:
        for name in adapters:
            stack.callback(air.remove, name)
        spool = await stack.enter_async_context(Spool.open(settings.spool, now, probe=probe))
        stack.enter_context(_watched_gatt(effects))
        made = [Adapter(name, None, *backends(device)) for name, device in zip(adapters, devices, strict=True)]
        radio = Radio(made, settings.radio, now)
        rounds = Rounds(radio, spool, settings, now, lambda: clock_is_trusted, Random(1))
        up = asyncio.Event()
        if cloud_up:
            up.set()
        hub = SyncHub(air, spool, radio, rounds, settings, dict(bindings or {}), up, effects, offset)
        # A part that ends by an error ends the test, too: it would wait in vain.
        async with asyncio.TaskGroup() as parts:
            running = [parts.create_task(part) for part in (radio.run(), rounds.run(), _play_cloud(hub))]
            try:
                yield hub
            finally:
                for task in running:
                    task.cancel()


@contextmanager
def _watched_gatt(effects: list[str]) -> Iterator[None]:
    """Every read and write of a link is noted before it is done, named as the protocol names it."""
    read, write = Link.read, Link.write

    async def noted_read(link: Link, uuid: str, **more: Any) -> bytes:
        effects.append(f"read {uuid}")
        return await read(link, uuid, **more)

    async def noted_write(link: Link, uuid: str, value: bytes, **more: Any) -> None:
        effects.append(f"write {_name(uuid, value)}")
        await write(link, uuid, value, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Link, "read", noted_read)
        patch.setattr(Link, "write", noted_write)
        yield


def _name(uuid: str, value: bytes) -> str:
    if uuid not in (uuids.TRANSFER_CONTROL, uuids.RECORDING_TRANSFER):
        return uuid
    command = decode_command(value)
    return " ".join([command.opcode.name, *([command.recording_id[:4].hex()] if command.recording_id else [])])


async def _play_cloud(hub: SyncHub) -> None:
    """Resolve recorders and take captures to stored, one step at a change; park what is bound to nobody."""
    spool = hub.spool
    while True:
        await hub.cloud_up.wait()
        revision = spool.revision
        for record in await spool.recorders():
            if record.binding.membership is Membership.UNRESOLVED:
                await spool.bind(record.serial, hub.bindings.get(record.serial, BOUND))
        for row in await spool.recordings(states=TO_UPLOAD):
            if row.binding.membership is Membership.UNBOUND:
                await spool.park(row.id, code="upload_unbound", detail="Bound to nobody.")
            else:
                await step_on(spool, row)
        await spool.wait_for_change(revision)
