"""The few types that rooms pass to each other.

A type lives here only when two rooms need it; what one room needs stays in that room.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

WallClock = Callable[[], float]
"""Returns Unix seconds, UTC. Rooms are given one instead of reading the clock, so that tests can turn it.

Durations and deadlines use the event loop's monotonic time, which jumps of the wall clock do not touch.
"""

FIRST_SET: Final = 1_420_070_400
"""Start of 2015, years before the first recorder or gateway: a clock that says less was not set."""


class Custody(StrEnum):
    """Where a recording is in its life; ``docs/custody.md`` draws the states and what is durable before each."""

    LISTED = "listed"
    RECEIVING = "receiving"
    CAPTURED = "captured"
    CREATED = "created"
    PUT = "put"
    COMPLETING = "completing"
    STORED = "stored"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    FORGOTTEN = "forgotten"
    PARKED = "parked"


OPEN: Final = frozenset(Custody) - {Custody.CONFIRMED, Custody.FORGOTTEN}
"""States in which something is left to do."""

FORGOTTEN_BY_HAND: Final = "forgotten_by_hand"
"""Code with which a recording is parked that a person had this hub forget: nobody works on it, and nobody needs to."""


class Membership(StrEnum):
    """What the cloud says of a recorder's serial."""

    UNRESOLVED = "unresolved"
    """The cloud has not been asked yet, or could not answer."""
    BOUND = "bound"
    """Registered in the project and bound to an end user: the normal case."""
    UNBOUND = "unbound"
    """Registered in the project, but bound to nobody: its recordings are captured and parked."""
    STRANGER = "stranger"
    """Not in the project: left alone."""


@dataclass(frozen=True, slots=True)
class CaptureKey:
    """Identifies one capture: the file id is only four random bytes, so the start time belongs to the key."""

    serial: str
    file_id: str
    """Four bytes as eight lower-case hex digits (docs/protocol.md, "Recording list")."""
    started_at: int
    """Unix seconds by the recorder's clock; 0 when that clock was not set."""

    def __str__(self) -> str:
        return f"{self.serial}/{self.file_id}/{self.started_at}"


@dataclass(frozen=True, slots=True)
class ListedRecording:
    """One recording as a recorder lists it. Duration and size are hints: the wire rounds and saturates them."""

    file_id: str
    started_at: int
    duration_s: int
    size_kib: int
    encrypted_at_rest: bool


@dataclass(frozen=True, slots=True)
class Binding:
    """What the cloud says of a recorder, with the identities an upload needs."""

    membership: Membership
    device_id: str | None = None
    end_user_id: str | None = None
    binding_generation: int | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """One row of the spool: a recording and how far its custody has come."""

    id: int
    key: CaptureKey
    take: int
    """0 for the first capture under this key; rises when a *confirmed* key reappears with other content."""
    duration_s: int
    size_kib: int
    encrypted_at_rest: bool
    state: Custody
    size_bytes: int | None
    """Exact length of what was received; None until captured."""
    sha256: str | None
    """Lower-case hex digest of the received bytes; None until captured."""
    device_sha256: str | None
    """What the recorder said the digest is; None when it said nothing."""
    binding: Binding
    """As it was when the recording was captured: recordings belong to whoever wore the recorder then."""
    idempotency_key: str | None
    create_intended_at: float | None
    """When the intent to create was made durable, by the server's clock; bounds the look-back after a lost answer."""
    cloud_id: str | None
    verified: bool | None
    """True: the cloud proved the digest. False: stored by a profile that proves none. None: not stored yet."""
    attempts: int
    """Failed attempts at the present step; 0 after every step forward."""
    next_attempt_at: float | None
    waiting_for: str | None
    """Code of the reason it waits for, as in docs/errors.md; None when nothing holds it up."""
    waiting_detail: str | None
    """The reason in plain words, with the numbers of this case."""
    parked_reason: str | None
    """Code of the reason a human is needed for; None unless parked."""
    parked_from: Custody | None
    """The state that ``retry`` brings it back to."""
    listed_at: float
    captured_at: float | None
    stored_at: float | None
    confirmed_at: float | None
    profile: str | None = None
    """``plain`` or ``p10``, as the transfer showed; None until captured. P10 is ciphertext that only a relay takes."""
    released_at: float | None = None
    """When the audio here was deleted on purpose; None while it is here, or never was."""
    waiting_since: float | None = None
    """When its wait began; a clock that stands before it has been set back since, and the wait is over."""
    look_first: bool = False
    """Its bytes or the whole spool were lost here: the cloud may have it, and is searched before it is created."""

    @property
    def forgotten_by_hand(self) -> bool:
        """Whether it rests because a person said so; only that person's ``retry`` brings it back."""
        return self.parked_reason == FORGOTTEN_BY_HAND


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of a recording's story."""

    at: float
    happened: str
    detail: dict[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True)
class RecorderRecord:
    """What the spool remembers of one recorder between visits."""

    serial: str
    address: str
    name: str | None
    firmware: str | None
    binding: Binding
    binding_checked_at: float | None
    battery_percent: int | None
    charging: bool | None
    storage_used_mb: int | None
    storage_total_mb: int | None
    pending: int | None
    """Recordings the recorder says it still holds."""
    recording_now: bool
    rssi: int | None
    first_seen_at: float
    last_seen_at: float
    last_visit_at: float | None
    next_visit_at: float | None
    waiting_for: str | None
    """Code of the reason why it is not visited or not pulled; None when all is well."""
    waiting_detail: str | None
    attempts: int
    """Failed visits in a row."""
