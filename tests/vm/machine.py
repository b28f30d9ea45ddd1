"""The machine: QEMU, and what of the guest can be reached from here.

Everything passes over virtio ports, each a Unix socket on this side: one for commands, one for the journal, one for
each Bluetooth adapter. The disk is an overlay that dies with the run.
"""

import asyncio
import json
import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vm.journal import Journal

MEMORY_MIB = 768
CPUS = 2
"""More bring nothing under emulation: the gateway is one thread, BlueZ another."""
EMULATED_CPU = "Nehalem,+rdrand"
"""Without the wide registers and the special instructions of later ones, whose use costs more under emulation than it
saves: a boot takes 18 s of CPU time instead of 25, the gateway's start 7 instead of 9. A kernel without rdrand waits
for entropy."""
ADAPTERS = ("hub", "spare")
"""Virtio ports for adapters; an adapter appears when its service in the guest is started."""
BOOT_S = 600.0
"""A boot takes 13 s; on 4 cores with a load of 20 it took 120 s."""
SOCKET_S = 10.0
"""QEMU makes its sockets within a tenth of a second."""
COMMAND_S = 600.0
"""The longest is scripts/install: 25 s, and 130 s under that load."""


class GuestError(Exception):
    """The guest did not do what it was asked to."""


class Machine:
    """One virtual machine.

    Args:
        image: What scripts/vm-image built.
        work: A directory for sockets, the disk's overlay and logs; made if it is not there.
        ports: Ports of this machine's loopback that the guest finds on its own.
        accelerator: ``tcg`` or ``kvm``.
    """

    def __init__(self, image: Path, work: Path, *, ports: Sequence[int], accelerator: str) -> None:
        self._image = image.resolve()
        self.work = work.resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self._ports = ports
        self._accelerator = accelerator
        self._qemu: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.StreamWriter | None = None  # kept, because a stream closes when nobody holds its writer
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._count = 0
        self._boots: asyncio.Queue[str] = asyncio.Queue()
        self._readers: set[asyncio.Task[None]] = set()
        self.journal = Journal(self.work / "journal.log")

    def port(self, name: str) -> Path:
        """The socket of a virtio port."""
        return self.work / f"{name}.port"

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self, *, within: float = BOOT_S) -> None:
        """Switch it on and wait until it takes commands. The disk is as it was left; new at the first time.

        Raises:
            GuestError: it did not come up.
        """
        overlay = self.work / "disk.qcow2"
        if not overlay.exists():
            backing = f"{self._image}/disk.raw"
            await _succeed("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", backing, str(overlay))
        with (self.work / "qemu.log").open("ab") as log:
            self._qemu = await asyncio.create_subprocess_exec(
                *self._command(overlay), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            await self._connect()
            async with asyncio.timeout(within):
                await self._has_booted(self._qemu)
        except (TimeoutError, OSError) as failed:
            await self.cut()
            raise GuestError(f"The machine did not come up: see {self.work}/console.log and qemu.log") from failed

    async def _connect(self) -> None:
        reader, self._writer = await self._open("agent")
        journal, self._listener = await self._open("journal")
        self._readers = {
            asyncio.create_task(self._hear_agent(reader), name="agent"),
            asyncio.create_task(self.journal.follow(journal), name="journal"),
        }

    async def _has_booted(self, qemu: asyncio.subprocess.Process) -> None:
        booted = asyncio.create_task(self._boots.get())
        off = asyncio.create_task(qemu.wait())
        try:
            await asyncio.wait({booted, off}, return_when=asyncio.FIRST_COMPLETED)
            if not booted.done():
                raise OSError("QEMU has ended")
        finally:
            booted.cancel()
            off.cancel()

    async def down(self, *, within: float = BOOT_S) -> None:
        """Wait until it has gone down, as it was asked to; `start` goes on with the reboot.

        Raises:
            GuestError: it does not.
        """
        try:
            async with asyncio.timeout(within):
                if self._qemu is not None:
                    await self._qemu.wait()  # an emulated firmware may hang in a warm start, so QEMU is started anew
        except TimeoutError:
            raise GuestError("The machine did not go down") from None
        await self.cut()

    async def cut(self) -> None:
        """Cut the power: what the guest had not flushed to its disk is gone."""
        if self._qemu is not None:
            with suppress(ProcessLookupError):
                self._qemu.kill()
            await self._qemu.wait()
            self._qemu = None
        for task in self._readers:
            task.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._readers = set()
        for future in self._asked.values():
            future.cancel()
        self._asked = {}
        for name in ("agent", "journal", *ADAPTERS):
            self.port(name).unlink(missing_ok=True)

    def _command(self, overlay: Path) -> list[str]:
        # Killed with us, however we end.
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "nice",
            "qemu-system-x86_64",
            "-machine",
            "q35",
            "-m",
            str(MEMORY_MIB),
            "-smp",
            str(CPUS),
        ]
        command += ["-accel", "kvm", "-cpu", "host"] if self._accelerator == "kvm" else ["-accel", "tcg,thread=multi"]
        if self._accelerator != "kvm":
            command += ["-cpu", EMULATED_CPU]
        command += [
            "-nodefaults",
            "-no-reboot",
            "-no-user-config",
            "-display",
            "none",
            "-serial",
            f"file:{self.work}/console.log",
        ]
        command += ["-kernel", f"{self._image}/vmlinuz", "-initrd", f"{self._image}/initrd.gz"]
        ports = ",".join(map(str, self._ports))
        # An emulated timer on a busy machine may fail the kernel's test of it; QEMU goes off when the kernel panics.
        append = "console=ttyS0 quiet net.ifnames=0 mitigations=off random.trust_cpu=on no_timer_check panic=-1"
        append += f" vm.ports={ports}"
        command += ["-append", append]
        # Metadata of a qcow2 overlay is written at the guest's flushes: killed, it forgets newer clusters as a disk
        # does that had them in its cache.
        command += ["-drive", f"file={overlay},if=virtio,cache=writeback,discard=unmap"]
        command += ["-nic", "user,model=virtio-net-pci", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        for name in ("agent", "journal", *ADAPTERS):
            command += ["-chardev", f"socket,id={name},path={self.port(name)},server=on,wait=off"]
            command += ["-device", f"virtserialport,chardev={name},name={name}"]
        return command

    async def _open(self, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(SOCKET_S):
            while True:
                with suppress(FileNotFoundError, ConnectionRefusedError):
                    return await asyncio.open_unix_connection(self.port(name), limit=1 << 24)
                await asyncio.sleep(0.05)  # QEMU does not say when it has made its sockets

    # -- commands -----------------------------------------------------------------------------------------------------

    async def run(self, command: str, *, check: bool = True, within: float = COMMAND_S) -> str:
        """Run a shell command as root and give back what it said.

        Raises:
            GuestError: it failed, and ``check``; or it did not end in time.
        """
        done = await self._exchange({"run": command}, within)
        if check and done["code"] != 0:
            raise GuestError(f"{command!r} ended with {done['code']}: {done['out'].strip()}")
        return str(done["out"])

    async def write(self, path: str, text: str, *, mode: str = "644") -> None:
        """Make a file in the guest."""
        await self.run(
            f"mkdir -p $(dirname {path}) && printf %s {shlex.quote(text)} >{path}.new && chmod {mode} {path}.new"
            f" && mv {path}.new {path} && sync -f {path}"
        )

    async def ask_gateway(self, question: str, socket: str = "/run/bota-gateway/status.sock", **more: object) -> Any:
        """Ask the gateway's status socket; None when it does not answer."""
        done = await self._exchange({"ask": {"ask": question, **more}, "socket": socket}, COMMAND_S)
        reply = done["answer"]
        return reply.get("answer") if isinstance(reply, dict) else None

    async def _exchange(self, question: dict[str, Any], within: float) -> dict[str, Any]:
        if self._writer is None:
            raise GuestError("The machine is off")
        self._count += 1
        number = self._count
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps({"id": number, **question}).encode() + b"\n")
        try:
            async with asyncio.timeout(within):
                done: dict[str, Any] = await answer
        except TimeoutError:
            raise GuestError(f"No answer within {within:g} s: {question}") from None
        finally:
            self._asked.pop(number, None)
        return done

    async def _hear_agent(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            said = json.loads(line)
            if "boot" in said:
                self._boots.put_nowait(said["boot"])
            elif (future := self._asked.get(said["id"])) is not None and not future.done():
                future.set_result(said)


KVM_TRIAL_S = 20.0
"""With KVM that works the machine is up in 5 s."""


async def choose_accelerator(image: Path, work: Path) -> str:
    """``kvm`` where a trial boot with it succeeds, else ``tcg``. That /dev/kvm opens says little: it may hang."""
    known = image / "accelerator"
    if known.exists() and known.stat().st_mtime > (image / "vmlinuz").stat().st_mtime:
        return known.read_text()
    chosen = "tcg"
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        trial = Machine(image, work, ports=(), accelerator="kvm")
        with suppress(GuestError):
            await trial.start(within=KVM_TRIAL_S)
            chosen = "kvm"
        await trial.cut()
    (work / "disk.qcow2").unlink(missing_ok=True)
    known.write_text(chosen)
    return chosen


async def _succeed(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    if await process.wait() != 0:
        raise GuestError(f"{command[0]} failed")
