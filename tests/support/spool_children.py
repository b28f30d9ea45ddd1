"""Starts ``support.spool_child``."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import support.spool_child

COMMAND = (sys.executable, "-m", "support.spool_child")
ENVIRONMENT = {"PYTHONPATH": str(Path(support.spool_child.__file__).parents[1]), "PATH": "/usr/bin:/bin"}


def run_child(action: str, directory: Path) -> Any:
    """Run an action to its end; give back what it said."""
    done = subprocess.run(  # noqa: S603 - our own module
        [*COMMAND, action, str(directory)], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def start_child(action: str, directory: Path) -> "subprocess.Popen[str]":
    """Start an action and wait until it says something."""
    child = subprocess.Popen(  # noqa: S603 - our own module
        [*COMMAND, action, str(directory)],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline(), "the child said nothing"
    return child
