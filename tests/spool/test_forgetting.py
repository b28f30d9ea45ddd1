"""A person wants no more work on a recording: what goes, what stays, and what it never leads to."""

import sqlite3

import pytest

from bota_gateway.config import SpoolSettings
from bota_gateway.errors import SpoolError, SpoolFullError
from bota_gateway.model import FORGOTTEN_BY_HAND, Binding, Custody, Membership, Recording
from bota_gateway.spool import Loss, Moment, Spool, Step, unpulled
from bota_gateway.spool.const import AUDIO_ROW_BYTES
from bota_gateway.spool.custody import TO_UPLOAD
from bota_gateway.spool.forgetting import LISTED_LATELY_S
from bota_gateway.spool.fsck import examine
from bota_gateway.status.remedies import remedy
from support.spooling import SERIAL, TurnableClock, bring_to, entry, happened, noise, pull, step_on

SOMEBODY_ELSE = Binding(Membership.BOUND, device_id="dev_1", end_user_id="eu_2", binding_generation=2)
UNSTORED = [Custody.LISTED, Custody.PARKED, *sorted(TO_UPLOAD)]
IN_CLOUD = [Custody.STORED, Custody.CONFIRMING, Custody.CONFIRMED]


async def forget(spool: Spool, row: Recording, *, last_copy: bool = False) -> Loss:
    _, lost = await spool.forget_by_hand(row.id, last_copy=last_copy, is_uploading=lambda _: False)
    return lost


async def audio_rows(spool: Spool) -> int:
    rows = await spool._db.read("SELECT count(*) FROM audio")
    return int(rows[0][0])


# -- what it does ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", UNSTORED)
async def test_what_the_cloud_does_not_have_is_parked_without_its_audio(
    spool: Spool, clock: TurnableClock, state: Custody
) -> None:
    """Who it is and what the cloud may know of it stays; its bytes go; the timeline says by hand, and what was lost."""
    row = await bring_to(spool, state, data=noise(AUDIO_ROW_BYTES * 3))
    clock.now += 5
    lost = await forget(spool, row)
    after = await spool.recording(row.id)
    assert (after.state, after.parked_reason, after.parked_from) == (Custody.PARKED, FORGOTTEN_BY_HAND, Custody.LISTED)
    assert after.forgotten_by_hand
    assert (after.sha256, after.size_bytes, after.captured_at, after.released_at) == (None, None, None, None)
    kept = (after.cloud_id, after.idempotency_key, after.create_intended_at, after.binding)
    assert kept == (row.cloud_id, row.idempotency_key, row.create_intended_at, row.binding)
    assert await audio_rows(spool) == 0
    line = (await spool.timeline(row.id))[-1]
    assert (line.happened, line.at, line.detail["was"]) == (FORGOTTEN_BY_HAND, clock.now, state)
    assert line.detail["lost"] == lost == (Loss.COPY if row.sha256 else Loss.NO_AUDIO)


@pytest.mark.parametrize("state", IN_CLOUD)
async def test_what_the_cloud_has_only_loses_its_audio(spool: Spool, clock: TurnableClock, state: Custody) -> None:
    """As after its retention, and no sooner told to its recorder; the line says that it was by hand."""
    row = await bring_to(spool, state)
    assert await forget(spool, row) is Loss.NOTHING
    after = await spool.recording(row.id)
    done = Custody.FORGOTTEN if state is Custody.CONFIRMED else state
    assert (after.state, after.released_at, after.sha256, after.parked_reason) == (done, clock.now, row.sha256, None)
    assert await audio_rows(spool) == 0
    line = (await spool.timeline(row.id))[-1]
    assert line.happened == ("forgotten" if state is Custody.CONFIRMED else "audio_released")
    assert line.detail["by"] == "hand"


async def test_custody_goes_on_without_the_audio(spool: Spool) -> None:
    """A stored one is confirmed to its recorder later, as ever."""
    row = await bring_to(spool, Custody.STORED)
    await forget(spool, row)
    await spool.intend_confirm(row.id)
    await spool.reconcile(SERIAL, [], complete=True)
    assert (await spool.recording(row.id)).state is Custody.CONFIRMED


@pytest.mark.parametrize("state", [*UNSTORED, *IN_CLOUD])
async def test_rows_journal_and_audio_agree_afterwards(
    settings: SpoolSettings, clock: TurnableClock, state: Custody
) -> None:
    """The offline check finds nothing wrong, before and after a retry."""
    async with Spool.open(settings, clock) as spool:
        row = await bring_to(spool, state)
        await forget(spool, row)
    assert examine(settings.directory).faults == []
    async with Spool.open(settings, clock) as spool:
        if (await spool.recording(row.id)).forgotten_by_hand:
            await spool.retry(row.id)
    assert examine(settings.directory).faults == []


# -- what is lost by it ------------------------------------------------------------------------------------------------


async def test_the_last_copy_needs_its_own_word(spool: Spool) -> None:
    """Its recorder no longer lists it: refused, and nothing changed; permitted, it is written down as such."""
    row = await bring_to(spool, Custody.PUT)
    await spool.reconcile(SERIAL, [], complete=True)
    story = await spool.timeline(row.id)
    with pytest.raises(SpoolError) as refused:
        await forget(spool, row)
    assert refused.value.error_code == "forget_last_copy"
    assert (await spool.recording(row.id), await spool.timeline(row.id), await audio_rows(spool)) == (row, story, 1)
    assert await forget(spool, row, last_copy=True) is Loss.LAST_COPY


async def test_a_recorder_must_have_shown_it_lately(spool: Spool, clock: TurnableClock) -> None:
    """A list of more than a day ago, or of a clock that was set since, is no proof that it is still there."""
    row = await bring_to(spool, Custody.CAPTURED)
    began = clock.now
    found = {}
    for later in (0.0, LISTED_LATELY_S, LISTED_LATELY_S + 1, -1.0):
        clock.now = began + later
        found[later] = spool.loss(row)
    assert list(found.values()) == [Loss.COPY, Loss.COPY, Loss.LAST_COPY, Loss.LAST_COPY]


async def test_a_list_that_is_not_whole_takes_nothing_back(spool: Spool) -> None:
    """Only a whole list without it says that it is gone."""
    row = await bring_to(spool, Custody.CAPTURED)
    await spool.reconcile(SERIAL, [entry(2)], complete=False)
    assert spool.loss(row) is Loss.COPY
    await spool.reconcile(SERIAL, [entry(2)], complete=True)
    assert spool.loss(row) is Loss.LAST_COPY


async def test_after_a_restart_nobody_is_believed_to_have_it(settings: SpoolSettings, clock: TurnableClock) -> None:
    """What recorders showed to an earlier life is not remembered: the next visit tells."""
    async with Spool.open(settings, clock) as spool:
        row = await bring_to(spool, Custody.CAPTURED)
    async with Spool.open(settings, clock) as spool:
        assert spool.loss(row) is Loss.LAST_COPY
        await spool.reconcile(SERIAL, [entry()], complete=True)
        assert spool.loss(row) is Loss.COPY


async def test_what_the_cloud_has_not_proved_is_a_last_copy(spool: Spool) -> None:
    """Stored by a generation that proves no digest: only here it is known to be whole."""
    row = await spool.stored((await bring_to(spool, Custody.COMPLETING)).id, verified=False)
    assert spool.loss(row) is Loss.LAST_COPY
    with pytest.raises(SpoolError, match="last copy"):
        await forget(spool, row)
    assert await forget(spool, row, last_copy=True) is Loss.LAST_COPY
    assert (await spool.recording(row.id)).state is Custody.STORED


async def test_what_is_gone_already_is_no_copy_to_lose(spool: Spool, clock: TurnableClock) -> None:
    """Unproved, released after its retention and then deleted by its recorder: there is nothing here to ask about."""
    row = await spool.stored((await bring_to(spool, Custody.COMPLETING)).id, verified=False)
    await spool.forget_due(clock.now, 0)
    await spool.reconcile(SERIAL, [], complete=True)
    with pytest.raises(SpoolError) as refused:
        await forget(spool, row)
    assert refused.value.error_code == "forget_nothing_to_do"


# -- refused -----------------------------------------------------------------------------------------------------------


async def test_what_is_in_somebodys_hands_is_refused(spool: Spool) -> None:
    """Being received, or in an upload: nothing changes, and the next step is named."""
    receiving = await bring_to(spool, Custody.RECEIVING, 1)
    uploading = await bring_to(spool, Custody.CREATED, 2)
    for row in (receiving, uploading):
        with pytest.raises(SpoolError) as refused:
            await spool.forget_by_hand(row.id, last_copy=True, is_uploading=lambda number: number == uploading.id)
        assert (refused.value.error_code, "pause" in refused.value.next_step) == ("forget_in_use", True)
        assert await spool.recording(row.id) == row


@pytest.mark.parametrize("state", [*UNSTORED, *IN_CLOUD, Custody.FORGOTTEN])
async def test_nothing_is_forgotten_twice(spool: Spool, state: Custody) -> None:
    """What has no audio here and rests, or goes its way without, is told so."""
    row = await bring_to(spool, state)
    if state is not Custody.FORGOTTEN:
        await forget(spool, row)
    story = await spool.timeline(row.id)
    with pytest.raises(SpoolError) as refused:
        await forget(spool, row, last_copy=True)
    assert refused.value.error_code == "forget_nothing_to_do"
    assert await spool.timeline(row.id) == story


async def test_a_disk_without_room_for_it_loses_nothing(settings: SpoolSettings, clock: TurnableClock) -> None:
    """The refusal is told, and everything is as it was; when there is room, it goes."""
    full = True

    def refuse(step: Step, moment: Moment) -> None:
        if full and step is Step.FORGET_BY_HAND and moment is Moment.BEFORE_COMMIT:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
            raise error

    async with Spool.open(settings, clock, probe=refuse) as spool:
        row = await bring_to(spool, Custody.PUT)
        story = await spool.timeline(row.id)
        with pytest.raises(SpoolFullError, match="no room"):
            await forget(spool, row)
        assert (await spool.recording(row.id), await spool.timeline(row.id), await audio_rows(spool)) == (row, story, 1)
        full = False
        await forget(spool, row)
        assert spool.health.healthy


async def test_audio_that_could_not_be_deleted_yet_is_swept_later(
    settings: SpoolSettings, clock: TurnableClock
) -> None:
    """The row says first that it is forgotten; what a disk in trouble keeps of its bytes goes at the next tidying."""
    fails = False

    def refuse(step: Step, moment: Moment) -> None:
        if fails and step is Step.SWEEP and moment is Moment.BEFORE_COMMIT:
            raise sqlite3.OperationalError("disk I/O error")

    async with Spool.open(settings, clock, probe=refuse) as spool:
        row = await bring_to(spool, Custody.PUT)
        fails = True
        assert await forget(spool, row) is Loss.COPY
        assert ((await spool.recording(row.id)).forgotten_by_hand, await audio_rows(spool)) == (True, 1)
        fails = False
        await spool.forget_due(clock.now, 3600)
        assert await audio_rows(spool) == 0


# -- it stays forgotten ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [Custody.LISTED, Custody.CREATED])
async def test_lists_do_not_bring_it_back(spool: Spool, state: Custody) -> None:
    """Gone from a whole list and there again, grown or not: it rests, and is never told to be deleted."""
    row = await bring_to(spool, state)
    await forget(spool, row)
    forgotten = await spool.recording(row.id)
    story = await spool.timeline(row.id)
    for listed in ([], [entry()], [entry(duration_s=90, size_kib=400)], []):
        await spool.reconcile(SERIAL, listed, complete=True)
        assert await spool.recordings() == [forgotten]
    assert await spool.timeline(row.id) == story


async def test_it_is_not_pruned(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder that lists thousands of others does not make this hub forget that it was told to forget."""
    row = await bring_to(spool, Custody.LISTED)
    await forget(spool, row)
    monkeypatch.setattr(unpulled, "UNPULLED_KEPT", 2)
    for first in (10, 20, 30):
        await spool.reconcile(SERIAL, [entry(n) for n in range(first, first + 4)], complete=True)
    assert len(await spool.recordings()) == 1 + 2 + 4
    assert (await spool.recording(row.id)).forgotten_by_hand


async def test_a_visit_that_has_it_on_its_list_does_not_pull_it(spool: Spool) -> None:
    """Between the list and its turn somebody had it forgotten: told by a code, nothing changed."""
    row = await bring_to(spool, Custody.LISTED)
    await forget(spool, row)
    with pytest.raises(SpoolError) as refused:
        await spool.begin_receiving(row.id)
    assert refused.value.error_code == FORGOTTEN_BY_HAND
    assert "retry" in str(remedy(FORGOTTEN_BY_HAND))


async def test_it_counts_on_its_own(spool: Spool) -> None:
    """It needs nobody: it is not among the parked."""
    for number in (1, 2):
        await forget(spool, await bring_to(spool, Custody.CAPTURED, number))
    await bring_to(spool, Custody.PARKED, 3)
    usage = await spool.usage()
    assert (usage.counts[Custody.PARKED], usage.forgotten_by_hand, usage.oldest_waiting_at) == (1, 2, None)
    assert [(one.code, one.count) for one in await spool.held()] == [("device_error_0x14", 1)]


async def test_nobody_waits_for_it(spool: Spool) -> None:
    """The same bytes under another start are a capture of their own: it does not go with what goes nowhere."""
    first = await bring_to(spool, Custody.CAPTURED)
    await forget(spool, first)
    (listed,) = await spool.reconcile(SERIAL, [entry(started_at=2000)], complete=False)
    again = await pull(spool, listed, b"OggS audio")
    assert await spool.same_capture(again) is None


async def test_what_the_cloud_may_know_of_it_goes_with_the_next_capture(spool: Spool) -> None:
    """Listed anew with another start, its upload looks first for what was begun, as after a lost answer."""
    first = await bring_to(spool, Custody.PUT)
    await forget(spool, first)
    (listed,) = await spool.reconcile(SERIAL, [entry(started_at=2000)], complete=False)
    again = await pull(spool, listed, b"OggS audio")
    assert (again.create_intended_at, again.cloud_id) == (first.create_intended_at, first.cloud_id)
    assert again.idempotency_key is None


async def test_its_audio_is_asked_for_in_vain(spool: Spool) -> None:
    """The answer says that it was deleted by hand, and what may bring it back."""
    row = await bring_to(spool, Custody.CAPTURED)
    await forget(spool, row)
    with pytest.raises(SpoolError, match="by hand") as refused:
        await spool.audio_piece(row.id, 0)
    assert (refused.value.error_code, "retry" in refused.value.next_step) == ("spool_no_audio", True)


# -- brought back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", UNSTORED)
async def test_a_retry_by_name_brings_it_back_to_be_pulled(spool: Spool, state: Custody) -> None:
    """Back to listed, whatever it was; and all of it that the cloud may know is kept."""
    row = await bring_to(spool, state)
    await forget(spool, row)
    assert await spool.retry(row.id) == 1
    back = await spool.recording(row.id)
    assert (back.state, back.parked_reason, back.waiting_for) == (Custody.LISTED, None, None)
    assert (back.cloud_id, back.create_intended_at) == (row.cloud_id, row.create_intended_at)
    assert (await happened(spool, row.id))[-2:] == [FORGOTTEN_BY_HAND, "retried"]


async def test_a_retry_of_many_leaves_it_out(spool: Spool) -> None:
    """Of all, or of its very reason: only its own name means it."""
    row = await bring_to(spool, Custody.CREATED, 1)
    await forget(spool, row)
    await bring_to(spool, Custody.PARKED, 2)
    assert await spool.retry(code=FORGOTTEN_BY_HAND) == 0
    assert await spool.retry() == 1
    assert await spool.retry() == 0
    assert (await spool.recording(row.id)).forgotten_by_hand


async def test_it_is_still_whose_it_was(spool: Spool) -> None:
    """Pulled again after its recorder changed hands, it is filed under nobody new."""
    row = await bring_to(spool, Custody.CREATED)
    await forget(spool, row)
    await spool.retry(row.id)
    again = await pull(spool, await spool.recording(row.id), b"OggS audio", binding=SOMEBODY_ELSE)
    assert (again.state, again.binding) == (Custody.CAPTURED, row.binding)
    assert (again.create_intended_at, again.cloud_id) == (row.create_intended_at, row.cloud_id)


async def test_what_is_pulled_again_for_its_damage_is_still_whose_it_was(spool: Spool) -> None:
    """The same where a human had it pulled again because its bytes here had rotted."""
    row = await bring_to(spool, Custody.CAPTURED)
    await spool.back_to(row.id, Custody.LISTED, reason="rot")
    again = await pull(spool, row, b"OggS audio", binding=SOMEBODY_ELSE)
    assert again.binding == row.binding


async def test_brought_back_and_not_there_any_more_it_is_over(spool: Spool) -> None:
    """Its recorder has nothing to give: as any other that vanished before it was pulled."""
    row = await bring_to(spool, Custody.CREATED)
    await forget(spool, row)
    await spool.retry(row.id)
    await spool.reconcile(SERIAL, [], complete=True)
    assert (await spool.recording(row.id)).state is Custody.FORGOTTEN


async def test_it_can_go_all_the_way_after_all(spool: Spool) -> None:
    """Forgotten, brought back, pulled, stored: the story tells it, and the check agrees."""
    row = await bring_to(spool, Custody.CREATED)
    await forget(spool, row)
    await spool.retry(row.id)
    back = await pull(spool, await spool.recording(row.id), b"OggS audio")
    while back.state is not Custody.STORED:
        back = await step_on(spool, back)
    assert (back.verified, back.parked_reason) == (True, None)
