"""What can happen in a schedule: plain values that print as they are written.

Dropping any one leaves a valid schedule, which is what makes a failing one shrink. Most last for a while and are over
by themselves; what only a human can settle says so in ``parks``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from support.chaos.world import ChaosWorld

NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Happening:
    """Something happens ``at`` seconds after the start, and ``lasts`` so long; 0 is a moment, or for good."""

    at: float = 0.0
    lasts: float = 0.0

    counted: ClassVar[bool] = True
    """Whether its beginning counts as a fault that fired; False where firings are counted elsewhere."""

    @property
    def name(self) -> str:
        """Its kind, for the summary."""
        return type(self).__name__.lower()

    @property
    def parks(self) -> frozenset[str]:
        """Codes with which it may park recordings: what it does, only a human can settle."""
        return NOBODY

    async def begin(self, world: "ChaosWorld") -> None:
        """It begins."""

    async def end(self, world: "ChaosWorld") -> None:
        """It is over."""
