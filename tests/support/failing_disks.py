"""A spool on disks that fail for real, in a process of its own: ``python -m support.failing_disks ACTION DIRECTORY``.

Each action prints one JSON value. ``read_only`` and ``full`` mount a file system and are run in namespaces of their
own (see ``power_cuts``), so that nothing stays mounted whatever ends them.
"""

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import structlog

from bota_gateway.errors import SpoolError
from bota_gateway.model import Custody
from bota_gateway.spool import Spool, aside
from bota_gateway.spool.const import AUDIO_ROW_BYTES, BALLAST_BYTES, BALLAST_NAME
from bota_gateway.spool.fsck import examine
from support.power_cuts import ENVIRONMENT, NAMESPACES, Bench, run
from support.spooling import BOUND, SERIAL, TurnableClock, bring_to, entry, noise, settings_for, sha256, step_on

T = TypeVar("T")
STRIDE = 24_989
"""Between limits: a prime, so that writes fail at every offset within pages and frames."""
LARGEST = 1_600_000
"""Above the largest file that the work below makes."""
DATA = {number: noise(AUDIO_ROW_BYTES * number + 333, number) for number in (1, 2)}


# -- an I/O error at any write -----------------------------------------------------------------------------------------


class Insisting:
    """Does steps on a disk that refuses to write beyond a limit; at the first refusal the limit falls."""

    def __init__(self) -> None:
        self.codes = Counter[str]()

    async def __call__(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do the step, if need be a second time."""
        try:
            return await step()
        except SpoolError as error:
            self.codes[error.error_code] += 1
            limit_files(resource.RLIM_INFINITY)
            return await step()


async def any_write(directory: Path) -> dict[str, Any]:
    """Work a spool again and again, with each write failing once; what was refused, and what was wrong afterwards."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    insist = Insisting()
    wrong: list[str] = []
    tried = 0
    for limit in range(0, LARGEST, STRIDE):
        place = directory / str(limit)
        limit_files(limit)
        await insist(lambda place=place: open_and_close(place))  # type: ignore[misc]  # the default binds the loop's
        async with Spool.open(settings_for(place), TurnableClock()) as spool:
            limit_files(limit)
            for number, data in DATA.items():
                await work(spool, number, data, insist)
            limit_files(resource.RLIM_INFINITY)
            wrong += [f"{limit}: {what}" for what in await differences(spool)]
        wrong += [f"{limit}: {fault}" for fault in examine(place).faults]
        wrong += [f"{limit}: set aside" for _ in aside.directories(place)]
        shutil.rmtree(place)
        tried += 1
    return {"tried": tried, "refused": insist.codes, "wrong": wrong}


async def open_and_close(directory: Path) -> None:
    """A start of the gateway, and its end."""
    async with Spool.open(settings_for(directory), TurnableClock()):
        pass


async def work(spool: Spool, number: int, data: bytes, insist: Insisting) -> None:
    """One recording from its list to the cloud."""
    await insist(lambda: spool.note_recorder(SERIAL, address="-", name=None, rssi=None))
    (row,) = await insist(lambda: spool.reconcile(SERIAL, [entry(number)], complete=False))
    row = await insist(lambda: receive(spool, row.id, data))
    while row.state is not Custody.STORED:
        row = await insist(lambda now=row: step_on(spool, now))  # type: ignore[misc]  # as above


async def receive(spool: Spool, recording_id: int, data: bytes) -> Any:
    """A transfer, from its first byte, as every transfer."""
    await spool.begin_receiving(recording_id)
    for start in range(0, len(data), 100_000):
        await spool.store_audio(recording_id, data[start : start + 100_000])
    return await spool.capture(
        recording_id, size_bytes=len(data), sha256=sha256(data), device_sha256=None, binding=BOUND
    )


async def differences(spool: Spool) -> list[str]:
    """What is not as it would be without a failure."""
    found = []
    rows = await spool.recordings()
    if [row.state for row in rows] != [Custody.STORED] * len(DATA):
        found.append(f"states {[row.state for row in rows]}")
    for row, data in zip(rows, DATA.values(), strict=True):
        if b"".join([piece async for piece in spool.read_audio(row.id)]) != data:
            found.append(f"bytes of {row.key}")
    if not spool.health.healthy:
        found.append("still unhealthy")
    return found


def limit_files(size: int) -> None:
    """Let no file of this process grow beyond ``size``: further writes are short, then fail."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


# -- file systems that turn against their user -------------------------------------------------------------------------


async def refusals(*attempts: Callable[[], Awaitable[object]]) -> list[str]:
    """What each attempt was refused with; "done" for one that was not."""
    codes = []
    for attempt in attempts:
        try:
            await attempt()
            codes.append("done")
        except SpoolError as error:
            codes.append(error.error_code)
    return codes


async def read_only(directory: Path) -> dict[str, Any]:
    """An error of the card makes the kernel turn the file system read-only under an open spool, as kernels do."""
    bench = Bench(directory)
    bench.make_disk()
    seen: dict[str, Any] = {}
    with bench.mounted(bench.image, "errors=remount-ro") as where:
        async with Spool.open(settings_for(where), TurnableClock()) as spool:
            stored = await bring_to(spool, Custody.STORED, 1, data=DATA[1])
            cut = await bring_to(spool, Custody.RECEIVING, 2)
            await spool.store_audio(cut.id, DATA[2][:AUDIO_ROW_BYTES])
            break_file_system(bench.image)
            seen["codes"] = await refusals(
                lambda: spool.store_audio(cut.id, DATA[2][AUDIO_ROW_BYTES:]),
                lambda: spool.capture(
                    cut.id, size_bytes=len(DATA[2]), sha256=sha256(DATA[2]), device_sha256=None, binding=BOUND
                ),
                lambda: spool.intend_confirm(stored.id),
                spool.prove_durable,
            )
            seen["health"] = spool.health.code
            seen["readable"] = b"".join([piece async for piece in spool.read_audio(stored.id)]) == DATA[1]
    with bench.mounted(bench.image) as where:
        seen["faults"] = [str(fault) for fault in examine(where).faults]
        async with Spool.open(settings_for(where), TurnableClock()) as spool:
            seen["states"] = [row.state for row in await spool.recordings()]
            seen["next life"] = await refusals(
                lambda: spool.intend_confirm(stored.id), lambda: receive(spool, cut.id, DATA[2])
            )
    return seen


def break_file_system(image: Path) -> None:
    """Have the kernel take the file system for damaged."""
    device = Path(run("losetup", "--noheadings", "--output", "NAME", "--associated", str(image)).strip())
    Path("/sys/fs/ext4", device.name, "trigger_fs_error").write_text("1", "ascii")


async def full(directory: Path) -> dict[str, Any]:
    """Other files take the last block of a small file system while a recording arrives and another is uploaded."""
    bench = Bench(directory)
    bench.make_disk()
    seen: dict[str, Any] = {}
    with bench.mounted(bench.image) as where:
        spool_directory = where / "spool"
        async with Spool.open(settings_for(spool_directory), TurnableClock()) as spool:
            kept = await bring_to(spool, Custody.CAPTURED, 1, data=DATA[1])
            cut = await bring_to(spool, Custody.RECEIVING, 2)
            filler = where / "filler"
            fill(filler)
            vars(spool)["_disk_free"] = lambda: 1 << 40  # the floor of free space would stop it sooner
            seen["codes"] = await refusals(lambda: spool.store_audio(cut.id, DATA[2]))
            seen["kept"] = await spool.recording(kept.id) == kept
            fill(filler)
        settings = settings_for(spool_directory, min_free_bytes=2 * BALLAST_BYTES)
        async with Spool.open(settings, TurnableClock()) as spool:
            while kept.state is not Custody.STORED:
                kept = await step_on(spool, kept)
            seen["uploaded meanwhile"] = kept.state
            seen["still no room"] = await refusals(lambda: receive(spool, cut.id, DATA[2]))
            filler.unlink()
            seen["room again"] = await refusals(lambda: receive(spool, cut.id, DATA[2]))
            await spool.forget_due(0, 0)
            seen["ballast"] = (spool_directory / BALLAST_NAME).stat().st_blocks * 512
            seen["healthy"] = spool.health.healthy
        seen["faults"] = [str(fault) for fault in examine(spool_directory).faults]
    return seen


def fill(path: Path) -> None:
    """Take all the space there is."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


# -- starting it -------------------------------------------------------------------------------------------------------


def run_action(action: str, directory: Path, *, mounting: bool = False) -> Any:
    """Run an action in a process of its own, ``mounting`` in namespaces of its own; give back what it said."""
    command = [sys.executable, "-m", "support.failing_disks", action, str(directory)]
    done = subprocess.run(  # noqa: S603 - our own module
        [*NAMESPACES, *command] if mounting else command, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


ACTIONS: dict[str, Callable[[Path], Coroutine[Any, Any, dict[str, Any]]]] = {
    "any_write": any_write,
    "read_only": read_only,
    "full": full,
}

if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    os.umask(0o077)
    sys.stdout.write(json.dumps(asyncio.run(ACTIONS[sys.argv[1]](Path(sys.argv[2])))) + "\n")
