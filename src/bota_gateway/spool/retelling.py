"""What a recording's timeline says of its state. Pure: lines in, the state they lead to out.

Every step writes its line in the transaction that changes the row, so the two can only differ by damage or by a defect.
"""

from collections.abc import Iterable

from bota_gateway.model import Custody, TimelineEntry
from bota_gateway.spool.custody import Happened

LEADS_TO: dict[Happened, Custody] = {
    Happened.LISTED: Custody.LISTED,
    Happened.VANISHED: Custody.FORGOTTEN,
    Happened.RECEIVING: Custody.RECEIVING,
    Happened.RECEIVING_ABANDONED: Custody.LISTED,
    Happened.INTERRUPTED: Custody.LISTED,
    Happened.CAPTURED: Custody.CAPTURED,
    Happened.CREATED: Custody.CREATED,
    Happened.PUT: Custody.PUT,
    Happened.COMPLETE_INTENDED: Custody.COMPLETING,
    Happened.STORED: Custody.STORED,
    Happened.PARKED: Custody.PARKED,
    Happened.CONFIRM_INTENDED: Custody.CONFIRMING,
    Happened.DELETION_SEEN: Custody.CONFIRMED,
    Happened.FORGOTTEN: Custody.FORGOTTEN,
    Happened.FORGOTTEN_BY_HAND: Custody.PARKED,
}
"""Lines that always lead to the same state."""

STAY = frozenset(
    {
        Happened.LISTED_DIFFERENTLY,
        Happened.ACKNOWLEDGED,
        Happened.BOUND,
        Happened.CREATE_INTENDED,
        Happened.POSTPONED,
        Happened.RELEASED,
    }
)
"""Lines that leave the state as it was. Those in neither say themselves where they lead."""


def retell(lines: Iterable[TimelineEntry]) -> Custody | None:
    """The state that a timeline ends in; None for an empty one.

    Only the first and the newest lines of a long story are kept; each line but a retry's says enough by itself, and a
    retry follows what it ends.
    """
    state: Custody | None = None
    parked_from: Custody | None = None
    for line in lines:
        happened = Happened(line.happened)
        match happened:
            case Happened.PARKED:
                was = Custody(str(line.detail["was"]))
                state, parked_from = Custody.PARKED, Custody.LISTED if was is Custody.RECEIVING else was
            case Happened.FORGOTTEN_BY_HAND:
                state, parked_from = Custody.PARKED, Custody.LISTED
            case Happened.RETRIED:
                state = parked_from if state is Custody.PARKED else state
            case Happened.MOVED_BACK:
                state = Custody(str(line.detail["to"]))
            case Happened.LISTED_AGAIN:
                state = Custody.CONFIRMING if "was" in line.detail else Custody.LISTED
            case _:
                state = LEADS_TO.get(happened, state)
    return state
