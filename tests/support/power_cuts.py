"""Cuts the power of a spool's disk, again and again, and judges what is left: ``scripts/power-cuts``.

A process (``power_writer``) works a spool on an ext4 file system in an image file. It is stopped, and the image is
copied: the copy is what had reached the device, and nothing else. That is mounted, which replays the file system's
journal, and opened as a gateway does when the power is back. Every promise made before must hold. Killing the process
instead would prove nothing: what the kernel holds in memory survives that.

All of it runs in namespaces of its own: whatever ends this program takes mounts, loop devices and processes with it.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog

import support.power_writer
from bota_gateway.errors import SpoolError
from bota_gateway.model import Custody
from bota_gateway.spool import Spool
from bota_gateway.spool.fsck import examine
from support.power_writer import Promise, audio_of, settings_of

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
NEEDED = ("unshare", "mount", "umount", "mkfs.ext4", "losetup")
ENVIRONMENT = {
    "PYTHONPATH": str(Path(support.power_writer.__file__).parents[1]),
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
IMAGE_BYTES = 64 << 20
CUTS_A_LIFE = 4
"""Cuts while one process goes on; the next process begins with what the last cut left."""
SHORTEST_S, LONGEST_S = 0.02, 0.4
"""Between cuts: short enough that the kernel writes little back by itself, which it does after some seconds."""
PROGRESS = {state: number for number, state in enumerate(Custody)}
"""How far a recording has come: the writer takes none back."""

Promises = dict[tuple[str, int], Promise]


@dataclass
class Outcome:
    """What the rounds showed."""

    rounds: int = 0
    promises: int = 0
    """Made before a cut and looked at after it, all rounds together."""
    audio_bytes: int = 0
    """Compared, likewise."""
    lossy_rounds: int = 0
    losses: list[str] = field(default_factory=list)
    """In words, the first of each round."""
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.rounds} power cuts, {self.promises} promises and {self.audio_bytes >> 20} MiB of audio checked "
            f"after them: {self.lossy_rounds} cuts lost something ({self.seconds:.0f} s)"
        )


# -- outside the namespaces --------------------------------------------------------------------------------------------


def why_not() -> str | None:
    """Why power can't be cut here; None where it can."""
    if os.geteuid() != 0:
        return "mounting a loop device needs root"
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = _inside("--rounds", "0")
    if tried.returncode == 0:
        return None
    return f"loop mounts are not allowed here: {(tried.stderr.strip().splitlines() or ['no reason given'])[-1]}"


def cut_power(rounds: int, seed: int, *, control: bool = False) -> Outcome:
    """Cut the power ``rounds`` times; with ``control`` under a spool that syncs nothing, until that is noticed."""
    done = _inside("--rounds", str(rounds), "--seed", str(seed), *(["--control"] if control else []))
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def _inside(*arguments: str) -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryDirectory(prefix="power-cuts-") as place:
        return subprocess.run(  # noqa: S603 - our own module
            [*NAMESPACES, sys.executable, "-m", "support.power_cuts", "--inside", place, *arguments],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )


# -- inside ------------------------------------------------------------------------------------------------------------


class Bench:
    """A disk in memory, and the places where it and its copies are mounted.

    Args:
        place: An empty directory.
    """

    def __init__(self, place: Path) -> None:
        run("mount", "-t", "tmpfs", "-o", f"size={4 * IMAGE_BYTES}", "tmpfs", str(place))
        self._place = place
        self.image = place / "disk.img"
        self.copy = place / "copy.img"

    def make_disk(self) -> None:
        """A fresh file system, with nothing left for the kernel to do on it later."""
        self.image.unlink(missing_ok=True)
        with self.image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self.image))

    @contextmanager
    def mounted(self, image: Path, options: str = "defaults") -> Iterator[Path]:
        """The image's file system; its loop device goes with the mount."""
        where = self._place / f"{image.stem}-mounted"
        where.mkdir(exist_ok=True)
        run("mount", "-t", "ext4", "-o", f"loop,{options}", str(image), str(where))
        try:
            yield where
        finally:
            run("umount", str(where))

    def snapshot(self) -> None:
        """Copy the image between two writes of the device, all of whose users are stopped."""
        device = run("losetup", "--noheadings", "--output", "NAME", "--associated", str(self.image)).strip()
        statistics = Path("/sys/class/block", Path(device).name, "stat")
        while True:
            before = writes(statistics)
            shutil.copyfile(self.image, self.copy)
            if before == writes(statistics) and before[1] == 0:
                return
            time.sleep(0.01)  # the kernel was writing by itself: what was copied is of no one moment


def writes(statistics: Path) -> tuple[int, int]:
    """Writes completed by a block device, and requests under way (Documentation/block/stat.rst)."""
    fields = statistics.read_text("ascii").split()
    return int(fields[4]), int(fields[8])


def run(*command: str) -> str:
    """Run a command to its end; raises with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed commands
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


class Life:
    """One process at the spool, and the promises that it makes."""

    def __init__(self, directory: Path, number: int, *, control: bool) -> None:
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        self._rest = b""
        command = [sys.executable, "-m", "support.power_writer", str(directory), str(number), str(theirs)]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [*command, *(["--control"] if control else [])], env=ENVIRONMENT, pass_fds=[theirs]
        )
        os.close(theirs)

    def stop(self) -> Iterator[Promise]:
        """Stop all its threads, wherever they are; give back what it has promised since the last time."""
        self._process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            raise RuntimeError(f"the writer ended by itself: {status}")
        return self._promises()

    def go_on(self) -> None:
        """Let it run again."""
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        os.close(self._pipe)

    def _promises(self) -> Iterator[Promise]:
        while True:
            try:
                self._rest += os.read(self._pipe, 1 << 16)
            except BlockingIOError:
                break
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            told: dict[str, Any] = json.loads(line)
            yield Promise(**told | {"state": Custody(told["state"])})


async def broken(directory: Path, promises: Promises) -> tuple[list[str], int]:
    """Open the spool as after the power is back; which promises do not hold, and how many bytes were compared."""
    found = []
    compared = 0
    async with Spool.open(settings_of(directory), time.time) as spool:
        rows = {(row.key.serial, int(row.key.file_id, 16)): row for row in await spool.recordings()}
        for key, promise in promises.items():
            row = rows.get(key)
            if row is None or PROGRESS[row.state] < PROGRESS[promise.state]:
                found.append(f"{promise} became {row.state if row else 'nothing'}")
                continue
            if row.released_at is None and row.sha256 is not None:
                audio = b"".join([piece async for piece in spool.read_audio(row.id)])
                compared += len(audio)
                if audio != audio_of(promise.number):
                    found.append(f"{promise} has other bytes")
    found += [f"{fault.code}: {fault.what} {fault.recording}" for fault in examine(directory).faults]
    return found, compared


def judge(bench: Bench, promises: Promises, outcome: Outcome) -> bool:
    """Mount the copy and look; False when something was lost."""
    outcome.rounds += 1
    outcome.promises += len(promises)
    with bench.mounted(bench.copy) as where:
        try:
            lost, compared = asyncio.run(broken(where / "spool", promises))
        except SpoolError as error:
            lost, compared = [f"the spool can't be used: {error}"], 0
    outcome.audio_bytes += compared
    if lost:
        outcome.lossy_rounds += 1
        outcome.losses.append(f"round {outcome.rounds}: {lost[0]} ({len(lost)} in all)")
    return not lost


def cut(bench: Bench, rounds: int, seed: int, *, control: bool) -> Outcome:
    """The rounds; a control ends with its first loss."""
    rng = random.Random(seed)
    outcome = Outcome()
    began = time.monotonic()
    promises: Promises = {}
    life_number = 0
    bench.make_disk()
    with bench.mounted(bench.image):
        pass  # so that no rounds at all show whether there could be any
    while outcome.rounds < rounds:
        with bench.mounted(bench.image) as where:
            life = Life(where / "spool", life_number, control=control)
            try:
                wait_for_work(life, promises)
                for _ in range(min(CUTS_A_LIFE, rounds - outcome.rounds)):
                    time.sleep(rng.uniform(SHORTEST_S, LONGEST_S))
                    promises |= {(one.serial, one.number): one for one in life.stop()}
                    bench.snapshot()
                    if not judge(bench, promises, outcome) and control:
                        outcome.seconds = time.monotonic() - began
                        return outcome
                    life.go_on()
            finally:
                life.end()
        shutil.move(bench.copy, bench.image)
        life_number += 1
    outcome.seconds = time.monotonic() - began
    return outcome


def wait_for_work(life: Life, promises: Promises) -> None:
    """Python takes its time to start: the first cut of a life comes when it has promised something."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.05)
        new = {(one.serial, one.number): one for one in life.stop()}
        life.go_on()
        if new:
            promises |= new
            return
    raise RuntimeError("the writer did nothing within a minute")


def main(arguments: Sequence[str]) -> int:
    """The command; with ``--inside`` the part that runs in the namespaces."""
    parser = argparse.ArgumentParser(prog="scripts/power-cuts", description="Cut the power under a spool and judge it.")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--control", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.inside is not None:
        structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
        sys.stdout.write(json.dumps(asdict(cut(Bench(asked.inside), asked.rounds, asked.seed, control=asked.control))))
        return 0
    reason = why_not()
    if reason is not None:
        sys.stderr.write(f"power can't be cut here: {reason}\n")
        return 2
    control = cut_power(asked.rounds, asked.seed, control=True)
    real = cut_power(asked.rounds, asked.seed)
    for loss in real.losses:
        sys.stdout.write(f"LOST: {loss}\n")
    caught = f"noticed in cut {control.rounds}" if control.lossy_rounds else "NOT NOTICED"
    sys.stdout.write(f"control without syncs: {caught}\n{real}\n")
    return 0 if control.lossy_rounds and not real.lossy_rounds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
