import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bota_gateway.errors import SpoolFullError
from bota_gateway.model import Custody
from bota_gateway.spool import Spool
from bota_gateway.spool.const import AUDIO_ROW_BYTES, FORGET_ROWS, JOURNAL_RESERVE_BYTES, PAGE_BYTES
from support.spooling import SERIAL, TurnableClock, bring_to, entry, meet, noise, pull, settings_for, step_on

QUOTA = 16 << 20
FOR_AUDIO = QUOTA - JOURNAL_RESERVE_BYTES


@pytest.fixture
async def small(tmp_path: Path, clock: TurnableClock) -> AsyncIterator[Spool]:
    async with Spool.open(settings_for(tmp_path, max_bytes=QUOTA), clock) as opened:
        yield opened


async def fill(spool: Spool, number: int) -> int:
    """Receive until the spool says that it is full; gives back how many bytes it took."""
    row = await bring_to(spool, Custody.RECEIVING, number)
    taken = 0
    while taken <= QUOTA:
        try:
            await spool.store_audio(row.id, bytes(AUDIO_ROW_BYTES))
        except SpoolFullError:
            break
        taken += AUDIO_ROW_BYTES
    await spool.abandon_receiving(row.id, code="spool_full", message="-", retry_at=None)
    return taken


async def test_audio_stops_at_the_quota(small: Spool) -> None:
    """The spool takes what fits, and then says so with the figures, before SQLite has to."""
    taken = await fill(small, 1)
    assert 0.95 * FOR_AUDIO < taken <= FOR_AUDIO
    assert small.health.healthy


async def test_what_was_abandoned_makes_room_again(small: Spool) -> None:
    """Freed pages are used again: the file grows to the quota once and stays there."""
    assert await fill(small, 1) == await fill(small, 2)
    assert (await small.usage()).file_bytes <= QUOTA


async def test_custody_goes_on_when_audio_no_longer_fits(small: Spool, clock: TurnableClock) -> None:
    """The reserve lets uploads drain a full spool; the audio they free can be used."""
    row = await bring_to(small, Custody.CAPTURED, 1, data=noise(FOR_AUDIO - (1 << 20)))
    with pytest.raises(SpoolFullError) as caught:
        await small.has_room(2 << 20)
    assert f"{QUOTA / 1e6:.1f} MB of spool.max_bytes" in caught.value.message
    while row.state is not Custody.STORED:
        row = await step_on(small, row)
    await small.intend_confirm(row.id)
    await small.reconcile(SERIAL, [], complete=True)
    assert await small.forget_due(clock.now, 0) == 1
    assert await small.has_room(2 << 20)


async def test_small_recordings_don_t_eat_the_reserve(small: Spool) -> None:
    """A recording below one row is checked when it is captured."""
    await bring_to(small, Custody.CAPTURED, 1, data=noise(FOR_AUDIO - (1 << 20)))
    (row,) = await small.reconcile(SERIAL, [entry(2)], complete=False)
    pulled = 0
    while pulled < 100:
        try:
            await pull(small, row, noise(AUDIO_ROW_BYTES - 1))
        except SpoolFullError:
            break
        pulled += 1
        (row,) = await small.reconcile(SERIAL, [entry(2 + pulled)], complete=False)
    assert 1 < pulled < 100
    assert (await small.usage()).used_bytes < QUOTA - 0.9 * JOURNAL_RESERVE_BYTES


async def test_room_that_running_transfers_will_take_is_counted(small: Spool) -> None:
    """Two recorders are not both promised the same last megabytes."""
    (row,) = await meet(small, entry(size_kib=10 << 10))
    assert await small.has_room(8 << 20)
    await small.begin_receiving(row.id)
    with pytest.raises(SpoolFullError):
        await small.has_room(8 << 20)
    assert await small.has_room(1 << 20)


async def test_the_disk_s_floor_is_kept_free(tmp_path: Path, clock: TurnableClock) -> None:
    """With less free on the disk than spool.min_free_bytes nothing is pulled, whatever the quota."""
    floor = shutil.disk_usage(tmp_path).free * 2
    async with Spool.open(settings_for(tmp_path, min_free_bytes=floor), clock) as spool:
        with pytest.raises(SpoolFullError, match="min_free_bytes"):
            await spool.has_room(1)
        assert "min_free_bytes" in str((await spool.usage()).full)


async def test_a_disk_that_does_not_say_what_is_free_takes_no_audio(tmp_path: Path, clock: TurnableClock) -> None:
    """A stick that was pulled out: a visit or a question meets a spool without room, and no fault of the gateway."""
    async with Spool.open(settings_for(tmp_path / "stick"), clock) as spool:
        assert await spool.has_room(1)
        (tmp_path / "stick").rename(tmp_path / "pulled")
        with pytest.raises(SpoolFullError, match=r"the disk has 0\.0 MB free"):
            await spool.has_room(1 << 20)
        usage = await spool.usage()
        assert (usage.disk_free_bytes, usage.full is None) == (0, False)
        (tmp_path / "pulled").rename(tmp_path / "stick")
        assert await spool.has_room(1)


async def test_free_pages_cost_the_disk_nothing(tmp_path: Path, clock: TurnableClock) -> None:
    """Below the floor, audio may still go where forgotten audio was."""
    async with Spool.open(settings_for(tmp_path), clock) as spool:
        row = await bring_to(spool, Custody.RECEIVING)
        await spool.store_audio(row.id, bytes(8 * AUDIO_ROW_BYTES))
        await spool.abandon_receiving(row.id, code="x", message="-", retry_at=None)
    floor = shutil.disk_usage(tmp_path).free * 2
    async with Spool.open(settings_for(tmp_path, min_free_bytes=floor), clock) as spool:
        assert await spool.has_room(7 * AUDIO_ROW_BYTES)
        with pytest.raises(SpoolFullError):
            await spool.has_room(9 * AUDIO_ROW_BYTES)


async def test_usage_tells_what_the_spool_holds(spool: Spool, clock: TurnableClock) -> None:
    """Counts by state, bytes, and since when the oldest capture waits."""
    first = clock.now
    await bring_to(spool, Custody.CAPTURED, 1, data=noise(1 << 20))
    clock.now += 60
    await bring_to(spool, Custody.PUT, 2)
    await bring_to(spool, Custody.STORED, 3)
    usage = await spool.usage()
    assert {state: count for state, count in usage.counts.items() if count} == {
        Custody.CAPTURED: 1,
        Custody.PUT: 1,
        Custody.STORED: 1,
    }
    assert usage.oldest_waiting_at == first
    assert 1 << 20 < usage.used_bytes <= usage.file_bytes < 2 << 20
    assert usage.full is None


async def test_only_what_is_long_confirmed_is_forgotten(spool: Spool, clock: TurnableClock) -> None:
    """Audio stays for its retention after the deletion was seen; other states are never touched."""
    first = await bring_to(spool, Custody.CONFIRMED, 1)
    clock.now += 10
    second = await bring_to(spool, Custody.CONFIRMED, 2)
    await bring_to(spool, Custody.STORED, 3)
    assert await spool.forget_due(clock.now, retention_s=10) == 1
    assert (await spool.recording(first.id)).state is Custody.FORGOTTEN
    assert await spool.recording(second.id) == second
    assert await spool.forget_due(clock.now, retention_s=10) == 0


async def test_audio_is_deleted_in_slices(spool: Spool, clock: TurnableClock) -> None:
    """A long recording is deleted in short transactions, so that nothing waits for it, and writes next to nothing."""
    data = bytes((2 * FORGET_ROWS + 3) * AUDIO_ROW_BYTES)
    await bring_to(spool, Custody.CONFIRMED, data=data)
    sizes: list[int] = []
    database = spool._db
    written_before = await database._db.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
    assert next(iter(written_before))[0] == 0
    database._probe = lambda step, moment: sizes.append(1) if (step, moment) == ("sweep", "committed") else None
    await spool.forget_due(clock.now, 0)
    log_pages = next(iter(await database._db.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")))[1]
    assert len(sizes) == 3
    assert log_pages * PAGE_BYTES < 0.05 * len(data)
    assert (await spool._db.read("SELECT count(*) FROM audio"))[0][0] == 0
