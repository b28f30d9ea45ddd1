"""Exactly one cloud recording per capture, whatever happens to the call that makes it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bota_gateway.cloud import CloudDevice
from bota_gateway.cloud.contracts import E
from bota_gateway.errors import CloudRefusedError
from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import (
    EditedAnswer,
    LateCommit,
    LostAfterCommit,
    LostBeforeCommit,
    OversizedBody,
    Redirect,
    Slow,
    Stall,
    Status,
    TruncatedAnswer,
)
from bota_gateway.sim.cloud.options import IdempotencyMode
from bota_gateway.sim.cloud.world import Recording as CloudRecording
from bota_gateway.upload.describe import CAPTURE_KEY, capture_key, idempotency_key, new_recording
from support.spooling import entry, pull
from support.uploading import SERIAL, hub, second_hub, speech

pytestmark = pytest.mark.virtual_time
CREATE = "POST /recordings"

LOST = [
    LostBeforeCommit(),
    LostAfterCommit(),
    LateCommit(delay_s=5),
    LateCommit(delay_s=25),
    LateCommit(delay_s=110),
    Stall(),
    Stall(after_commit=True),
    Status(status=500),
    Status(status=503, after_commit=True),
    Status(status=502, body="html", after_commit=True),
    Status(status=504, body="empty", after_commit=True),
    Status(status=200, body="rubbish", after_commit=True),
    Status(status=409, after_commit=True),
    Status(status=408, body="empty", after_commit=True),
    Status(status=400, body="html", after_commit=True),
    Status(status=404, body="html", after_commit=True),
    TruncatedAnswer(keep_bytes=10),
    EditedAnswer(remove=("id",)),
    EditedAnswer(replace={"id": "../../etc"}),
    OversizedBody(extra_bytes=8 << 20),
    Redirect(),
]


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: f"{fault.kind}-{getattr(fault, 'status', '')}")
@pytest.mark.parametrize("idempotency", list(IdempotencyMode))
async def test_an_unclear_answer_to_create_makes_one_recording(
    tmp_path: Path, fault: object, idempotency: IdempotencyMode
) -> None:
    """After any answer that leaves it open, the recording is looked for before another is made."""
    async with hub(tmp_path, idempotency=idempotency) as it:
        it.cloud.faults.add(CREATE, fault)  # type: ignore[arg-type]  # one of the faults above
        await it.capture()
        await it.upload()
        await it.assert_stored_once()


@pytest.mark.parametrize("fault", [LostBeforeCommit(), LostAfterCommit()])
async def test_two_lost_answers_in_a_row_make_one_recording(tmp_path: Path, fault: object) -> None:
    """The look-back begins at the first intent, not at the latest one."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(CREATE, LostBeforeCommit())
        it.cloud.faults.add(CREATE, fault, nth=2)  # type: ignore[arg-type]  # one of the faults above
        await it.capture()
        await it.upload()
        await it.assert_stored_once()


async def test_the_repeat_has_the_same_key_and_body(tmp_path: Path) -> None:
    """A server that compares keys and bodies takes the repeat for what it is."""
    async with hub(tmp_path, idempotency=IdempotencyMode.STRICT) as it:
        it.cloud.faults.add(CREATE, LostBeforeCommit())
        row = await it.capture()
        async with it.running():
            await it.waiting_for("upload_create_unknown")
            key = (await it.spool.recording(row.id)).idempotency_key
            assert str(key).startswith(capture_key(row))
        await it.upload()
        await it.assert_stored_once()
        assert (await it.spool.recording(row.id)).idempotency_key == key


@pytest.mark.parametrize("generation", ["d1", "d2"])
async def test_a_key_belongs_to_one_body(tmp_path: Path, generation: str) -> None:
    """A create that was refused, and the refusal lost in a restart, is not repeated with another body under its key."""
    async with hub(tmp_path, generation, unknown_fields="refuse", idempotency=IdempotencyMode.STRICT) as it:
        row = await it.capture()
        body = E.create_body(new_recording(row, hub_id="hub-1", send_device_id=True))
        key = idempotency_key(row, body, 0)
        await it.spool.intend_create(row.id, idempotency_key=key)
        with pytest.raises(CloudRefusedError):
            await it.api.create(body, idempotency_key=key)
        await it.upload()
        await it.assert_stored_once()


async def test_a_restart_in_mid_create_looks_first(tmp_path: Path) -> None:
    """An intent without an id, found at start, is looked for, and what an earlier life made is adopted."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(CREATE, LostAfterCommit())
        await it.capture()
        async with it.running():
            await it.waiting_for("upload_create_unknown")
        await it.upload(uploader=it.uploader())
        await it.assert_stored_once()
        assert it.cloud.counters.calls[CREATE] == 1


async def test_a_call_that_never_left_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection nothing can have been made: the intent is void, and a hub offline asks for no lists."""
    async with hub(tmp_path) as it:
        row = await it.capture()
        device = await it.api.device(str(row.binding.device_id))

        async def known(_device_id: str) -> CloudDevice:
            return device

        monkeypatch.setattr(it.api, "_base", "http://127.0.0.1:9/v1")
        monkeypatch.setattr(it.api, "device", known)  # only the create is to fail
        async with it.running():
            waiting = await it.waiting_for("cloud_no_connection")
            assert waiting.create_intended_at is None


async def test_the_oldest_of_several_is_adopted(tmp_path: Path) -> None:
    """When the cloud made more than one of it, the oldest counts and the others are named for a human."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(CREATE, LostAfterCommit())
        row = await it.capture()
        async with it.running():
            await it.waiting_for("upload_create_unknown")
        (made,) = it.cloud.recordings.values()
        older = replace(made, id="rec_older", created_at=made.created_at - 5, uploads=[])
        it.cloud.recordings[older.id] = older
        with capture_logs() as logs:
            await it.upload()
        assert (await it.spool.recording(row.id)).cloud_id == older.id
        (warned,) = [line for line in logs if line["event"] == "cloud_duplicates_found"]
        assert warned["others"] == [made.id]


async def test_what_another_life_uploaded_is_not_uploaded_again(tmp_path: Path) -> None:
    """If the recording that is found has our bytes already, proved, it is stored as it is."""
    async with hub(tmp_path) as it:
        row = await it.capture()
        await it.upload()
        (made,) = it.cloud.recordings.values()
        again = await it.capture(2, it.sent[row.id])
        made.facts["metadata"] = {CAPTURE_KEY: capture_key(again)}
        await it.spool.intend_create(again.id, idempotency_key=capture_key(again))
        await it.upload()
        assert (await it.spool.recording(again.id)).cloud_id == made.id
        assert it.cloud.counters.calls["PUT s3"] == 1


@pytest.mark.parametrize("look_before_create", [True, False])
async def test_the_search_is_bounded(tmp_path: Path, look_before_create: bool) -> None:
    """A user with hundreds of recordings does not make every lost answer a walk through all of them."""
    async with hub(tmp_path, settings={"look_before_create": look_before_create}) as it:
        device = it.cloud.devices.by_serial(SERIAL)
        for number in range(450):
            old = CloudRecording(
                id=f"rec_old{number}",
                project=device.project,
                end_user_id=str(device.end_user_id),
                device_id=device.id,
                created_at=1_700_000_000.0 + number,
                facts={"metadata": {}},
            )
            it.cloud.recordings[old.id] = old
        it.cloud.faults.add(CREATE, LostAfterCommit())
        await it.capture()
        await it.upload()
        assert it.cloud.counters.calls["GET /recordings"] == 1 + look_before_create


async def test_two_hubs_make_one_recording(tmp_path: Path) -> None:
    """A recorder that was pulled by two hubs is in the cloud once: the second one adopts what the first one made."""
    async with hub(tmp_path / "a") as first:
        await first.capture(1)
        await first.capture(2)
        async with second_hub(tmp_path / "b", first) as second:
            mine = await second.capture(1)
            await first.upload()
            await second.upload()
            assert (await second.spool.recording(mine.id)).verified
        await first.assert_stored_once()
        assert first.cloud.counters.calls["PUT s3"] == 2


async def test_two_rows_of_one_capture_are_created_one_at_a_time(tmp_path: Path) -> None:
    """The row that was listed first, and so goes first, is captured while the other one is under way already."""
    async with hub(tmp_path, settings={"look_before_create": False}) as it:
        await it.spool.note_recorder(SERIAL, address="C0:FF:EE:00:00:01", name="Bota Pin", rssi=-50)
        (first,) = await it.spool.reconcile(SERIAL, [entry(1, started_at=0)], complete=False)
        (second,) = await it.spool.reconcile(SERIAL, [entry(1, started_at=1_790_000_000)], complete=False)
        it.cloud.faults.add("GET /devices/{id}", Slow(delay_s=30))
        await pull(it.spool, second, speech(), binding=it.binding())
        async with it.running():
            await asyncio.sleep(5)
            await pull(it.spool, first, speech(), binding=it.binding())
            await asyncio.sleep(600)
        assert [row.state for row in await it.spool.recordings()] == [Custody.STORED, Custody.STORED]
        assert len(it.cloud.recordings) == 1


async def test_a_list_that_can_t_be_walked_stops_no_upload(tmp_path: Path) -> None:
    """The look before a first create is a precaution, and no condition."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add("GET /recordings", Status(status=200, body="rubbish"), times=None)
        await it.capture()
        await it.upload()
        await it.assert_stored_once()


async def test_one_look_serves_a_whole_visit(tmp_path: Path) -> None:
    """Captures of one recorder that come together cost one list (per worker, at most)."""
    async with hub(tmp_path, settings={"parallel_uploads": 1}) as it:
        for number in range(8):
            await it.capture(number)
        await it.upload()
        assert it.cloud.counters.calls["GET /recordings"] == 1


async def test_lost_answers_can_be_left_to_a_human(tmp_path: Path) -> None:
    """With ambiguous_create = park nothing is made again until a human asked for it."""
    async with hub(tmp_path, settings={"ambiguous_create": "park"}) as it:
        it.cloud.faults.add(CREATE, LostBeforeCommit())
        row = await it.capture()
        await it.upload(Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "upload_create_unknown"
        assert it.cloud.counters.calls[CREATE] == 1
        await it.spool.retry(row.id)
        await it.upload()
        await it.assert_stored_once()


@pytest.mark.parametrize("left_to", ["reconcile", "park"])
async def test_a_repeat_is_waited_for_as_long_as_the_first_try(tmp_path: Path, left_to: str) -> None:
    """The last create may be under way for two minutes, however old the first one is and whoever asks for haste."""
    async with hub(tmp_path, settings={"ambiguous_create": left_to}, idempotency=IdempotencyMode.NONE) as it:
        it.cloud.faults.add(CREATE, LostBeforeCommit())
        it.cloud.faults.add(CREATE, LateCommit(delay_s=110), nth=2)
        row = await it.capture()
        async with it.running():
            while it.cloud.counters.calls[CREATE] < 2:
                await asyncio.sleep(10)
                if (await it.spool.recording(row.id)).state is Custody.PARKED:
                    await asyncio.sleep(600)
                    await it.spool.retry(row.id)
            await it.waiting_for("upload_create_unknown")
            await it.spool.retry(row.id)
        await it.upload()
        await asyncio.sleep(300)
        await it.assert_stored_once()


async def test_a_refused_create_is_no_lost_one(tmp_path: Path) -> None:
    """A 429 or a 403 made nothing: the intent is void, and even ambiguous_create = park goes on by itself."""
    async with hub(tmp_path, settings={"ambiguous_create": "park"}) as it:
        it.cloud.faults.add(CREATE, Status(status=429))
        it.cloud.faults.add(CREATE, Status(status=403), nth=2)
        await it.capture()
        await it.upload()
        await it.assert_stored_once()
        assert it.cloud.counters.calls["GET /recordings"] <= 2  # the precaution before a first create


async def test_a_create_that_is_refused_for_good_is_parked(tmp_path: Path) -> None:
    """A 400 that no other contract cures needs a human, and a retry tries again with a new key."""
    async with hub(tmp_path, settings={"profile": "e"}) as it:
        it.cloud.faults.add(CREATE, Status(status=400, message="metadata is too large"))
        row = await it.capture()
        await it.upload(Custody.PARKED)
        parked = await it.spool.recording(row.id)
        assert parked.parked_reason == "upload_create_refused"
        assert "sk_test" not in str(parked.waiting_detail)
        await it.spool.retry(row.id)
        await it.upload()
        await it.assert_stored_once()
        assert str((await it.spool.recording(row.id)).idempotency_key).endswith("-1")


async def test_one_recording_that_fails_holds_no_other_up(tmp_path: Path) -> None:
    """While one waits for ever, the others of the same recorder are stored."""
    async with hub(tmp_path, settings={"parallel_uploads": 1}) as it:
        bad = await it.capture(1)
        good = [await it.capture(number) for number in (2, 3, 4)]
        it.cloud.faults.add(CREATE, LostBeforeCommit(), times=1)
        it.cloud.faults.add("GET /recordings", Status(status=500), times=20)
        async with it.running():
            for row in good:
                while (await it.spool.recording(row.id)).state is not Custody.STORED:
                    await it.spool.wait_for_change(it.spool.revision)
            assert (await it.spool.recording(bad.id)).state is Custody.CAPTURED
        await it.upload()
        await it.assert_stored_once()
