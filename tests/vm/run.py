"""Plays scenarios in virtual machines, several at once, and prints what came of each; run by scripts/vm."""

import argparse
import asyncio
import logging
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import structlog

from vm.machine import GuestError, choose_accelerator
from vm.scenarios import FIRST, LAST, LONGEST, SCENARIOS, Scenario
from vm.scene import ScenarioError, Scene

SHOWN = 40
"""Lines of the journal that are shown of a scenario that failed."""
LONGEST_S = 1200.0
"""A scenario that takes longer has failed."""
MOST_JOBS = 4
"""Machines by default: more are of no use, because the longest scenario decides by then."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one scenario in one machine."""

    scenario: Scenario
    machine: int
    passed: bool
    seconds: float
    seen: str

    def __str__(self) -> str:
        mark = "ok" if self.passed else "FAILED"
        return f"{self.scenario.name:<24} {mark:<6} {self.seconds:5.0f} s  in {self.machine}  {self.seen}"


class Player:
    """Hands each scenario to the next machine that is free.

    Args:
        image: What scripts/vm-image built.
        work: A directory; each machine gets one of its own below, by its number.
        chosen: What is played.
    """

    def __init__(self, image: Path, work: Path, chosen: Sequence[Scenario]) -> None:
        self._image = image
        self._work = work
        self._first = [one for one in chosen if one in FIRST]
        self._last = [one for one in chosen if one in LAST]
        waiting = [one for one in chosen if one not in FIRST and one not in LAST]
        self._waiting = deque(sorted(waiting, key=lambda one: one not in LONGEST))
        self._numbers = count(1)
        self._began = time.monotonic()
        self.outcomes: list[Outcome] = []
        self.dead = 0
        """Machines that did not come up; the others go on."""

    async def run(self, jobs: int) -> None:
        """Play everything, in so many machines at once."""
        accelerator = await choose_accelerator(self._image, self._work)
        async with asyncio.TaskGroup() as machines:
            for _ in range(max(1, min(jobs, len(self._waiting)))):
                machines.create_task(self._play_in_turn(accelerator))

    async def _play_in_turn(self, accelerator: str) -> None:
        """Play until nothing waits; after a failure in a new machine, so that nothing of it is left."""
        spoilt = True
        while spoilt:
            number = next(self._numbers)
            async with AsyncExitStack() as stack:
                try:
                    opening = Scene.open(self._image, self._work / str(number), accelerator)
                    scene = await stack.enter_async_context(opening)
                except GuestError as failed:
                    self.dead += 1
                    self._say(f"machine {number}: {failed}")
                    return
                self._say(f"machine {number} has booted, on {accelerator}")
                spoilt = await self._play_in(scene, number)
            spoilt = spoilt and bool(self._waiting)

    async def _play_in(self, scene: Scene, number: int) -> bool:
        """Whether it ended with a failure."""
        for one in self._first:
            if not await self._play(scene, one, number):
                return True
        while self._waiting:
            if not await self._play(scene, self._waiting.popleft(), number):
                return True
        for one in self._last:
            await self._play(scene, one, number)
        return False

    async def _play(self, scene: Scene, scenario: Scenario, number: int) -> bool:
        began = time.monotonic()
        try:
            async with asyncio.timeout(LONGEST_S):
                seen, passed = await scenario.play(scene), True
        except (ScenarioError, GuestError, TimeoutError) as failed:
            seen, passed = str(failed) or "it did not end in time", False
        except Exception:  # noqa: BLE001 - a mistake in a scenario must not hide what the others show
            seen, passed = traceback.format_exc(), False
        outcome = Outcome(scenario, number, passed, time.monotonic() - began, seen)
        self.outcomes.append(outcome)
        self._say(str(outcome))
        if not passed:
            for line in scene.lines()[-SHOWN:]:
                print(f"    {line.at:.3f} {line.unit}: {line.text}")
        await scene.clear()
        return passed

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s  {what}", flush=True)


def default_jobs() -> int:
    """As many machines as cores: under emulation one keeps half a core busy, and more than one while it boots."""
    return min(MOST_JOBS, len(os.sched_getaffinity(0)))


def main() -> int:
    """Play what is named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="scripts/vm", description="Plays scenarios on real BlueZ and systemd.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a scenario, as often as it is named; all if none is")
    parser.add_argument("--jobs", type=int, default=default_jobs(), help="machines at once (here: %(default)s)")
    parser.add_argument("--image", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="only say what there is")
    asked = parser.parse_args()
    if unknown := set(asked.names) - {one.name for one in SCENARIOS}:
        parser.error(f"there is no {', '.join(sorted(unknown))}; --list says what there is")
    names = asked.names or [one.name for one in SCENARIOS]
    chosen = [one for one in SCENARIOS for _ in range(names.count(one.name))]
    if asked.list:
        for one in chosen:
            print(f"{one.name:<24} {one.what}")
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    began = time.monotonic()
    player = Player(asked.image, asked.work, chosen)
    asyncio.run(player.run(asked.jobs))
    print("\n== scenarios")
    for outcome in sorted(player.outcomes, key=lambda one: (SCENARIOS.index(one.scenario), one.machine)):
        print(outcome)
    failed = sum(not outcome.passed for outcome in player.outcomes)
    missing = {one.name for one in chosen} - {outcome.scenario.name for outcome in player.outcomes}
    print(
        f"== {failed} failed, {len(player.outcomes) - failed} passed, in {time.monotonic() - began:.0f} s;"
        f" the journals: {asked.work}/*/journal.log"
        + (f"; not played: {', '.join(sorted(missing))}" if missing else "")
        + (f"; {player.dead} machines did not come up" if player.dead else "")
    )
    return 1 if failed or missing or player.dead else 0


if __name__ == "__main__":
    sys.exit(main())
