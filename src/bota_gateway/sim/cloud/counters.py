"""What happened, counted for assertions."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

KEPT_MINUTES: Final = 24 * 60
"""Per-minute figures of one day are kept, so that a long-running emulator does not grow."""


@dataclass(slots=True)
class Counters:
    """Counts of one emulator's life. Recordings are named by their id, captures by their key."""

    calls: Counter[str] = field(default_factory=Counter)
    """Calls per route, refused and struck ones included."""
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Answers per route and status."""
    creates: Counter[str] = field(default_factory=Counter)
    """Recordings made per capture key: more than one is a duplicate."""
    puts: Counter[str] = field(default_factory=Counter)
    """PUTs begun per recording, refused ones included."""
    stored: Counter[str] = field(default_factory=Counter)
    """PUTs stored per recording."""
    put_bytes: int = 0
    """Body bytes that reached S3, stored or not."""
    completes: Counter[str] = field(default_factory=Counter)
    """Completions asked per recording."""
    _by_minute: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def called(self, route: str, now: float) -> None:
        """Notes a call."""
        self.calls[route] += 1
        self._by_minute[int(now // 60)][route] += 1
        while len(self._by_minute) > KEPT_MINUTES:
            del self._by_minute[min(self._by_minute)]

    def answered(self, route: str, status: int) -> None:
        """Notes an answer."""
        self.statuses[route, status] += 1

    def calls_per_minute(self) -> dict[int, dict[str, int]]:
        """Calls per route for each minute since the epoch in which there was any."""
        return {minute: dict(calls) for minute, calls in self._by_minute.items()}

    def busiest_minute(self, route: str | None = None) -> int:
        """The most calls in any clock minute, of one route or of the whole API (S3 is not part of it)."""
        return max((_in_minute(calls, route) for calls in self._by_minute.values()), default=0)

    def report(self) -> dict[str, object]:
        """Everything, as JSON can carry it."""
        return {
            "calls": dict(self.calls),
            "statuses": {f"{route} {status}": count for (route, status), count in self.statuses.items()},
            "creates": dict(self.creates),
            "puts": dict(self.puts),
            "stored": dict(self.stored),
            "put_bytes": self.put_bytes,
            "completes": dict(self.completes),
            "calls_per_minute": {str(minute): calls for minute, calls in self.calls_per_minute().items()},
        }


def _in_minute(calls: Counter[str], route: str | None) -> int:
    if route is not None:
        return calls[route]
    return sum(count for name, count in calls.items() if not name.endswith(" s3"))
