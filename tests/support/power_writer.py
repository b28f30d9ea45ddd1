"""The process whose power is cut: works a spool as a gateway does, and promises on a pipe what it has made durable.

``python -m support.power_writer DIRECTORY LIFE PIPE [--control]``. One JSON line per promise, written only after the
step has returned. ``--control`` takes the durability away: the judge must notice.
"""

import asyncio
import hashlib
import json
import os
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from bota_gateway.config import SpoolSettings
from bota_gateway.model import Custody, Recording
from bota_gateway.spool import Spool, database
from support.spooling import BOUND, SERIAL, entry, noise, step_on

MAX_BYTES = 40 << 20
RECORDERS = 3
AT_ONCE = 4
"""Recordings of one recorder that are not forgotten yet; more would only fill the small disk."""
SIZES = (1, 9_000, 70_000, 262_144, 300_000, 1_200_000)
"""Below, at and above a row of audio; the largest makes SQLite copy its log into the database now and then."""


@dataclass(frozen=True)
class Promise:
    """What a power cut must not undo."""

    serial: str
    number: int
    state: Custody
    size_bytes: int = 0


def audio_of(number: int) -> bytes:
    """The bytes of a recording, known to whoever knows its number."""
    return noise(random.Random(number).choice(SIZES), number)


def settings_of(directory: Path) -> SpoolSettings:
    """The spool's settings in every life."""
    return SpoolSettings(directory=directory, max_bytes=MAX_BYTES, min_free_bytes=0)


class Writer:
    """Recorders being emptied, an upload and a retention, all at once on one spool."""

    def __init__(self, spool: Spool, life: int, pipe: int) -> None:
        self._spool = spool
        self._pipe = pipe
        self._numbers = iter(range(life << 16, (life + 1) << 16))
        self._rng = random.Random(life)

    async def run(self) -> None:
        """Until the power goes."""
        async with asyncio.TaskGroup() as group:
            for recorder in range(RECORDERS):
                group.create_task(self._empty(f"{SERIAL}{recorder}"))
            group.create_task(self._upload())
            group.create_task(self._tidy())

    def promise(self, row: Recording) -> None:
        """Tell that the row's present state is on the disk."""
        told = Promise(row.key.serial, int(row.key.file_id, 16), row.state, row.size_bytes or 0)
        os.write(self._pipe, json.dumps(asdict(told)).encode() + b"\n")

    async def _empty(self, serial: str) -> None:
        """Visit after visit: list, confirm what is stored, pull what is new, sometimes give a transfer up."""
        spool = self._spool
        await spool.note_recorder(serial, address="-", name=None, rssi=None)
        listed = [int(row.key.file_id, 16) for row in await spool.recordings(serial=serial, states=HELD)]
        while True:
            while len(listed) < AT_ONCE:
                listed.append(next(self._numbers))
            for row in await spool.reconcile(serial, [entry(number) for number in listed], complete=True):
                if row.state is Custody.LISTED:
                    await self._pull(row)
                elif row.state is Custody.STORED:
                    self.promise(await spool.intend_confirm(row.id))
                    listed.remove(int(row.key.file_id, 16))
            await spool.reconcile(serial, [entry(number) for number in listed], complete=True)
            for row in await spool.recordings(serial=serial, states={Custody.CONFIRMED}):
                self.promise(row)

    async def _pull(self, row: Recording) -> None:
        spool, data = self._spool, audio_of(int(row.key.file_id, 16))
        await spool.begin_receiving(row.id)
        for start in range(0, len(data), 100_000):
            await spool.store_audio(row.id, data[start : start + 100_000])
        if self._rng.random() < 0.1:
            await spool.abandon_receiving(row.id, code="transfer_gap", message="-", retry_at=None)
            return
        digest = hashlib.sha256(data).hexdigest()
        self.promise(
            await spool.capture(row.id, size_bytes=len(data), sha256=digest, device_sha256=None, binding=BOUND)
        )
        await spool.acknowledged(row.id)

    async def _upload(self) -> None:
        while True:
            revision = self._spool.revision
            row = await self._spool.next_upload(time.time())
            if row is None:
                await self._spool.wait_for_change(revision)
            else:
                self.promise(await step_on(self._spool, row))

    async def _tidy(self) -> None:
        """Retention is over at once; the space is used again, which is where deleted audio could come back."""
        while True:
            revision = self._spool.revision
            if await self._spool.forget_due(time.time(), 0) == 0:
                await self._spool.wait_for_change(revision)


HELD = set(Custody) - {Custody.CONFIRMED, Custody.FORGOTTEN}


async def main(directory: Path, life: int, pipe: int) -> None:
    """Open the spool and work it."""
    async with Spool.open(settings_of(directory), time.time) as spool:
        await Writer(spool, life, pipe).run()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    if "--control" in sys.argv:
        vars(database)["DURABLE"] = frozenset()  # every step as those that nobody relies on
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
