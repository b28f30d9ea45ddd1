"""The product's programs as processes of their own: started, heard line by line, stopped by signals."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.commands import COMMAND, clean_environment

PATIENCE_S = 60.0
"""For anything a process should say or do, on a machine that is busy with other tests."""


@dataclass
class Program:
    """A process of ``bota-gateway``; what it says is kept."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    """Standard output and standard error, mixed as they came."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: bool = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def said(self) -> str:
        """Everything it said so far."""
        return "\n".join(self.lines)

    async def line(self, wanted: Callable[[str], bool] | str, *, within: float = PATIENCE_S) -> str:
        """The first line that contains ``wanted``, or for which it is true, said already or to come.

        Raises:
            AssertionError: it ended, or ``within`` seconds passed, without such a line.
        """
        fits = wanted if callable(wanted) else lambda text: str(wanted) in text
        try:
            async with asyncio.timeout(within):
                while True:
                    self._news.clear()
                    for text in self.lines:
                        if fits(text):
                            return text
                    assert not self._ended, f"it ended without {wanted!r}:\n{self.said}"
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {wanted!r} within {within} s:\n{self.said}") from None

    async def event(self, name: str, *, times: int = 1, within: float = PATIENCE_S, **fields: object) -> None:
        """Wait until it has logged an event with these fields so many times (JSON log)."""

        def enough(_text: str) -> bool:
            return sum(_fits(line, name, fields) for line in self.lines) >= times

        await self.line(enough, within=within)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def end(self, *, within: float = PATIENCE_S) -> int:
        """Its exit code (negative: the signal that killed it), once it has ended and all it said was read."""
        async with asyncio.timeout(within):
            await self.process.wait()
            while not self._ended:
                self._news.clear()
                await self._news.wait()
        return int(self.process.returncode or 0)

    async def hear(self) -> None:
        """Collect its lines until it closes its output."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode(errors="replace").rstrip("\n"))
            self._news.set()
        self._ended = True
        self._news.set()


def _fits(line: str, name: str, fields: Mapping[str, object]) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    if not isinstance(entry, dict) or entry.get("event") != name:
        return False
    return all(entry.get(key) == value for key, value in fields.items())


@asynccontextmanager
async def program(
    *arguments: str | Path, env: Mapping[str, str] | None = None, command: Sequence[str | Path] = (COMMAND,)
) -> AsyncIterator[Program]:
    """Start ``bota-gateway`` with these arguments; killed at the end of the block if it still runs then."""
    process = await asyncio.create_subprocess_exec(
        *map(str, (*command, *arguments)),
        env=clean_environment(**(env or {})),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=1 << 20,
        start_new_session=True,
    )
    started = Program(process)
    hearing = asyncio.create_task(started.hear())
    try:
        yield started
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await hearing


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def resident(pid: int, kind: str) -> int:
    """Bytes of memory of a process: VmRSS now, VmHWM at most since the last `restart_peak` (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{kind}:"))


def restart_peak(pid: int) -> None:
    """Let VmHWM count from now on (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
