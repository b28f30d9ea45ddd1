"""OpenStack Swift with its S3 API on loopback: an S3 that none of us wrote, to judge our presigned uploads.

Swift lives in an environment of its own, because its dependencies are its own: ``scripts/test`` installs it into
``.venv-swift``; ``BOTA_GATEWAY_TEST_SWIFT_PYTHON`` names another interpreter that has it. Four processes are started:
proxy (with ``s3api`` and ``tempauth``), account, container and object server, all their state in one directory.
"""

import fcntl
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final, Self
from urllib.parse import quote

import httpx
from botocore.credentials import Credentials

from bota_gateway.sim.cloud.presigned import PresignedUrls

REPOSITORY: Final = Path(__file__).parents[2]
INTERPRETER_VARIABLE: Final = "BOTA_GATEWAY_TEST_SWIFT_PYTHON"
READY_S: Final = 60.0
"""A cold start took 6 s on an idle machine; tests share theirs with other tests."""
STOP_S: Final = 10.0
BUCKET: Final = "recordings"
REGION: Final = "us-east-1"
ACCESS_KEY: Final = "test:tester"
SECRET_KEY: Final = "testing"
SERVERS: Final = ("account", "container", "object", "proxy")

MAKE_RINGS: Final = """
import json, sys
from swift.common.ring import RingBuilder
for name, port in json.loads(sys.argv[2]).items():
    builder = RingBuilder(part_power=1, replicas=1, min_part_hours=0)
    place = {"ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port}
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1, "device": "disk", "meta": "", **place})
    builder.rebalance(seed=1)
    builder.get_ring().save(f"{sys.argv[1]}/{name}.ring.gz")
"""
"""Runs in Swift's interpreter: one ring per kind of server, each with one device on this machine."""

SERVE: Final = """
import importlib, os, signal, sys, threading
from time import sleep
run_pid = int(sys.argv.pop())
server = importlib.import_module(f"swift.{sys.argv.pop()}.server")
def end_with_the_run():
    while os.path.exists(f"/proc/{run_pid}"):
        sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=end_with_the_run, daemon=True).start()
sys.exit(server.main())
"""
"""Runs in Swift's interpreter: one server, which ends with the test run even if that is killed."""

MODULES: Final = {"object": "obj"}
"""Where Swift's package has another name than the server."""


@dataclass(frozen=True, slots=True)
class Swift:
    """A running Swift."""

    host: str
    """``host:port`` of the S3 API."""

    def presign(
        self,
        method: str,
        key: str,
        *,
        headers: Mapping[str, str],
        at: float | None = None,
        expires_s: int = 600,
        bucket: str = BUCKET,
    ) -> str:
        """A URL as a backend would sign it, as if signed at a given time; an empty key stands for the bucket."""
        signed_at = time.time() if at is None else at
        urls = PresignedUrls(Credentials(ACCESS_KEY, SECRET_KEY), REGION, lambda: signed_at)
        url = f"http://{self.host}/{bucket}/{quote(key, safe='/~')}"
        return urls.issue(method, url, headers=headers, expires_s=expires_s)

    def get(self, key: str) -> httpx.Response:
        """The stored object, or the answer that there is none."""
        return httpx.get(self.presign("GET", key, headers={}), trust_env=False)

    def make_bucket(self) -> None:
        """Makes the bucket that the tests use."""
        httpx.put(self.presign("PUT", "", headers={}), trust_env=False, timeout=30).raise_for_status()


def swift_python() -> Path:
    """The interpreter of Swift's environment.

    Raises:
        RuntimeError: there is none; the tests fail then, because uploads would go unproven.
    """
    named = os.environ.get(INTERPRETER_VARIABLE)
    python = Path(named) if named else REPOSITORY / ".venv-swift" / "bin" / "python"
    if not python.exists():
        raise RuntimeError(
            f"OpenStack Swift is not installed: {python} does not exist. Run scripts/test, which installs it, "
            f"or set {INTERPRETER_VARIABLE} to a Python with the packages of scripts/locked/swift.txt."
        )
    return python


@contextmanager
def shared_swift(place: Path, run_pid: int) -> Iterator[Swift]:
    """One Swift for all processes of a test run: the first to come starts it, the last to leave stops it.

    Args:
        place: a directory that the processes share and no other run does.
        run_pid: the process that outlives all others of the run; Swift ends with it, even if it is killed.
    """
    with (place / "swift.door").open("a") as door, (place / "swift.users").open("a") as users:
        note = place / "swift.json"
        with _locked(door):
            # Held as long as Swift is used; the kernel lets go of it when a process dies.
            fcntl.flock(users, fcntl.LOCK_SH)
            running = Running.read(note) if note.exists() else _start(run_pid)
            running.write(note)
        try:
            yield running.swift
        finally:
            with _locked(door):
                if _is_last(users):
                    note.unlink()
                    running.stop()


@contextmanager
def _locked(file: IO[str]) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _is_last(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Running:
    """What another process must know to use and to stop Swift."""

    ports: Mapping[str, int]
    pids: Sequence[int]
    directory: str

    @classmethod
    def read(cls, note: Path) -> Self:
        """Takes it from the note that its starter left."""
        return cls(**json.loads(note.read_text()))

    def write(self, note: Path) -> None:
        """Leaves the note."""
        note.write_text(json.dumps(asdict(self)))

    @property
    def swift(self) -> Swift:
        """As tests see it."""
        return Swift(f"127.0.0.1:{self.ports['proxy']}")

    def stop(self) -> None:
        """Ends the servers, waits until none of them listens, and removes what they stored."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while any(map(_listens, self.ports.values())) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        shutil.rmtree(self.directory)


def _start(run_pid: int) -> Running:
    """Starts Swift in a directory of its own, and waits until it serves and has the bucket."""
    python = swift_python()
    directory = Path(tempfile.mkdtemp(prefix="swift-", dir=_place_with_xattrs()))
    ports = dict(zip(SERVERS, _free_ports(len(SERVERS)), strict=True))
    _configure(python, directory, ports)
    servers = [_server(python, directory, name, run_pid) for name in SERVERS]
    running = Running(ports, [server.pid for server in servers], str(directory))
    try:
        _wait_until_ready(directory, servers, ports)
        running.swift.make_bucket()
    except BaseException:
        running.stop()
        raise
    # Whoever leaves last stops them; the starter must not wait for them as its children.
    for server in servers:
        server.returncode = 0
    return running


def _place_with_xattrs() -> Path:
    """A directory on a file system with user extended attributes, in which Swift keeps its metadata."""
    cache = REPOSITORY / ".cache"
    cache.mkdir(exist_ok=True)
    for place in (Path(tempfile.gettempdir()), cache):
        with tempfile.NamedTemporaryFile(dir=place) as probe:
            try:
                os.setxattr(probe.name, "user.swift.probe", bytes(4000))
            except OSError:
                continue
            return place
    raise RuntimeError(f"neither {tempfile.gettempdir()} nor {cache} can hold user extended attributes, as Swift needs")


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; all are held until the last is found, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(listening.getsockname()[1]) for listening in sockets]


def _configure(python: Path, directory: Path, ports: Mapping[str, int]) -> None:
    (directory / "devices" / "disk").mkdir(parents=True)
    (directory / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = tests\nswift_hash_path_prefix = tests\n"
        "[storage-policy:0]\nname = only\ndefault = yes\n"
    )
    for name, port in ports.items():
        (directory / f"{name}.conf").write_text(_default_section(directory, port) + _pipeline(name))
    rings = {name: port for name, port in ports.items() if name != "proxy"}
    subprocess.run(  # noqa: S603 - our own script in an interpreter the developer named
        [python, "-c", MAKE_RINGS, directory, json.dumps(rings)], check=True, timeout=READY_S
    )


def _default_section(directory: Path, port: int) -> str:
    return (
        f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\nuser = {getpass.getuser()}\n"
        f"swift_dir = {directory}\ndevices = {directory}/devices\nmount_check = false\nfallocate_reserve = 0\n"
        f"recon_cache_path = {directory}\nlog_level = INFO\n"
    )


def _pipeline(name: str) -> str:
    if name != "proxy":
        return f"[pipeline:main]\npipeline = {name}-server\n[app:{name}-server]\nuse = egg:swift#{name}\n"
    return (
        "[pipeline:main]\npipeline = catch_errors s3api tempauth proxy-server\n"
        "[filter:catch_errors]\nuse = egg:swift#catch_errors\n"
        f"[filter:s3api]\nuse = egg:swift#s3api\nlocation = {REGION}\n"
        f"[filter:tempauth]\nuse = egg:swift#tempauth\nuser_{ACCESS_KEY.replace(':', '_')} = {SECRET_KEY} .admin\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
    )


def _server(python: Path, directory: Path, name: str, run_pid: int) -> subprocess.Popen[bytes]:
    """One server process. It gets a session of its own: Swift signals its whole process group when it stops."""
    with (directory / f"{name}.log").open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - our own script in an interpreter the developer named
            [python, "-c", SERVE, directory / f"{name}.conf", "--verbose", MODULES.get(name, name), str(run_pid)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_until_ready(directory: Path, servers: Sequence[subprocess.Popen[bytes]], ports: Mapping[str, int]) -> None:
    deadline = time.monotonic() + READY_S
    waiting = list(ports.values())
    while waiting:
        if time.monotonic() > deadline or any(server.poll() is not None for server in servers):
            logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(directory.glob("*.log")))
            raise RuntimeError(f"Swift did not start within {READY_S:.0f} s; its logs end with:\n{logs}")
        waiting = [port for port in waiting if not _listens(port)]
        if waiting:
            time.sleep(0.05)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
