"""The command line as a person types it: in a process of its own, or in this one where a process adds nothing."""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from bota_gateway.cli.main import main

COMMAND = Path(sys.executable).with_name("bota-gateway")
"""As installed beside this Python."""
PATIENCE_S = 100.0
"""For a process on a machine that is busy with other tests."""


@dataclass(frozen=True)
class Told:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document it is."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """Lines of standard output."""
        return self.out.splitlines()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def logging_kept() -> Iterator[None]:
    """Whatever the block sets up for logging is taken back after it."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers = list(root.handlers)
    try:
        yield
    finally:
        structlog.configure(**before)
        root.handlers = handlers


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of a gateway, and with ``more``."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BOTA_GATEWAY_")} | more


def run_process(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Told:
    """Run the installed command to its end."""
    done = subprocess.run(  # noqa: S603 - our own command
        [COMMAND, *arguments],
        env=clean_environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return Told(done.returncode, done.stdout, done.stderr)


def start_process(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the installed command; leaving it as a context waits for its end."""
    return subprocess.Popen(  # noqa: S603 - our own command
        [COMMAND, *arguments], env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run_here(*arguments: str | Path, terminal: bool = False) -> Told:
    """Run a command in this process, its output taken for a pipe or for a terminal."""
    out, err = _Terminal() if terminal else io.StringIO(), io.StringIO()
    code = 0
    with logging_kept(), redirect_stdout(out), redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
    return Told(code, out.getvalue(), err.getvalue())


async def run_beside(*arguments: str | Path, terminal: bool = False) -> Told:
    """As `run_here`, in a thread: the loop goes on, so that a gateway in it can answer."""
    return await asyncio.to_thread(run_here, *arguments, terminal=terminal)
