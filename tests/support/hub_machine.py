"""A hub without a radio: Debian booted by its own systemd in a container, to install the product into.

The system is made once (debootstrap) and kept in ``.cache``; every boot writes into memory only. It has no network:
what is installed into it comes from the tree and from wheels, both mounted read-only. As many machines run at a time
as there are pairs of cores.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TREE = Path(__file__).parents[2]
CACHE = TREE / ".cache" / "hub"
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""Of Debian 12 and 13."""
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PACKAGES = ("systemd-sysv", "dbus", "python3", "python3-venv", "bluez", "kmod", "ca-certificates")
BOOT_S = 60.0
"""A boot takes 2 to 5 s."""
PATIENCE_S = 240.0
"""For a command in the machine; installing takes the longest, about 15 s."""
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LANG": "C.UTF-8"}
POLL_S = 0.1
"""Between two looks at another machine, which can't tell by itself that something changed."""
CGROUPS = Path("/sys/fs/cgroup")


def why_not() -> str | None:
    """Why there can't be such a machine here; None if there can."""
    if os.geteuid() != 0:
        return "only root can boot a container"
    missing = [name for name in ("systemd-nspawn", "debootstrap", "nsenter") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: systemd-container debootstrap)"
    if not _goes("unshare", "--mount", "--pid", "--net", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"):
        return "root of this sandbox may not mount"
    try:
        with _cgroups("bota-hub-trial"):
            return None
    except OSError as error:
        return f"root of this sandbox may not make control groups: {error}"


@dataclass(frozen=True)
class Said:
    """How a command in the machine ended."""

    code: int
    output: str


@dataclass
class HubMachine:
    """A booted machine."""

    init: int
    """Its process 1, as this machine numbers it."""

    @property
    def root(self) -> Path:
        """Its files, seen from here."""
        return Path("/proc", str(self.init), "root")

    def run(self, *command: str, stdin: str = "", check: bool = True) -> Said:
        """Run a command as root; its output and errors as one text.

        Raises:
            AssertionError: it failed, and ``check``.
        """
        inside = ["sh", "-c", 'cd / && exec setsid --wait "$@"', "sh", *command]
        done = subprocess.run(  # noqa: S603 - the command of a test
            ["nsenter", "--target", str(self.init), "--all", *inside],  # noqa: S607 - found on PATH on purpose
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
            env=ENVIRONMENT,
            check=False,
        )
        said = Said(done.returncode, done.stdout)
        assert not check or said.code == 0, f"{' '.join(command)} exited {said.code}:\n{said.output}"
        return said

    def dialogue(self, *command: str, prompt: str, answer: str | None) -> Said:
        """Run a command on a terminal, and type ``answer`` when ``prompt`` is shown; gives back what a person sees.

        Without an answer the terminal goes away then, as when a connection breaks; and only this much is seen.
        """
        person, terminal = os.openpty()
        inside = ["sh", "-c", 'cd / && exec setsid --ctty --wait "$@"', "sh", *command]
        process = subprocess.Popen(  # noqa: S603 - the command of a test
            ["nsenter", "--target", str(self.init), "--all", *inside],  # noqa: S607 - found on PATH on purpose
            stdin=terminal, stdout=terminal, stderr=terminal, env=ENVIRONMENT, start_new_session=True,
        )  # fmt: skip
        os.close(terminal)
        shown, typed = b"", False
        try:
            while piece := _read_from(person):
                shown += piece
                if answer is None and prompt.encode() in shown:
                    break
                if answer is not None and not typed and prompt.encode() in shown:
                    time.sleep(POLL_S)  # the prompt comes before the program listens
                    os.write(person, answer.encode() + b"\n")
                    typed = True
        finally:
            os.close(person)
            code = process.wait(PATIENCE_S)
        return Said(code, shown.decode(errors="replace"))

    def read(self, *command: str) -> str:
        """Output of a command, without white space around it."""
        return self.run(*command).output.strip()

    def shows(self, name: str) -> str:
        """A property of the gateway's unit."""
        return self.read("systemctl", "show", "--value", "--property", name, "bota-gateway.service")

    def until(self, condition: Callable[[], bool], what: str, within: float = 240.0) -> None:
        """Wait until ``condition`` holds.

        Raises:
            AssertionError: it never did.
        """
        end = time.monotonic() + within
        while not condition():
            assert time.monotonic() < end, f"not within {within} s: {what}\n{self.journal()}"
            time.sleep(POLL_S)

    def journal(self, *matches: str) -> str:
        """What the gateway's unit said, or what fits ``matches``."""
        return self.read("journalctl", "--no-pager", "--output=cat", "--unit=bota-gateway", *matches)

    def is_up(self) -> bool:
        """Whether everything that starts with the machine has."""
        state = self.run("systemctl", "is-system-running", check=False).output.strip()
        return state in {"running", "degraded"}

    def write(self, path: str, text: str) -> None:
        """Write a file, with the directories above it."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "sh", path, stdin=text)


@contextmanager
def boot(
    tree: Path = TREE, *, binds: Sequence[Path] = (), system: Path | None = None, keep: bool = False, suite: str = SUITE
) -> Iterator[HubMachine]:
    """A machine with the tree at ``/tree`` and its wheels at ``/wheels``; it is powered off at the end.

    Args:
        tree: What is installed from.
        binds: More directories, seen there under their own names below ``/mnt``.
        system: What is booted; Debian as it is if None.
        keep: What the machine writes stays in ``system``.
        suite: Which Debian.
    """
    name = f"bota-hub-{os.getpid()}"
    mounts = [f"--bind-ro={tree}:/tree", f"--bind-ro={_wheels(suite)}:/wheels"]
    mounts += [f"--bind-ro={path}:/mnt/{path.name}" for path in binds]
    options = ["--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe", *mounts]
    options += [*([] if keep else ["--volatile=overlay"]), f"--machine={name}"]
    command = ["systemd-nspawn", *options, "--directory", str(system or debian(suite)), "--boot"]
    with _turn(), _cgroups(name) as groups, tempfile.TemporaryFile() as console:
        join = "".join(f"echo $$ >{group}/cgroup.procs; " for group in groups)
        container = subprocess.Popen(  # noqa: S603 - fixed command
            ["sh", "-c", f'{join}exec "$@"', "sh", *command],  # noqa: S607 - found on PATH on purpose
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )
        machine = HubMachine(_init_of(container, console))
        try:
            machine.until(machine.is_up, "boot", BOOT_S)
            yield machine
        finally:
            if keep:
                container.terminate()  # an orderly power off
            else:
                os.kill(machine.init, signal.SIGKILL)
            container.wait(100)


@contextmanager
def _cgroups(name: str) -> Iterator[list[Path]]:
    """Control groups of a machine's own: with --keep-unit it would share ours, and meet other machines' services."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kind, path = line.split(":", 2)
        for mount in {"name=systemd": ("systemd",), "": ("unified", ".")}.get(kind, ()):
            above = CGROUPS / mount / path.lstrip("/")
            if (above / "cgroup.procs").exists():
                found.append(above / name)
                break
    try:
        for group in found:
            group.mkdir(exist_ok=True)
        yield found
    finally:
        for group in found:
            for each in [*sorted(group.rglob("*/"), reverse=True), group]:
                with suppress(OSError):  # what still ends in there is not waited for
                    each.rmdir()


@contextmanager
def _turn() -> Iterator[None]:
    """Waits until there is a place among the machines that run at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        slots = [
            files.enter_context((CACHE / f"machine{number}.lock").open("w"))
            for number in range(max(1, (os.cpu_count() or 2) // 2))
        ]
        while not any(_took(slot) for slot in slots):
            time.sleep(POLL_S)
        yield


def _took(slot: IO[str]) -> bool:
    try:
        fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time makes what several share."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _init_of(container: "subprocess.Popen[bytes]", console: IO[bytes]) -> int:
    """The process below the container that is 1 in there."""
    end = time.monotonic() + BOOT_S
    while time.monotonic() < end and container.poll() is None:
        for pid in _below(container.pid):
            if _number_inside(pid) == "1":
                return pid
        time.sleep(POLL_S)
    container.kill()
    console.seek(0)
    raise AssertionError(f"no boot:\n{console.read().decode(errors='replace')}")


def _number_inside(pid: int) -> str | None:
    """The process's number in the innermost container, once it is systemd itself."""
    try:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        program = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # it has ended meanwhile
        return None
    numbers = next(line.split()[1:] for line in status if line.startswith("NSpid:"))
    return numbers[-1] if len(numbers) > 1 and program == "systemd" else None


def _read_from(terminal: int) -> bytes:
    """What a terminal shows next; nothing once its programs have ended."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def _below(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield int(child)
        yield from _below(int(child))


def debian(suite: str = SUITE) -> Path:
    """Debian as it is, made when it is not there yet."""
    directory = CACHE / suite
    with alone(CACHE / f"{suite}.lock"):
        if not (directory / ".made").exists():
            shutil.rmtree(directory, ignore_errors=True)
            _must("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(directory), MIRROR)
            for name in ("etc", "var"):  # else the first thing that each boot does is to build caches
                (directory / name / ".updated").touch()
            (directory / ".made").touch()
    return directory


def _wheels(suite: str) -> Path:
    """Every locked file for the suite's Python, as the packages' authors built it."""
    python = PYTHONS[suite]
    directory = CACHE / f"wheels-{python}"
    locked = [TREE / "scripts" / "locked" / f"{name}.txt" for name in ("run", "sim", "build")]
    key = "\n".join(path.read_text() for path in locked)
    with alone(CACHE / f"{suite}.lock"):
        if not (directory / ".key").exists() or (directory / ".key").read_text() != key:
            for path in locked:
                options = ["--quiet", "--only-binary=:all:", f"--python-version={python}", "--no-deps"]
                options += ["--require-hashes", f"--requirement={path}", f"--dest={directory}"]
                _must(sys.executable, "-m", "pip", "download", *options)
            (directory / ".key").write_text(key)
    return directory


def clone(to: Path) -> Path:
    """A copy of the tree as a release archive holds it: what is tracked, without history."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - found on PATH on purpose
        cwd=TREE, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (TREE / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TREE / name, to / name)
    return to


def copy_system(source: Path, to: Path) -> None:
    """A copy of a system, to be booted and changed."""
    _must("cp", "--archive", "--reflink=auto", str(source), str(to))


def _goes(*command: str) -> bool:
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 - fixed commands
    return done.returncode == 0


def _must(*command: str) -> None:
    done = subprocess.run(  # noqa: S603 - fixed commands
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-4000:]}"
