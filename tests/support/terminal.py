"""A command on a terminal of its own, as a person sits before it: types, resizes, and sees what is shown."""

import asyncio
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.commands import COMMAND, PATIENCE_S, clean_environment

_POLL_S = 0.1
_HOME = "\x1b[H"
ALT_SCREEN, MAIN_SCREEN, CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?[349][0-7](?:;[0-9;]*)?m")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Terminal:
    """The person's side of it."""

    process: subprocess.Popen[bytes]
    _person: int
    _own: int
    shown: str = ""
    """Everything that was written to it, control sequences included."""
    _rest: bytes = field(default=b"")

    @property
    def modes(self) -> list[Any]:
        """How it treats keys and output: termios' attributes."""
        return termios.tcgetattr(self._own)

    @property
    def frame(self) -> list[str]:
        """Lines of the last frame that was drawn from the upper left corner."""
        frames = self.shown.split(_HOME)
        return [line.rstrip() for line in _CONTROL.sub("", frames[-1]).replace("\r", "").split("\n")]

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._person, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Drag its corner."""
        fcntl.ioctl(self._own, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read on until ``condition`` holds.

        Raises:
            TimeoutError: it never did.
        """
        ends_at = time.monotonic() + PATIENCE_S
        while not condition():
            await asyncio.to_thread(self._read)
            if time.monotonic() > ends_at:
                raise TimeoutError(self.shown[-2_000:])

    async def sees(self, words: str) -> None:
        """Read on until the last frame has these words, and is whole."""
        await self.until(lambda: any(words in line for line in self.frame) and self._whole())

    async def left(self) -> int:
        """The exit code, once the process has ended and all it wrote is read."""
        code = await asyncio.to_thread(self.process.wait, PATIENCE_S)
        while await asyncio.to_thread(self._read):
            pass
        return code

    def _whole(self) -> bool:
        return any("q leaves" in line for line in self.frame)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._person], [], [], _POLL_S)
        if not ready:
            return False
        self._rest += os.read(self._person, 1 << 16)
        with suppress(UnicodeDecodeError):
            self.shown += self._rest.decode()
            self._rest = b""
        return True


@asynccontextmanager
async def on_terminal(
    *arguments: str | Path, columns: int = 80, lines: int = 24, **environment: str
) -> AsyncIterator[Terminal]:
    """Start ``bota-gateway`` with these arguments on a terminal of this size; killed at the end if it still runs."""
    person, own = os.openpty()
    fcntl.ioctl(own, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own command; it starts at once
        ["setsid", "--ctty", COMMAND, *arguments],  # noqa: S607 - so that the terminal's keys make signals
        env=clean_environment(TERM="xterm-256color", **environment),
        stdin=own,
        stdout=own,
        stderr=own,
    )
    try:
        yield Terminal(process, person, own)
    finally:
        process.kill()
        process.wait()
        os.close(person)
        os.close(own)
