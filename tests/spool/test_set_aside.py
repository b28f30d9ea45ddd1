import errno
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bota_gateway.config import SpoolSettings
from bota_gateway.errors import SpoolCorruptError, SpoolError, SpoolWriteError
from bota_gateway.model import Custody, Recording
from bota_gateway.spool import Spool, Step, aside
from bota_gateway.spool.const import ASIDE_PREFIX, AUDIO_ROW_BYTES, DATABASE_NAME, PAGE_BYTES, SUSPECT_NAME
from bota_gateway.spool.database import Transaction
from support.spooling import SERIAL, TurnableClock, bring_to, entry, meet, noise, pull

PAGES = 12
"""Of a spool with one small recording in each state; the journal takes them all."""
AT = "set-aside-20260921T141320Z"


async def open_once(settings: SpoolSettings) -> None:
    async with Spool.open(settings, TurnableClock()):
        pass


def set_aside_in(settings: SpoolSettings) -> list[Path]:
    return aside.directories(settings.directory)


def overwrite(path: Path, page: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(data)


async def fill(settings: SpoolSettings) -> list[Recording]:
    """One recording in each state, all of it in the database's file."""
    async with Spool.open(settings, TurnableClock()) as spool:
        for number, state in enumerate(Custody):
            await bring_to(spool, state, number)
        await spool._db._db.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        return await spool.recordings()


@pytest.mark.parametrize("garbage", [noise(PAGE_BYTES), bytes(PAGE_BYTES), b"\xff" * PAGE_BYTES])
@pytest.mark.parametrize("page", range(PAGES))
async def test_a_damaged_page_is_harmless_or_ends_in_a_new_spool(
    settings: SpoolSettings, page: int, garbage: bytes
) -> None:
    """Whichever page of the journal is lost: the rows are right, or the file is set aside at this start or the next."""
    rows = await fill(settings)
    path = settings.directory / DATABASE_NAME
    assert path.stat().st_size >= PAGES * PAGE_BYTES
    overwrite(path, page, garbage)
    damaged = path.read_bytes()
    for _start in range(2):
        try:
            async with Spool.open(settings, TurnableClock()) as spool:
                found = await spool.recordings(states=set(Custody) - {Custody.RECEIVING, Custody.LISTED})
                for row in await spool.recordings():
                    await spool.timeline(row.id)
        except SpoolCorruptError:
            continue
        break
    else:
        pytest.fail("the second start found damage again")
    if not set_aside_in(settings):
        assert found == [row for row in rows if row.state not in {Custody.RECEIVING, Custody.LISTED}]
        return
    assert found == []
    (kept,) = set_aside_in(settings)
    after = (kept / DATABASE_NAME).read_bytes()
    assert len(after) >= len(damaged)
    assert (kept / "why.txt").read_text("utf-8")


async def test_an_index_that_lacks_rows_is_found(settings: SpoolSettings) -> None:
    """Its pages are in order, yet what it no longer names would never be uploaded: that is damage, too."""
    await fill(settings)
    path = settings.directory / DATABASE_NAME
    database = sqlite3.connect(path)
    (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'recordings_by_state'").fetchone()
    database.close()
    overwrite(path, root - 1, bytes.fromhex("0a 0000 0000 1000 00"))  # a leaf of an index, without entries
    await open_once(settings)
    (kept,) = set_aside_in(settings)
    assert "recordings_by_state" in (kept / "why.txt").read_text("utf-8")


async def test_a_full_disk_does_not_keep_a_damaged_spool_in_place(
    settings: SpoolSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't be written down beside it is in the log; the database itself is only renamed."""
    settings.directory.mkdir()
    (settings.directory / DATABASE_NAME).write_bytes(noise(100))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    await open_once(settings)
    (kept,) = set_aside_in(settings)
    assert [path.name for path in kept.iterdir()] == [DATABASE_NAME]


async def test_a_file_that_is_no_database(settings: SpoolSettings) -> None:
    """Rubbish is kept byte by byte under the time of its finding, what was done is said, and a new spool works."""
    settings.directory.mkdir()
    (settings.directory / DATABASE_NAME).write_bytes(noise(3 * PAGE_BYTES))
    with capture_logs() as told:
        async with Spool.open(settings, TurnableClock()) as spool:
            await bring_to(spool, Custody.FORGOTTEN)
            (kept,) = (await spool.usage()).set_aside
    assert kept == settings.directory / AT
    assert (kept / DATABASE_NAME).read_bytes() == noise(3 * PAGE_BYTES)
    (said,) = [line for line in told if line["event"] == "spool_set_aside"]
    assert (said["log_level"], said["path"], said["size"]) == ("error", str(kept), 3 * PAGE_BYTES)
    await open_once(settings)
    assert set_aside_in(settings) == [kept]


async def test_one_set_aside_after_the_other(settings: SpoolSettings) -> None:
    """A hub whose clock stands still at each start overwrites none of them."""
    settings.directory.mkdir()
    for seed in range(3):
        (settings.directory / DATABASE_NAME).write_bytes(noise(100, seed))
        await open_once(settings)
    names = [path.name for path in set_aside_in(settings)]
    assert names == [AT, f"{AT}-2", f"{AT}-3"]
    assert [(settings.directory / name / DATABASE_NAME).read_bytes() for name in names] == [
        noise(100, seed) for seed in range(3)
    ]


@pytest.mark.parametrize("moved", range(5))
async def test_a_setting_aside_that_is_cut_off_is_completed(
    settings: SpoolSettings, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of a damaged database never meets a new one, wherever between the moves the power went."""
    settings.directory.mkdir()
    contents = {DATABASE_NAME: noise(5000), f"{DATABASE_NAME}-wal": noise(5000, 1), SUSPECT_NAME: b"a bad page\n"}
    for name, data in contents.items():
        (settings.directory / name).write_bytes(data)
    left = moved
    rename = Path.rename

    def cut(path: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.EIO, "power cut")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut)
        if moved < len(contents):
            with pytest.raises(SpoolWriteError):
                await open_once(settings)
    async with Spool.open(settings, TurnableClock()) as spool:
        await bring_to(spool, Custody.CAPTURED)
    found = {path.name: path.read_bytes() for directory in set_aside_in(settings) for path in directory.iterdir()}
    assert found.pop("why.txt") == b"a bad page\n"
    assert found == contents


async def test_a_log_whose_database_was_deleted_is_kept(settings: SpoolSettings) -> None:
    """Whoever deletes the database alone starts anew, and nothing that was set aside before is overwritten."""
    settings.directory.mkdir()
    older = settings.directory / AT
    older.mkdir()
    (older / DATABASE_NAME).touch()
    for seed, directory in enumerate((older, settings.directory)):
        (directory / f"{DATABASE_NAME}-wal").write_bytes(noise(5000, seed))
    await open_once(settings)
    logs = [(path / f"{DATABASE_NAME}-wal").read_bytes() for path in set_aside_in(settings)]
    assert sorted(logs) == sorted([noise(5000, 0), noise(5000, 1)])


async def damage_met_in_a_step(spool: Spool) -> None:
    async def fail(tx: Transaction) -> None:
        raise malformed()

    await spool._db.transact(Step.COUNT, fail)


async def damage_met_by_a_question(spool: Spool) -> None:
    def fail(*_: object) -> None:
        raise malformed()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool._db._db, "execute_fetchall", fail)
        await spool.counters()


def malformed() -> sqlite3.Error:
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


@pytest.mark.parametrize("met", [damage_met_in_a_step, damage_met_by_a_question])
async def test_damage_that_shows_only_in_use_is_dealt_with_at_the_next_start(
    settings: SpoolSettings, met: Callable[[Spool], Awaitable[None]]
) -> None:
    """The quick check at a start does not see everything: what SQLite meets later is remembered for the next one.

    Until then nothing is believed any more, whoever asks; and those who wait for a change are told to look.
    """
    async with Spool.open(settings, TurnableClock()) as spool:
        row = await bring_to(spool, Custody.CAPTURED)
        revision = spool.revision
        with pytest.raises(SpoolCorruptError):
            await met(spool)
        assert spool.revision > revision
        assert (settings.directory / SUSPECT_NAME).exists()
        with pytest.raises(SpoolCorruptError, match="malformed"):
            await spool.recording(row.id)
        with pytest.raises(SpoolCorruptError, match="malformed"):
            await spool.park(row.id, code="upload_unbound", detail="Bound to nobody.")
    async with Spool.open(settings, TurnableClock()) as spool:
        assert await spool.recordings() == []
    (kept,) = set_aside_in(settings)
    assert "malformed" in (kept / "why.txt").read_text("utf-8")
    assert not (settings.directory / SUSPECT_NAME).exists()


async def test_damaged_audio_is_one_recordings_trouble(settings: SpoolSettings, clock: TurnableClock) -> None:
    """A page that held one recording's bytes fails that recording alone; journal and other audio go on."""
    data = noise(3 * AUDIO_ROW_BYTES)
    async with Spool.open(settings, clock) as spool:
        first, second = await meet(spool, entry(1), entry(2))
        await pull(spool, first, data)
        await pull(spool, second, data)
        await spool._db._db.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
    path = settings.directory / DATABASE_NAME
    where = path.read_bytes().index(data[AUDIO_ROW_BYTES + 50_000 : AUDIO_ROW_BYTES + 50_100])
    overwrite(path, where // PAGE_BYTES, bytes(PAGE_BYTES))
    async with Spool.open(settings, clock) as spool:
        with pytest.raises(SpoolError) as caught:
            _ = [piece async for piece in spool.read_audio(first.id)]
        assert caught.value.error_code == "spool_audio_missing"
        assert b"".join([piece async for piece in spool.read_audio(second.id)]) == data
        await spool.park(first.id, code="spool_bit_rot", detail="-")
    await open_once(settings)
    assert set_aside_in(settings) == []


async def test_what_a_lost_spool_may_have_uploaded_must_be_looked_for(settings: SpoolSettings) -> None:
    """After a loss each recorder's first whole list is of unknown past; what it lists later is younger than that."""
    settings.directory.mkdir()
    (settings.directory / DATABASE_NAME).write_bytes(noise(100))
    async with Spool.open(settings, TurnableClock()) as spool:
        await spool.note_recorder(SERIAL, address="-", name=None, rssi=None)
        await spool.reconcile(SERIAL, [entry(1)], complete=False)
    for path in set_aside_in(settings):
        path.rename(settings.directory / path.name.replace(ASIDE_PREFIX, "archive-"))
    async with Spool.open(settings, TurnableClock()) as spool:
        await spool.reconcile(SERIAL, [entry(1), entry(2)], complete=True)
        await spool.reconcile(SERIAL, [entry(1), entry(2), entry(3)], complete=True)
        await meet(spool, entry(4), serial="CAMEHOMELATER")
        flags = {row.key.file_id[-1]: row.look_first for row in await spool.recordings()}
    assert flags == {"1": True, "2": True, "3": False, "4": True}


async def test_a_plain_first_start_knows_of_no_loss(spool: Spool) -> None:
    """Where no spool was set aside nothing must be looked for."""
    (row,) = await meet(spool, entry(1))
    assert not row.look_first
