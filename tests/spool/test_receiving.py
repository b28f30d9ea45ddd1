import asyncio
import contextlib

import pytest

from bota_gateway.errors import SpoolError
from bota_gateway.model import Custody
from bota_gateway.spool import Spool
from bota_gateway.spool.const import AUDIO_ROW_BYTES
from bota_gateway.spool.custody import Step
from bota_gateway.spool.database import Moment
from support.spooling import BOUND, TurnableClock, bring_to, entry, happened, meet, noise, pull, sha256


async def row_sizes(spool: Spool, recording_id: int) -> list[int]:
    rows = await spool._db.read(
        "SELECT length(data) FROM audio WHERE recording_id = ? ORDER BY number", (recording_id,)
    )
    return [row[0] for row in rows]


async def test_audio_is_kept_in_rows_of_256_kib(spool: Spool) -> None:
    """Many small pieces become few large rows, and only the last one is smaller."""
    row = (await meet(spool, entry()))[0]
    data = noise(2 * AUDIO_ROW_BYTES + 777)
    await pull(spool, row, data, chunk=244)
    assert await row_sizes(spool, row.id) == [AUDIO_ROW_BYTES, AUDIO_ROW_BYTES, 777]


async def test_a_large_piece_is_cut_into_rows(spool: Spool) -> None:
    """The size of what is handed in does not show in the rows."""
    row = (await meet(spool, entry()))[0]
    data = noise(3 * AUDIO_ROW_BYTES)
    await pull(spool, row, data, chunk=len(data))
    assert await row_sizes(spool, row.id) == [AUDIO_ROW_BYTES] * 3


async def test_capture_keeps_every_fact(spool: Spool, clock: TurnableClock) -> None:
    """Size, digests, owner, profile and time are in the row; the transfer's figures are in the timeline."""
    row = await bring_to(spool, Custody.RECEIVING)
    await spool.store_audio(row.id, b"speech")
    clock.now += 5
    captured = await spool.capture(
        row.id,
        size_bytes=6,
        sha256=sha256(b"speech"),
        device_sha256="ab" * 32,
        binding=BOUND,
        profile="p10",
        figures={"goodput_bytes_per_s": 12.5},
    )
    assert captured == await spool.recording(row.id)
    assert captured.state is Custody.CAPTURED
    assert (captured.size_bytes, captured.sha256, captured.device_sha256) == (6, sha256(b"speech"), "ab" * 32)
    assert (captured.binding, captured.profile, captured.captured_at) == (BOUND, "p10", clock.now)
    last = (await spool.timeline(row.id))[-1]
    assert (last.at, last.happened, last.detail["goodput_bytes_per_s"]) == (clock.now, "captured", 12.5)


@pytest.mark.parametrize(("size", "digest_of"), [(5, b"speech"), (6, b"speach"), (7, b"speech")])
async def test_a_capture_that_differs_is_refused(spool: Spool, size: int, digest_of: bytes) -> None:
    """What the receiver counted must be what the spool was handed; else nothing is captured."""
    row = await bring_to(spool, Custody.RECEIVING)
    await spool.store_audio(row.id, b"speech")
    with pytest.raises(SpoolError) as caught:
        await spool.capture(row.id, size_bytes=size, sha256=sha256(digest_of), device_sha256=None, binding=BOUND)
    assert caught.value.error_code == "spool_capture_differs"
    assert (await spool.recording(row.id)).state is Custody.RECEIVING


async def test_a_capture_whose_rows_are_gone_is_refused(spool: Spool) -> None:
    """The rows are counted in the transaction that captures, not only in memory."""
    row = await bring_to(spool, Custody.RECEIVING)
    data = noise(AUDIO_ROW_BYTES)
    await spool.store_audio(row.id, data)
    await spool._db._db.execute_fetchall("DELETE FROM audio")
    with pytest.raises(SpoolError) as caught:
        await spool.capture(row.id, size_bytes=len(data), sha256=sha256(data), device_sha256=None, binding=BOUND)
    assert caught.value.error_code == "spool_capture_differs"


async def test_an_empty_recording_can_be_captured(spool: Spool) -> None:
    """A recorder may hold a recording of no bytes; it is captured like any other."""
    row = (await meet(spool, entry(size_kib=0)))[0]
    captured = await pull(spool, row, b"")
    assert captured.size_bytes == 0
    assert [piece async for piece in spool.read_audio(row.id)] == []


async def test_abandoning_drops_the_bytes_and_says_why(spool: Spool, clock: TurnableClock) -> None:
    """A failed transfer leaves no audio, and the row tells the reason and the next time."""
    row = await bring_to(spool, Custody.RECEIVING)
    await spool.store_audio(row.id, noise(AUDIO_ROW_BYTES + 1))
    back = await spool.abandon_receiving(
        row.id, code="transfer_gap", message="packet 7 is missing", retry_at=clock.now + 60
    )
    assert (back.state, back.attempts, back.next_attempt_at) == (Custody.LISTED, 1, clock.now + 60)
    assert (back.waiting_for, back.waiting_detail) == ("transfer_gap", "packet 7 is missing")
    assert await row_sizes(spool, row.id) == []
    assert (await spool.timeline(row.id))[-1].detail["received_bytes"] == AUDIO_ROW_BYTES + 1


async def test_a_second_try_starts_from_nothing(spool: Spool) -> None:
    """Bytes of an earlier try never mix with those of the next."""
    row = await bring_to(spool, Custody.RECEIVING)
    await spool.store_audio(row.id, noise(AUDIO_ROW_BYTES + 1))
    await spool.begin_receiving(row.id)
    await spool.store_audio(row.id, b"speech")
    await spool.capture(row.id, size_bytes=6, sha256=sha256(b"speech"), device_sha256=None, binding=BOUND)
    assert [piece async for piece in spool.read_audio(row.id)] == [b"speech"]


async def test_bytes_without_a_transfer_are_refused(spool: Spool) -> None:
    """Audio is taken only between begin and capture."""
    row = await bring_to(spool, Custody.LISTED)
    with pytest.raises(SpoolError) as caught:
        await spool.store_audio(row.id, b"x")
    assert caught.value.error_code == "spool_bad_transition"


async def test_a_cancelled_capture_still_agrees_with_the_disk(spool: Spool) -> None:
    """Whoever is cancelled while capturing finds the recording captured, in memory and on disk, or untouched."""
    row = await bring_to(spool, Custody.RECEIVING)
    await spool.store_audio(row.id, b"speech")
    begun = asyncio.Event()
    spool._db._probe = lambda _step, _moment: begun.set()
    task = asyncio.create_task(
        spool.capture(row.id, size_bytes=6, sha256=sha256(b"speech"), device_sha256=None, binding=BOUND)
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await spool.recording(row.id)).state is Custody.CAPTURED
    assert not spool._incoming


async def test_a_transfer_that_was_given_up_writes_nothing_into_the_next_one(spool: Spool) -> None:
    """Bytes that wait for their turn while the recording is begun anew belong to nobody any more."""
    row = await bring_to(spool, Custody.RECEIVING)
    late: list[asyncio.Task[None]] = []

    def while_begun_anew(step: Step, _moment: Moment) -> None:
        if step is Step.BEGIN_RECEIVING and not late:
            late.append(asyncio.create_task(spool.store_audio(row.id, bytes(AUDIO_ROW_BYTES))))

    spool._db._probe = while_begun_anew
    await spool.begin_receiving(row.id)
    with pytest.raises(SpoolError) as refused:
        await late[0]
    assert refused.value.error_code == "spool_bad_transition"
    assert (await spool._db.read("SELECT count(*) FROM audio"))[0][0] == 0


async def test_a_transaction_cancelled_twice_still_ends_first(spool: Spool) -> None:
    """Impatience does not cut a transaction: the caller's cancellation is delivered after its end."""
    row = await bring_to(spool, Custody.STORED)
    begun = asyncio.Event()
    spool._db._probe = lambda _step, _moment: begun.set()
    task = asyncio.create_task(spool.intend_confirm(row.id))
    await begun.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await spool.recording(row.id)).state is Custody.CONFIRMING


async def test_one_cancelled_before_its_turn_does_nothing(spool: Spool) -> None:
    """A step that still waits for another one's transaction can be cancelled without a trace."""
    row = await bring_to(spool, Custody.STORED)
    async with spool._db._turn:
        task = asyncio.create_task(spool.intend_confirm(row.id))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert task.cancelled()
    assert (await spool.recording(row.id)).state is Custody.STORED


async def test_acknowledging_is_a_line_in_the_timeline(spool: Spool) -> None:
    """That the recorder was told is remembered, and changes nothing else."""
    row = await bring_to(spool, Custody.CAPTURED)
    await spool.acknowledged(row.id)
    assert (await happened(spool, row.id))[-1] == "acknowledged"
    assert await spool.recording(row.id) == row


async def test_progress_can_be_watched(spool: Spool) -> None:
    """The bytes of every running transfer are known without asking the disk."""
    row = await bring_to(spool, Custody.RECEIVING)
    await spool.store_audio(row.id, noise(AUDIO_ROW_BYTES + 5))
    assert spool._incoming[row.id].total_bytes == AUDIO_ROW_BYTES + 5


async def test_telling_again_counts_instead_of_repeating(spool: Spool, clock: TurnableClock) -> None:
    """A recorder that deletes late fills no timeline: one line says how often it was told."""
    row = await bring_to(spool, Custody.CONFIRMING)
    first = clock.now
    clock.now += 60
    await spool.intend_confirm(row.id)
    last = (await spool.timeline(row.id))[-1]
    assert (last.at, last.happened, last.detail) == (clock.now, "confirm_intended", {"times": 2, "first_at": first})


async def test_a_timeline_is_bounded(spool: Spool) -> None:
    """Years of failures keep the beginning and the newest part of the story."""
    row = await bring_to(spool, Custody.LISTED)
    for _ in range(150):
        await spool.begin_receiving(row.id)
        await spool.abandon_receiving(row.id, code="transfer_gap", message="again", retry_at=None)
    lines = await happened(spool, row.id)
    assert len(lines) == 200
    assert lines[0] == "listed"
    assert (await spool.recording(row.id)).attempts == 150
