"""When to tell how far a long job is: often enough to be believed, seldom enough to be read."""

from typing import Final

STEPS: Final = (10, 25, 50, 75, 90)
"""Percent at which it is told."""

WORTH_TELLING_S: Final = 30.0
"""What is over sooner tells its end soon enough."""

SILENT_AT_MOST_S: Final = 600.0
"""A very slow job tells this often that it moves."""


class Milestones:
    """Follows one job.

    Args:
        expected: Bytes in all, as far as is known; 0 for unknown.
        began: Any clock's seconds.
    """

    def __init__(self, expected: int, began: float) -> None:
        self._expected = expected
        self._began = began
        self._told_at = began
        self._step = 0

    def percent(self, done: int) -> int | None:
        """How far it is, never all of it while it is under way; None where nobody knows."""
        return min(99, 100 * done // self._expected) if self._expected else None

    def due(self, done: int, now: float) -> bool:
        """Whether to tell now that so many bytes are done; asked again and again."""
        passed = max((step for step in STEPS if step <= (self.percent(done) or 0)), default=0)
        is_new, self._step = passed > self._step, max(passed, self._step)
        is_long = (now - self._began) * self._expected > WORTH_TELLING_S * done
        if (is_new and is_long) or now - self._told_at >= SILENT_AT_MOST_S:
            self._told_at = now
            return True
        return False
