"""Answers that name another recording than the one that was created: no audio goes to what is not the capture's."""

from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import EditedAnswer
from support.uploading import SERIAL, hub

pytestmark = pytest.mark.virtual_time

CREATE = "POST /recordings"


async def test_a_recording_filed_under_another_user_gets_no_audio(tmp_path: Path) -> None:
    """Parked with whose it became: repeating the create would make more of them; after a retry it is the wearer's."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(CREATE, EditedAnswer(replace={"end_user_id": "eu_somebodyelse"}))
        row = await it.capture()
        await it.upload(Custody.PARKED)
        parked = await it.spool.recording(row.id)
        assert parked.parked_reason == "upload_wrong_owner"
        assert "eu_somebodyelse" in str(parked.waiting_detail)
        assert it.cloud.counters.calls[CREATE] == 1
        assert not it.cloud.counters.calls["PUT s3"]
        await it.spool.retry(row.id)
        await it.upload()
        await it.assert_stored_once()


@pytest.mark.parametrize("metadata", [{"capture_key": "bg-of-another-capture"}, None])
async def test_an_answer_with_another_captures_recording_is_not_followed(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    """Known by its key, or by the id of what is stored already: that stays as it is, and ours is looked for."""
    async with hub(tmp_path) as it:
        first = await it.capture(1)
        await it.upload()
        taken = (await it.spool.recording(first.id)).cloud_id
        it.cloud.faults.add(CREATE, EditedAnswer(replace={"id": taken, "metadata": metadata}))
        second = await it.capture(2)
        async with it.running():
            waiting = await it.waiting_for("upload_create_conflict")
        assert (waiting.id, waiting.cloud_id) == (second.id, None)
        assert str(taken) in str(waiting.waiting_detail)
        await it.upload()
        await it.assert_stored_once()


async def test_an_answer_that_stays_another_captures_ends_with_a_human(tmp_path: Path) -> None:
    """A server that goes on like that would be asked for ever; nothing of ours is lost or sent there meanwhile."""
    async with hub(tmp_path) as it:
        other = EditedAnswer(replace={"id": "rec_other", "metadata": {"capture_key": "bg-other"}})
        hidden = EditedAnswer(replace={"data": []})
        it.cloud.faults.add(CREATE, other, times=None)
        it.cloud.faults.add("GET /recordings", hidden, times=None)
        row = await it.capture()
        await it.upload(Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "upload_create_conflict"
        assert not it.cloud.counters.calls["PUT s3"]


async def test_a_list_that_passes_over_its_filter_gives_nobody_elses_recording(tmp_path: Path) -> None:
    """A recording under another user is not adopted, though it carries the capture's key."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(CREATE, EditedAnswer(remove=("id",)))
        row = await it.capture()
        async with it.running():
            await it.waiting_for("upload_create_unknown")
        (made,) = it.cloud.recordings.values()
        listed = {"id": made.id, "status": "pending", "end_user_id": "eu_somebodyelse", "metadata": made.metadata}
        rule = it.cloud.faults.add("GET /recordings", EditedAnswer(replace={"data": [listed]}), times=None)
        async with it.running():
            await it.waiting_for("upload_create_unknown")
            while not it.cloud.faults.fired(rule):
                await it.spool.wait_for_change(it.spool.revision)
        assert (await it.spool.recording(row.id)).cloud_id is None
        it.cloud.faults.clear()
        await it.upload()
        assert it.cloud.devices.by_serial(SERIAL).end_user_id == made.end_user_id
        await it.assert_stored_once()


async def test_a_completion_about_another_recording_stores_nothing(tmp_path: Path) -> None:
    """The recorder may not delete on the word about something else; asked again, the cloud speaks of ours."""
    async with hub(tmp_path, verification_polls=0) as it:
        rule = it.cloud.faults.add("POST /recordings/*/upload-complete", EditedAnswer(replace={"id": "rec_other"}))
        await it.capture()
        async with it.running():
            waiting = await it.waiting_for("cloud_bad_answer")
        assert it.cloud.faults.fired(rule) == 1
        assert waiting.state is Custody.COMPLETING
        await it.upload()
        await it.assert_stored_once()
