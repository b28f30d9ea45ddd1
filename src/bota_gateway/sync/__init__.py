"""Visits to recorders: who is visited when, and what one visit does. Meets upload only in the spool.

`Rounds` is the loop; ``visit.py`` reads from top to bottom as a visit goes; ``plan.py`` and ``schedule.py`` decide, and
are pure; ``const.py`` holds the numbers.
"""

from bota_gateway.sync.progress import LinkProgress
from bota_gateway.sync.reasons import Reason
from bota_gateway.sync.rounds import Rounds, Unmet

__all__ = ["LinkProgress", "Reason", "Rounds", "Unmet"]
