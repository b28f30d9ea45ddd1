"""Waits that grow with each failure in a row; how they are spread is for those who wait."""

from dataclasses import dataclass
from typing import Final

MOST_DOUBLINGS: Final = 32
"""A second doubled so often is 136 years, longer than anything here waits; doubled 1,024 times it is no float."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """``first_s``, twice that, four times, and so on, and never longer than ``longest_s``."""

    first_s: float
    longest_s: float

    def step(self, number: int) -> float:
        """One of the waits, in seconds: 0 or less is the first."""
        return min(self.longest_s, self.first_s * 2.0 ** min(max(number, 0), MOST_DOUBLINGS))
