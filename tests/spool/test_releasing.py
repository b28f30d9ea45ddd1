"""Audio goes when its retention is over, also where the deletion on the recorder is never seen."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from structlog.testing import capture_logs

from bota_gateway.config import SpoolSettings
from bota_gateway.errors import SpoolError, SpoolFullError
from bota_gateway.model import Custody, Recording
from bota_gateway.spool import Moment, Spool, Step
from bota_gateway.spool.const import AUDIO_ROW_BYTES, FORGET_ROWS
from support.spool_versions import make_version_1
from support.spooling import SERIAL, TurnableClock, bring_to, entry, happened, noise, pull, settings_for

RETENTION_S = 3600.0


@pytest.mark.parametrize("state", [Custody.STORED, Custody.CONFIRMING])
async def test_audio_of_a_lost_recorder_is_released(spool: Spool, clock: TurnableClock, state: Custody) -> None:
    """Retention runs from the moment when the cloud had it: row and state stay, the bytes and the space go."""
    row = await bring_to(spool, state, data=noise(AUDIO_ROW_BYTES * 3))
    used = (await spool.usage()).used_bytes
    assert await spool.forget_due(clock.now + RETENTION_S - 1, RETENTION_S) == 0
    clock.now += RETENTION_S
    assert await spool.forget_due(clock.now, RETENTION_S) == 1
    after = await spool.recording(row.id)
    assert (after.state, after.released_at, after.sha256) == (state, clock.now, row.sha256)
    assert (await happened(spool, row.id))[-1] == "audio_released"
    assert (await spool.usage()).used_bytes <= used - 3 * AUDIO_ROW_BYTES
    assert await spool.forget_due(clock.now + RETENTION_S, RETENTION_S) == 0


@pytest.mark.parametrize("state", [Custody.CAPTURED, Custody.CREATED, Custody.PUT, Custody.COMPLETING, Custody.PARKED])
async def test_what_the_cloud_does_not_have_stays(spool: Spool, clock: TurnableClock, state: Custody) -> None:
    """No age releases audio that is not stored in the cloud."""
    data = noise(1000)
    row = await bring_to(spool, Custody.CAPTURED if state is Custody.PARKED else state, data=data)
    if state is Custody.PARKED:
        await spool.park(row.id, code="x", detail="-")
    assert await spool.forget_due(clock.now * 2, 0) == 0
    assert b"".join([piece async for piece in spool.read_audio(row.id)]) == data


async def test_released_audio_is_asked_for_in_vain(spool: Spool, clock: TurnableClock) -> None:
    """The answer says that it was deleted on purpose, and where it is now."""
    row = await bring_to(spool, Custody.STORED)
    await spool.forget_due(clock.now, 0)
    for attempt in (anext(spool.read_audio(row.id)), spool.audio_piece(row.id, 0)):
        with pytest.raises(SpoolError, match="retention") as caught:
            await attempt
        assert caught.value.error_code == "spool_no_audio"
        assert str(row.cloud_id) in caught.value.next_step


async def test_custody_goes_on_after_the_release(spool: Spool, clock: TurnableClock) -> None:
    """The recorder comes back after months: it is told that it may delete, and the rest is as ever."""
    row = await bring_to(spool, Custody.STORED)
    await spool.forget_due(clock.now, 0)
    released_at = clock.now
    clock.now += 1e7
    (listed,) = await spool.reconcile(SERIAL, [entry()], complete=True)
    assert listed.state is Custody.STORED
    await spool.intend_confirm(row.id)
    await spool.reconcile(SERIAL, [], complete=True)
    assert await spool.forget_due(clock.now, 0) == 1
    (again,) = await spool.reconcile(SERIAL, [entry()], complete=True)
    assert (again.state, again.released_at) == (Custody.CONFIRMING, released_at)
    assert await spool.forget_due(clock.now * 2, 0) == 0


async def test_a_release_that_is_cut_off_is_completed(settings: SpoolSettings, clock: TurnableClock) -> None:
    """The row says first that the bytes go; what a crash leaves of them is swept at the next start."""
    sweeps = 0

    class CutError(Exception):
        """The process ends here."""

    def cut(step: Step, moment: Moment) -> None:
        nonlocal sweeps
        sweeps += step is Step.SWEEP and moment is Moment.COMMITTED and released
        if sweeps == 1:
            raise CutError

    released = False
    async with Spool.open(settings, clock, probe=cut) as spool:
        row = await bring_to(spool, Custody.STORED, data=noise(AUDIO_ROW_BYTES * (FORGET_ROWS + 1)))
        released = True
        with pytest.raises(CutError):
            await spool.forget_due(clock.now, 0)
        assert await rows_of_audio(spool) == 1
    async with Spool.open(settings, clock) as spool:
        assert (await spool.recording(row.id)).released_at is not None
        assert await rows_of_audio(spool) == 0


async def rows_of_audio(spool: Spool) -> int:
    rows = await spool._db.read("SELECT count(*) FROM audio")
    count: int = rows[0][0]
    return count


async def test_a_reader_is_not_given_half_of_it(spool: Spool, clock: TurnableClock) -> None:
    """Whoever reads while it is released gets an error at the end, never a shorter recording."""
    row = await bring_to(spool, Custody.STORED, data=noise(AUDIO_ROW_BYTES * 16))
    async with aclosing(spool.read_audio(row.id)) as pieces:
        await anext(pieces)
        await spool.forget_due(clock.now, 0)
        with pytest.raises(SpoolError, match="more were expected"):
            _ = [piece async for piece in pieces]


async def test_a_spool_of_version_1_knows_what_was_deleted(settings: SpoolSettings, clock: TurnableClock) -> None:
    """Version 1 told it by the state: forgotten has no audio, nor has what was forgotten and is listed again."""
    make_version_1(settings.directory)
    async with Spool.open(settings, clock) as spool:
        assert [row.released_at for row in await spool.recordings()] == [5, None, 4, None, None, None, None]
        assert not any(row.look_first for row in await spool.recordings())
        assert await rows_of_audio(spool) == 2


# -- room that is needed -----------------------------------------------------------------------------------------------

QUOTA = 16 << 20
MIB = 1 << 20


@pytest.fixture
async def small(settings: SpoolSettings, clock: TurnableClock) -> AsyncIterator[Spool]:
    async with Spool.open(settings_for(settings.directory, max_bytes=QUOTA), clock) as opened:
        yield opened


async def in_cloud(spool: Spool, number: int, size: int, *, verified: bool = True) -> Recording:
    """A recording of this size that the cloud has."""
    row = await bring_to(spool, Custody.COMPLETING, number, data=noise(size, number))
    return await spool.stored(row.id, verified=verified)


async def test_proved_audio_makes_room_before_its_retention(small: Spool, clock: TurnableClock) -> None:
    """A full spool must not leave recordings on a recorder that may run full: the oldest that is proved goes first."""
    rows = []
    for number in (1, 2, 3):
        clock.now += 1
        rows.append(await in_cloud(small, number, 3 * MIB))
    kept = await bring_to(small, Custody.CAPTURED, 9, data=noise(MIB))
    with capture_logs() as told:
        assert await small.has_room(4 * MIB)
    released = [(await small.recording(row.id)).released_at is not None for row in rows]
    assert released == [True, False, False]
    assert [line["recording"] for line in told if line["event"] == "audio_made_room"] == ["00000001"]
    await pull(small, await bring_to(small, Custody.LISTED, 10), noise(4 * MIB))
    assert b"".join([piece async for piece in small.read_audio(kept.id)]) == noise(MIB)


async def test_a_deletion_that_was_seen_comes_before_one_that_was_not(small: Spool) -> None:
    """Audio that no recorder has any more is of no use to custody at all."""
    (row,) = [await in_cloud(small, 1, 4 * MIB)]
    gone = await in_cloud(small, 2, 4 * MIB)
    await small.reconcile(SERIAL, [entry(1)], complete=True)
    assert await small.has_room(5 * MIB)
    assert (await small.recording(gone.id)).state is Custody.FORGOTTEN
    assert (await small.recording(row.id)).released_at is None


async def test_a_transfer_longer_than_was_said_makes_room_as_it_goes(small: Spool) -> None:
    """Sizes in lists are hints: room is found while the bytes arrive, too."""
    await in_cloud(small, 1, 5 * MIB)
    row = await bring_to(small, Custody.LISTED, 2)
    assert (await pull(small, row, noise(8 * MIB), chunk=MIB)).state is Custody.CAPTURED


async def test_what_is_not_proved_makes_no_room(small: Spool) -> None:
    """What the cloud took without a proof stays for its whole retention, and what it does not have for ever."""
    rows = [
        await in_cloud(small, 1, 4 * MIB, verified=False),
        await bring_to(small, Custody.PUT, 2, data=noise(4 * MIB)),
    ]
    with pytest.raises(SpoolFullError):
        await small.has_room(5 * MIB)
    for row in rows:
        assert b"".join([piece async for piece in small.read_audio(row.id)]) != b""


async def test_nothing_goes_for_what_would_not_fit_then_either(small: Spool) -> None:
    """A recorder that claims a recording larger than the spool empties nothing."""
    row = await in_cloud(small, 1, 4 * MIB)
    with pytest.raises(SpoolFullError):
        await small.has_room(QUOTA)
    assert (await small.recording(row.id)).released_at is None
