"""Numbers of the upload, each once, with its reason. Sources: docs/cloud-api.md, by section title."""

from dataclasses import dataclass, field
from typing import Final

from bota_gateway.backoff import Backoff

PIECE_BYTES: Final = 1 << 20
"""Pieces of a PUT: at 1 MiB httpx reaches 0.95 of curl's speed in 12 MB of memory; larger ones only cost memory."""

URLS_IN_A_ROW: Final = 3
"""Upload URLs found expired in a row before it is left for later: a fourth would find the same ("The PUT")."""

INTEGRITY_ROUNDS: Final = 3
"""Full uploads after which stored bytes that differ from ours are a human's matter ("Lost answers")."""

CONFLICTS: Final = 5
"""409s to one create, with nothing to be found in the cloud, before a human must look."""

LOOK_BACK_MARGIN_S: Final = 600.0
"""How far before the intent a list is searched for a lost recording: clocks differ, requests are queued."""

LOOK_BACK_ROWS: Final = 100
"""Rows that are searched whatever their time, in case the clock that told the time of the intent was wrong."""

LOOK_BACK_AT_MOST: Final = 5000
"""Rows after which a search ends without result: it would eat the budget of a whole fleet."""

LOOK_AHEAD_ROWS: Final = 300
"""Most rows looked through as a precaution before a first create: three calls, for more than a recorder holds."""

KNOWN_FRESH_S: Final = 30.0
"""How long such a look answers for further captures of the same recorder: one visit brings many."""

DIRECTORY_FRESH_S: Final = 600.0
"""How long a walk of the device list answers for serials in it: a walk costs one call per hundred devices."""

DIRECTORY_MISS_FRESH_S: Final = 60.0
"""How long it answers for serials not in it: one registered a minute ago must not count as a stranger for a day. For
one that was a stranger before, so long per call of the walk: also in a large project that is one call a minute."""

BOUND_RECHECK_S: Final = 900.0
"""How often the binding of a recorder in use is read again, so that a capture is filed under its present wearer."""

UNBOUND_RECHECK_S: Final = 300.0
"""How often an unbound recorder is asked about: somebody is probably setting it up right now."""

STRANGER_RECHECK_S: Final = 300.0
"""How often a stranger is asked about in the hour after it was met (``IN_USE_S``): somebody may be registering it right
now, and wait for that to be noticed. Later only after ``visits.stranger_recheck_s``, when it is met again."""

IN_USE_S: Final = 3600.0
"""A recorder seen within this time counts as in use; others are not asked about."""

LONGEST_NAP_S: Final = 3600.0
"""It is looked again this often although nothing is due: a wall clock that was set is noticed then."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long causes wait. Back-offs double up to their cap, and never end."""

    network: Backoff = field(default=Backoff(2.0, 300.0))
    """No usable answer: short cap, because the pause of the whole cloud (cloud/budget.py) is what spares it."""
    refused: Backoff = field(default=Backoff(60.0, 3600.0))
    """Answers that say no without saying what would help."""
    lost_create: Backoff = field(default=Backoff(10.0, 600.0))
    """A create that is still under way shows in the list after some seconds; sooner looks would miss it."""
    repeat_create_s: float = 120.0
    """A create is not repeated sooner after the last one: servers and their proxies give up on a request after a
    minute, so what is not in the list by then is not under way any more. Several looks come before it."""
    unresolved: Backoff = field(default=Backoff(30.0, 300.0))
    """Whose it is will be known when the registrar could ask."""
    verifying: Backoff = field(default=Backoff(2.0, 10.0))
    """Between repeats of a completion that is being verified ("Lost answers")."""
    verifying_looks: int = 30
    """So many repeats, about five minutes of them, before it waits longer between two."""
    verifying_later_s: float = 180.0
    """Between repeats after that."""
    verifying_spread_s: float = 1.0
    """Each recording under verification lengthens the waits of all by this, so that they stay within the budget."""
    verifying_spread_cap_s: float = 30.0
    """Longest wait that the number of recordings under verification leads to."""
