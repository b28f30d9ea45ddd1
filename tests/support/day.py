"""A day of a hub, with its log as the daemon writes it.

The world is that of the crash points, on the plain air: the whole gateway between simulated recorders and the emulated
cloud, all in one thread, with a clock that jumps and without a socket.
"""

import asyncio
import io
import json
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

import bota_gateway.spool.reading
import bota_gateway.spool.receiving
import bota_gateway.upload.tools
from bota_gateway.config import LogSettings
from bota_gateway.model import Custody, Recording
from bota_gateway.protocol.device_status import DeviceState
from bota_gateway.sim.cloud.const import REQUESTS_PER_MINUTE, UPLOAD_URLS_PER_MINUTE
from bota_gateway.sim.faults import Faults
from bota_gateway.sim.options import RecorderOptions, StoredRecording
from bota_gateway.spool.const import AUDIO_ROW_BYTES, PIECE_BYTES
from bota_gateway.status import logs
from support.chaos.run import MEMORY
from support.commands import logging_kept
from support.crash_run import garbage_kept
from support.crash_world import WALL_AT_ZERO, Scenario, World
from support.doors import Classes, WatchedRecorder
from support.one_thread import OneThreadLoop
from support.plain_air.air import PlainAir
from support.plain_air.bleak_classes import plain_backends
from support.plain_air.recorder import PlainRecorder
from support.uploading import speech

DAY_S: Final = 86_400.0
ADVERTISING_S: Final = 20.0
"""Much rarer than in life, where it would be most of what happens; often enough to be present all day."""
PACE: Final = 8_000.0
"""Bytes a second of a link, and `AUDIO` of a recording: both an eighth of what is usual, so that transfers take as long
as in life and are a tenth of the work."""
AUDIO: Final = 500
"""Bytes of a second of audio."""
LENGTHS_S: Final = (120, 1500)
"""Of a recording: a talk of minutes."""
A_DAY: Final = (6, 10)
"""Recordings of one recorder."""
EVENING_S: Final = 3 * 3600.0
"""Before midnight nobody records any more."""


@dataclass(frozen=True)
class Told:
    """What a day's log says, and what came of the day."""

    lines: Sequence[Mapping[str, Any]]
    rows: Sequence[Recording]
    made: int
    """Recordings that recorders made."""


class Day(World):
    """The world. Made by :func:`day`."""

    def __init__(self, directory: Path, scenario: Scenario) -> None:
        super().__init__(directory, scenario, (), marking=False)
        self.ether = PlainAir(bytes_per_s=PACE, seed=1)

    async def _join_air(self, name: str) -> Classes:
        return plain_backends(self.ether.adapter(name))

    def _leave_air(self, name: str) -> None:
        self.ether.remove(name)

    @contextmanager
    def seams(self) -> Iterator[None]:
        """As there, but pieces are as large as in life."""
        with super().seams(), pytest.MonkeyPatch.context() as patch:
            for room in (bota_gateway.spool.receiving, bota_gateway.spool.reading):
                patch.setattr(room, "AUDIO_ROW_BYTES", AUDIO_ROW_BYTES)
            patch.setattr(bota_gateway.upload.tools, "PIECE_BYTES", PIECE_BYTES)
            yield

    async def pass_a_day(self) -> Sequence[Recording]:
        """Run the gateway from midnight to midnight; gives back what its spool holds then."""
        await self._begin()
        async with asyncio.TaskGroup() as wearers:
            for recorder in self.recorders.values():
                wearers.create_task(self._wear(recorder))
        await asyncio.sleep(max(0.0, DAY_S - asyncio.get_running_loop().time()))
        rows = await self.spool.recordings()
        self.life.gateway.stop()
        await self.life.task
        self._leave_air(self.life.adapter)
        return rows

    async def _wear(self, recorder: WatchedRecorder) -> None:
        """Somebody's day."""
        random, clock = Random(recorder.serial), asyncio.get_running_loop().time
        starts = sorted(random.uniform(60.0, DAY_S - EVENING_S) for _ in range(random.randint(*A_DAY)))
        for number, at in enumerate(starts, start=1):
            await asyncio.sleep(max(0.0, at - clock()))
            length, started_at = random.randint(*LENGTHS_S), int(self.now())
            recorder.condition.state = DeviceState.RECORDING
            await asyncio.sleep(length)
            recorder.condition.state = DeviceState.IDLE
            data = speech(length * AUDIO, random.randrange(1 << 30))
            recorder.add(StoredRecording(f"{number:08x}", started_at, length, data))
            self.notes["made"] = self.notes.get("made", 0) + 1


@asynccontextmanager
async def _world(directory: Path, recorders: int, cloud: Mapping[str, Any]) -> AsyncIterator[Day]:
    it = Day(directory, Scenario("a day", {}, cloud=cloud))
    options = RecorderOptions(advertising_interval_s=ADVERTISING_S)
    async with AsyncExitStack() as stack:
        stack.enter_context(it.seams())
        await stack.enter_async_context(it.cloud)
        for number in range(1, recorders + 1):
            serial = f"PIN{number:07}"
            it.cloud.devices.register(serial)
            recorder = PlainRecorder(
                it.ether,
                serial=serial,
                options=options,
                faults=Faults(),
                heard=lambda _recorder, _request: None,
                acted=lambda _recorder: None,
            )
            it.recorders[serial] = await stack.enter_async_context(recorder)
        yield it


def _now() -> float:
    return WALL_AT_ZERO + asyncio.get_running_loop().time()


async def _pass(directory: Path, recorders: int, loss: float) -> Told:
    stream = io.StringIO()
    cloud = {"requests_per_minute": REQUESTS_PER_MINUTE, "upload_urls_per_minute": UPLOAD_URLS_PER_MINUTE}
    with logging_kept():
        logs.configure(LogSettings(format="json"), stream, now=_now)
        async with _world(directory, recorders, cloud) as world:
            for serial in world.recorders:
                world.ether.set_loss(serial, partial(_loses, Random(serial), loss))
            rows = await world.pass_a_day()
    return Told([json.loads(line) for line in stream.getvalue().splitlines()], rows, world.notes["made"])


def _loses(random: Random, loss: float) -> bool:
    return random.random() < loss


def day(recorders: int, *, loss: float = 0.0) -> Told:
    """A day of a hub with so many recorders in range, all of them worn.

    Args:
        recorders: How many.
        loss: Part of their notifications that are lost; nothing goes wrong without any.
    """
    with (
        garbage_kept(),
        tempfile.TemporaryDirectory(prefix="bota-day-", dir=MEMORY) as directory,
        asyncio.Runner(loop_factory=OneThreadLoop) as runner,
    ):
        return runner.run(_pass(Path(directory), recorders, loss))


def unfinished(told: Told) -> list[Recording]:
    """Recordings that are not safe in the cloud and gone from their recorder."""
    return [row for row in told.rows if row.state not in {Custody.CONFIRMED, Custody.FORGOTTEN}]
