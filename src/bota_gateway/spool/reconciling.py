"""Compares what a recorder lists with what the spool knows. Pure: rows and entries in, changes out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from bota_gateway.model import Custody, ListedRecording, Recording


class Change(Enum):
    """What a list means for one recording."""

    NEW = auto()
    """Never seen: it enters the spool."""
    NEW_TAKE = auto()
    """Its key is known with other content: it enters beside the older take."""
    FACTS = auto()
    """Not pulled yet and longer or larger than before (it was still being recorded): the row follows."""
    CONFIRM_AGAIN = auto()
    """Its deletion had been seen, or thought so, and it is there again."""
    LISTED_AGAIN = auto()
    """It had vanished unpulled and is there again."""
    DELETION_SEEN = auto()
    """The cloud has it and the recorder no longer does."""
    VANISHED = auto()
    """The recorder no longer has it and we never pulled it: its owner's phone did, or its owner deleted it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One change, with the row it is about, the entry that shows it, or both."""

    change: Change
    row: Recording | None
    entry: ListedRecording | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything one list says."""

    findings: tuple[Finding, ...]
    standing: tuple[Recording, ...]
    """Rows that the list shows just as they are."""


_Key = tuple[str, int]


def compare(rows: Iterable[Recording], listed: Sequence[ListedRecording], *, complete: bool) -> Comparison:
    """What ``listed`` means for one recorder's ``rows``.

    Args:
        rows: All rows of that recorder whose custody is not over, and those whose file id is listed.
        listed: The recorder's entries. Of several under one key the one that is known counts, else the first.
        complete: Whether the list is known to be whole; only then does absence mean anything.
    """
    newest: dict[_Key, Recording] = {}
    older: list[Recording] = []
    for row in sorted(rows, key=lambda row: row.take):
        key = (row.key.file_id, row.key.started_at)
        if key in newest:
            older.append(newest[key])
        newest[key] = row
    entries: dict[_Key, list[ListedRecording]] = {}
    for entry in listed:
        entries.setdefault((entry.file_id, entry.started_at), []).append(entry)

    findings: list[Finding] = []
    standing: list[Recording] = []
    absent = older
    for key, candidates in entries.items():
        known = newest.pop(key, None)
        finding = _present(known, _nearest(known, candidates))
        if finding is not None:
            findings.append(finding)
            if finding.change is Change.NEW_TAKE and known is not None:
                absent.append(known)
        elif known is not None:
            standing.append(known)
    if complete:
        absent.extend(newest.values())
        findings.extend(finding for row in absent if (finding := _absent(row)) is not None)
    return Comparison(tuple(findings), tuple(standing))


def _nearest(row: Recording | None, candidates: Sequence[ListedRecording]) -> ListedRecording:
    """Of several entries under one key the one that is the row's, so that a contradictory list changes nothing."""
    return next((entry for entry in candidates if row is not None and _same_content(row, entry)), candidates[0])


def _present(row: Recording | None, entry: ListedRecording) -> Finding | None:
    if row is None:
        return Finding(Change.NEW, None, entry)
    change = _unpulled(row, entry) if _never_pulled(row) else _pulled(row, entry)
    return None if change is None else Finding(change, row, entry)


def _unpulled(row: Recording, entry: ListedRecording) -> Change | None:
    if row.state is Custody.FORGOTTEN:
        return Change.LISTED_AGAIN
    same = _same_content(row, entry) and row.encrypted_at_rest == entry.encrypted_at_rest
    return Change.FACTS if row.state is Custody.LISTED and not same else None


def _pulled(row: Recording, entry: ListedRecording) -> Change | None:
    if not _same_content(row, entry):
        return Change.NEW_TAKE
    return Change.CONFIRM_AGAIN if row.state in {Custody.CONFIRMED, Custody.FORGOTTEN} else None


def _same_content(row: Recording, entry: ListedRecording) -> bool:
    return (row.duration_s, row.size_kib) == (entry.duration_s, entry.size_kib)


def _absent(row: Recording) -> Finding | None:
    match row.state:
        case Custody.STORED | Custody.CONFIRMING:
            return Finding(Change.DELETION_SEEN, row, None)
        case Custody.LISTED:
            return Finding(Change.VANISHED, row, None)
        case Custody.PARKED if row.forgotten_by_hand:
            return None  # a list that comes and goes must not bring it back
        case Custody.PARKED if _never_pulled(row):
            return Finding(Change.VANISHED, row, None)
        case _:
            return None  # we hold the bytes, or it is over already


def _never_pulled(row: Recording) -> bool:
    return row.sha256 is None
