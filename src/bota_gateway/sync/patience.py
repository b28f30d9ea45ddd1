"""How long a slow transfer may hold a link.

A held recorder is invisible to its owner's phone, and its link is one of few. But version 1 can't resume: cut off at
the same point each time, a big recording over a slow link would never arrive. So only transfers slower than audio is
recorded are bounded; a first try may take ``visits.at_most_s``, and each further try twice as long as the one before:
together they cost at most twice what the one that succeeds needs. That such tries leave the other recorders room, only
one link of an adapter at a time is held longer than ``visits.at_most_s`` for them, unless there is but one link.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bota_gateway.config import Settings
from bota_gateway.model import Recording

MOST_DOUBLINGS = 16
"""Far beyond what ``wire.max_recording_bytes`` takes at ``wire.slowest_bytes_per_s``, which ends every transfer."""


class Patience:
    """What the visits of one hub have left for slow transfers."""

    def __init__(self, settings: Settings) -> None:
        self._at_most_s = settings.visits.at_most_s
        self._has_one_link = settings.radio.max_links == 1
        self._stretched: set[str] = set()
        """Adapters that hold a link for a long try."""

    @contextmanager
    def with_a(self, recording: Recording, adapter: str) -> Iterator[float]:
        """Seconds that one transfer of ``recording`` may take below the rate at which audio is recorded."""
        doublings = min(recording.attempts, MOST_DOUBLINGS)
        if not doublings or (adapter in self._stretched and not self._has_one_link):
            yield self._at_most_s
            return
        self._stretched.add(adapter)
        try:
            yield self._at_most_s * 2**doublings
        finally:
            self._stretched.discard(adapter)
