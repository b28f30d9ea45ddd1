"""A real `Gateway` in this process with everything around it simulated: recorders, the air, a cloud on loopback.

    async with World.open(tmp_path) as world:
        pin = await world.recorder("PIN0000001", speech(1))
        async with world.gateway() as running:
            await running.all_in(Custody.CONFIRMED)

On a `VirtualTimeLoop` all clocks go with the loop's.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bumble.device import Device
from pydantic import SecretStr

from bota_gateway.config import LogSettings, Settings
from bota_gateway.daemon import Gateway
from bota_gateway.model import Custody, RecorderRecord, Recording
from bota_gateway.radio import Adapter
from bota_gateway.radio.bumble_backend import backends
from bota_gateway.sim.cloud import CloudOptions, EmulatedCloud
from bota_gateway.sim.options import StoredRecording
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from bota_gateway.status import logs
from bota_gateway.status.story import Story
from support.commands import Told, logging_kept, run_beside
from support.spooling import noise

WALL_AT_ZERO = 1_790_000_000.0
"""Unix time when the loop's clock reads 0: wall and loop time go together here."""
ADAPTER = "hci0"
UNLIMITED = 1_000_000
"""Requests a minute, for tests that are not about the budget."""


def speech(number: int = 1, size: int = 5_000, **more: Any) -> StoredRecording:
    """A recording that begins as an Ogg file does, with bytes of its own."""
    data = b"OggS" + noise(size - 4, number)
    return StoredRecording(f"{number:08x}", int(WALL_AT_ZERO) - 86_400 + number, max(1, size // 4000), data, **more)


@dataclass
class Running:
    """A gateway that runs."""

    gateway: Gateway
    task: asyncio.Task[None]
    socket: Path
    device: Device | None
    """Below its adapter, if that is ours."""

    async def until(self, condition: Callable[[], Any], *, within: float = 300.0) -> Any:
        """Wait until ``condition`` gives something true (it may be async); asked again at each change of the spool.

        Raises:
            TimeoutError: after ``within`` seconds of the loop's clock.
        """
        spool = self.gateway.spool
        async with asyncio.timeout(within):
            while True:
                revision = spool.revision
                answer = condition()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer:
                    return answer
                await spool.wait_for_change(revision)

    async def all_in(self, *states: Custody, count: int = 1) -> list[Recording]:
        """The recordings once there are ``count`` of them, all in one of ``states``."""

        async def reached() -> list[Recording]:
            rows = await self.gateway.spool.recordings()
            return rows if len(rows) >= count and all(row.state in states for row in rows) else []

        return list(await self.until(reached))

    async def waiting_for(self, serial: str, reason: str) -> RecorderRecord:
        """The recorder once its visits wait for ``reason``."""

        async def waits() -> RecorderRecord | None:
            records = await self.gateway.spool.recorders()
            return next((one for one in records if (one.serial, one.waiting_for) == (serial, reason)), None)

        record: RecorderRecord = await self.until(waits)
        return record

    async def ask(self, *arguments: str, terminal: bool = False) -> Told:
        """Ask it with the command line, over its socket."""
        return await run_beside(*arguments, "--socket", self.socket, terminal=terminal)


@dataclass
class World:
    """Everything around the gateway."""

    directory: Path
    air: VirtualRadio
    cloud: EmulatedCloud
    log: io.StringIO
    """What the gateway logs, as JSON lines."""
    story: Story
    _stack: AsyncExitStack
    _sent: dict[tuple[str, str], StoredRecording] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: Path, *, bytes_per_s: float | None = 200_000, **cloud: Any
    ) -> AsyncIterator["World"]:
        """Put the air and the cloud up; ``cloud`` are options of the emulated one, which verifies at once."""
        air = VirtualRadio(bytes_per_s=bytes_per_s, seed=1)
        quick = {"verification_polls": 0, "requests_per_minute": None, "upload_urls_per_minute": None}
        options = CloudOptions(**(quick | cloud))
        async with AsyncExitStack() as stack:
            stack.callback(air.close)
            story = Story(wall)
            log = stack.enter_context(_logged(story))
            emulated = await stack.enter_async_context(EmulatedCloud("e", seed=1, options=options, now=wall))
            yield cls(directory, air, emulated, log, story, stack)

    async def recorder(
        self,
        serial: str,
        *held: StoredRecording,
        registered: bool = True,
        end_user: str | None = "eu_wearer",
        **more: Any,
    ) -> SimRecorder:
        """Switch a recorder on; ``more`` are its options and faults. With ``end_user=None`` it is bound to nobody."""
        if registered:
            self.cloud.devices.register(serial, end_user)
        self._sent |= {(serial, one.file_id): one for one in held}
        return await self._stack.enter_async_context(SimRecorder(self.air, serial=serial, recordings=held, **more))

    def add(self, recorder: SimRecorder, *recordings: StoredRecording) -> None:
        """The recorder makes more recordings."""
        self._sent |= {(recorder.serial, one.file_id): one for one in recordings}
        recorder.add(*recordings)

    def settings(self, **sections: Mapping[str, Any]) -> Settings:
        """The gateway's settings, with changes to sections such as ``visits={"linger_s": 0}``."""
        base: dict[str, dict[str, Any]] = {
            "cloud": {
                "api_base": self.cloud.api_base,
                "s3_hosts": (self.cloud.s3_host,),
                "requests_per_minute": UNLIMITED,
                "upload_urls_per_minute": UNLIMITED,
            },
            "spool": {"directory": self.directory / "spool", "min_free_bytes": 0},
            "status": {"socket": self.directory / "status.sock"},
        }
        names = {*base, *sections}
        return Settings.model_validate({name: {**base.get(name, {}), **sections.get(name, {})} for name in names})

    @asynccontextmanager
    async def gateway(
        self,
        *,
        adapters: bool = True,
        now: Callable[[], float] | None = None,
        clock_is_trusted: Callable[[], bool] = lambda: True,
        may_hang: bool = False,
        **sections: Mapping[str, Any],
    ) -> AsyncIterator[Running]:
        """Run a gateway until the block ends; ``adapters=False`` leaves it those that its settings name.

        ``now`` is the hub's clock, where it is not the cloud's. No part may have seemed to hang, unless ``may_hang``.
        """
        settings = self.settings(**sections)
        device = await self.air.adapter(ADAPTER) if adapters else None
        own = [Adapter(ADAPTER, None, *backends(device))] if device else None
        gateway = Gateway(
            settings,
            SecretStr(self.cloud.api_key),
            adapters=own,
            now=now or wall,
            clock_is_trusted=clock_is_trusted,
            seed=1,
            story=self.story,
        )
        task = asyncio.create_task(gateway.run())
        ready = asyncio.create_task(gateway.ready.wait())
        try:
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                yield Running(gateway, task, settings.status.socket, device)
            gateway.stop()
            await task
            assert may_hang or '"part_hangs"' not in self.log.getvalue()
        finally:
            for one in (task, ready):
                one.cancel()
            await asyncio.gather(task, ready, return_exceptions=True)
            if adapters:
                self.air.remove(ADAPTER)

    def assert_stored_once(self) -> None:
        """Every recording that a recorder held is in the bucket: once, under its own serial, bit-identical."""
        found = {}
        for recording in self.cloud.recordings.values():
            metadata = recording.facts["metadata"]
            path = self.cloud.object_path(recording.id)
            assert path is not None
            key = (str(metadata["serial_number"]), str(metadata["device_file_id"]))
            assert key not in found
            found[key] = path.read_bytes()
        assert found == {key: bytes(one.data) for key, one in self._sent.items()}


def wall() -> float:
    """The wall clock of hub and cloud."""
    return WALL_AT_ZERO + asyncio.get_running_loop().time()


@contextmanager
def _logged(story: Story) -> Iterator[io.StringIO]:
    """The log as JSON lines, set up as the daemon does."""
    stream = io.StringIO()
    with logging_kept():
        logs.configure(LogSettings(format="json", level="debug"), stream, story)
        yield stream
