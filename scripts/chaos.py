"""Plays random schedules of faults against the whole gateway, on a clock that jumps, and judges custody.

Each seed is one schedule: recorders, a cloud, and everything that goes wrong with them, drawn from the full catalogues.
A seed that fails is played again with less and less, and the smallest schedule that still fails is printed.
"""

import argparse
import hashlib
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.chaos.draw import draw
from support.chaos.run import Outcome, run, shrink
from support.chaos.schedule import Schedule

UNDER_WAY = 8
"""Seeds handed to each worker ahead: enough to keep it busy, few enough to stop soon."""

TELL_EVERY_S = 10.0
"""How often progress is told where nobody watches; a terminal is told of every seed."""


@dataclass
class Summary:
    """What all seeds came to."""

    seeds: int = 0
    recorders: int = 0
    recordings: int = 0
    lives: int = 0
    hours: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)
    failed: list[int] = field(default_factory=list)
    courses: dict[int, str] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one seed."""
        self.seeds += 1
        self.recorders += len(outcome.schedule.serials)
        self.recordings += outcome.recordings
        self.lives += outcome.lives
        self.hours += outcome.virtual_s / 3600
        self.fired.update(outcome.fired)
        self.courses[outcome.schedule.seed] = outcome.course
        if outcome.wrongs:
            self.failed.append(outcome.schedule.seed)

    def told(self, real_s: float) -> str:
        """In one line; ``course`` stands for all that happened, and is the same whenever these seeds are played."""
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.fired.items()) if count)
        failed = f" ({' '.join(map(str, sorted(self.failed)))})" if self.failed else ""
        course = hashlib.sha256("".join(self.courses[seed] for seed in sorted(self.courses)).encode()).hexdigest()[:12]
        crashes = sum(self.fired[kind] for kind in ("dies", "diesaround"))
        return (
            f"{self.seeds:,} seeds, {len(self.failed)} failed{failed}: {self.recorders:,} recorders, "
            f"{self.recordings:,} recordings, {sum(self.fired.values()):,} faults ({kinds}), {crashes:,} crashes, "
            f"{self.lives:,} lives, {self.hours / 24:.0f} days of virtual time in {real_s:.0f} s, "
            f"course {course}"
        )


def main() -> int:
    """Play as asked; 1 when a promise was broken."""
    options = _options()
    began = told_at = time.monotonic()
    summary = Summary()
    first, count = (options.start, options.seeds) if options.seed is None else (options.seed, 1)
    seeds = range(first, first + count)
    for outcome in _outcomes(seeds, options.jobs):
        summary.add(outcome)
        now = time.monotonic()
        if outcome.wrongs:
            _report(outcome, shrinking=not options.no_shrink)
        elif sys.stderr.isatty() or now - told_at >= TELL_EVERY_S:
            told_at = now
            progress = f"{summary.seeds} of {len(seeds)} seeds, {len(summary.failed)} failed, {now - began:.0f} s"
            print(progress, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
    print(summary.told(time.monotonic() - began))
    return 1 if summary.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="how many seeds (default: %(default)s)")
    parser.add_argument("--start", type=int, default=1, metavar="S", help="the first seed (default: %(default)s)")
    parser.add_argument("--seed", type=int, metavar="S", help="this seed alone")
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
        under_way: set[Future[Outcome]] = {pool.submit(_play, seed) for seed in islice(waiting, jobs * UNDER_WAY)}
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            under_way |= {pool.submit(_play, seed) for seed in islice(waiting, len(done))}
            yield from (one.result() for one in done)


def _play(seed: int) -> Outcome:
    return _run(draw(seed))


def _run(schedule: Schedule) -> Outcome:
    try:
        return run(schedule)
    except Exception:  # noqa: BLE001 - a world that breaks is a finding, too
        return Outcome(schedule, (traceback.format_exc(),), Counter(), 0, 0, 0.0)


def _report(outcome: Outcome, *, shrinking: bool) -> None:
    """Print a failure, as small as it gets."""
    schedule = outcome.schedule
    print(f"\n== seed {schedule.seed} broke {len(outcome.wrongs)} promises:")
    print("\n".join(f"   {wrong}" for wrong in outcome.wrongs), flush=True)
    if shrinking:
        schedule = shrink(schedule, lambda smaller: bool(_kinds(_run(smaller)) & _kinds(outcome)))
        print("-- the smallest schedule that still does:")
    print(schedule)
    print(f"-- again: scripts/chaos --seed {schedule.seed}", flush=True)


def _kinds(outcome: Outcome) -> set[str]:
    """What went wrong, without which recording: a schedule shrinks only towards the same failure."""
    return {_kind(wrong) for wrong in outcome.wrongs}


def _kind(wrong: str) -> str:
    if wrong.startswith("Traceback"):
        return wrong.splitlines()[-1]
    words = [word for word in wrong.partition(":")[0].split() if word.isalpha()]
    return " ".join(words) or wrong.partition(":")[0]


if __name__ == "__main__":
    sys.exit(main())
