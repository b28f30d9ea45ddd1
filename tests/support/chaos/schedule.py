"""A schedule: how a world is, and what happens in it when. A plain value that prints as it is written."""

from collections.abc import Iterator
from dataclasses import dataclass

from support.chaos.happening import Happening


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast life goes by: the longer a schedule, the rarer visits and advertisements, or it would take for ever."""

    name: str
    horizon_s: float
    """When faults stop."""
    advertising_s: float
    """A recorder is heard this often; above 45 s it seems to come and go."""
    visits: tuple[float, float, float]
    """Interval, shortest and longest, in seconds."""


HOURS = Pace("hours", 2 * 3600.0, 30.0, (300.0, 60.0, 1800.0))
DAYS = Pace("days", 1.5 * 86_400.0, 100.0, (4 * 3600.0, 1800.0, 8 * 3600.0))
WEEKS = Pace("weeks", 15 * 86_400.0, 110.0, (86_400.0, 3600.0, 2 * 86_400.0))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that happens in one run."""

    seed: int
    pace: Pace
    serials: tuple[str, ...]
    happenings: tuple[Happening, ...]

    def moments(self) -> Iterator[tuple[float, bool, Happening]]:
        """When each happening begins (True) and ends, in order of time."""
        moments = [(one.at, True, one) for one in self.happenings]
        moments += [(one.at + one.lasts, False, one) for one in self.happenings if one.lasts]
        yield from sorted(moments, key=lambda moment: moment[0])

    def __str__(self) -> str:
        lines = (f"    {one!r}," for one in self.happenings)
        return "\n".join((f"seed {self.seed}, {self.pace.name}, recorders {' '.join(self.serials)}", *lines))
