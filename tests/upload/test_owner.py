"""A recording goes to whoever wore the recorder when it was captured, and to nobody else by itself."""

from pathlib import Path

import pytest

from bota_gateway.model import Binding, Custody, Membership
from bota_gateway.sim.cloud import EditedAnswer
from support.spooling import entry, pull
from support.uploading import SERIAL, Hub, hub, speech

pytestmark = pytest.mark.virtual_time


async def parked_for(it: Hub, recording_id: int) -> str | None:
    """Upload until everything is settled; why this one is parked."""
    await it.upload(Custody.STORED, Custody.PARKED)
    return (await it.spool.recording(recording_id)).parked_reason


async def test_another_users_recorder_is_not_filed_under_the_new_one(tmp_path: Path) -> None:
    """Re-bound between capture and create: parked, nothing is created, and the new binding is known here."""
    async with hub(tmp_path) as it:
        row = await it.capture()
        device = it.cloud.devices.bind(SERIAL, "eu_somebodyelse")
        assert await parked_for(it, row.id) == "recorder_rebound"
        assert not it.cloud.recordings
        assert (await it.spool.recorder(SERIAL)).binding.end_user_id == device.end_user_id
        await it.spool.retry(row.id)
        assert await parked_for(it, row.id) == "recorder_rebound"


async def test_the_same_user_bound_anew_is_a_humans_decision(tmp_path: Path) -> None:
    """A new binding of the same user parks it once; a retry says that this is right."""
    async with hub(tmp_path) as it:
        row = await it.capture()
        it.cloud.devices.bind(SERIAL, str(row.binding.end_user_id))
        assert await parked_for(it, row.id) == "recorder_rebound"
        await it.spool.retry(row.id)
        await it.upload()
        await it.assert_stored_once()


async def test_an_unbound_recorder_waits_for_a_human(tmp_path: Path) -> None:
    """Unbound since the capture: parked; bound to its user again and retried, it is stored."""
    async with hub(tmp_path) as it:
        row = await it.capture()
        user = str(row.binding.end_user_id)
        it.cloud.devices.unbind(SERIAL)
        assert await parked_for(it, row.id) == "recorder_unbound"
        it.cloud.devices.bind(SERIAL, user)
        async with it.running(it.registrar()):
            while it.binding() != (await it.spool.recorder(SERIAL)).binding:
                await it.spool.wait_for_change(it.spool.revision)
        await it.spool.retry(row.id)
        await it.upload()
        await it.assert_stored_once()


async def test_a_capture_of_nobodys_recorder_goes_to_nobody_by_itself(tmp_path: Path) -> None:
    """Captured unbound and bound later: only a human's retry gives it to the present user, and one retry is enough."""
    async with hub(tmp_path) as it:
        it.cloud.devices.unbind(SERIAL)
        row = await it.capture()
        assert await parked_for(it, row.id) == "recorder_unbound"
        it.cloud.devices.bind(SERIAL, "eu_newowner")
        await it.spool.retry(row.id)
        await it.upload()
        await it.assert_stored_once()
        (made,) = it.cloud.recordings.values()
        assert made.end_user_id == "eu_newowner"


async def test_bound_before_the_upload_began_is_still_nobodys(tmp_path: Path) -> None:
    """That it is bound by the time of the upload says nothing of the time of the capture."""
    async with hub(tmp_path) as it:
        it.cloud.devices.unbind(SERIAL)
        row = await it.capture()
        it.cloud.devices.bind(SERIAL, "eu_newowner")
        assert await parked_for(it, row.id) == "recorder_unbound"
        assert not it.cloud.recordings


async def test_a_device_that_left_the_project_is_named(tmp_path: Path) -> None:
    """The device is gone: parked with that reason, and the recorder is to be looked up anew."""
    async with hub(tmp_path) as it:
        row = await it.capture()
        it.cloud.devices.by_id.clear()
        assert await parked_for(it, row.id) == "recorder_not_in_project"
        assert (await it.spool.recorder(SERIAL)).binding.membership is Membership.UNRESOLVED


async def test_a_recorder_registered_anew_for_the_same_user_goes_on(tmp_path: Path) -> None:
    """Under another device id, after a human's retry: nothing stays parked for ever over a new registration."""
    async with hub(tmp_path) as it:
        row = await it.capture()
        user = str(row.binding.end_user_id)
        it.cloud.devices.by_id.clear()
        assert await parked_for(it, row.id) == "recorder_not_in_project"
        renewed = it.cloud.devices.register(SERIAL, user)
        async with it.running(it.registrar()):
            while (await it.spool.recorder(SERIAL)).binding.membership is not Membership.BOUND:
                await it.spool.wait_for_change(it.spool.revision)
        await it.spool.retry(row.id)
        await it.upload()
        await it.assert_stored_once()
        (made,) = it.cloud.recordings.values()
        assert (made.device_id, made.end_user_id) == (renewed.id, user)


async def test_an_answer_that_does_not_say_whose_it_is_is_no_unbinding(tmp_path: Path) -> None:
    """A device without status and user is asked for again: nobody has to settle an answer that was cut short."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add("GET /devices/{id}", EditedAnswer(remove=("status", "end_user_id")), times=2)
        row = await it.capture()
        assert await parked_for(it, row.id) is None
        await it.assert_stored_once()


async def test_a_device_id_of_another_recorder_is_refused(tmp_path: Path) -> None:
    """The serial must match, or recordings would be filed under a stranger's device."""
    async with hub(tmp_path) as it:
        row = await it.capture()
        it.cloud.devices.by_serial(SERIAL).serial = "BP999999"
        assert await parked_for(it, row.id) == "recorder_not_in_project"
        assert not it.cloud.recordings


async def test_a_capture_from_before_the_cloud_was_asked_waits(tmp_path: Path) -> None:
    """As soon as the registrar has resolved the recorder, the capture goes on."""
    async with hub(tmp_path) as it:
        await it.spool.note_recorder(SERIAL, address="C0:FF:EE:00:00:01", name=None, rssi=None)
        (row,) = await it.spool.reconcile(SERIAL, [entry()], complete=True)
        row = await pull(it.spool, row, speech(), binding=Binding(Membership.UNRESOLVED))
        it.sent[row.id] = speech()
        async with it.running():
            await it.waiting_for("recorder_unresolved")
        async with it.running(it.registrar()):
            await it.upload()
        await it.assert_stored_once()
