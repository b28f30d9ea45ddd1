"""Plays random schedules of faults against the whole gateway, on a clock that jumps, and judges custody.

Each seed is one schedule: recorders, a cloud, and everything that goes wrong with them, drawn from the full catalogues.
A seed that fails is played again with less and less, and the smallest schedule that still fails is printed.
"""

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.chaos.draw import draw
from support.chaos.run import Outcome, run, shrink
from support.chaos.schedule import Schedule

UNDER_WAY = 8
"""Seeds handed to each worker ahead: enough to keep it busy, few enough to stop soon."""


@dataclass
class Summary:
    """What all seeds came to."""

    seeds: int = 0
    schedules: int = 0
    recordings: int = 0
    lives: int = 0
    hours: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)
    failed: list[int] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one seed."""
        self.seeds += 1
        self.schedules += 1
        self.recordings += outcome.recordings
        self.lives += outcome.lives
        self.hours += outcome.virtual_s / 3600
        self.fired.update(outcome.fired)
        if outcome.wrongs:
            self.failed.append(outcome.schedule.seed)

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.fired.items()) if count)
        failed = f" (seeds {' '.join(map(str, sorted(self.failed)))})" if self.failed else ""
        return (
            f"{self.seeds} seeds, {self.schedules} schedules, {self.recordings} recordings, {self.lives} lives, "
            f"{self.hours / 24:.0f} days, {sum(self.fired.values())} faults fired ({kinds}), "
            f"{len(self.failed)} seeds with violations{failed}"
        )


def main() -> int:
    """Play as asked; 1 when a promise was broken."""
    options = _options()
    summary = Summary()
    began = time.monotonic()
    for outcome in _outcomes(range(options.start, options.start + options.seeds), options.jobs):
        summary.add(outcome)
        if outcome.wrongs:
            summary.schedules += _report(outcome, shrinking=not options.no_shrink)
        elif sys.stderr.isatty():
            print(f"\r{summary.seeds} of {options.seeds}, {time.monotonic() - began:.0f} s", end="", file=sys.stderr)
    print(summary)
    return 1 if summary.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="how many seeds (default: %(default)s)")
    parser.add_argument("--start", type=int, default=0, metavar="S", help="the first seed (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    parser.add_argument("--no-shrink", action="store_true", help="print failing schedules whole")
    return parser.parse_args()


def _outcomes(seeds: range, jobs: int) -> Iterator[Outcome]:
    if len(seeds) == 1 or jobs == 1:
        yield from map(_play, seeds)
        return
    spawn = multiprocessing.get_context("spawn")
    waiting = iter(seeds)
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        under_way = {pool.submit(_play, seed) for seed in islice(waiting, jobs * UNDER_WAY)}
        while under_way:
            done = next(as_completed(under_way))
            under_way.remove(done)
            yield done.result()
            under_way |= {pool.submit(_play, seed) for seed in islice(waiting, 1)}


def _play(seed: int) -> Outcome:
    return _run(draw(seed))


def _run(schedule: Schedule) -> Outcome:
    try:
        return run(schedule)
    except Exception:  # noqa: BLE001 - a world that breaks is a finding, too
        return Outcome(schedule, (traceback.format_exc(),), Counter(), 0, 0, 0.0)


def _report(outcome: Outcome, *, shrinking: bool) -> int:
    """Print a failure, as small as it gets; gives back how many schedules that took."""
    schedule, played = outcome.schedule, 0
    print(f"\n== seed {schedule.seed} broke {len(outcome.wrongs)} promises:")
    print("\n".join(f"   {wrong}" for wrong in outcome.wrongs), flush=True)

    def fails(smaller: Schedule) -> bool:
        nonlocal played
        played += 1
        return bool(_kinds(_run(smaller)) & _kinds(outcome))

    if shrinking:
        schedule = shrink(schedule, fails)
        print("-- the smallest schedule that still does:")
    print(schedule)
    print(f"-- again: scripts/chaos --seeds 1 --start {schedule.seed}", flush=True)
    return played


def _kinds(outcome: Outcome) -> set[str]:
    """What went wrong, without which recording: a schedule shrinks only towards the same failure."""
    return {wrong.partition(":")[0] for wrong in outcome.wrongs}


if __name__ == "__main__":
    sys.exit(main())
