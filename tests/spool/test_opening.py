import os
import signal
import sqlite3
import stat
from pathlib import Path

import pytest

from bota_gateway.config import SpoolSettings
from bota_gateway.errors import (
    SpoolError,
    SpoolForeignError,
    SpoolLockedError,
    SpoolTooNewError,
    SpoolWriteError,
)
from bota_gateway.model import Custody
from bota_gateway.spool import Spool, setup
from bota_gateway.spool.const import AUDIO_ROW_BYTES, DATABASE_NAME, SCHEMA_VERSION
from support.spool_children import start_child
from support.spooling import TurnableClock, bring_to, entry, happened, meet, noise, pull


async def open_once(settings: SpoolSettings) -> None:
    async with Spool.open(settings, TurnableClock()):
        pass


async def test_everything_is_there_after_a_restart(settings: SpoolSettings, clock: TurnableClock) -> None:
    """Rows, timelines and audio outlive the process; a transfer that was cut off is listed again, its bytes gone."""
    data = noise(AUDIO_ROW_BYTES + 5)
    async with Spool.open(settings, clock) as spool:
        rows = [await bring_to(spool, state, number) for number, state in enumerate(Custody) if number]
        (new,) = await meet(spool, entry(99), serial="OTHER")
        kept = await pull(spool, new, data)
        (cut,) = [row for row in rows if row.state is Custody.RECEIVING]
        await spool.store_audio(cut.id, data)
        lines = [await spool.timeline(row.id) for row in rows]
    async with Spool.open(settings, clock) as spool:
        for row, before in zip(rows, lines, strict=True):
            if row.id != cut.id:
                assert await spool.recording(row.id) == row
                assert await spool.timeline(row.id) == before
        assert (await spool.recording(cut.id)).state is Custody.LISTED
        assert (await happened(spool, cut.id))[-1] == "interrupted_by_restart"
        assert await spool._db.read("SELECT 1 FROM audio WHERE recording_id = ?", (cut.id,)) == []
        assert b"".join([piece async for piece in spool.read_audio(kept.id)]) == data


async def test_two_gateways_on_one_spool(settings: SpoolSettings) -> None:
    """The second one is refused, in the same process too, and told who holds it."""
    async with Spool.open(settings, TurnableClock()):
        with pytest.raises(SpoolLockedError, match=str(os.getpid())):
            await open_once(settings)
    await open_once(settings)


async def test_a_gateway_in_another_process(settings: SpoolSettings) -> None:
    """The lock holds across processes, names the holder, and falls with it even when it is killed."""
    with start_child("hold", settings.directory) as child:
        with pytest.raises(SpoolLockedError, match=str(child.pid)):
            await open_once(settings)
        child.send_signal(signal.SIGKILL)
        child.wait()
        await open_once(settings)


async def test_nobody_else_may_open_the_database(settings: SpoolSettings) -> None:
    """A database browser on the living file would be a second connection: SQLite itself refuses it."""
    async with Spool.open(settings, TurnableClock()) as spool:
        await bring_to(spool, Custody.LISTED)
        other = sqlite3.connect(settings.directory / DATABASE_NAME, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("SELECT * FROM recordings")
        other.close()


async def test_a_database_that_someone_browses(settings: SpoolSettings) -> None:
    """Starting while a browser has the file open is refused with what to do."""
    await open_once(settings)
    other = sqlite3.connect(settings.directory / DATABASE_NAME)
    other.execute("BEGIN")
    other.execute("SELECT * FROM recordings").fetchall()
    with pytest.raises(SpoolLockedError) as caught:
        await open_once(settings)
    assert "Close it" in caught.value.next_step
    other.close()
    await open_once(settings)


async def test_a_spool_of_a_newer_version_is_not_touched(settings: SpoolSettings) -> None:
    """Both versions are named, and not one byte changes."""
    await open_once(settings)
    path = settings.directory / DATABASE_NAME
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 6}")
    database.close()
    before = path.read_bytes()
    with pytest.raises(SpoolTooNewError, match=f"version {SCHEMA_VERSION + 6}.*up to {SCHEMA_VERSION}"):
        await open_once(settings)
    assert path.read_bytes() == before


async def test_a_database_of_another_program_is_not_touched(settings: SpoolSettings) -> None:
    """A wrong directory must not turn someone's database into a spool."""
    settings.directory.mkdir()
    path = settings.directory / DATABASE_NAME
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(SpoolForeignError, match="some other program"):
        await open_once(settings)
    assert path.read_bytes() == before


@pytest.mark.parametrize("left", ["nothing", "empty file", "journal mode only"])
async def test_a_first_start_that_was_cut_off(settings: SpoolSettings, left: str) -> None:
    """A file without a schema is a new spool, however far its making came."""
    settings.directory.mkdir()
    path = settings.directory / DATABASE_NAME
    if left == "empty file":
        path.touch()
    elif left == "journal mode only":
        database = sqlite3.connect(path)
        database.execute("PRAGMA journal_mode = WAL")
        database.close()
        assert path.stat().st_size > 0
    await open_once(settings)
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    database.close()


async def test_a_migration_that_fails_changes_nothing(settings: SpoolSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schema and version number move together: half a migration is none."""
    with monkeypatch.context() as patch:
        patch.setattr(setup, "schema", lambda _number: "CREATE TABLE half (x INTEGER) STRICT; CREATE TABLE half (x);")
        with pytest.raises(SpoolError):
            await open_once(settings)
    await open_once(settings)
    database = sqlite3.connect(settings.directory / DATABASE_NAME)
    assert ("half",) not in database.execute("SELECT name FROM sqlite_master").fetchall()
    database.close()


async def test_a_directory_that_can_t_be_made(tmp_path: Path) -> None:
    """The message names the directory and the setting."""
    (tmp_path / "file").touch()
    settings = SpoolSettings(directory=tmp_path / "file" / "spool")
    with pytest.raises(SpoolWriteError, match="file/spool") as caught:
        await open_once(settings)
    assert "spool.directory" in caught.value.next_step


async def test_the_directory_is_private(settings: SpoolSettings) -> None:
    """Recordings are nobody else's business: what the spool makes is readable by its user alone."""
    async with Spool.open(settings, TurnableClock()) as spool:
        await bring_to(spool, Custody.CAPTURED)
        for path in (settings.directory, *settings.directory.iterdir()):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


async def test_a_closed_spool_says_so(settings: SpoolSettings) -> None:
    """Whoever still holds it after the end gets an error, not a hang."""
    async with Spool.open(settings, TurnableClock()) as spool:
        revision = spool.revision
    for attempt in (spool.recorders(), spool.retry(), spool.wait_for_change(revision + 1)):
        with pytest.raises(SpoolError) as caught:
            await attempt
        assert caught.value.error_code == "spool_closed"


async def test_an_old_sqlite_is_refused(settings: SpoolSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spool's tables need 3.37; the message says what is there and what is needed."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(SpoolError, match=r"3\.37\.0") as caught:
        await open_once(settings)
    assert caught.value.error_code == "spool_sqlite_too_old"
