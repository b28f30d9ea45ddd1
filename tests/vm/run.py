"""Plays scenarios one after another in one virtual machine, and prints what came of each; run by scripts/vm."""

import argparse
import asyncio
import logging
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import structlog

from vm.machine import GuestError, choose_accelerator
from vm.scenarios import SCENARIOS, Scenario
from vm.scene import ScenarioError, Scene

SHOWN = 40
"""Lines of the journal that are shown of a scenario that failed."""
LONGEST_S = 600.0
"""A scenario that takes longer has failed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one scenario."""

    scenario: Scenario
    passed: bool
    seconds: float
    seen: str

    def __str__(self) -> str:
        return f"{self.scenario.name:<28} {'ok' if self.passed else 'FAILED':<7} {self.seconds:5.0f} s  {self.seen}"


async def play(scene: Scene, scenario: Scenario) -> Outcome:
    """Play one; whatever happens, the next can be played."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(LONGEST_S):
            seen, passed = await scenario.play(scene), True
    except (ScenarioError, GuestError, TimeoutError) as failed:
        seen, passed = str(failed) or "it did not end in time", False
    except Exception:  # noqa: BLE001 - a mistake in a scenario must not hide what the others show
        seen, passed = traceback.format_exc(), False
    outcome = Outcome(scenario, passed, time.monotonic() - began, seen)
    print(outcome, flush=True)
    if not passed:
        for line in scene.lines()[-SHOWN:]:
            print(f"    {line.at:.3f} {line.unit}: {line.text}")
    await scene.clear()
    if not passed:
        await scene.start_over()
    return outcome


async def play_all(image: Path, work: Path, chosen: list[Scenario]) -> list[Outcome]:
    """Boot, and play them."""
    began = time.monotonic()
    accelerator = await choose_accelerator(image, work)
    async with Scene.open(image, work, accelerator) as scene:
        print(f"== booted in {time.monotonic() - began:.0f} s, on {accelerator}", flush=True)
        return [await play(scene, scenario) for scenario in chosen]


def main() -> int:
    """Play what is named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="scripts/vm", description="Plays scenarios on real BlueZ and systemd.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios to play; all if none is named")
    parser.add_argument("--image", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="only say what there is")
    asked = parser.parse_args()
    if unknown := set(asked.names) - {one.name for one in SCENARIOS}:
        parser.error(f"there is no {', '.join(sorted(unknown))}; --list says what there is")
    chosen = [one for one in SCENARIOS if not asked.names or one.name in asked.names]
    if asked.list:
        for one in chosen:
            print(f"{one.name:<28} {one.what}")
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    outcomes = asyncio.run(play_all(asked.image, asked.work, chosen))
    print("\n== scenarios")
    for outcome in outcomes:
        print(outcome)
    failed = sum(not outcome.passed for outcome in outcomes)
    total = sum(outcome.seconds for outcome in outcomes)
    print(
        f"== {len(outcomes) - failed} of {len(outcomes)} passed, {total:.0f} s; the journal: {asked.work}/journal.log"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
