"""Stops asking after failures that are nobody's own, and lets one call probe whether they are over."""

from dataclasses import dataclass

from bota_gateway.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Pause:
    """Why calls wait, and until when."""

    code: str
    """As in docs/errors.md."""
    detail: str
    """In plain words."""
    until: float
    """Loop time of the next probe."""


class Breaker:
    """Closed: calls go. Open: they wait; when the pause is over one goes as a probe, and its answer decides.

    Args:
        after: Failures in a row that open it.
        backoff: How long it stays open each time.
    """

    def __init__(self, *, after: int, backoff: Backoff) -> None:
        self._after = after
        self._backoff = backoff
        self._in_a_row = 0
        self._opened = 0
        self._probing = False
        self.pause: Pause | None = None

    def may_go(self, now: float) -> bool:
        """Whether a call may go now (loop time)."""
        return self.pause is None or (now >= self.pause.until and not self._probing)

    def go(self) -> bool:
        """A call goes; returns whether it is the probe, which must end with ``probe_over``."""
        if self.pause is None:
            return False
        self._probing = True
        return True

    def failed(self, *, code: str, detail: str, now: float, probe: bool) -> Pause | None:
        """Count a failure; returns the pause when it opens the breaker or keeps it open.

        Calls that were under way when it opened prove nothing new, so they neither lengthen nor end a pause.
        """
        self._in_a_row += 1
        stale = self.pause is not None and not probe
        if stale or self._in_a_row < self._after:
            return None
        self.pause = Pause(code, detail, now + self._backoff.step(self._opened))
        self._opened += 1
        return self.pause

    def succeeded(self) -> None:
        """Close it."""
        self._in_a_row = self._opened = 0
        self.pause = None

    def probe_over(self) -> None:
        """The probe ended, with whatever result or none: another may go when it is time."""
        self._probing = False
