"""Uploads of what somebody had forgotten by hand: never begun, and never doubled when it is wanted after all."""

from pathlib import Path

import pytest

from bota_gateway.errors import SpoolError
from bota_gateway.model import Custody, Recording
from bota_gateway.sim.cloud import IdempotencyMode, LateCommit, LostAfterCommit, Status
from support.spooling import pull
from support.uploading import SERIAL, Hub, hub, speech

pytestmark = pytest.mark.virtual_time


async def forget(it: Hub, row: Recording) -> None:
    await it.spool.forget_by_hand(row.id, last_copy=True, is_uploading=lambda _: False)


async def pulled_again(it: Hub, row: Recording, data: bytes | None = None) -> Recording:
    """Somebody wants it after all, and its recorder still has it."""
    await it.spool.retry(row.id)
    listed = await it.spool.recording(row.id)
    it.sent[row.id] = it.sent[row.id] if data is None else data
    return await pull(it.spool, listed, it.sent[row.id], binding=it.binding())


@pytest.mark.parametrize("look", [True, False])
async def test_what_was_begun_in_the_cloud_is_gone_on_with(tmp_path: Path, look: bool) -> None:
    """Created, forgotten, brought back: the cloud's recording is found again, whether or not a first create looks."""
    async with hub(tmp_path, settings={"look_before_create": look}) as it:
        it.cloud.faults.add("POST /recordings/{id}/upload-url", Status(status=503), times=None)
        row = await it.capture()
        await it.upload(Custody.CREATED)
        created = await it.spool.recording(row.id)
        await forget(it, row)
        it.cloud.faults.clear()
        again = await pulled_again(it, row)
        assert again.cloud_id == created.cloud_id
        await it.upload()
        await it.assert_stored_once()


async def test_what_the_cloud_came_to_have_meanwhile_is_not_sent_again(tmp_path: Path) -> None:
    """Forgotten before the answer came that it is complete: brought back, the proof is there, and no byte goes."""
    async with hub(tmp_path, verification_polls=0) as it:
        it.cloud.faults.add("POST /recordings/{id}/upload-complete", LostAfterCommit())
        it.cloud.faults.add("GET /recordings/{id}", Status(status=403), times=None)
        row = await it.capture()
        async with it.running():
            await it.waiting_for("cloud_forbidden")
        await forget(it, row)
        it.cloud.faults.clear()
        await pulled_again(it, row)
        await it.upload()
        await it.assert_stored_once()
        assert it.cloud.counters.puts.total() == 1


async def test_a_create_that_comes_late_makes_no_second_one(tmp_path: Path) -> None:
    """Its answer was lost, it was forgotten and brought back at once: it is waited for, as ever."""
    async with hub(tmp_path, settings={"look_before_create": False}, idempotency=IdempotencyMode.NONE) as it:
        it.cloud.faults.add("POST /recordings", LateCommit(delay_s=30))
        row = await it.capture()
        async with it.running():
            await it.waiting_for("upload_create_unknown")
        await forget(it, row)
        await pulled_again(it, row)
        await it.upload()
        await it.assert_stored_once()


async def test_other_bytes_under_its_name_are_another_recording(tmp_path: Path) -> None:
    """What was begun for the first bytes is left alone: nothing of it is mixed."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add("POST /recordings/{id}/upload-url", Status(status=503), times=None)
        row = await it.capture()
        await it.upload(Custody.CREATED)
        begun = (await it.spool.recording(row.id)).cloud_id
        await forget(it, row)
        it.cloud.faults.clear()
        await pulled_again(it, row, speech(seed=99))
        await it.upload()
        stored = await it.spool.recording(row.id)
        assert stored.cloud_id != begun
        path = it.cloud.object_path(str(stored.cloud_id))
        assert path is not None
        assert path.read_bytes() == speech(seed=99)
        assert it.cloud.object_path(str(begun)) is None


async def test_it_is_found_however_many_recordings_are_younger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The id that the cloud gave is read, where a walk through the list would end before it."""
    monkeypatch.setattr("bota_gateway.upload.finding.LOOK_BACK_AT_MOST", 0)
    monkeypatch.setattr("bota_gateway.upload.finding.LOOK_AHEAD_ROWS", 0)
    async with hub(tmp_path, idempotency=IdempotencyMode.NONE) as it:
        it.cloud.faults.add("POST /recordings/{id}/upload-url", Status(status=503), times=None)
        row = await it.capture()
        await it.upload(Custody.CREATED)
        await forget(it, row)
        it.cloud.faults.clear()
        await it.capture(2)
        await it.upload(Custody.STORED, Custody.PARKED)
        await pulled_again(it, row)
        await it.upload()
        await it.assert_stored_once()


@pytest.mark.parametrize("look", [True, False])
async def test_listed_anew_with_another_start_it_is_not_doubled(tmp_path: Path, look: bool) -> None:
    """The recorder got the time since: the forgotten one rests, the new one goes on with what the cloud has of it."""
    async with hub(tmp_path, settings={"look_before_create": look}, idempotency=IdempotencyMode.NONE) as it:
        it.cloud.faults.add("POST /recordings/{id}/upload-url", Status(status=503), times=None)
        row = await it.capture(started_at=0)
        await it.upload(Custody.CREATED)
        await forget(it, row)
        it.cloud.faults.clear()
        again = await it.capture(started_at=1_790_000_000)
        await it.upload(Custody.STORED, Custody.PARKED)
        assert (await it.spool.recording(row.id)).forgotten_by_hand
        assert (await it.spool.recording(again.id)).state is Custody.STORED
        assert len(it.cloud.recordings) == 1


async def test_a_recorder_that_changed_hands_gives_it_to_nobody_new(tmp_path: Path) -> None:
    """Captured for one, forgotten, brought back when another wears it: parked, and not filed under the new one."""
    async with hub(tmp_path) as it:
        row = await it.capture()
        await forget(it, row)
        it.cloud.devices.bind(SERIAL, "eu_somebodyelse")
        await pulled_again(it, row)
        await it.upload(Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "recorder_rebound"
        assert not it.cloud.recordings


async def test_a_retry_of_the_forgotten_settles_nothing_else(tmp_path: Path) -> None:
    """Parked for a reason that a human's retry settles, then forgotten: bringing it back is no such word."""
    async with hub(tmp_path) as it:
        row = await it.capture()
        it.cloud.devices.bind(SERIAL, str(row.binding.end_user_id))
        await it.upload(Custody.PARKED)
        await forget(it, row)
        await pulled_again(it, row)
        await it.upload(Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "recorder_rebound"


# -- at the same moment ------------------------------------------------------------------------------------------------


async def test_forgotten_just_before_its_upload_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen by the uploader, not yet said so, and forgotten in between: nothing of it reaches the cloud."""
    async with hub(tmp_path) as it:
        row, other = await it.capture(1), await it.capture(2)
        choose = it.spool.next_upload

        async def slowly(now: float, exclude: object = ()) -> Recording | None:
            chosen = await choose(now, exclude)  # type: ignore[arg-type] # as it came
            if chosen is not None and chosen.id == row.id:
                await forget(it, row)
            return chosen

        monkeypatch.setattr(it.spool, "next_upload", slowly)
        await it.upload(Custody.STORED, Custody.PARKED)
        assert (await it.spool.recording(row.id)).forgotten_by_hand
        assert [made.id for made in it.cloud.recordings.values()] == [(await it.spool.recording(other.id)).cloud_id]


async def test_while_an_upload_has_it_in_hand_it_is_refused(tmp_path: Path) -> None:
    """At every moment it is either refused and stored, or forgotten; and once uploads rest, it can be forgotten."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add("POST /recordings/{id}/upload-url", Status(status=503), times=None)
        row = await it.capture()
        uploader = it.uploader()
        async with it.running(uploader):
            while row.id not in uploader.working:
                await it.spool.wait_for_change(it.spool.revision)
            with pytest.raises(SpoolError) as refused:
                await it.spool.forget_by_hand(
                    row.id, last_copy=True, is_uploading=lambda number: number in uploader.working
                )
            assert refused.value.error_code == "forget_in_use"
        assert uploader.working == {}
        await it.spool.forget_by_hand(row.id, last_copy=True, is_uploading=lambda number: number in uploader.working)
        assert (await it.spool.recording(row.id)).forgotten_by_hand
