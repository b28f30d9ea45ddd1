"""From created to put, whatever S3 does."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bota_gateway.milestones import STEPS
from bota_gateway.model import Custody
from bota_gateway.sim.cloud.faults import (
    LostAfterCommit,
    LostBeforeCommit,
    Redirect,
    ResetMidBody,
    S3Refusal,
    Slow,
    SlowReader,
    Stall,
    Status,
    TruncatedAnswer,
)
from bota_gateway.spool import Spool
from support.spooling import bring_to, noise, sha256
from support.uploading import SERIAL, hub, speech

pytestmark = pytest.mark.virtual_time
PUT, URL = "PUT s3", "POST /recordings/{id}/upload-url"

TRANSIENT = [
    LostBeforeCommit(),
    LostAfterCommit(),
    ResetMidBody(after_bytes=1000),
    ResetMidBody(after_bytes=2_000_000),
    TruncatedAnswer(keep_bytes=0),
    Stall(),
    Status(status=503, retry_after="7"),
    Status(status=500, body="empty"),
    Redirect(),
    *(
        S3Refusal(refusal=name, close=close)
        for name in (
            "expired", "not_yet_valid", "denied", "signature", "expired_token", "incomplete", "bad_digest", "timeout",
            "slow_down", "internal",
        )
        for close in (False, True)
    ),
]  # fmt: skip


@pytest.mark.parametrize("fault", TRANSIENT, ids=lambda fault: f"{fault.kind}-{getattr(fault, 'refusal', '')}")
async def test_a_put_that_fails_once_is_repeated(tmp_path: Path, fault: object) -> None:
    """A refusal or a lost connection at S3 leads to another full PUT, of the same bytes."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(PUT, fault)  # type: ignore[arg-type]  # one of the faults above
        await it.capture(1, speech(3_000_000))
        await it.upload()
        await it.assert_stored_once()


@pytest.mark.parametrize(
    ("refusal", "code"),
    [("too_large", "s3_too_large"), ("no_bucket", "s3_no_bucket"), ("signature", "s3_signature_refused")],
)
async def test_what_only_a_human_can_help_is_parked(tmp_path: Path, refusal: str, code: str) -> None:
    """A limit of the server, a missing bucket, or a signature refused twice stops the recording with that reason."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(PUT, S3Refusal.model_validate({"refusal": refusal}), times=2)
        row = await it.capture()
        await it.upload(Custody.PARKED)
        parked = await it.spool.recording(row.id)
        assert parked.parked_reason == code
        assert "X-Amz" not in str(parked.waiting_detail)


async def test_a_clock_that_s3_has_alone_is_waited_for(tmp_path: Path) -> None:
    """Upload URLs that S3 calls not yet valid, again and again, come right by themselves: nobody is asked for help."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(PUT, S3Refusal(refusal="not_yet_valid"), times=6)
        await it.capture()
        await it.upload()
        await it.assert_stored_once()


async def test_a_refused_signature_is_tried_once_more(tmp_path: Path) -> None:
    """One new URL is asked for; a second refusal is no accident."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(PUT, S3Refusal(refusal="signature"), times=None)
        await it.capture()
        await it.upload(Custody.PARKED)
        assert it.cloud.counters.calls[URL] == 2


async def test_a_url_whose_put_may_be_repeated_is_used_again(tmp_path: Path) -> None:
    """A busy S3 costs no further upload URL: they are the scarcest of the budget."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(PUT, S3Refusal(refusal="slow_down"), times=3)
        await it.capture()
        await it.upload()
        await it.assert_stored_once()
        assert it.cloud.counters.calls[URL] == 1


async def test_a_kept_url_is_not_used_past_its_time(tmp_path: Path) -> None:
    """By the time S3 answers again the URL is old, and a new one is asked for instead of sending in vain."""
    async with hub(tmp_path, url_life_s=60) as it:
        it.cloud.faults.add(PUT, S3Refusal(refusal="slow_down"), times=8)
        row = await it.capture()
        await it.upload()
        await it.assert_stored_once()
        assert it.cloud.counters.calls[URL] > 1
        assert it.cloud.counters.statuses[PUT, 403] == 0
        assert (await it.spool.recording(row.id)).verified


async def test_urls_that_arrive_expired_are_not_sent_to(tmp_path: Path) -> None:
    """Expiry is judged before a byte is sent, by the server's clock, though the hub's is a year off."""
    async with hub(tmp_path, url_life_s=30) as it:
        it.wall.offset_s = -365 * 86_400.0
        it.cloud.faults.add(URL, Slow(delay_s=40), times=3)
        await it.capture()
        async with it.running():
            waiting = await it.waiting_for("cloud_url_expired")
            assert it.cloud.counters.calls[PUT] == 0
            assert waiting.state is Custody.CREATED
        it.wall.offset_s = 0.0
        await it.upload()
        await it.assert_stored_once()


async def _rot(spool: Spool, recording_id: int) -> None:
    """Change bytes in the database behind the spool's back."""
    database = spool._db._db
    await database.execute(
        "UPDATE audio SET data = zeroblob(length(data)) WHERE recording_id = ? AND number = 5", (recording_id,)
    )
    await database.commit()


async def _lose(spool: Spool, recording_id: int) -> None:
    """Take bytes out of the database behind the spool's back."""
    database = spool._db._db
    await database.execute("DELETE FROM audio WHERE recording_id = ? AND number > 4", (recording_id,))
    await database.commit()


Damage = Callable[[Spool, int], Awaitable[None]]


async def test_rotten_bytes_never_reach_the_bucket(tmp_path: Path) -> None:
    """If the spool gives back other bytes than were captured, the PUT is cut off before its end and nothing stored."""
    async with hub(tmp_path) as it:
        row = await it.capture(1, speech(3_000_000))
        await _rot(it.spool, row.id)
        await it.upload(Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "spool_bit_rot"
        assert not it.cloud.counters.stored
        assert b"".join([piece async for piece in it.spool.read_audio(row.id)])[:4] == b"OggS"


@pytest.mark.parametrize("look_before_create", [True, False])
@pytest.mark.parametrize("damage", [_rot, _lose])
async def test_rotten_bytes_are_pulled_again_when_a_human_asks(
    tmp_path: Path, damage: Damage, look_before_create: bool
) -> None:
    """What is left is kept for an export until then; what is pulled again goes into the recording made for it."""
    async with hub(tmp_path, settings={"look_before_create": look_before_create}) as it:
        row = await it.capture(1, speech(3_000_000))
        await damage(it.spool, row.id)
        await it.upload(Custody.PARKED)
        assert not it.cloud.counters.stored
        await it.spool.retry(row.id)
        await it.upload(Custody.LISTED)
        again = await it.capture(1, speech(3_000_000))
        assert again.id == row.id
        await it.upload()
        await it.assert_stored_once()


async def test_a_host_that_is_not_allowed_gets_nothing(tmp_path: Path) -> None:
    """An upload URL to another host is not sent to; the reason names the setting, and nothing is parked."""
    async with hub(tmp_path, settings={"s3_hosts": ("*.amazonaws.com",)}) as it:
        await it.capture()
        async with it.running():
            waiting = await it.waiting_for("cloud_host_not_allowed")
        assert "s3_hosts" in str(waiting.waiting_detail)
        assert it.cloud.counters.calls[PUT] == 0


async def test_a_slow_uplink_is_given_the_time_it_needs(tmp_path: Path) -> None:
    """The time-out grows with the size: what a reader takes at 60 kB/s arrives."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(PUT, SlowReader(bytes_per_s=60_000))
        await it.capture(1, speech(6_000_000))
        await it.upload()
        await it.assert_stored_once()
        assert it.cloud.counters.calls[PUT] == 1


async def test_audio_of_no_known_type_is_parked_before_anything_is_made(tmp_path: Path) -> None:
    """The first bytes decide; the cloud is not asked to make a recording that could never get its bytes."""
    async with hub(tmp_path) as it:
        row = await it.capture(1, noise(5000))
        await it.upload(Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "upload_unsupported_audio"
        assert not it.cloud.recordings


async def test_a_set_content_type_is_taken_as_it_is(tmp_path: Path) -> None:
    """An operator who knows better than the first bytes decides."""
    async with hub(tmp_path, settings={"content_type": "audio/flac"}) as it:
        await it.capture(1, noise(5000))
        await it.upload()
        (made,) = it.cloud.recordings.values()
        assert made.uploads[-1].content_type == "audio/flac"


async def test_ciphertext_for_the_relay_never_goes_to_a_presigned_url(tmp_path: Path) -> None:
    """A P10 capture is parked with that reason before anything is made for it."""
    async with hub(tmp_path) as it:
        await it.spool.note_recorder(SERIAL, address="C0:FF:EE:00:00:01", name=None, rssi=None)
        row = await bring_to(it.spool, Custody.RECEIVING, serial=SERIAL)
        data = noise(100)
        await it.spool.store_audio(row.id, data)
        await it.spool.capture(
            row.id,
            size_bytes=100,
            sha256=sha256(data),
            device_sha256=None,
            binding=it.binding(),
            figures={},
            profile="p10",
        )
        await it.upload(Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "upload_p10_needs_relay"
        assert not it.cloud.counters.calls


@pytest.mark.parametrize("status", [400, 409])
async def test_a_refused_upload_url_is_decided_by_reading(tmp_path: Path, status: int) -> None:
    """A recording that waits for bytes and gets no URL for them needs a human; the cloud's words are not trusted."""
    async with hub(tmp_path, settings={"profile": "e"}) as it:
        it.cloud.faults.add(URL, Status(status=status))
        row = await it.capture()
        await it.upload(Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "upload_url_refused"
        await it.spool.retry(row.id)
        await it.upload()
        await it.assert_stored_once()


async def test_a_recording_deleted_in_the_cloud_is_made_again_only_by_a_human(tmp_path: Path) -> None:
    """It may have been deleted on purpose, or the key be another project's: parked, and made anew on retry."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(URL, Status(status=503), times=1)
        row = await it.capture()
        async with it.running():
            await it.waiting_for("cloud_server_error")
        it.cloud.recordings.clear()
        await it.upload(Custody.PARKED)
        assert (await it.spool.recording(row.id)).parked_reason == "upload_recording_gone"
        await it.upload(Custody.PARKED)
        await it.spool.retry(row.id)
        await it.upload()
        assert len(it.cloud.recordings) == 1


@pytest.mark.parametrize(("bytes_per_s", "is_told"), [(200_000, True), (4_000_000, False)])
async def test_a_long_upload_tells_how_far_it_is(tmp_path: Path, bytes_per_s: int, is_told: bool) -> None:
    """At a few steps (what sockets hold in between is passed at once), and not at all when it is over soon."""
    async with hub(tmp_path) as it:
        it.cloud.faults.add(PUT, SlowReader(bytes_per_s=bytes_per_s))
        await it.capture(1, speech(20 << 20))
        with capture_logs() as lines:
            await it.upload()
        told = [line["percent"] for line in lines if line["event"] == "upload_progress"]
        assert bool(told) == is_told
        assert told == sorted(set(told))
        assert len(told) <= len(STEPS)
