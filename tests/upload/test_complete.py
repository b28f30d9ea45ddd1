"""From put to stored: nothing counts as stored that is not proved, or allowed to go without proof."""

import asyncio
from pathlib import Path

import pytest

from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import (
    BitRot,
    EditedAnswer,
    LostAfterCommit,
    LostBeforeCommit,
    Redirect,
    Stall,
    Status,
    TruncatedAnswer,
)
from bota_gateway.spool import Happened
from support.spooling import happened
from support.uploading import cloud_clock, hub

pytestmark = pytest.mark.virtual_time
COMPLETE = "POST /recordings/{id}/upload-complete"

UNCLEAR = [
    LostBeforeCommit(),
    LostAfterCommit(),
    Stall(after_commit=True),
    TruncatedAnswer(keep_bytes=5),
    Status(status=500),
    Status(status=502, body="html", after_commit=True),
    Status(status=200, body="rubbish", after_commit=True),
    Status(status=400, after_commit=True),
    Status(status=409, after_commit=True),
    Redirect(),
]


@pytest.mark.parametrize("fault", UNCLEAR, ids=lambda fault: f"{fault.kind}-{getattr(fault, 'status', '')}")
@pytest.mark.parametrize("generation", ["d1", "d2", "e"])
async def test_an_unclear_answer_is_decided_by_reading(tmp_path: Path, generation: str, fault: object) -> None:
    """Whether completion had been done or not, the recording ends up stored, and was created once."""
    async with hub(tmp_path, generation, verification_polls=0, repeat_of_d1=400) as it:
        it.cloud.faults.add(COMPLETE, fault)  # type: ignore[arg-type]  # one of the faults above
        await it.capture()
        await it.upload()
        await it.assert_stored_once()


@pytest.mark.parametrize("nth", [2, 3])
async def test_a_lost_answer_while_verifying_is_no_setback(tmp_path: Path, nth: int) -> None:
    """The repeat after 425 may be lost as well."""
    async with hub(tmp_path, verification_polls=4) as it:
        it.cloud.faults.add(COMPLETE, LostAfterCommit(), nth=nth)
        await it.capture()
        await it.upload()
        await it.assert_stored_once()


async def test_verification_is_awaited_by_identical_repeats(tmp_path: Path) -> None:
    """After 2, 4, 8 and then every 10 seconds the completion is repeated; no byte is sent twice."""
    async with hub(tmp_path, verification_polls=6) as it:
        row = await it.capture()
        started = cloud_clock()
        await it.upload()
        await it.assert_stored_once()
        assert it.cloud.counters.calls[COMPLETE] == 7
        assert 44 <= cloud_clock() - started <= 60
        assert it.cloud.counters.calls["PUT s3"] == 1
        assert (await it.spool.recording(row.id)).verified is True


async def test_long_verification_is_patient(tmp_path: Path) -> None:
    """After five minutes it is asked every few minutes, visibly, without limit and without another PUT."""
    async with hub(tmp_path, verification_polls=60) as it:
        await it.capture()
        async with it.running():
            waiting = await it.waiting_for("upload_verifying")
            assert waiting.state is Custody.COMPLETING
            assert waiting.next_attempt_at is not None
        await it.upload()
        await it.assert_stored_once()
        assert it.cloud.counters.calls["PUT s3"] == 1


async def test_verification_does_not_occupy_the_workers(tmp_path: Path) -> None:
    """While one recording is being verified for minutes, others are uploaded by the only worker."""
    async with hub(tmp_path, settings={"parallel_uploads": 1}, verification_polls=20) as it:
        for number in range(5):
            await it.capture(number)
        started = cloud_clock()
        await it.upload()
        await it.assert_stored_once()
        assert cloud_clock() - started < 2 * 20 * 11


async def test_stored_bytes_that_differ_are_sent_again(tmp_path: Path) -> None:
    """An integrity failure is cured by another full PUT to a new URL."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add("PUT s3", BitRot(), times=2)
        await it.capture()
        await it.upload()
        await it.assert_stored_once()
        assert it.cloud.counters.calls["PUT s3"] == 3


async def test_bytes_that_always_differ_need_a_human(tmp_path: Path) -> None:
    """After three more rounds it is parked, and never counts as stored."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add("PUT s3", BitRot(), times=None)
        row = await it.capture()
        await it.upload(Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "upload_integrity_failure"
        assert it.cloud.counters.calls["PUT s3"] == 4


async def test_restarts_do_not_count_uploads_anew(tmp_path: Path) -> None:
    """However often the gateway is started again: as many uploads, and a human's retry allows as many once more."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add("PUT s3", BitRot(), times=None)
        row = await it.capture()

        async def times_back() -> int:
            return (await happened(it.spool, row.id)).count(Happened.MOVED_BACK)

        for rounds in (3, 6):
            while (await it.spool.recording(row.id)).state is not Custody.PARKED:
                began, row = await times_back(), await it.spool.recording(row.id)
                async with it.running():
                    while await times_back() == began and row.state is not Custody.PARKED:
                        await it.spool.wait_for_change(it.spool.revision)
                        row = await it.spool.recording(row.id)
            assert row.parked_reason == "upload_integrity_failure"
            assert await times_back() == rounds
            await it.spool.retry(row.id)


@pytest.mark.parametrize("generation", ["d1", "d2"])
async def test_unproved_completion_can_be_refused(tmp_path: Path, generation: str) -> None:
    """Without accept_unverified the recorder keeps its copy, until a human decides."""
    async with hub(tmp_path, generation, settings={"accept_unverified": False}) as it:
        row = await it.capture()
        await it.upload(Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "upload_not_proved"
        await it.spool.retry(row.id)
        permissive = it.settings.model_copy(update={"accept_unverified": True})
        await it.upload(uploader=it.uploader(settings=permissive))
        await it.assert_stored_once()
        assert (await it.spool.recording(row.id)).verified is False


@pytest.mark.parametrize(
    "edit",
    [
        EditedAnswer(remove=("content_sha256", "content_sha256_verified_at")),
        EditedAnswer(remove=("content_sha256_verified_at",)),
        EditedAnswer(replace={"content_sha256": "0" * 64}),
        EditedAnswer(replace={"status": "pending"}),
        EditedAnswer(replace={"status": "something_new"}),
        EditedAnswer(remove=("status",)),
    ],
    ids=str,
)
async def test_a_200_without_the_whole_proof_is_no_success(tmp_path: Path, edit: EditedAnswer) -> None:
    """Where the generation proves digests, only a returned equal digest with its time counts, and reading finds it."""
    async with hub(tmp_path, verification_polls=0) as it:
        it.cloud.faults.add(COMPLETE, edit)
        row = await it.capture()
        await it.upload()
        await it.assert_stored_once()
        assert (await it.spool.recording(row.id)).verified is True
        assert it.cloud.counters.calls["GET /recordings/{id}"] + it.cloud.counters.calls[COMPLETE] > 1


async def test_a_newer_generation_is_not_forgotten_over_a_bare_answer(tmp_path: Path) -> None:
    """Once a digest was proved, no answer makes the gateway content with less."""
    async with hub(tmp_path, verification_polls=0) as it:
        await it.capture(1)
        await it.upload()
        bare = EditedAnswer(
            remove=("content_sha256", "content_sha256_verified_at", "recorded_at", "duration_seconds"),
            replace={"duration_ms": 1000, "started_at": None},
        )
        it.cloud.faults.add("* /recordings/{id}*", bare, times=None)
        row = await it.capture(2)
        await it.upload(Custody.STORED, Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "upload_not_proved"


async def test_failed_processing_is_no_lost_upload(tmp_path: Path) -> None:
    """A recording that failed after its digest was proved is stored."""
    async with hub(
        tmp_path, verification_polls=0, completed_after_s=1, processing_fails=True, processing_after_s=0.5
    ) as it:
        it.cloud.faults.add(COMPLETE, LostAfterCommit())
        row = await it.capture()
        await it.upload()
        assert (await it.spool.recording(row.id)).verified is True


async def test_a_failure_without_proof_needs_a_human(tmp_path: Path) -> None:
    """What 'failed' means without a proved digest is not known, so it does not count as stored."""
    async with hub(tmp_path, "d2", completed_after_s=1, processing_fails=True) as it:
        it.cloud.faults.add(COMPLETE, LostAfterCommit())
        row = await it.capture()
        await it.upload(Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "upload_failed_in_cloud"


@pytest.mark.parametrize(
    ("route", "state"),
    [
        ("POST /recordings/{id}/upload-url", Custody.CREATED),
        ("PUT s3", Custody.CREATED),
        ("PUT s3", Custody.PUT),
        (COMPLETE, Custody.COMPLETING),
    ],
)
@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("generation", ["d1", "d2", "e"])
async def test_a_restart_goes_on_where_it_was(
    tmp_path: Path, generation: str, route: str, state: Custody, done: bool
) -> None:
    """From every state on disk a new process brings the recording to its end, without a second one."""
    async with hub(tmp_path, generation, verification_polls=3) as it:
        it.cloud.faults.add(route, Stall(after_commit=done))
        row = await it.capture()
        async with it.running():
            await asyncio.sleep(30)
            assert it.cloud.counters.calls[route] == 1
        if state is Custody.PUT and done:  # the answer of S3 came, and then the power went
            await it.spool.put_done(row.id)
            assert (await it.spool.recording(row.id)).state is state
        await it.upload()
        await it.assert_stored_once()


async def test_objects_that_vanished_before_completion_are_sent_again(tmp_path: Path) -> None:
    """The cloud says that it has nothing: the bytes go again."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(COMPLETE, Status(status=503), times=1)
        row = await it.capture()
        async with it.running():
            await it.waiting_for("cloud_server_error")
        recording = it.cloud.recordings[str((await it.spool.recording(row.id)).cloud_id)]
        it.cloud.objects.remove(recording.uploads[-1].key)
        await it.upload()
        await it.assert_stored_once()
