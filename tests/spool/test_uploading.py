import pytest

from bota_gateway.errors import SpoolError
from bota_gateway.model import Binding, Custody, Membership
from bota_gateway.spool import Spool
from bota_gateway.spool.custody import TO_UPLOAD
from support.spooling import BOUND, SERIAL, TurnableClock, bring_to, entry, happened, meet, pull, step_on

UNRESOLVED = Binding(Membership.UNRESOLVED)
UNBOUND = Binding(Membership.UNBOUND, device_id="dev_1")


async def test_the_oldest_capture_goes_first(spool: Spool, clock: TurnableClock) -> None:
    """Uploads follow the order of capture, whatever their state."""
    first = await bring_to(spool, Custody.PUT, 1)
    clock.now += 1
    second = await bring_to(spool, Custody.CAPTURED, 2)
    assert await spool.next_upload(clock.now) == first
    assert await spool.next_upload(clock.now, exclude={first.id}) == second
    assert await spool.next_upload(clock.now, exclude=[first.id, second.id]) is None


@pytest.mark.parametrize("state", sorted(set(Custody) - TO_UPLOAD))
async def test_only_captures_that_wait_for_the_cloud_are_uploaded(
    spool: Spool, clock: TurnableClock, state: Custody
) -> None:
    """States before capture, after storing, and parked ones are left alone."""
    await bring_to(spool, state)
    assert await spool.next_upload(clock.now) is None
    assert await spool.next_upload_at() is None


async def test_one_that_fails_does_not_hold_others_up(spool: Spool, clock: TurnableClock) -> None:
    """A postponed recording steps aside until its time, with its reason."""
    failing = await bring_to(spool, Custody.CREATED, 1)
    other = await bring_to(spool, Custody.CAPTURED, 2)
    due = clock.now + 60
    row = await spool.postpone(failing.id, code="cloud_unreachable", detail="no route", next_attempt_at=due)
    assert (row.state, row.attempts, row.waiting_for) == (Custody.CREATED, 1, "cloud_unreachable")
    assert await spool.next_upload(clock.now) == other
    assert await spool.next_upload(due) == row


async def test_it_says_when_the_next_upload_is_due(spool: Spool, clock: TurnableClock) -> None:
    """The uploader sleeps until the earliest time; a recording without one is due now."""
    first = await bring_to(spool, Custody.CAPTURED, 1)
    second = await bring_to(spool, Custody.CAPTURED, 2)
    for row, wait in ((first, 60), (second, 30)):
        await spool.postpone(row.id, code="x", detail="x", next_attempt_at=clock.now + wait)
    assert await spool.next_upload_at() == clock.now + 30
    assert await spool.next_upload_at(exclude=[second.id]) == clock.now + 60
    await bring_to(spool, Custody.CAPTURED, 3)
    assert await spool.next_upload_at() == 0


async def test_a_clock_set_back_does_not_stretch_a_wait(spool: Spool, clock: TurnableClock) -> None:
    """A hub that wakes in 1970 does not wait decades: a time before the wait began ends it."""
    row = await bring_to(spool, Custody.CAPTURED)
    row = await spool.postpone(row.id, code="x", detail="x", next_attempt_at=clock.now + 60)
    clock.now = 100.0
    assert await spool.next_upload(clock.now) == row
    assert await spool.next_upload_at() == 0


async def test_the_first_intent_bounds_the_look_back(spool: Spool, clock: TurnableClock) -> None:
    """After a lost answer the time of the first try stays, so that a search for what it made begins there."""
    row = await bring_to(spool, Custody.CAPTURED)
    first = clock.now
    await spool.intend_create(row.id, idempotency_key="one")
    clock.now += 500
    row = await spool.intend_create(row.id, idempotency_key="two")
    assert (row.state, row.create_intended_at, row.idempotency_key) == (Custody.CAPTURED, first, "two")


async def test_each_step_forward_ends_the_wait(spool: Spool, clock: TurnableClock) -> None:
    """Progress resets the count of failures and the reason."""
    row = await bring_to(spool, Custody.CREATED)
    for _ in range(3):
        row = await spool.postpone(row.id, code="s3_503", detail="slow down", next_attempt_at=clock.now)
    assert row.attempts == 3
    row = await spool.put_done(row.id)
    assert (row.attempts, row.next_attempt_at, row.waiting_for, row.waiting_detail) == (0, None, None, None)


async def test_repeated_failures_are_one_line_with_a_count(spool: Spool, clock: TurnableClock) -> None:
    """Weeks without a network read as one line, not thousands; another cause is another line."""
    row = await bring_to(spool, Custody.CAPTURED)
    first = clock.now
    for code in ("cloud_unreachable", "cloud_unreachable", "cloud_unreachable", "cloud_refused"):
        await spool.postpone(row.id, code=code, detail="-", next_attempt_at=clock.now)
        clock.now += 1
    lines = [line.detail for line in await spool.timeline(row.id) if line.happened == "postponed"]
    assert [(line["code"], line.get("times"), line.get("first_at")) for line in lines] == [
        ("cloud_unreachable", 3, first),
        ("cloud_refused", None, None),
    ]


async def test_stored_says_whether_the_cloud_proved_it(spool: Spool, clock: TurnableClock) -> None:
    """Verified and unverified storage are told apart for ever."""
    row = await bring_to(spool, Custody.COMPLETING)
    row = await spool.stored(row.id, verified=False)
    assert (row.state, row.verified, row.stored_at) == (Custody.STORED, False, clock.now)


async def test_going_back_to_create_forgets_the_cloud_s_id(spool: Spool) -> None:
    """A recording that the cloud no longer knows is created anew, with a new key."""
    row = await bring_to(spool, Custody.PUT)
    row = await spool.back_to(row.id, Custody.CAPTURED, reason="404")
    assert (row.state, row.cloud_id, row.idempotency_key, row.create_intended_at) == (
        Custody.CAPTURED,
        None,
        None,
        None,
    )
    last = (await spool.timeline(row.id))[-1]
    assert last.detail == {"was": "put", "to": "captured", "reason": "404", "cloud_id": f"rec_{row.id}"}


async def test_going_back_to_put_keeps_the_cloud_s_id_and_the_count(spool: Spool, clock: TurnableClock) -> None:
    """The same cloud recording is filled again, and its failures still add up."""
    row = await bring_to(spool, Custody.COMPLETING)
    await spool.postpone(row.id, code="cloud_integrity", detail="-", next_attempt_at=clock.now)
    row = await spool.back_to(row.id, Custody.CREATED, reason="integrity failure")
    assert (row.state, row.cloud_id, row.attempts) == (Custody.CREATED, f"rec_{row.id}", 1)


@pytest.mark.parametrize("state", [Custody.LISTED, *sorted(TO_UPLOAD)])
async def test_a_parked_recording_comes_back_to_where_it_was(spool: Spool, state: Custody) -> None:
    """A human's retry undoes the parking and nothing else."""
    row = await bring_to(spool, state)
    parked = await spool.park(row.id, code="recorder_unbound", detail="nobody wears it")
    assert (parked.state, parked.parked_reason, parked.parked_from) == (Custody.PARKED, "recorder_unbound", state)
    assert await spool.retry(row.id) == 1
    assert await spool.recording(row.id) == row
    assert (await happened(spool, row.id))[-2:] == ["parked", "retried"]


async def test_a_transfer_parked_midway_is_listed_after_retry(spool: Spool) -> None:
    """Bytes of an unfinished transfer are dropped when it is parked; it starts anew."""
    row = await bring_to(spool, Custody.RECEIVING)
    await spool.store_audio(row.id, bytes(1 << 20))
    parked = await spool.park(row.id, code="device_error_0x14", detail="-")
    assert parked.parked_from is Custody.LISTED
    assert (await spool._db.read("SELECT count(*) FROM audio"))[0][0] == 0
    await spool.retry(row.id)
    assert (await spool.recording(row.id)).state is Custody.LISTED


async def test_retry_takes_all_of_one_cause(spool: Spool, clock: TurnableClock) -> None:
    """A technician brings back everything that waits for what was just repaired, and only that."""
    ids = [(await bring_to(spool, Custody.CAPTURED, number)).id for number in (1, 2)]
    other = await bring_to(spool, Custody.CAPTURED, 3, serial="OTHER")
    await spool.park(other.id, code="upload_url_refused", detail="-")
    for number in ids:
        await spool.park(number, code="recorder_unbound", detail="-")
    waiting = await bring_to(spool, Custody.CAPTURED, 4)
    await spool.postpone(waiting.id, code="cloud_refused", detail="-", next_attempt_at=clock.now + 3600)
    assert await spool.retry(code="cloud_refused") == 1
    assert await spool.next_upload(clock.now) is not None
    assert await spool.retry(code="recorder_unbound") == 2
    assert await spool.retry() == 1
    assert await spool.retry() == 0


async def test_retry_of_one_that_waits_for_nothing_is_an_error(spool: Spool) -> None:
    """Asking by number gets an answer that says why nothing was done."""
    row = await bring_to(spool, Custody.STORED)
    with pytest.raises(SpoolError) as caught:
        await spool.retry(row.id)
    assert caught.value.error_code == "spool_nothing_to_retry"
    with pytest.raises(SpoolError) as caught:
        await spool.retry(999)
    assert caught.value.error_code == "spool_unknown_recording"


async def test_a_binding_learned_late_reaches_what_waits_for_it(spool: Spool) -> None:
    """Recordings captured before the cloud could be asked get the first binding it tells."""
    (row,) = await meet(spool, entry())
    await pull(spool, row, b"speech", binding=UNRESOLVED)
    await spool.bind(SERIAL, BOUND)
    assert (await spool.recording(row.id)).binding == BOUND


async def test_a_recording_stays_with_whoever_wore_the_recorder(spool: Spool) -> None:
    """A recorder that changes hands does not take its older recordings along."""
    row = await bring_to(spool, Custody.CAPTURED)
    await spool.bind(SERIAL, Binding(Membership.BOUND, "dev_1", "eu_2", 2))
    assert (await spool.recording(row.id)).binding == BOUND


async def test_retry_gives_a_recording_of_nobody_to_the_present_owner(spool: Spool) -> None:
    """Captured while unbound it is parked; binding the recorder and asking for a retry settles whose it is."""
    (row,) = await meet(spool, entry())
    await pull(spool, row, b"speech", binding=UNBOUND)
    await spool.park(row.id, code="recorder_unbound", detail="-")
    await spool.bind(SERIAL, BOUND)
    assert (await spool.recording(row.id)).binding == UNBOUND
    await spool.retry(row.id)
    assert (await spool.recording(row.id)).binding == BOUND
    assert "bound" in await happened(spool, row.id)


async def test_the_whole_way_is_told_in_order(spool: Spool) -> None:
    """The timeline of a good recording is its custody, step by step."""
    row = await bring_to(spool, Custody.CAPTURED)
    while row.state is not Custody.STORED:
        row = await step_on(spool, row)
    assert await happened(spool, row.id) == [
        "listed",
        "receiving",
        "captured",
        "create_intended",
        "created",
        "put",
        "complete_intended",
        "stored",
    ]


async def test_a_wait_for_the_cloud_as_a_whole_is_not_the_recording_s_failure(
    spool: Spool, clock: TurnableClock
) -> None:
    """Its own waits do not grow by it."""
    row = await bring_to(spool, Custody.CAPTURED)
    at = clock.now + 5
    row = await spool.postpone(row.id, code="cloud_rate_limited", detail="d", next_attempt_at=at, counts=False)
    assert (row.attempts, row.waiting_for) == (0, "cloud_rate_limited")
    assert (await spool.postpone(row.id, code="c", detail="d", next_attempt_at=at)).attempts == 1


@pytest.mark.parametrize("state", sorted(TO_UPLOAD))
async def test_damaged_audio_can_be_given_up_for_another_pull(spool: Spool, state: Custody) -> None:
    """Back to listed nothing of the capture is left, and the recording can be received again."""
    row = await bring_to(spool, state)
    row = await spool.back_to(row.id, Custody.LISTED, reason="its bytes are not those that were captured")
    assert (row.state, row.sha256, row.size_bytes, row.cloud_id, row.captured_at) == (Custody.LISTED, *[None] * 4)
    assert not await spool._db.read("SELECT 1 FROM audio")
    assert (await pull(spool, row, b"OggS again")).state is Custody.CAPTURED
