"""A spool can be lost; what it had uploaded is not uploaded again."""

import asyncio
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import Stall, Status
from support.uploading import hub, second_hub

pytestmark = pytest.mark.virtual_time


@pytest.mark.parametrize("generation", ["d1", "d2", "e"])
async def test_a_lost_spool_doubles_nothing(tmp_path: Path, generation: str) -> None:
    """Recordings pulled again into a new spool are found in the cloud, wherever their upload had stopped."""
    async with hub(tmp_path / "a", generation) as it:
        for number in range(4):
            await it.capture(number)
        it.cloud.faults.add("POST /recordings/{id}/upload-complete", Stall(after_commit=True), nth=2)
        it.cloud.faults.add("PUT s3", Stall(), nth=3)
        async with it.running(it.uploader(settings=it.settings.model_copy(update={"parallel_uploads": 4}))):
            await asyncio.sleep(30)
        async with second_hub(tmp_path / "b", it) as again:
            for number in range(4):
                await again.capture(number)
            await again.upload()
            await again.assert_stored_once()


@pytest.mark.parametrize("readable", [True, False])
async def test_after_a_lost_spool_the_look_is_a_condition(tmp_path: Path, readable: bool) -> None:
    """A capture that an earlier spool may have uploaded is looked for to the end before it is created."""
    async with hub(tmp_path / "a") as it:
        await it.capture()
        await it.upload()
        if not readable:
            it.cloud.faults.add("GET /recordings", Status(status=200, body="rubbish"), times=20)
        async with second_hub(tmp_path / "b", it) as again:
            row = await again.capture()
            await again.spool._db._db.execute("UPDATE recordings SET look_first = 1")
            await again.spool._db._db.commit()
            careless = again.settings.model_copy(update={"look_before_create": False})
            await again.upload(uploader=again.uploader(settings=careless))
            assert (await again.spool.recording(row.id)).verified
            await again.assert_stored_once()


async def test_what_is_found_uploaded_and_unproved_waits_for_the_right_decision(tmp_path: Path) -> None:
    """Found again with its upload complete and unproved, it is parked for that reason, and its remedy helps."""
    async with hub(tmp_path / "a", "d2", settings={"accept_unverified": False}) as it:
        await it.capture()
        await it.upload(Custody.PARKED)
        async with second_hub(tmp_path / "b", it) as again:
            row = await again.capture()
            await again.upload(Custody.PARKED)
            assert (await again.spool.recording(row.id)).parked_reason == "upload_not_proved"
            await again.spool.retry(row.id)
            permissive = again.settings.model_copy(update={"accept_unverified": True})
            await again.upload(uploader=again.uploader(settings=permissive))
            await again.assert_stored_once()
