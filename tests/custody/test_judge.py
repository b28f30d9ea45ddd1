"""The judge judged: for each promise one world in which it is broken, and nothing else is."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bota_gateway.model import (
    Binding,
    CaptureKey,
    Custody,
    Membership,
    RecorderRecord,
    Recording,
    TimelineEntry,
)
from support.evidence import CloudCopy, Evidence, Held, OnDisk, Told, Word
from support.judge import Violation, Wrong, judge

GOOD, OTHER = "a" * 64, "b" * 64
HELD = Held("PIN1", "00000001", 1_780_000_000, GOOD, wearer="eu_1")
LATER = replace(HELD, file_id="00000002", sha256=OTHER)

ROW = Recording(
    id=1,
    key=CaptureKey("PIN1", "00000001", 1_780_000_000),
    take=0,
    duration_s=10,
    size_kib=5,
    encrypted_at_rest=False,
    state=Custody.CONFIRMED,
    size_bytes=5000,
    sha256=GOOD,
    device_sha256=GOOD,
    binding=Binding(Membership.BOUND, "dev_1", "eu_1", 1),
    idempotency_key="bg-1",
    create_intended_at=10.0,
    cloud_id="rec_1",
    verified=True,
    attempts=0,
    next_attempt_at=None,
    waiting_for=None,
    waiting_detail=None,
    parked_reason=None,
    parked_from=None,
    listed_at=1.0,
    captured_at=2.0,
    stored_at=20.0,
    confirmed_at=30.0,
)
RECORDER = RecorderRecord(
    serial="PIN1",
    address="C0:FF:EE:00:00:01",
    name="Bota Pin",
    firmware="1.0.18",
    binding=ROW.binding,
    binding_checked_at=1.0,
    battery_percent=80,
    charging=False,
    storage_used_mb=1,
    storage_total_mb=4096,
    pending=0,
    recording_now=False,
    rssi=-60,
    first_seen_at=0.0,
    last_seen_at=40.0,
    last_visit_at=40.0,
    next_visit_at=340.0,
    waiting_for=None,
    waiting_detail=None,
    attempts=0,
)
COPY = CloudCopy("rec_1", "uploaded", True, "eu_1", "PIN1", "00000001", 1_780_000_000, GOOD, GOOD)
TIMELINE = (TimelineEntry(2.0, "captured", {}), TimelineEntry(20.0, "stored", {"verified": True}))


def told(order: int, word: Word, *rows: OnDisk, in_cloud: bool = False) -> Told:
    return Told(order, order * 10.0, word, "PIN1", "00000001", HELD, rows, in_cloud)


START = told(0, Word.START, OnDisk(Custody.RECEIVING, None))
ACK = told(1, Word.ACK, OnDisk(Custody.CAPTURED, GOOD))
CONFIRM = told(3, Word.CONFIRM, OnDisk(Custody.CONFIRMING, GOOD), in_cloud=True)

FINE = Evidence(
    made=[HELD],
    still_held=[],
    told=[START, ACK, CONFIRM],
    cloud=[COPY],
    rows=[ROW],
    audio={1: GOOD},
    timelines={1: TIMELINE},
    recorders=[RECORDER],
    events=[{"event": "recording_stored", "recorder": "PIN1"}],
    texts={"log": b"all is well"},
    secrets={"sk_test_secret": "the API key"},
)
"""One recording that went the whole way."""


def parked(**changes: Any) -> Recording:
    """The row, waiting for a human with all that belongs to it."""
    given = {
        "state": Custody.PARKED,
        "parked_reason": "recorder_unbound",
        "parked_from": Custody.CAPTURED,
        "waiting_for": "recorder_unbound",
        "waiting_detail": "It belongs to nobody. Bind it, then retry.",
    }
    return replace(ROW, **(given | changes))


WAITING = replace(
    FINE,
    told=[START, ACK],
    cloud=[],
    still_held=[HELD],
    rows=[parked()],
    waits={HELD: "recorder_unbound"},
)
"""One recording that rightly waits for a human."""


FORGOTTEN = replace(
    WAITING,
    rows=[parked(sha256=None, parked_from=Custody.LISTED, parked_reason="forgotten_by_hand")],
    audio={1: None},
    waits={},
    forgotten=frozenset({HELD}),
    ever_forgotten=frozenset({HELD}),
    timelines={1: (replace(TIMELINE[0], detail={"sha256": GOOD}),)},
)
"""One recording that a human had the hub forget."""


def unlooked(*words: Told) -> list[Told]:
    """The same words where nobody could look at the disk."""
    return [replace(word, on_disk=None) for word in words]


FAULTLESS: Mapping[str, Evidence] = {
    "the whole way": FINE,
    "waits for a human": WAITING,
    "judged by the timeline": replace(FINE, told=unlooked(START, ACK, CONFIRM)),
    "parked with the recorder's copy gone": replace(WAITING, still_held=[]),
    "parked before it was pulled": replace(
        WAITING, rows=[parked(sha256=None, parked_from=Custody.LISTED)], audio={1: None}, told=[START]
    ),
    "taken by its owner's phone": replace(
        FINE, cloud=[], told=[], rows=[], audio={}, taken=frozenset({HELD}), may_confirm=True
    ),
    "told again, which takes nothing": replace(FINE, told=[*FINE.told, replace(CONFIRM, order=4)]),
    "told of nothing": replace(FINE, told=[*FINE.told, replace(CONFIRM, order=4, held=None, in_cloud=False)]),
    "never to be confirmed": replace(
        FINE, may_confirm=False, told=[START, ACK], still_held=[HELD], rows=[replace(ROW, state=Custody.STORED)]
    ),
    "waits for its next try": replace(
        WAITING,
        rows=[
            replace(
                ROW,
                state=Custody.PUT,
                waiting_for="recorder_unbound",
                waiting_detail="no answer",
                next_attempt_at=99.0,
            )
        ],
    ),
    "started again before anything was captured": replace(FINE, told=[START, replace(START, order=-1), ACK, CONFIRM]),
    "forgotten after its retention": replace(FINE, rows=[replace(ROW, state=Custody.FORGOTTEN)], audio={1: None}),
    "forgotten by hand": FORGOTTEN,
    "forgotten by hand, the last copy": replace(FORGOTTEN, still_held=[]),
    "forgotten by hand, judged by the timeline": replace(FORGOTTEN, told=unlooked(START, ACK)),
    "forgotten by hand, while the cloud came to have it": replace(FORGOTTEN, cloud=[COPY]),
    "forgotten by hand, and wanted after all": replace(
        FINE, ever_forgotten=frozenset({HELD}), told=[START, ACK, replace(START, order=2), CONFIRM]
    ),
    "a part that failed for a named reason": replace(
        FINE, events=[{"event": "part_failed", "code": "radio_no_adapter"}]
    ),
}

BROKEN: list[tuple[str, Wrong, Evidence]] = [
    ("not in the cloud", Wrong.LOST, replace(FINE, cloud=[], rows=[replace(ROW, state=Custody.CONFIRMED)])),
    ("created and never completed", Wrong.LOST, replace(FINE, cloud=[replace(COPY, complete=False)])),
    ("a second recording never came", Wrong.LOST, replace(FINE, made=[HELD, LATER])),
    ("waits, and is nowhere", Wrong.LOST, replace(WAITING, still_held=[], rows=[parked(sha256=None)], audio={1: None})),
    ("forgotten, and nobody said so", Wrong.LOST, replace(FORGOTTEN, forgotten=frozenset())),
    (
        "forgotten by hand, and told to be deleted",
        Wrong.CONFIRMED_TOO_EARLY,
        replace(FORGOTTEN, told=[START, ACK, replace(CONFIRM, in_cloud=False)]),
    ),
    (
        "forgotten by hand, wanted after all, and doubled",
        Wrong.DOUBLED,
        replace(FINE, ever_forgotten=frozenset({HELD}), cloud=[COPY, replace(COPY, id="rec_2")]),
    ),
    (
        "forgotten by hand, and wanted in vain",
        Wrong.LOST,
        replace(FORGOTTEN, forgotten=frozenset(), rows=[], still_held=[]),
    ),
    ("other bytes in the bucket", Wrong.DAMAGED, replace(FINE, cloud=[replace(COPY, stored_sha256=OTHER)])),
    ("nothing in the bucket", Wrong.DAMAGED, replace(FINE, cloud=[replace(COPY, stored_sha256=None)])),
    ("twice complete", Wrong.DOUBLED, replace(FINE, cloud=[COPY, replace(COPY, id="rec_2")])),
    (
        "an orphan beside it",
        Wrong.DOUBLED,
        replace(FINE, cloud=[COPY, replace(COPY, id="rec_2", complete=False, stored_sha256=None)]),
    ),
    (
        "a recording of nobody's",
        Wrong.UNKNOWN_IN_CLOUD,
        replace(FINE, cloud=[COPY, replace(COPY, id="rec_2", serial="PIN9")]),
    ),
    (
        "a recording with a digest of nothing",
        Wrong.UNKNOWN_IN_CLOUD,
        replace(FINE, cloud=[COPY, replace(COPY, id="rec_2", said_sha256=OTHER)]),
    ),
    ("filed under another user", Wrong.MISFILED, replace(FINE, cloud=[replace(COPY, end_user_id="eu_2")])),
    (
        "confirmed before the cloud had it",
        Wrong.CONFIRMED_TOO_EARLY,
        replace(FINE, told=[START, ACK, replace(CONFIRM, in_cloud=False)]),
    ),
    (
        "confirmed before stored was on the disk",
        Wrong.CONFIRMED_TOO_EARLY,
        replace(FINE, told=[START, ACK, replace(CONFIRM, on_disk=(OnDisk(Custody.COMPLETING, GOOD),))]),
    ),
    (
        "confirmed with only another take stored",
        Wrong.CONFIRMED_TOO_EARLY,
        replace(FINE, told=[START, ACK, replace(CONFIRM, on_disk=(OnDisk(Custody.CONFIRMED, OTHER),))]),
    ),
    (
        "confirmed before the timeline says stored",
        Wrong.CONFIRMED_TOO_EARLY,
        replace(FINE, told=unlooked(START, ACK, replace(CONFIRM, at=19.0))),
    ),
    (
        "confirmed although the operator forbade it",
        Wrong.CONFIRMED_TOO_EARLY,
        replace(FINE, may_confirm=False, rows=[replace(ROW, state=Custody.CONFIRMED)]),
    ),
    (
        "acknowledged before it was on the disk",
        Wrong.ACKNOWLEDGED_TOO_EARLY,
        replace(FINE, told=[START, replace(ACK, on_disk=(OnDisk(Custody.RECEIVING, None),)), CONFIRM]),
    ),
    (
        "acknowledged before the timeline says captured",
        Wrong.ACKNOWLEDGED_TOO_EARLY,
        replace(FINE, told=unlooked(START, replace(ACK, at=1.0), CONFIRM)),
    ),
    (
        "started although captured",
        Wrong.PULLED_AGAIN,
        replace(FINE, told=[START, replace(START, order=1, on_disk=(OnDisk(Custody.CAPTURED, GOOD),)), ACK, CONFIRM]),
    ),
    (
        "started after its acknowledgement",
        Wrong.PULLED_AGAIN,
        replace(FINE, told=[START, ACK, replace(START, order=2), CONFIRM]),
    ),
    ("still on its recorder", Wrong.UNFINISHED, replace(FINE, still_held=[HELD])),
    (
        "captured, and nothing moves it",
        Wrong.SILENT_WAIT,
        replace(WAITING, rows=[*WAITING.rows, replace(ROW, id=2, state=Custody.CAPTURED)], audio={1: GOOD, 2: GOOD}),
    ),
    (
        "waits for a time without a reason",
        Wrong.SILENT_WAIT,
        replace(
            FINE, rows=[ROW, replace(ROW, id=2, state=Custody.PUT, next_attempt_at=99.0)], audio={1: GOOD, 2: GOOD}
        ),
    ),
    (
        "waits without words",
        Wrong.SILENT_WAIT,
        replace(
            FINE,
            rows=[ROW, replace(ROW, id=2, state=Custody.PUT, next_attempt_at=99.0, waiting_for="cloud_unreachable")],
            audio={1: GOOD, 2: GOOD},
        ),
    ),
    ("parked without a reason", Wrong.SILENT_WAIT, replace(WAITING, rows=[parked(parked_reason=None)])),
    ("parked without words", Wrong.SILENT_WAIT, replace(WAITING, rows=[parked(waiting_detail=None)])),
    ("parked without a way back", Wrong.SILENT_WAIT, replace(WAITING, rows=[parked(parked_from=None)])),
    (
        "parked for another reason than the right one",
        Wrong.SILENT_WAIT,
        replace(WAITING, waits={HELD: "spool_bit_rot"}),
    ),
    (
        "a recorder without a next visit",
        Wrong.SILENT_WAIT,
        replace(FINE, recorders=[replace(RECORDER, next_visit_at=None)]),
    ),
    (
        "a recorder that waits without words",
        Wrong.SILENT_WAIT,
        replace(FINE, recorders=[replace(RECORDER, waiting_for="recorder_low_battery")]),
    ),
    (
        "stored, and its recorder is unknown",
        Wrong.SILENT_WAIT,
        replace(FINE, rows=[replace(ROW, state=Custody.STORED)], recorders=[]),
    ),
    (
        "receiving, and nobody is",
        Wrong.SPOOL_BROKEN,
        replace(
            FINE,
            rows=[
                ROW,
                replace(
                    ROW,
                    id=2,
                    state=Custody.RECEIVING,
                    sha256=None,
                    waiting_for="x",
                    waiting_detail="x",
                    next_attempt_at=1.0,
                ),
            ],
        ),
    ),
    ("audio that rotted", Wrong.SPOOL_BROKEN, replace(FINE, audio={1: OTHER})),
    ("audio that is gone", Wrong.SPOOL_BROKEN, replace(FINE, audio={1: None})),
    ("audio that was to be forgotten", Wrong.SPOOL_BROKEN, replace(FINE, rows=[replace(ROW, state=Custody.FORGOTTEN)])),
    ("a key in the log", Wrong.SECRET_TOLD, replace(FINE, texts={"log": b"Bearer sk_test_secret"})),
    (
        "a crashed visit",
        Wrong.FAULT_OF_OURS,
        replace(FINE, events=[{"event": "visit_crashed", "exc_info": "KeyError"}]),
    ),
    ("an upload with a fault", Wrong.FAULT_OF_OURS, replace(FINE, events=[{"event": "upload_failed_unexpectedly"}])),
    (
        "a part that failed unexpectedly",
        Wrong.FAULT_OF_OURS,
        replace(FINE, events=[{"event": "part_failed", "code": "gateway_error", "reason": "KeyError"}]),
    ),
]


@pytest.mark.parametrize("evidence", FAULTLESS.values(), ids=FAULTLESS.keys())
def test_nothing_is_said_where_every_promise_is_kept(evidence: Evidence) -> None:
    """A judge that cries wolf is as worthless as one that sleeps."""
    assert judge(evidence) == []


@pytest.mark.parametrize(("wrong", "evidence"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_each_broken_promise_is_named(wrong: Wrong, evidence: Evidence) -> None:
    """The judge names exactly the promise that was broken, and says which recording it is about."""
    found = judge(evidence)
    assert {violation.wrong for violation in found} == {wrong}
    assert all(violation.detail for violation in found)


def test_every_name_is_shown_to_be_caught() -> None:
    """A new way of breaking a promise needs a world in which it is broken."""
    assert {wrong for _, wrong, _ in BROKEN} == set(Wrong)


def test_a_violation_reads_as_a_sentence() -> None:
    """What a failing test prints starts with the name of the promise."""
    assert str(Violation(Wrong.LOST, "PIN1/1 is nowhere")) == "lost: PIN1/1 is nowhere"
