"""What is left when everything has settled: plain facts from all sides, for the judge to compare.

Nothing here decides anything. Where the facts come from does not matter to the judge: from simulators in the same
process, from other processes, or written down by hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bota_gateway.model import Custody, RecorderRecord, Recording, TimelineEntry


@dataclass(frozen=True, slots=True)
class Held:
    """One recording that a recorder holds, or held at first."""

    serial: str
    file_id: str
    started_at: int
    sha256: str
    """Of its bytes: tells two recordings under one name apart."""
    wearer: str | None = None
    """End user it belongs to; None where that does not matter."""
    sealed: bool = False
    """Sent encrypted for the backend: what arrives are other bytes than the recorder holds."""

    def __str__(self) -> str:
        return f"{self.serial}/{self.file_id}/{self.started_at} ({self.sha256[:8]})"


class Word(StrEnum):
    """What a recorder can be told about a recording."""

    START = "start"
    """Send it."""
    ACK = "ack"
    """It arrived."""
    CONFIRM = "confirm"
    """You may delete it."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A row of the spool as a restart would have found it at some moment."""

    state: Custody
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """One word that reached a recorder, and what was true at that moment."""

    order: int
    """Counts all words to all recorders."""
    at: float
    """Unix seconds of the hub's clock."""
    word: Word
    serial: str
    file_id: str
    held: Held | None
    """What the recorder had under that id; None when it had nothing."""
    on_disk: tuple[OnDisk, ...] | None
    """All rows of the spool under that serial and id; None where nobody could look."""
    in_cloud: bool
    """Whether the cloud had exactly the bytes of ``held``, uploaded to its end."""


@dataclass(frozen=True, slots=True)
class CloudCopy:
    """One recording in the cloud."""

    id: str
    status: str
    complete: bool
    """Whether its upload came to its end."""
    end_user_id: str
    serial: str | None
    file_id: str | None
    started_at: int | None
    said_sha256: str | None
    """The digest that its creator wrote into its metadata."""
    stored_sha256: str | None
    """The digest of what the bucket holds for it; None when nothing is stored."""

    @property
    def name(self) -> str:
        """Its id and what it claims to be."""
        return f"{self.id} ({self.serial}/{self.file_id}/{self.started_at}, {self.status})"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known at the end."""

    made: Sequence[Held]
    """Every recording that any recorder ever held."""
    still_held: Sequence[Held]
    told: Sequence[Told]
    cloud: Sequence[CloudCopy]
    rows: Sequence[Recording]
    """Of the spool, opened again after everything had ended."""
    audio: Mapping[int, str | None]
    """SHA-256 of the bytes that the spool holds for each row; None for none."""
    timelines: Mapping[int, Sequence[TimelineEntry]]
    recorders: Sequence[RecorderRecord]
    events: Sequence[Mapping[str, object]] = ()
    """Every log event of every life."""
    texts: Mapping[str, bytes] = field(default_factory=dict)
    """Everything that was written or told, by name: logs, files, diagnostics."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """What must be in none of them: the secret, and what it is."""
    waits: Mapping[Held, str] = field(default_factory=dict)
    """Recordings that rightly wait for a human, with the code of the reason."""
    taken: frozenset[Held] = frozenset()
    """Recordings that something else than the gateway took from their recorder: none of its business."""
    forgotten: frozenset[Held] = frozenset()
    """Recordings that a human had the hub forget, and did not ask for again: the cloud need not have them."""
    ever_forgotten: frozenset[Held] = frozenset()
    """The same, with those that were asked for again: they may be pulled again."""
    may_confirm: bool = True
    """Whether recorders may be told to delete at all."""
