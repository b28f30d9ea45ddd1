import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bota_gateway.config import SpoolSettings
from bota_gateway.errors import SpoolError, SpoolForeignError, SpoolLockedError, SpoolTooNewError
from bota_gateway.model import Custody
from bota_gateway.spool import Spool
from bota_gateway.spool.const import AUDIO_ROW_BYTES, DATABASE_NAME, PAGE_BYTES, SUSPECT_NAME
from bota_gateway.spool.custody import Happened
from bota_gateway.spool.fsck import NEXT, ORPHANS, Wrong, examine
from bota_gateway.spool.offline import open_offline
from bota_gateway.spool.retelling import LEADS_TO, STAY
from support.spool_versions import EXAMPLES, make_version_1
from support.spooling import TurnableClock, bring_to, noise

DATA = noise(2 * AUDIO_ROW_BYTES + 100)


@pytest.fixture
async def whole(settings: SpoolSettings, clock: TurnableClock) -> Path:
    """A spool with one recording in each state and one released, closed."""
    async with Spool.open(settings, clock) as spool:
        for number, state in enumerate(Custody):
            await bring_to(spool, state, number, data=DATA)
        await bring_to(spool, Custody.STORED, 99, data=DATA, serial="RELEASED")
        row = (await spool.recordings(serial="RELEASED"))[0]
        await spool._release(row.id)
    return settings.directory


@contextmanager
def tampering(directory: Path) -> Iterator[sqlite3.Connection]:
    """Another program at the database, without the rules that the gateway keeps."""
    database = sqlite3.connect(directory / DATABASE_NAME, isolation_level=None)
    database.execute("PRAGMA foreign_keys = OFF")
    yield database
    database.close()


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


async def test_a_whole_spool_passes_and_is_not_changed(whole: Path) -> None:
    """All is read and compared, nothing is found, and not one byte or file differs afterwards."""
    before = contents(whole)
    seen = examine(whole)
    assert (seen.faults, seen.notes) == ([], [])
    assert seen.recordings == len(Custody) + 1
    assert seen.audio_bytes == 7 * len(DATA)
    assert seen.only_here == 4
    assert contents(whole) == before


async def test_what_a_killed_gateway_left_is_looked_at_too(settings: SpoolSettings, tmp_path: Path) -> None:
    """The log holds what is not in the database yet; a transfer cut off in the middle is no fault."""
    copy = tmp_path / "copy"
    async with Spool.open(settings, TurnableClock()) as spool:
        await bring_to(spool, Custody.CAPTURED, 1, data=DATA)
        row = await bring_to(spool, Custody.RECEIVING, 2)
        await spool.store_audio(row.id, DATA)
        copy.mkdir()
        for path in settings.directory.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
    assert (copy / f"{DATABASE_NAME}-wal").stat().st_size > 0
    seen = examine(copy)
    assert (seen.faults, seen.notes, seen.recordings) == ([], [], 2)
    assert seen.audio_bytes == len(DATA) + 2 * AUDIO_ROW_BYTES


async def test_a_spool_in_use_is_left_alone(settings: SpoolSettings) -> None:
    """While a gateway has it nothing is read, and the holder is named."""
    async with Spool.open(settings, TurnableClock()):
        with pytest.raises(SpoolLockedError, match=str(os.getpid())):
            examine(settings.directory)


TAMPERED = {
    "UPDATE audio SET data = zeroblob(length(data)) WHERE number = 1 AND recording_id = :captured": {
        Wrong.AUDIO_DIFFERS
    },
    "DELETE FROM audio WHERE number = 1 AND recording_id = :captured": {Wrong.AUDIO_MISSING},
    "DELETE FROM audio WHERE number = 2 AND recording_id = :captured": {Wrong.AUDIO_MISSING},
    "UPDATE audio SET number = 7 WHERE number = 2 AND recording_id = :captured": {Wrong.AUDIO_MISSING},
    "UPDATE recordings SET sha256 = 'f00' WHERE id = :captured": {Wrong.AUDIO_DIFFERS, Wrong.JOURNAL},
    "UPDATE recordings SET sha256 = NULL WHERE state = 'put'": {Wrong.ROW},
    "UPDATE recordings SET cloud_id = NULL WHERE state = 'created'": {Wrong.ROW},
    "UPDATE recordings SET verified = NULL WHERE state = 'confirming'": {Wrong.ROW},
    "UPDATE recordings SET confirmed_at = NULL WHERE state = 'confirmed'": {Wrong.ROW},
    "UPDATE recordings SET parked_from = NULL WHERE state = 'parked'": {Wrong.ROW},
    "UPDATE recordings SET next_attempt_at = 5, waiting_for = NULL WHERE state = 'captured'": {Wrong.ROW},
    "UPDATE recordings SET released_at = 5 WHERE state = 'captured'": {Wrong.ROW},
    "UPDATE recordings SET state = 'stored', stored_at = 5, verified = 1, cloud_id = 'r' WHERE state = 'captured'": {
        Wrong.JOURNAL
    },
    "DELETE FROM timeline WHERE happened = 'deletion_seen'": {Wrong.JOURNAL},
    "UPDATE timeline SET happened = 'teleported' WHERE happened = 'put'": {Wrong.JOURNAL},
    "UPDATE timeline SET detail = '{}' WHERE happened = 'parked'": {Wrong.JOURNAL},
    "INSERT INTO audio (recording_id, number, data) VALUES (4711, 0, X'00')": {Wrong.ORPHAN},
    "INSERT INTO timeline (recording_id, at, happened, detail) VALUES (4711, 0, 'listed', '{}')": {Wrong.ORPHAN},
    "DELETE FROM recorders WHERE serial = 'RELEASED'": {Wrong.ORPHAN},
}


@pytest.mark.parametrize("statement", TAMPERED)
async def test_each_inconsistency_is_found(whole: Path, statement: str) -> None:
    """Bytes, rows, journal and belonging are compared; each fault says what it is about and what to do."""
    with tampering(whole) as database:
        (captured,) = database.execute("SELECT id FROM recordings WHERE state = 'captured'").fetchone()
        assert database.execute(statement, {"captured": captured}).rowcount > 0
    seen = examine(whole)
    assert {fault.code for fault in seen.faults} == TAMPERED[statement]
    assert all(fault.what and fault.remedy for fault in seen.faults)
    assert not seen.whole
    quick = examine(whole, with_audio=False)
    assert quick.audio_bytes == 0
    assert {fault.code for fault in quick.faults} == TAMPERED[statement] - {Wrong.AUDIO_DIFFERS, Wrong.AUDIO_MISSING}


@pytest.mark.parametrize("page", range(40))
async def test_whatever_page_is_lost_is_found_or_empty(whole: Path, page: int) -> None:
    """A page of zeros anywhere is a fault, unless nothing was on it; the examination itself never fails."""
    path = whole / DATABASE_NAME
    before = path.read_bytes()
    lost = before[page * PAGE_BYTES : (page + 1) * PAGE_BYTES]
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))
    try:
        seen = examine(whole)
    except SpoolForeignError:
        assert page == 0, "without its first page it could be anything"
        return
    is_free = page in free_pages(before, path)
    assert seen.whole == (is_free or lost == bytes(PAGE_BYTES))


def free_pages(data: bytes, path: Path) -> set[int]:
    """Pages (from 0) that hold nothing: what sweeping left."""
    path.write_bytes(data)
    database = sqlite3.connect(path)
    size = int.from_bytes(data[28:32], "big")
    try:
        used = {number - 1 for (number,) in database.execute("SELECT DISTINCT pageno FROM dbstat")}
    except sqlite3.OperationalError:
        pytest.skip("this SQLite is built without dbstat")
    finally:
        database.close()
    trunk = int.from_bytes(data[32:36], "big")
    return set(range(size)) - used - {trunk - 1}


async def test_without_audio_only_the_journal_is_judged(whole: Path) -> None:
    """A damaged page of the journal is found by the quick look, one of the audio by the long look alone."""
    path = whole / DATABASE_NAME
    before = path.read_bytes()
    for text, found in ((b"BP1A2B3C4D", True), (DATA[100_000:100_100], False)):
        page = before.index(text) // PAGE_BYTES * PAGE_BYTES
        path.write_bytes(before[:page] + bytes(PAGE_BYTES) + before[page + PAGE_BYTES :])
        assert examine(whole, with_audio=False).whole is not found
        assert not examine(whole).whole


async def test_a_row_that_an_index_lacks_is_found_without_audio(whole: Path) -> None:
    """It would wait for ever, unseen: an index of what waits is compared with its table by the quick look, too."""
    with tampering(whole) as database:
        query = "SELECT * FROM sqlite_master WHERE type = 'index' AND tbl_name = 'recordings' AND sql IS NOT NULL"
        rows = list(database.execute(query))
        database.execute("PRAGMA writable_schema = ON")
        database.execute("DELETE FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    with tampering(whole) as database:  # knows of no index, so that none is kept up
        database.execute("UPDATE recordings SET state = 'parked', next_attempt_at = 4711, cloud_id = 'other'")
        database.execute("PRAGMA writable_schema = ON")
        database.executemany("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", rows)
    assert rows
    seen = examine(whole, with_audio=False)
    assert any(fault.code is Wrong.DATABASE and "index" in fault.what for fault in seen.faults)


async def test_damaged_audio_does_not_end_the_examination(whole: Path) -> None:
    """The recording whose bytes are gone is named, and the others are still read."""
    path = whole / DATABASE_NAME
    where = path.read_bytes().index(DATA[AUDIO_ROW_BYTES + 100_000 : AUDIO_ROW_BYTES + 100_100]) // PAGE_BYTES
    with path.open("r+b") as file:
        file.seek(where * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))
    seen = examine(whole)
    assert {fault.code for fault in seen.faults} == {Wrong.DATABASE, Wrong.AUDIO_MISSING}
    assert sum(fault.recording is not None for fault in seen.faults) == 1
    assert seen.recordings == len(Custody) + 1


async def test_leftovers_are_noted(whole: Path) -> None:
    """What an interrupted sweep left is no fault: the next start deletes it."""
    with tampering(whole) as database:
        database.execute(
            "INSERT INTO audio (recording_id, number, data) "
            "SELECT id, 0, X'00' FROM recordings WHERE state = 'forgotten'"
        )
    seen = examine(whole)
    assert seen.whole
    assert len(seen.notes) == 1


async def test_damage_met_in_use_and_spools_set_aside_are_told(whole: Path) -> None:
    """What the gateway remembered for its next start is a fault already; older damage is worth a note."""
    (whole / SUSPECT_NAME).write_text("step capture: malformed\n")
    (whole / "set-aside-20260101T000000Z").mkdir()
    seen = examine(whole)
    assert [fault.code for fault in seen.faults] == [Wrong.DATABASE]
    assert "set-aside-20260101T000000Z" in seen.notes[0]


def test_an_older_version_is_understood(tmp_path: Path) -> None:
    """A set-aside spool of an earlier version can be judged without bringing it up to date."""
    make_version_1(tmp_path)
    before = contents(tmp_path)
    seen = examine(tmp_path)
    assert seen.recordings == len(EXAMPLES)
    assert contents(tmp_path) == before


async def test_what_can_t_be_judged_is_refused(tmp_path: Path, whole: Path) -> None:
    """Nothing there, nothing in it, somebody else's, or from the future: each its own answer, and nothing is made."""
    empty = tmp_path / "empty"
    with pytest.raises(SpoolError) as caught:
        examine(empty)
    assert caught.value.error_code == "spool_not_there"
    assert not empty.exists()
    empty.mkdir()
    (empty / DATABASE_NAME).touch()
    with pytest.raises(SpoolError) as caught:
        examine(empty)
    assert caught.value.error_code == "spool_not_there"
    with tampering(empty) as database:
        database.execute("CREATE TABLE bookmarks (url)")
    with pytest.raises(SpoolForeignError):
        examine(empty)
    with tampering(whole) as database:
        database.execute("PRAGMA user_version = 4711")
    with pytest.raises(SpoolTooNewError):
        examine(whole)


async def test_audio_is_read_row_by_row(whole: Path) -> None:
    """Offline, too, no recording has to fit into memory."""
    with open_offline(whole) as spool:
        row = next(row for row in spool.recordings() if row.state is Custody.CAPTURED)
        pieces = list(spool.audio(row))
    assert b"".join(pieces) == DATA
    assert max(map(len, pieces)) == AUDIO_ROW_BYTES


def test_every_line_of_a_timeline_is_retold() -> None:
    """A new kind of line must say where it leads; every kind of fault says what to do."""
    told_by_detail = {Happened.RETRIED, Happened.MOVED_BACK, Happened.LISTED_AGAIN}
    assert set(LEADS_TO) | STAY | told_by_detail == set(Happened)
    assert not set(LEADS_TO) & (STAY | told_by_detail)
    assert set(NEXT) == set(Wrong)
    assert set(ORPHANS) == {"recordings", "timeline", "audio"}
