"""What a simulated recorder has seen and done, for assertions."""

from dataclasses import dataclass, field

from bota_gateway.protocol.control import Opcode
from bota_gateway.sim.transfer import Transfer


@dataclass(frozen=True, slots=True)
class ResultSeen:
    """A result that the hub wrote."""

    opcode: Opcode
    seq: int
    characteristic: str
    file_id: str | None
    """Of the transfer it ended; None when none was open or it did not count."""


@dataclass(slots=True)
class Seen:
    """What a recorder has seen and done, for assertions."""

    connections: int = 0
    disconnections: int = 0
    lists: int = 0
    starts: list[str] = field(default_factory=list)
    """File ids that START asked for, in order, refused ones included."""
    transfers: list[Transfer] = field(default_factory=list)
    """Transfers begun, in order; the last may be under way."""
    results: list[ResultSeen] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    """File ids whose transfer ended by ACK, in order."""
    confirmed: list[str] = field(default_factory=list)
    """File ids that CONFIRM gave permission for, in order; of recordings it held."""
    confirms: list[str] = field(default_factory=list)
    """File ids of all CONFIRM writes."""
    time_syncs: int = 0
    rubbish: list[bytes] = field(default_factory=list)
    """Writes to transfer control that are no command."""
