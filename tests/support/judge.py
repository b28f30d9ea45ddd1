"""The one judge of custody: compares what recorders, cloud, spool and logs say when everything has settled.

It knows the promises and nothing of how the gateway keeps them. ``tests/custody/test_judge.py`` shows that it catches
each way of breaking them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from bota_gateway.model import Custody, RecorderRecord, Recording
from support.evidence import CloudCopy, Evidence, Held, Told, Word


class Wrong(StrEnum):
    """Every way in which the gateway can break a promise."""

    LOST = "lost"
    """A recording is not in the bucket, or not whole anywhere while it waits for a human."""
    DAMAGED = "damaged"
    """The bucket holds other bytes than the recorder had."""
    DOUBLED = "doubled"
    """One capture has several recordings in the cloud."""
    UNKNOWN_IN_CLOUD = "unknown_in_cloud"
    """A recording in the cloud is none that any recorder had."""
    MISFILED = "misfiled"
    """A recording is filed under somebody who did not wear the recorder."""
    CONFIRMED_TOO_EARLY = "confirmed_too_early"
    """A recorder was told that it may delete what was not safe: not stored on the disk here, or not in the cloud."""
    ACKNOWLEDGED_TOO_EARLY = "acknowledged_too_early"
    """A recorder was told that a transfer arrived whose bytes were not on the disk."""
    PULLED_AGAIN = "pulled_again"
    """A recording was asked for although it was captured, or after it had been acknowledged."""
    UNFINISHED = "unfinished"
    """The cloud has it, and the recorder was not brought to delete it."""
    SILENT_WAIT = "silent_wait"
    """Something waits without a reason or without a next time."""
    SPOOL_BROKEN = "spool_broken"
    """The spool contradicts itself: audio that is not what was captured, or of nothing captured."""
    SECRET_TOLD = "secret_told"
    """A credential stands in a log, a file or a diagnostic."""
    FAULT_OF_OURS = "fault_of_ours"
    """The log tells of a mistake of the gateway's own."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise."""

    wrong: Wrong
    detail: str

    def __str__(self) -> str:
        return f"{self.wrong}: {self.detail}"


SAFE_IN_SPOOL = frozenset(set(Custody) - {Custody.LISTED, Custody.RECEIVING})
"""States of a row with a digest in which the capture is durable."""

MAY_BE_DELETED = frozenset({Custody.STORED, Custody.CONFIRMING, Custody.CONFIRMED, Custody.FORGOTTEN})
OVER = frozenset({Custody.CONFIRMED, Custody.FORGOTTEN})
ON_THE_RECORDERS_CALENDAR = frozenset({Custody.LISTED, Custody.STORED, Custody.CONFIRMING})
"""States that go on at the recorder's next visit."""

FAULTS = frozenset({"visit_crashed", "upload_failed_unexpectedly", "part_hangs"})
"""Log events that only a mistake of ours brings about. ``part_failed`` counts as one when its code names none."""

UNNAMED = frozenset({"gateway_error", "spool_bad_transition", "spool_unknown_recording", "spool_unknown_recorder"})
"""Codes of errors that nothing outside the gateway can cause."""


def judge(evidence: Evidence) -> list[Violation]:
    """Every broken promise; an empty list is the only good answer."""
    return [
        *_cloud_has_each_once(evidence),
        *_cloud_has_nothing_else(evidence),
        *(violation for told in evidence.told for violation in _word(told, evidence)),
        *_nothing_pulled_again(evidence),
        *_recorders_are_done(evidence),
        *_nothing_waits_in_silence(evidence),
        *_spool_agrees_with_itself(evidence),
        *_no_secret_told(evidence),
        *_no_fault_of_ours(evidence),
    ]


# -- recorders against cloud -------------------------------------------------------------------------------------------


def _cloud_has_each_once(evidence: Evidence) -> Iterator[Violation]:
    for held in _distinct(evidence.made):
        copies = [copy for copy in evidence.cloud if _claims(copy, held)]
        if len(copies) > 1:
            yield Violation(Wrong.DOUBLED, f"{held} is in the cloud as {', '.join(copy.name for copy in copies)}")
        for copy in copies:
            if copy.complete and copy.stored_sha256 != held.sha256:
                yield Violation(Wrong.DAMAGED, f"{held} is stored as {copy.stored_sha256} in {copy.name}")
            if held.wearer is not None and copy.end_user_id != held.wearer:
                yield Violation(
                    Wrong.MISFILED, f"{held} was worn by {held.wearer}, {copy.name} is {copy.end_user_id}'s"
                )
        if any(copy.complete for copy in copies) or held in evidence.taken | evidence.forgotten:
            continue
        where = _where(held, evidence)
        if held not in evidence.waits:
            yield Violation(Wrong.LOST, f"{held} is not in the bucket; {where or 'it is nowhere'}")
        elif not where:
            yield Violation(Wrong.LOST, f"{held} waits for a human and is nowhere whole")


def _cloud_has_nothing_else(evidence: Evidence) -> Iterator[Violation]:
    for copy in evidence.cloud:
        if not any(_claims(copy, held) for held in evidence.made):
            yield Violation(Wrong.UNKNOWN_IN_CLOUD, f"{copy.name} says it is {copy.said_sha256}")


def _claims(copy: CloudCopy, held: Held) -> bool:
    named = (copy.serial, copy.file_id, copy.started_at) == (held.serial, held.file_id, held.started_at)
    return named and copy.said_sha256 == held.sha256


def _where(held: Held, evidence: Evidence) -> str:
    """Where its bytes are outside the cloud; empty when nowhere."""
    places = [f"its recorder {held.serial} has it"] if held in evidence.still_held else []
    places += [
        f"the spool has it, {row.state}"
        for row in evidence.rows
        if row.sha256 == held.sha256 and evidence.audio.get(row.id) == held.sha256
    ]
    return ", ".join(places)


# -- what recorders were told ------------------------------------------------------------------------------------------


def _word(told: Told, evidence: Evidence) -> Iterator[Violation]:
    when = f"told {told.word} (word {told.order})"
    if told.held is None:
        return  # it had nothing under that id: nothing can come of it
    match told.word:
        case Word.CONFIRM:
            if not evidence.may_confirm:
                yield Violation(Wrong.CONFIRMED_TOO_EARLY, f"{told.held}: {when} although nothing may be confirmed")
            if not told.in_cloud:
                yield Violation(Wrong.CONFIRMED_TOO_EARLY, f"{told.held}: {when} before the cloud had its bytes")
            if not _was_durable(told, MAY_BE_DELETED, "stored", evidence):
                yield Violation(Wrong.CONFIRMED_TOO_EARLY, f"{told.held}: {when} while {_shown(told)}")
        case Word.ACK:
            if not _was_durable(told, SAFE_IN_SPOOL, "captured", evidence):
                yield Violation(Wrong.ACKNOWLEDGED_TOO_EARLY, f"{told.held}: {when} while {_shown(told)}")
        case Word.START:
            if told.on_disk is not None and _was_durable(told, SAFE_IN_SPOOL, "captured", evidence):
                yield Violation(Wrong.PULLED_AGAIN, f"{told.held}: {when} while {_shown(told)}")


def _was_durable(told: Told, states: Iterable[Custody], line: str, evidence: Evidence) -> bool:
    """On the disk at that moment; where nobody looked, by the timeline."""
    if told.on_disk is not None:
        return any(row.state in states and _is_of(row.sha256, told.held) for row in told.on_disk)
    return any(
        entry.happened == line and entry.at <= told.at
        for row in evidence.rows
        if _was_of(row, told.held, evidence) and (row.key.serial, row.key.file_id) == (told.serial, told.file_id)
        for entry in evidence.timelines.get(row.id, ())
    )


def _was_of(row: Recording, held: Held | None, evidence: Evidence) -> bool:
    """Whether a row is the capture of what the recorder holds, or was before it was forgotten by hand."""
    if row.sha256 is not None or held not in evidence.ever_forgotten:
        return _is_of(row.sha256, held)
    lines = evidence.timelines.get(row.id, ())
    return any(_is_of(str(line.detail.get("sha256")), held) for line in lines if line.happened == "captured")


def _is_of(digest: str | None, held: Held | None) -> bool:
    """Whether a row with this digest is the capture of what the recorder holds."""
    return held is not None and digest is not None and (held.sealed or digest == held.sha256)


def _shown(told: Told) -> str:
    if told.on_disk is None:
        return "the timeline has no such line before"
    rows = ", ".join(f"{row.state} {(row.sha256 or 'without bytes')[:8]}" for row in told.on_disk)
    return f"the disk had {rows or 'nothing'} of it"


def _nothing_pulled_again(evidence: Evidence) -> Iterator[Violation]:
    acknowledged: set[Held] = set()
    for told in sorted(evidence.told, key=lambda each: each.order):
        if told.held is None:
            continue
        if told.word is Word.ACK:
            acknowledged.add(told.held)
        elif told.word is Word.START and told.held in acknowledged - evidence.ever_forgotten:
            yield Violation(Wrong.PULLED_AGAIN, f"{told.held}: started again (word {told.order}) after its ACK")


def _recorders_are_done(evidence: Evidence) -> Iterator[Violation]:
    if not evidence.may_confirm:
        return
    for held in set(evidence.still_held) - evidence.forgotten:
        if any(_claims(copy, held) and copy.complete for copy in evidence.cloud):
            yield Violation(Wrong.UNFINISHED, f"{held} is in the cloud and still on its recorder")


# -- the spool ---------------------------------------------------------------------------------------------------------


def _nothing_waits_in_silence(evidence: Evidence) -> Iterator[Violation]:
    calendar = {record.serial: record for record in evidence.recorders}
    for row in evidence.rows:
        if why := _silence_of(row, calendar.get(row.key.serial)):
            yield Violation(Wrong.SILENT_WAIT, f"{row.key} is {row.state} {why}")
    for record in evidence.recorders:
        if record.next_visit_at is None:
            yield Violation(Wrong.SILENT_WAIT, f"recorder {record.serial} has no next visit ({record.waiting_for})")
        if record.waiting_for is not None and not record.waiting_detail:
            yield Violation(Wrong.SILENT_WAIT, f"recorder {record.serial} waits for {record.waiting_for}, unexplained")
    yield from _waits_as_said(evidence)


def _silence_of(row: Recording, record: RecorderRecord | None) -> str | None:
    """What is missing of a reason and a next time; None when nothing is."""
    if row.state in OVER:
        return None
    if row.state is Custody.PARKED:
        complete = row.parked_reason and row.waiting_detail and row.parked_from
        return None if complete else "without a reason, its words or a way back"
    if row.waiting_for is not None and not row.waiting_detail:
        return f"and waits for {row.waiting_for}, unexplained"
    if row.next_attempt_at is not None:
        return None if row.waiting_for else "and waits for a time without a reason"
    if row.state in ON_THE_RECORDERS_CALENDAR:
        return None if record is not None and record.next_visit_at is not None else "and no visit is due"
    return "and nothing moves it"


def _waits_as_said(evidence: Evidence) -> Iterator[Violation]:
    for held, code in evidence.waits.items():
        reasons = {
            row.parked_reason or row.waiting_for
            for row in evidence.rows
            if (row.key.serial, row.key.file_id, row.key.started_at) == (held.serial, held.file_id, held.started_at)
        }
        if code not in reasons:
            yield Violation(Wrong.SILENT_WAIT, f"{held} should wait for {code}, and waits for {reasons or 'nothing'}")


def _spool_agrees_with_itself(evidence: Evidence) -> Iterator[Violation]:
    for row in evidence.rows:
        found = evidence.audio.get(row.id)
        forgotten = row.state is Custody.FORGOTTEN
        if row.state is Custody.RECEIVING:
            yield Violation(Wrong.SPOOL_BROKEN, f"{row.key} is receiving, and nobody is")
        elif row.released_at is not None and found is None:
            continue
        elif row.sha256 is not None and not forgotten and found != row.sha256:
            yield Violation(Wrong.SPOOL_BROKEN, f"{row.key} is {row.state} as {row.sha256}, its audio is {found}")
        elif (row.sha256 is None or forgotten) and found is not None:
            yield Violation(Wrong.SPOOL_BROKEN, f"{row.key} is {row.state} and still has audio")


# -- what is told ------------------------------------------------------------------------------------------------------


def _no_secret_told(evidence: Evidence) -> Iterator[Violation]:
    for name, text in evidence.texts.items():
        for secret, what in evidence.secrets.items():
            if secret.encode() in text:
                yield Violation(Wrong.SECRET_TOLD, f"{name} holds {what}")


def _no_fault_of_ours(evidence: Evidence) -> Iterator[Violation]:
    for event in evidence.events:
        name, code = event.get("event"), event.get("code")
        if name in FAULTS or (name == "part_failed" and code in UNNAMED):
            yield Violation(Wrong.FAULT_OF_OURS, f"{name}: {event.get('reason') or event.get('exc_info') or event}")


def _distinct(made: Iterable[Held]) -> list[Held]:
    return list(dict.fromkeys(made))
