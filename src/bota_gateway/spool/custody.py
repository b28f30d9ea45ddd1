"""Custody in one table: which step may take a recording from which state to which, and what a power cut may undo.

``docs/custody.md`` is generated from this module. ``journal.py`` enforces it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bota_gateway.model import Custody

WITH_AUDIO = frozenset(
    {Custody.CAPTURED, Custody.CREATED, Custody.PUT, Custody.COMPLETING, Custody.STORED, Custody.CONFIRMING}
)
"""States in which the spool holds the recording's bytes; parked holds them when it was parked from one of these,
confirmed until its retention is over. Stored and confirming may outlive them: ``Recording.released_at`` says so."""

TO_UPLOAD = frozenset({Custody.CAPTURED, Custody.CREATED, Custody.PUT, Custody.COMPLETING})
"""States from which upload has something to do."""


class Step(StrEnum):
    """Every kind of transaction that the spool makes; there is no other way to write to it."""

    RECOVER = "recover"
    NOTE_RECORDER = "note_recorder"
    NOTE_STATUS = "note_status"
    BIND = "bind"
    SCHEDULE_VISIT = "schedule_visit"
    RECONCILE = "reconcile"
    BEGIN_RECEIVING = "begin_receiving"
    STORE_AUDIO = "store_audio"
    CAPTURE = "capture"
    ABANDON_RECEIVING = "abandon_receiving"
    ACKNOWLEDGED = "acknowledged"
    NOTE_SIGNAL = "note_signal"
    INTEND_CREATE = "intend_create"
    CREATED = "created"
    PUT_DONE = "put_done"
    INTEND_COMPLETE = "intend_complete"
    STORED = "stored"
    BACK_TO = "back_to"
    POSTPONE = "postpone"
    PARK = "park"
    RETRY = "retry"
    INTEND_CONFIRM = "intend_confirm"
    RELEASE = "release"
    FORGET = "forget"
    FORGET_BY_HAND = "forget_by_hand"
    SWEEP = "sweep"
    PROVE = "prove"
    COUNT = "count"
    PAUSE = "pause"


DURABLE = frozenset(
    {
        Step.RECOVER,
        Step.PAUSE,
        Step.RECONCILE,
        Step.CAPTURE,
        Step.INTEND_CREATE,
        Step.CREATED,
        Step.PUT_DONE,
        Step.INTEND_COMPLETE,
        Step.STORED,
        Step.BACK_TO,
        Step.POSTPONE,
        Step.PARK,
        Step.RETRY,
        Step.INTEND_CONFIRM,
        Step.RELEASE,
        Step.FORGET,
        Step.FORGET_BY_HAND,
        Step.PROVE,
    }
)
"""Steps that are on the disk before they return (``synchronous=FULL``).

The others reach the disk with the next durable step, in order. A power cut may undo them, and nothing is lost by it:
what a recorder looked like is noted again at the next visit, bytes of an unfinished transfer are worthless because
it can't be resumed, a sweep is repeated, a counter that lags by minutes still shows what wears out, and how a recorder
was heard after a transfer is only a figure.
"""


class Happened(StrEnum):
    """What a line of a recording's timeline can say."""

    LISTED = "listed"
    LISTED_AGAIN = "listed_again"
    LISTED_DIFFERENTLY = "listed_differently"
    VANISHED = "vanished"
    RECEIVING = "receiving"
    RECEIVING_ABANDONED = "receiving_abandoned"
    INTERRUPTED = "interrupted_by_restart"
    CAPTURED = "captured"
    ACKNOWLEDGED = "acknowledged"
    BOUND = "bound"
    CREATE_INTENDED = "create_intended"
    CREATED = "created"
    PUT = "put"
    COMPLETE_INTENDED = "complete_intended"
    STORED = "stored"
    MOVED_BACK = "moved_back"
    POSTPONED = "postponed"
    PARKED = "parked"
    RETRIED = "retried"
    CONFIRM_INTENDED = "confirm_intended"
    DELETION_SEEN = "deletion_seen"
    RELEASED = "audio_released"
    FORGOTTEN = "forgotten"
    FORGOTTEN_BY_HAND = "forgotten_by_hand"


LINES: dict[Happened, str] = {
    Happened.LISTED: "its recorder listed it for the first time",
    Happened.LISTED_AGAIN: "it had been gone from its recorder, and is listed again",
    Happened.LISTED_DIFFERENTLY: "it grew, or its recorder corrected its duration or size, before it was pulled",
    Happened.VANISHED: "gone from its recorder before it was pulled: its owner's phone took it, or it was deleted",
    Happened.RECEIVING: "a transfer started",
    Happened.RECEIVING_ABANDONED: "the transfer failed, for the reason given; its bytes were dropped",
    Happened.INTERRUPTED: "the gateway ended in mid-transfer; the bytes were dropped at its next start",
    Happened.CAPTURED: "every byte is here and on the disk; the figures are the transfer's",
    Happened.ACKNOWLEDGED: "its recorder was told that the transfer arrived; that permits no deletion",
    Happened.BOUND: "whose it is became known after it was captured",
    Happened.CREATE_INTENDED: "the cloud is about to be asked to create a recording for it",
    Happened.CREATED: "the cloud's recording is known",
    Happened.PUT: "S3 took its bytes",
    Happened.COMPLETE_INTENDED: "the cloud is about to be told that the upload is complete",
    Happened.STORED: "the cloud has it; verified says whether it proved the digest",
    Happened.MOVED_BACK: "the cloud, read again, was not as far as we thought",
    Happened.POSTPONED: "a step failed, or was in vain; times and first_at count repeats of the same cause",
    Happened.PARKED: "it waits for a human, for the reason given",
    Happened.RETRIED: "a human asked for another try",
    Happened.CONFIRM_INTENDED: "its recorder is about to be told that it may delete it; times counts repeats",
    Happened.DELETION_SEEN: "its recorder no longer lists it",
    Happened.RELEASED: "its audio here was deleted, after the retention or by hand: the cloud has it, its recorder "
    "still does too",
    Happened.FORGOTTEN: "its audio here is deleted, after the retention or by hand",
    Happened.FORGOTTEN_BY_HAND: "a person had this hub forget it before the cloud had it: its audio here is deleted, "
    "nobody works on it, its recorder is told nothing; a retry has it pulled again",
}
"""What each line of a timeline means."""


@dataclass(frozen=True, slots=True)
class StateWords:
    """One state in words."""

    means: str
    durable_before: str
    """What is on the disk before a recording enters this state."""


STATES: dict[Custody, StateWords] = {
    Custody.LISTED: StateWords("the recorder says it has it", "the row that names it"),
    Custody.RECEIVING: StateWords("bytes are arriving", "nothing: a transfer can't be resumed, a restart begins anew"),
    Custody.CAPTURED: StateWords(
        "complete, CRC good, on the disk; the transfer may be acknowledged",
        "every byte, the size, the SHA-256, whose it was",
    ),
    Custody.CREATED: StateWords(
        "the cloud knows a recording for it",
        "before the call the intent with its idempotency key; after it the cloud's id",
    ),
    Custody.PUT: StateWords("S3 answered 2xx for exactly our bytes", "that answer"),
    Custody.COMPLETING: StateWords("completion is asked for, perhaps still verifying", "the intent, before the call"),
    Custody.STORED: StateWords(
        "the cloud says uploaded and, where it can, proved the same SHA-256", "that answer, and whether it is proved"
    ),
    Custody.CONFIRMING: StateWords(
        "the recorder was told that it may delete; the deletion is not seen yet", "the intent, before the write"
    ),
    Custody.CONFIRMED: StateWords("a later complete list no longer shows it", "that it is gone from the recorder"),
    Custody.FORGOTTEN: StateWords(
        "the audio is deleted here; the row stays to recognise the capture", "the state, before the first byte goes"
    ),
    Custody.PARKED: StateWords(
        "needs a human, and the row says what for; or was forgotten by hand", "the reason, and the state to return to"
    ),
}


@dataclass(frozen=True, slots=True)
class Arc:
    """A step that recordings in ``sources`` may take, and where it leads."""

    step: Step
    sources: frozenset[Custody]
    target: Custody | None
    """None: the state stays as it is."""
    when: str

    @property
    def durable(self) -> bool:
        """Whether a power cut after the step can't undo it."""
        return self.step in DURABLE


def _arc(step: Step, sources: Iterable[Custody], target: Custody | None, when: str) -> Arc:
    return Arc(step, frozenset(sources), target, when)


_C = Custody
BEGINNING = Custody.LISTED
"""The state in which every recording enters the spool, by ``reconcile``."""

ARCS: tuple[Arc, ...] = (
    _arc(Step.RECONCILE, {_C.LISTED}, None, "listed again with a new duration or size: the row follows"),
    _arc(
        Step.RECONCILE, {_C.LISTED}, _C.FORGOTTEN, "gone from a complete list before it was pulled: its owner's phone"
    ),
    _arc(Step.RECONCILE, {_C.PARKED}, _C.FORGOTTEN, "the same, for one parked before it was pulled"),
    _arc(Step.RECONCILE, {_C.STORED, _C.CONFIRMING}, _C.CONFIRMED, "gone from a complete list"),
    _arc(
        Step.RECONCILE, {_C.CONFIRMED, _C.FORGOTTEN}, _C.CONFIRMING, "the same capture is listed again: confirm again"
    ),
    _arc(Step.RECONCILE, {_C.FORGOTTEN}, _C.LISTED, "one that vanished unpulled is listed again"),
    _arc(Step.BEGIN_RECEIVING, {_C.LISTED, _C.RECEIVING}, _C.RECEIVING, "a transfer starts, from its first byte"),
    _arc(Step.STORE_AUDIO, {_C.RECEIVING}, None, "256 KiB have arrived"),
    _arc(Step.CAPTURE, {_C.RECEIVING}, _C.CAPTURED, "the transfer is complete and its checksums agree"),
    _arc(Step.ABANDON_RECEIVING, {_C.RECEIVING}, _C.LISTED, "the transfer failed: its bytes are dropped"),
    _arc(Step.RECOVER, {_C.RECEIVING}, _C.LISTED, "the gateway ended in mid-transfer"),
    _arc(
        Step.ACKNOWLEDGED,
        set(Custody) - {_C.LISTED, _C.RECEIVING},
        None,
        "the recorder was told that the transfer arrived",
    ),
    _arc(
        Step.NOTE_SIGNAL,
        Custody,
        None,
        "its recorder is heard again after the link: how strongly, for the transfer's line",
    ),
    _arc(Step.INTEND_CREATE, {_C.CAPTURED}, None, "before the cloud is asked to create it"),
    _arc(Step.CREATED, {_C.CAPTURED}, _C.CREATED, "the cloud gave it an id"),
    _arc(Step.PUT_DONE, {_C.CREATED}, _C.PUT, "S3 took the bytes"),
    _arc(Step.INTEND_COMPLETE, {_C.PUT}, _C.COMPLETING, "before completion is asked for"),
    _arc(
        Step.STORED,
        {_C.CREATED, _C.PUT, _C.COMPLETING},
        _C.STORED,
        "the cloud has it; from an earlier state when an answer was lost and the cloud, read again, had moved on",
    ),
    _arc(Step.BACK_TO, {_C.COMPLETING}, _C.PUT, "completion must be asked for anew"),
    _arc(Step.BACK_TO, {_C.PUT, _C.COMPLETING}, _C.CREATED, "the cloud lacks the bytes: put them again"),
    _arc(Step.BACK_TO, {_C.CREATED, _C.PUT, _C.COMPLETING}, _C.CAPTURED, "the cloud no longer knows the recording"),
    _arc(Step.BACK_TO, {_C.CAPTURED}, _C.CAPTURED, "the cloud refused to create it: the intent is void"),
    _arc(Step.BACK_TO, TO_UPLOAD, _C.LISTED, "its bytes here are damaged, and a human asks to pull it again"),
    _arc(Step.POSTPONE, TO_UPLOAD, None, "an upload step failed: it waits, with the reason and the next time"),
    _arc(Step.POSTPONE, {_C.CONFIRMING}, None, "its recorder was told in vain: it is told again, at the next time"),
    _arc(
        Step.PARK,
        {_C.LISTED, _C.RECEIVING, *TO_UPLOAD},
        _C.PARKED,
        "only a human can help; bytes of an unfinished transfer are dropped",
    ),
    *(_arc(Step.RETRY, {_C.PARKED}, state, "a human says try again") for state in (_C.LISTED, *sorted(TO_UPLOAD))),
    _arc(Step.RETRY, {_C.LISTED, *TO_UPLOAD, _C.CONFIRMING}, None, "a human ends the wait"),
    _arc(Step.BIND, {_C.CAPTURED, _C.PARKED}, None, "the cloud said whose the recorder is, after the capture"),
    _arc(Step.INTEND_CONFIRM, {_C.STORED, _C.CONFIRMING}, _C.CONFIRMING, "before the recorder is told it may delete"),
    _arc(
        Step.RELEASE,
        {_C.STORED, _C.CONFIRMING},
        None,
        "its retention is over and its deletion not seen: the audio here goes, custody stays",
    ),
    _arc(Step.FORGET, {_C.CONFIRMED}, _C.FORGOTTEN, "its retention is over"),
    _arc(
        Step.FORGET_BY_HAND,
        {_C.LISTED, _C.PARKED, *TO_UPLOAD},
        _C.PARKED,
        "a person wants no more work on it: the audio here goes, and its recorder is told nothing",
    ),
    _arc(
        Step.FORGET_BY_HAND,
        {_C.STORED, _C.CONFIRMING},
        None,
        "a person wants its audio here gone before its retention is over: custody stays",
    ),
    _arc(Step.FORGET_BY_HAND, {_C.CONFIRMED}, _C.FORGOTTEN, "the same, when its recorder has deleted it"),
)

_ALLOWED = frozenset(
    (arc.step, source, source if arc.target is None else arc.target) for arc in ARCS for source in arc.sources
)


def allowed(step: Step, source: Custody, target: Custody) -> bool:
    """Whether ``step`` may take a recording from ``source`` to ``target``."""
    return (step, source, target) in _ALLOWED


def sources_of(step: Step) -> frozenset[Custody]:
    """Every state that ``step`` accepts."""
    return frozenset(source for arc in ARCS if arc.step is step for source in arc.sources)
