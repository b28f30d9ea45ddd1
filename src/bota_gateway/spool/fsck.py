"""Judges a spool on which no gateway runs: pages, bytes against digests, rows against the journal, orphans.

Nothing is repaired here. Most of what can be wrong the gateway deals with by itself: a damaged database is set aside at
its next start, damaged audio is parked when its upload is tried.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from bota_gateway.errors import SpoolCorruptError
from bota_gateway.model import Custody, Recording, TimelineEntry
from bota_gateway.spool import aside
from bota_gateway.spool.const import AUDIO_ROW_BYTES
from bota_gateway.spool.custody import TO_UPLOAD, Happened
from bota_gateway.spool.offline import OfflineSpool, open_offline
from bota_gateway.spool.retelling import retell


class Wrong(StrEnum):
    """What can be wrong with a spool."""

    DATABASE = "database_damaged"
    """SQLite itself finds pages that are not as they should be."""
    ROW = "row_incomplete"
    """A row lacks what its state needs, or says what can't be."""
    JOURNAL = "journal_differs"
    """A recording's timeline leads to another state than its row has, or tells of other bytes."""
    AUDIO_MISSING = "audio_missing"
    """Fewer bytes are here than were captured."""
    AUDIO_DIFFERS = "audio_differs"
    """The bytes here are not those that were captured."""
    ORPHAN = "orphan"
    """Something belongs to a recording or a recorder that is not there."""


NEXT: dict[Wrong, str] = {
    Wrong.DATABASE: "Check the disk. The gateway's next start sets a database aside that it finds damaged.",
    Wrong.ROW: "This is damage or a defect of the gateway: keep a copy of the directory and report it.",
    Wrong.JOURNAL: "This is damage or a defect of the gateway: keep a copy of the directory and report it.",
    Wrong.AUDIO_MISSING: "Check the disk. Save what is left with: bota-gateway export --damaged.",
    Wrong.AUDIO_DIFFERS: "Check the disk. Save what is left with: bota-gateway export --damaged.",
    Wrong.ORPHAN: "This is damage or a defect of the gateway: keep a copy of the directory and report it.",
}
"""What to do about it."""

CAPTURED = TO_UPLOAD | {Custody.STORED, Custody.CONFIRMING, Custody.CONFIRMED}
IN_CLOUD = CAPTURED - {Custody.CAPTURED}
STORED = frozenset({Custody.STORED, Custody.CONFIRMING, Custody.CONFIRMED})

ORPHANS = {
    "recordings": "SELECT count(*) FROM recordings WHERE serial NOT IN (SELECT serial FROM recorders)",
    "timeline": "SELECT count(*) FROM timeline WHERE recording_id NOT IN (SELECT id FROM recordings)",
    "audio": "SELECT count(*) FROM audio WHERE recording_id NOT IN (SELECT id FROM recordings)",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong."""

    code: Wrong
    what: str
    recording: str | None = None
    """Its key; None where it is not about one recording."""

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return NEXT[self.code]


@dataclass(slots=True)
class Examination:
    """What was looked at and what was found."""

    directory: Path
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Nothing wrong, but good to know."""
    recordings: int = 0
    audio_bytes: int = 0
    """Read and compared with digests."""
    only_here: int = 0
    """Captures that the cloud does not have yet."""

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def examine(directory: Path, *, with_audio: bool = True) -> Examination:
    """Look at everything in the spool in ``directory``; takes as long as reading its file.

    Args:
        directory: The spool's.
        with_audio: False leaves the audio out and checks of the database what a gateway's start does: seconds at most.

    Raises:
        SpoolError: it can't be looked at: a gateway uses it, it is not there, not readable, or of a newer version.
    """
    seen = Examination(directory)
    seen.notes += [f"A damaged spool was set aside in {path}." for path in aside.directories(directory)]
    if (reason := aside.why_suspect(directory)) is not None:
        seen.faults.append(Fault(Wrong.DATABASE, f"The gateway met damage while it ran: {reason}"))
    try:
        with open_offline(directory) as spool:
            _examine(spool, seen, with_audio=with_audio)
    except SpoolCorruptError as damage:
        seen.faults.append(Fault(Wrong.DATABASE, damage.message))
    return seen


def _examine(spool: OfflineSpool, seen: Examination, *, with_audio: bool) -> None:
    seen.faults += [Fault(Wrong.DATABASE, line) for line in (spool.damage() if with_audio else spool.journal_damage())]
    for table, query in ORPHANS.items():
        count = next(spool.query(query))[0]
        if count:
            seen.faults.append(Fault(Wrong.ORPHAN, f"{count} rows of {table} belong to nothing."))
    # Rows are few and small: read at once, so that a damaged page among the audio fails only one of them below.
    for row in list(spool.recordings()):
        seen.recordings += 1
        seen.only_here += _held_in(row) in TO_UPLOAD
        key = str(row.key) + (f" take {row.take}" if row.take else "")
        lines = list(spool.timeline(row.id))
        seen.faults += [Fault(Wrong.ROW, what, key) for what in _incomplete(row)]
        seen.faults += [Fault(Wrong.JOURNAL, what, key) for what in _differing(row, lines)]
        if with_audio:
            _listen(spool, row, key, seen)


def _held_in(row: Recording) -> Custody:
    """The state, or the one it was parked from."""
    return row.parked_from if row.state is Custody.PARKED and row.parked_from else row.state


def _incomplete(row: Recording) -> Iterator[str]:
    needed: dict[str, object] = {}
    state = _held_in(row)
    if state in CAPTURED:
        needed |= {"size_bytes": row.size_bytes, "sha256": row.sha256, "captured_at": row.captured_at}
    if state in IN_CLOUD:
        needed |= {"cloud_id": row.cloud_id}
    if state in STORED:
        needed |= {"stored_at": row.stored_at, "verified": row.verified}
    if state is Custody.CONFIRMED:
        needed |= {"confirmed_at": row.confirmed_at}
    if row.state is Custody.PARKED:
        needed |= {"parked_reason": row.parked_reason, "parked_from": row.parked_from}
    if row.next_attempt_at is not None:
        needed |= {"waiting_for": row.waiting_for}
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        yield f"It is {row.state} and has no {', '.join(missing)}."
    if row.released_at is not None and state in TO_UPLOAD:
        yield f"It is {row.state}, and its audio was deleted although the cloud does not have it."


def _differing(row: Recording, lines: list[TimelineEntry]) -> Iterator[str]:
    try:
        told = retell(lines)
    except (KeyError, ValueError) as odd:
        yield f"Its timeline can't be read: {odd!r}."
        return
    if told is not row.state:
        yield f"It is {row.state}, and its timeline ends in {told}."
    captured = [line.detail for line in lines if line.happened == Happened.CAPTURED]
    if row.sha256 is not None and captured and captured[-1].get("sha256") != row.sha256:
        yield f"Its row says SHA-256 {row.sha256}, its timeline {captured[-1].get('sha256')}."


def _listen(spool: OfflineSpool, row: Recording, key: str, seen: Examination) -> None:
    """Read the audio and compare it with what was captured."""
    digest = hashlib.sha256()
    length = 0
    gaps = False
    try:
        for expected, (number, data) in enumerate(spool.audio_rows(row.id)):
            gaps = gaps or number != expected or length != number * AUDIO_ROW_BYTES
            digest.update(data)
            length += len(data)
    except SpoolCorruptError as damage:
        seen.faults.append(Fault(Wrong.AUDIO_MISSING, f"Its audio can't be read: {damage.message}", key))
        return
    seen.audio_bytes += length
    if row.sha256 is None or row.released_at is not None:
        if length and row.state is not Custody.RECEIVING:
            seen.notes.append(f"{key} has {length} bytes left over; the next start deletes them.")
    elif length != row.size_bytes or gaps:
        what = f"{length} of its {row.size_bytes} bytes are here" + (", with a gap." if gaps else ".")
        seen.faults.append(Fault(Wrong.AUDIO_MISSING, what, key))
    elif digest.hexdigest() != row.sha256:
        what = f"Its bytes have SHA-256 {digest.hexdigest()}; {row.sha256} was captured."
        seen.faults.append(Fault(Wrong.AUDIO_DIFFERS, what, key))
