"""Runs a scenario in a world of its own, with or without a death, and has it judged."""

import asyncio
import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from support.crash_world import SETTLES_WITHIN_S, Death, Scenario, World, world
from support.effects import Point
from support.judge import Violation, Wrong, judge
from support.one_thread import OneThreadLoop

MEMORY = Path("/dev/shm")  # noqa: S108 - a private directory is made in it
"""Spools are kept in memory where that is possible: what a disk keeps is not the question here."""


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
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory,
        asyncio.Runner(loop_factory=OneThreadLoop) as runner,
    ):
        return runner.run(_run(Path(directory), scenario, deaths, marking=marking))


@functools.cache
def faultless(scenario: Scenario) -> Outcome:
    """The run without a death; made once in each process."""
    return run(scenario, marking=True)


async def _run(directory: Path, scenario: Scenario, deaths: Sequence[Death], *, marking: bool) -> Outcome:
    async with world(directory, scenario, *deaths, marking=marking) as it:
        rests = await it.live()
        evidence = await it.evidence()
    unrest = [] if rests else [Violation(Wrong.UNFINISHED, f"no rest after {SETTLES_WITHIN_S / 3600:.0f} h")]
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
    return {kind for life in it.lives for kind in life.effects.unknown}
