"""Runs a schedule and judges what came of it; and makes a failing schedule as small as it gets."""

import asyncio
import functools
import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bota_gateway.spool import Happened
from support.chaos.at_hub import SpoolLost
from support.chaos.schedule import Schedule
from support.chaos.world import ChaosWorld, chaos_world
from support.crash_run import garbage_kept
from support.evidence import Evidence
from support.judge import Wrong, judge
from support.one_thread import OneThreadLoop

MEMORY = next((path for path in ("/dev/shm",) if Path(path).is_dir()), None)  # noqa: S108 - one of its own is made in it
"""Where spools need no real syncs; None for the usual place."""

MOST_TURNS = 3_000_000
"""Turns of the event loop after which a run counts as hanging; the longest take a tenth of it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one schedule."""

    schedule: Schedule
    wrongs: tuple[str, ...]
    """Every broken promise, in words; nothing is the only good outcome."""
    fired: Counter[str]
    lives: int
    recordings: int
    virtual_s: float
    course: str = ""
    """A digest of everything that happened, with its times."""


def run(schedule: Schedule) -> Outcome:
    """Play a schedule on a loop of its own, and judge."""
    loop = functools.partial(OneThreadLoop, most_turns=MOST_TURNS)
    with garbage_kept(), asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(_run(schedule))


async def _run(schedule: Schedule) -> Outcome:
    began = asyncio.get_running_loop().time()
    with tempfile.TemporaryDirectory(prefix="bota-chaos-", dir=MEMORY) as directory:
        async with chaos_world(Path(directory), schedule) as world:
            await world.play()
            evidence = await world.evidence()
            verdict = [wrong for wrong in judge(evidence) if wrong.wrong not in _forgiven(schedule)]
            wrongs = [*world.trouble, *map(str, verdict), *_parked_without_cause(schedule, evidence)]
            wrongs += [
                f"unknown effect {kind}" for kind in sorted({k for life in world.lives for k in life.effects.unknown})
            ]
            virtual_s = asyncio.get_running_loop().time() - began
            return Outcome(
                schedule,
                tuple(wrongs),
                world.fired,
                lives=len(world.lives),
                recordings=len(world.witness.made),
                virtual_s=virtual_s,
                course=_course(world, virtual_s),
            )


def _forgiven(schedule: Schedule) -> set[Wrong]:
    """A gateway whose spool was lost can't know what it had acknowledged; noise in audio is found when that is read."""
    lost = any(isinstance(one, SpoolLost) for one in schedule.happenings)
    return {Wrong.PULLED_AGAIN, Wrong.SPOOL_BROKEN} if lost else set()


def _course(world: ChaosWorld, virtual_s: float) -> str:
    """Every log event, every word to a recorder with its time, every effect, in order."""
    events = [sorted((name, str(value)) for name, value in event.items()) for event in world.witness.events]
    told = [(word.order, word.at, word.word, word.held, word.on_disk, word.in_cloud) for word in world.witness.told]
    effects = [str(point) for life in world.lives for point in life.effects.points]
    everything = repr((virtual_s, sorted(world.fired.items()), events, told, effects))
    return hashlib.sha256(everything.replace(str(world.directory), "").encode()).hexdigest()


def _parked_without_cause(schedule: Schedule, evidence: Evidence) -> Iterator[str]:
    """Only what a human must settle may park, and it must say what to do."""
    for row in evidence.rows:
        serial = row.key.serial
        causes = frozenset[str]().union(
            *(one.parks for one in schedule.happenings if getattr(one, "serial", serial) == serial)
        )
        for line in evidence.timelines[row.id]:
            if line.happened != Happened.PARKED:
                continue
            if line.detail.get("code") not in causes:
                yield f"parked without cause: {row.key} for {line.detail.get('code')}: {line.detail.get('reason')}"
            elif not line.detail.get("reason"):
                yield f"parked without a word: {row.key} for {line.detail.get('code')}"


# -- shrinking ---------------------------------------------------------------------------------------------------------


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """The smallest schedule found that still fails: whole stretches are dropped first, single happenings last."""
    size = max(1, len(schedule.happenings) // 2)
    while True:
        smaller = _without_some(schedule, size, fails)
        if smaller is None and size == 1:
            return schedule
        schedule = smaller or schedule
        size = size if smaller else max(1, size // 2)


def _without_some(schedule: Schedule, size: int, fails: Callable[[Schedule], bool]) -> Schedule | None:
    happenings = schedule.happenings
    for at in range(0, len(happenings), size):
        smaller = replace(schedule, happenings=happenings[:at] + happenings[at + size :])
        if fails(smaller):
            return smaller
    return None
