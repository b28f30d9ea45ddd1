"""What to do about an adapter that hears nothing, or refuses to scan. Pure: silences in, the next rung out.

Silence is no fault in itself: a hub alone in a field hears nothing for months. So the ladder is climbed quickly only
with evidence that there is something to hear, and slowly without; the scanner is restarted first, because that disturbs
nobody; and switching the adapter off and on, which might, has a back-off of its own that outlives each silence
(docs/design-notes.md, "When the radio falls silent").
"""

from dataclasses import dataclass
from enum import StrEnum

from bota_gateway.radio.const import PATIENCE, POWER_AGAIN, RESTARTS_AT_MOST, RESTARTS_FIRST


class Rung(StrEnum):
    """What is tried."""

    RESTART = "restart"
    """The scanner, as after every rung."""
    POWER_CYCLE = "power_cycle"
    """The adapter is switched off and on."""
    TELL = "tell"
    """A person is told, once in each silence."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why there should be something to hear."""

    reason: str
    certain: bool
    """Whether to call the adapter deaf on it, should nothing help."""


class Ladder:
    """The rungs of one adapter."""

    def __init__(self) -> None:
        self._grown = 0
        """How often patience grew in this silence."""
        self.climbed: Rung | None = None
        """The highest rung of this silence; None when there is none."""
        self._silences = 0
        self._power_cycles = 0
        self._power_at = float("-inf")
        self._powered_in_vain = False

    @property
    def patience(self) -> float:
        """Seconds of scanning in silence after which to ask for the next rung."""
        return PATIENCE.step(self._grown)

    def heard(self) -> Rung | None:
        """Something was heard; the rung that was climbed last, if any."""
        climbed, self.climbed = self.climbed, None
        self._grown = 0
        self._silences = 0
        self._powered_in_vain = False
        return climbed

    def silent(self, now: float, evidence: Evidence | None, *, may_power: bool, restarted: bool = False) -> Rung:
        """The rung to climb after `patience` seconds more of silence.

        Args:
            now: Loop time.
            evidence: Why there should be something to hear, if so.
            may_power: Whether the adapter may be switched off and on now.
            restarted: Whether it was not silent but refused to scan at all: every try was a restart.
        """
        if restarted and may_power:
            self._silences = max(self._silences, RESTARTS_FIRST)
        self._silences += 1
        rung = self._next(now, evidence, may_power=may_power)
        if rung is Rung.POWER_CYCLE:
            self._power_cycles += 1
            self._power_at = now
            self._powered_in_vain = True
        if self.climbed is not Rung.TELL:
            self.climbed = rung
        if evidence is None or self.climbed is Rung.TELL:
            self._grown += 1
        return rung

    def _next(self, now: float, evidence: Evidence | None, *, may_power: bool) -> Rung:
        if self._silences <= (RESTARTS_FIRST if evidence else RESTARTS_AT_MOST):
            return Rung.RESTART
        if may_power and now >= self._power_again_at(now):
            return Rung.POWER_CYCLE
        if self.climbed is not Rung.TELL and (self._powered_in_vain or not may_power or evidence is None):
            return Rung.TELL
        return Rung.RESTART

    def _power_again_at(self, now: float) -> float:
        if now - self._power_at > POWER_AGAIN.longest_s:
            self._power_cycles = 0
        return self._power_at + POWER_AGAIN.step(self._power_cycles - 1)
