"""Runs a scenario in a world of its own, with or without deaths, and has it judged.

To look at one run again, with its whole log::

    PYTHONPATH=tests python -m support.crash_run "a lost create" "write ACK #1 acted"
"""

import asyncio
import functools
import gc
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bota_gateway.spool.const import BALLAST_NAME, LOCK_NAME
from support.crash_world import Death, Scenario, World, world
from support.effects import Point
from support.gathering import SPOOL_FILES
from support.judge import Violation, Wrong, judge
from support.one_thread import OneThreadLoop

MEMORY = Path("/dev/shm")  # noqa: S108 - a private directory is made in it
"""Spools are kept in memory where that is possible: what a disk keeps is not the question here."""


KNOWN_FILES = {*SPOOL_FILES, LOCK_NAME, BALLAST_NAME}
"""All that the gateway writes beside the spool's tables."""


@dataclass(frozen=True)
class Outcome:
    """What came of one run."""

    points: list[Point]
    """Of the first life, in order."""
    marks: list[str]
    """What would survive a death at each point."""
    lives: int
    unknown_effects: set[str]
    violations: list[Violation]
    log: list[str]

    @property
    def distinct(self) -> list[Point]:
        """The first point of each set between which nothing changes that a death would leave behind."""
        first: dict[str, Point] = {}
        for point, mark in zip(self.points, self.marks, strict=True):
            first.setdefault(mark, point)
        return list(first.values())

    @property
    def told(self) -> str:
        """The log's end, for who has to find out what went wrong."""
        return "\n".join(self.log[-60:])


def run(scenario: Scenario, *deaths: Death, marking: bool = False) -> Outcome:
    """One run from the start to the end, on virtual time, in one thread. The same every time."""
    with (
        garbage_kept(),
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory,
        asyncio.Runner(loop_factory=OneThreadLoop) as runner,
    ):
        return runner.run(_run(Path(directory), scenario, deaths, marking=marking))


@contextmanager
def garbage_kept() -> Iterator[None]:
    """A run is short: looking for cycles meanwhile would cost a tenth of it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@functools.cache
def faultless(scenario: Scenario) -> Outcome:
    """The run without a death; made once in each process."""
    return run(scenario, marking=True)


async def _run(directory: Path, scenario: Scenario, deaths: Sequence[Death], *, marking: bool) -> Outcome:
    async with world(directory, scenario, *deaths, marking=marking) as it:
        rests = await it.live()
        evidence = await it.evidence()
    unrest = [] if rests else [Violation(Wrong.UNFINISHED, "it did not come to rest in time")]
    first = it.lives[0].effects
    return Outcome(
        points=first.points,
        marks=it.marks,
        lives=len(it.lives),
        unknown_effects=_unknown(it),
        violations=unrest + judge(evidence),
        log=it.witness.log,
    )


def _unknown(it: World) -> set[str]:
    """Everything that went another way than through the doors, or through them under no known name."""
    loop = asyncio.get_running_loop()
    ways = set(loop.refused) if isinstance(loop, OneThreadLoop) else set()
    kinds = {kind for life in it.lives for kind in life.effects.unknown}
    files = {path.name for life in it.lives for path in life.spool.iterdir()} - KNOWN_FILES
    return ways | kinds | {f"file {name}" for name in files}


def again(scenario: Scenario, deaths: Sequence[Death]) -> str:
    """The command that repeats a run."""
    words = " ".join(f'"{word}"' for word in (scenario.name, *deaths))
    return f"PYTHONPATH=tests python -m support.crash_run {words}"


def main(name: str, *deaths: str) -> None:
    """Repeat one run and show everything about it."""
    from support.custody_scenarios import SCENARIOS  # noqa: PLC0415 - it knows this module's world

    outcome = run(SCENARIOS[name], *(int(death) if death.isdecimal() else Point.parse(death) for death in deaths))
    points = [] if deaths else map(str, outcome.points)
    lines = [*outcome.log, *points, *map(str, outcome.violations), *sorted(outcome.unknown_effects)]
    sys.stdout.write("\n".join([*lines, f"{outcome.lives} lives, {len(outcome.violations)} violations"]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
