"""Benchmarks as ratios: ours and the plainest way to do the same take turns, so that a busy machine slows both.

Absolute figures differ from machine to machine and from hour to hour; a ratio of medians moves little, so targets
are set on ratios. Run by scripts/bench.
"""

import argparse
import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from bota_gateway.cloud.answers import UploadTicket
from bota_gateway.cloud.clock import ServerClock
from bota_gateway.cloud.s3 import ObjectStore, PutKind
from bota_gateway.cloud.transport import make_client, system_trust
from bota_gateway.config import SpoolSettings
from bota_gateway.model import Binding, ListedRecording, Membership
from bota_gateway.spool import Spool

MIB = 1 << 20
PIECE_BYTES = 256 << 10  # how audio reaches the spool's rows, and what is synced at once in the plain way
BENCHES = ("memory", "spool", "upload")
ROUNDS = 7  # the median of seven withstands three disturbed rounds
SPOOL_BYTES = 32 * MIB
SLOW_SYNC = Path(".cache/slow_sync.so")  # built by scripts/bench where there is a compiler
SLOW_SYNC_US = 20_000  # a made-up SD card; real ones need 5 to 100 ms
SLOW_ROUNDS = 3  # the sleep is most of it, so it hardly varies
UPLOAD_BYTES = 256 * MIB
SERIAL = "BENCH00000000001"

SINK = """
import hashlib, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
buffer = bytearray(1 << 20)
while True:
    peer, _ = listener.accept()
    with peer:
        head = b""
        while b"\\r\\n\\r\\n" not in head:
            head += peer.recv(65536)
        head, _, body = head.partition(b"\\r\\n\\r\\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length:"))
        if b"100-continue" in head.lower():
            peer.sendall(b"HTTP/1.1 100 Continue\\r\\n\\r\\n")
        left = length - len(body)
        digest = hashlib.md5(body, usedforsecurity=False)
        while left:
            got = peer.recv_into(buffer, min(left, len(buffer))) or sys.exit("the sender left early")
            digest.update(memoryview(buffer)[:got])
            left -= got
        peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
"""
"""Digests a body as S3 does for its ETag, and forgets it. In a process of its own: neither side slows the other."""


@dataclass(frozen=True)
class Row:
    """One line of the result: rates of the plain way and of ours, and the ratio to reach."""

    name: str
    plain: str
    plain_rate: float
    our_rate: float
    target: float | None

    @property
    def ratio(self) -> float:
        """How much of the plain way's speed is left."""
        return self.our_rate / self.plain_rate


async def take_turns(
    plain: Callable[[], float], ours: Callable[[], Awaitable[float]], rounds: int
) -> tuple[float, float]:
    """Return the median rates of both in MiB/s; an unmeasured turn of each comes first, to warm caches."""
    found = [(plain(), await ours()) for _ in range(rounds + 1)][1:]
    return statistics.median(pair[0] for pair in found), statistics.median(pair[1] for pair in found)


def rate(size: int, begun: float) -> float:
    """MiB/s since ``begun``."""
    return size / MIB / (time.perf_counter() - begun)


def append_plainly(path: Path, size: int) -> float:
    """Append pieces to one file and sync each: the least that keeps received bytes through a power cut."""
    piece = os.urandom(PIECE_BYTES)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        begun = time.perf_counter()
        for _ in range(size // PIECE_BYTES):
            os.write(file, piece)
            os.fdatasync(file)
        return rate(size, begun)
    finally:
        os.close(file)
        path.unlink()


class Filler:
    """Puts recordings into a spool the way a visit does."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._number = 0
        self._binding = Binding(Membership.BOUND, device_id="dev_bench", end_user_id="eu_bench")

    async def prepare(self) -> None:
        """Make the recorder known."""
        await self._spool.note_recorder(SERIAL, address="00:00:00:00:00:00", name=None, rssi=None)
        await self._spool.bind(SERIAL, self._binding)

    async def capture(self, size: int) -> tuple[int, float]:
        """Receive and capture one recording; return its number in the spool and the rate from first byte to durable."""
        self._number += 1
        listed = ListedRecording(f"{self._number:08x}", 1_700_000_000 + self._number, 60, size >> 10, False)
        (recording,) = await self._spool.reconcile(SERIAL, [listed], complete=False)
        piece = os.urandom(PIECE_BYTES)
        digest = hashlib.sha256()
        for _ in range(size // PIECE_BYTES):
            digest.update(piece)
        begun = time.perf_counter()
        await self._spool.begin_receiving(recording.id)
        for _ in range(size // PIECE_BYTES):
            await self._spool.store_audio(recording.id, piece)
        await self._spool.capture(
            recording.id, size_bytes=size, sha256=digest.hexdigest(), device_sha256=None, binding=self._binding
        )
        return recording.id, rate(size, begun)


async def bench_spool(directory: Path, rounds: int) -> Row:
    """Spool, from first byte to captured, against appending to a file with a sync for each piece.

    Where a sync costs next to nothing, as on a server's disk, this compares CPU only, and the plain way has none: no
    target then. On a card the spool's few syncs count.
    """
    async with open_spool(directory) as spool:
        filler = Filler(spool)
        await filler.prepare()

        async def ours() -> float:
            return (await filler.capture(SPOOL_BYTES))[1]

        plain, our = await take_turns(lambda: append_plainly(directory / "plain", SPOOL_BYTES), ours, rounds)
    if "SLOW_SYNC_US" in os.environ:
        return Row("spool, 20 ms a sync", "write + fdatasync", plain, our, target=0.55)
    return Row("spool, this disk", "write + fdatasync", plain, our, target=None)


def bench_spool_on_a_card(directory: Path) -> None:
    """The same in a process whose syncs are slow; it prints its own line."""
    subprocess.run(
        [sys.executable, __file__, "spool", "--rounds", str(SLOW_ROUNDS), "--directory", directory],
        env=os.environ | {"LD_PRELOAD": str(SLOW_SYNC.absolute()), "SLOW_SYNC_US": str(SLOW_SYNC_US)},
        check=True,
    )


def open_spool(directory: Path) -> contextlib.AbstractAsyncContextManager[Spool]:
    """A spool large enough for all rounds."""
    settings = SpoolSettings(directory=directory / "spool", max_bytes=8 << 30, min_free_bytes=0)
    return Spool.open(settings, time.time)


@contextlib.contextmanager
def sink() -> Iterator[int]:
    """A server that takes any PUT; gives its port."""
    with subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline() if process.stdout else 0)
        finally:
            process.terminate()


@contextlib.asynccontextmanager
async def store(port: int) -> AsyncIterator[ObjectStore]:
    """Our side of S3, allowed to talk to the sink."""
    found = ObjectStore(make_client(system_trust(), connections=1), (f"127.0.0.1:{port}",), ServerClock(time.time))
    try:
        yield found
    finally:
        await found.aclose()


async def put(to: ObjectStore, port: int, body: AsyncIterator[bytes], size: int) -> None:
    """PUT a body to the sink."""
    outcome = await to.put(UploadTicket(f"http://127.0.0.1:{port}/object", {}, None), body, size)
    if outcome.kind is not PutKind.STORED:
        sys.exit(f"the sink did not store: {outcome}")


def put_with_curl(path: Path, port: int) -> float:
    """Let curl send the file; its own clock leaves its start out."""
    quietly = ["--silent", "--show-error", "--fail", "--noproxy", "*", "--output", os.devnull]
    took = subprocess.check_output(
        ["curl", *quietly, "--write-out", "%{time_total}", "--upload-file", path, f"http://127.0.0.1:{port}/object"]
    )
    return path.stat().st_size / MIB / float(took)


async def bench_upload(directory: Path, rounds: int) -> Row:
    """Out of the spool through cloud/s3, against curl from a file; to the same server on loopback, without TLS."""
    path = directory / "file"
    await asyncio.to_thread(path.write_bytes, os.urandom(MIB) * (UPLOAD_BYTES // MIB))
    async with open_spool(directory) as spool, contextlib.AsyncExitStack() as stack:
        port = stack.enter_context(sink())
        filler = Filler(spool)
        await filler.prepare()
        recording, _ = await filler.capture(UPLOAD_BYTES)
        to = await stack.enter_async_context(store(port))

        async def ours() -> float:
            begun = time.perf_counter()
            await put(to, port, spool.read_audio(recording), UPLOAD_BYTES)
            return rate(UPLOAD_BYTES, begun)

        plain, our = await take_turns(lambda: put_with_curl(path, port), ours, rounds)
    return Row("upload out of the spool", "curl from a file", plain, our, target=0.9)


def bench_memory(directory: Path) -> None:
    """The whole daemon, as a process of its own; it prints its own line."""
    subprocess.run([sys.executable, Path(__file__).with_name("bench_memory.py"), "--directory", directory], check=False)


def show(row: Row) -> None:
    """Print one line of the table."""
    target = "" if row.target is None else f"{row.target:.2f}"
    missed = "   missed" if row.target is not None and row.ratio < row.target else ""
    rates = f"{row.name:<26}{row.our_rate:>8.1f}   {row.plain:<20}{row.plain_rate:>8.1f}"
    print(f"{rates}{row.ratio:>8.2f}{target:>9}{missed}", flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=str(__doc__).split("\n\n", maxsplit=1)[0])
    which = f"{', '.join(BENCHES)}; all, if none is named"
    parser.add_argument("bench", nargs="*", choices=(*BENCHES, []), metavar="BENCH", help=which)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how many turns the medians are taken over")
    parser.add_argument("--directory", type=Path, default=Path(".cache"), help="on the disk to measure")
    return parser.parse_args()


def main() -> None:
    """Run the benchmarks asked for."""
    asked = parse()
    chosen = asked.bench or BENCHES
    slow = "SLOW_SYNC_US" in os.environ
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(dir=asked.directory, prefix="bench-") as scratch:
        directory = Path(scratch)
        if "memory" in chosen:
            bench_memory(directory)
        if not slow and {"spool", "upload"} & {*chosen}:
            print(f"{'what':<26}{'MiB/s':>8}   {'against':<20}{'MiB/s':>8}{'ratio':>8}{'target':>9}", flush=True)
        if "spool" in chosen:
            show(asyncio.run(bench_spool(directory, asked.rounds)))
            if SLOW_SYNC.exists() and not slow:
                bench_spool_on_a_card(directory)
            elif not slow:
                print("spool with slow syncs: not measured, cc is not installed")
        if "upload" in chosen and shutil.which("curl"):
            show(asyncio.run(bench_upload(directory, asked.rounds)))
        elif "upload" in chosen:
            print("upload: not measured, curl is not installed")


main()
