"""Upload URLs, completion and read-back in the three generations."""

from typing import Any

import pytest

from bota_gateway.sim.cloud import BitRot
from support.emulated_cloud import AUDIO, START, Client, Clock, emulated, sha256

PROFILES = ["d1", "d2", "e"]


async def status_of(client: Client, recording: str) -> str:
    return str((await client.get(f"/recordings/{recording}")).json()["status"])


@pytest.mark.parametrize("profile", PROFILES)
async def test_the_whole_cycle(profile: str) -> None:
    """Create, URL, PUT, complete: the recording is uploaded and can be read back bit for bit."""
    async with emulated(profile, verification_polls=0) as client:
        recording = await client.upload()
        assert (await client.complete(recording)).status_code == 200
        assert await status_of(client, recording) == "uploaded"
        method = "POST" if profile == "d2" else "GET"
        link = await client.call(method, f"/recordings/{recording}/download-url")
        assert (await client.http.get(link.json()["download_url"])).content == AUDIO


@pytest.mark.parametrize(
    ("profile", "has"),
    [
        ("d1", {"upload_url", "expires_at", "headers"}),
        ("d2", {"upload_url", "expires_at", "headers", "media_id"}),
        ("e", {"upload_url", "expires_at", "content_type", "upload_token"}),
    ],
)
async def test_each_generation_answers_with_its_fields(profile: str, has: set[str]) -> None:
    """The fields of an upload-url answer differ by generation."""
    async with emulated(profile) as client:
        assert (await client.upload_url(await client.create())).keys() == has


async def test_the_url_lives_as_long_as_the_answer_says() -> None:
    """``expires_at`` is one hour after the emulator's now."""
    async with emulated() as client:
        answer = await client.upload_url(await client.create())
        assert answer["expires_at"] == "2027-01-15T09:00:00.000Z"
        assert f"X-Amz-Expires={3600}" in answer["upload_url"]
        assert START == 1_800_000_000


async def test_headers_can_be_left_out_or_given_in_any_generation() -> None:
    """A client must do with and without the map."""
    async with emulated("d2", upload_headers=False) as client:
        assert "headers" not in await client.upload_url(await client.create())
    async with emulated("e", upload_headers=True) as client:
        answer = await client.upload_url(await client.create())
        assert answer["headers"] == {"Content-Type": "audio/ogg"}


async def test_a_server_may_normalise_the_content_type() -> None:
    """What the answer says is what was signed; what was asked for is refused."""
    async with emulated(content_type_answers={"audio/ogg": "audio/ogg; codecs=opus"}) as client:
        answer = await client.upload_url(await client.create())
        assert (await client.put(answer["upload_url"])).status_code == 403
        right = {"Content-Type": answer["content_type"]}
        assert (await client.put(answer["upload_url"], headers=right)).status_code == 200


@pytest.mark.parametrize(
    ("profile", "body", "names"),
    [
        ("d1", {}, "content_type"),
        ("d1", {"content_type": "audio/opus"}, "content_type"),
        ("d2", {"content_type": "audio/ogg"}, "type"),
        ("e", {"file_size_bytes": 5}, "content_type"),
        ("e", {"content_type": "text/plain"}, "content_type"),
        ("e", {"content_type": "audio/ogg", "file_size_bytes": 0}, "file_size_bytes"),
        ("e", {"content_type": "audio/ogg", "file_size_bytes": "5"}, "file_size_bytes"),
    ],
)
async def test_a_bad_request_for_a_url_names_the_field(profile: str, body: dict[str, Any], names: str) -> None:
    """What each generation requires and which content types it knows."""
    async with emulated(profile) as client:
        answer = await client.post(f"/recordings/{await client.create()}/upload-url", body)
        assert answer.status_code == 400
        assert answer.json()["error"]["details"]["field"] == names


async def test_d2_makes_a_medium_per_call() -> None:
    """Asking twice leaves two media rows; the object that was put is the recording's."""
    async with emulated("d2") as client:
        recording = await client.create()
        await client.upload_url(recording)
        second = await client.upload_url(recording)
        await client.put(second["upload_url"])
        found = (await client.get(f"/recordings/{recording}")).json()
        assert len(found["media"]) == 2
        assert (await client.complete(recording, None)).status_code == 200


@pytest.mark.parametrize("profile", PROFILES)
async def test_no_url_for_a_completed_recording(profile: str) -> None:
    """The state is wrong: 400."""
    async with emulated(profile, verification_polls=0) as client:
        recording = await client.upload()
        await client.complete(recording)
        assert (await client.post(f"/recordings/{recording}/upload-url", {})).status_code == 400


@pytest.mark.parametrize("profile", PROFILES)
async def test_completing_without_an_object_is_refused(profile: str) -> None:
    """Nothing stored: 400, and the recording stays pending."""
    async with emulated(profile) as client:
        recording = await client.create()
        await client.upload_url(recording)
        assert (await client.complete(recording)).status_code == 400
        assert await status_of(client, recording) == "pending"


async def test_verification_takes_as_many_polls_as_it_was_told() -> None:
    """425 for each, then 200 with our digest and the time it was verified."""
    async with emulated(verification_polls=2) as client:
        recording = await client.upload()
        answers = [await client.complete(recording) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [425, 425, 200]
        done = answers[-1].json()
        assert done["content_sha256"] == sha256(AUDIO)
        assert done["content_sha256_verified_at"] is not None
        assert client.cloud.counters.completes[recording] == 3


async def test_the_same_completion_again_is_confirmed() -> None:
    """E: repeating the identical hash-only body is the documented recovery."""
    async with emulated(verification_polls=0) as client:
        recording = await client.upload()
        assert [(await client.complete(recording)).status_code for _ in range(2)] == [200, 200]


async def test_a_repeat_that_contradicts_is_a_conflict() -> None:
    """Another hash after success is 409 and changes nothing."""
    async with emulated(verification_polls=0) as client:
        recording = await client.upload()
        await client.complete(recording)
        assert (await client.complete(recording, b"other")).status_code == 409
        assert await status_of(client, recording) == "uploaded"


@pytest.mark.parametrize(("conflicts", "status"), [(True, 409), (False, 200)])
async def test_a_repeat_with_the_size_shows_the_live_defect(conflicts: bool, status: int) -> None:
    """An exact repeat with file_size_bytes was answered 409 by the real service."""
    async with emulated(verification_polls=0, size_on_repeat_conflicts=conflicts) as client:
        recording = await client.upload()
        first = await client.complete(recording, AUDIO, file_size_bytes=len(AUDIO))
        again = await client.complete(recording, AUDIO, file_size_bytes=len(AUDIO))
        assert (first.status_code, again.status_code) == (200, status)


async def test_a_wrong_size_is_a_conflict() -> None:
    """The declared size is compared with what is stored."""
    async with emulated() as client:
        recording = await client.upload()
        assert (await client.complete(recording, AUDIO, file_size_bytes=1)).status_code == 409


async def test_a_hash_that_does_not_match_ends_in_integrity_failure() -> None:
    """409, the status says why, and the same object fails again at once."""
    async with emulated(verification_polls=1) as client:
        recording = await client.upload()
        answers = [(await client.complete(recording, b"other")).status_code for _ in range(3)]
        assert answers == [425, 409, 409]
        assert await status_of(client, recording) == "integrity_failure"


async def test_rot_is_found_and_a_new_put_heals_it() -> None:
    """The verdict is over the bytes on disk, and a fresh URL on the same recording is the way out."""
    async with emulated(verification_polls=0) as client:
        client.cloud.faults.add("PUT s3", BitRot())
        recording = await client.upload()
        assert (await client.complete(recording)).status_code == 409
        await client.put((await client.upload_url(recording))["upload_url"])
        assert (await client.complete(recording)).status_code == 200
        assert await status_of(client, recording) == "uploaded"


async def test_another_hash_while_verifying_is_a_conflict() -> None:
    """Only the identical request may be repeated."""
    async with emulated(verification_polls=3) as client:
        recording = await client.upload()
        assert (await client.complete(recording)).status_code == 425
        assert (await client.complete(recording, b"other")).status_code == 409


async def test_without_a_hash_nothing_is_verified() -> None:
    """E accepts it at once and proves nothing."""
    async with emulated() as client:
        recording = await client.upload()
        done = (await client.complete(recording, None)).json()
        assert (done["status"], done["content_sha256"], done["content_sha256_verified_at"]) == ("uploaded", None, None)


@pytest.mark.parametrize("sha", ["", "ABC", "A" * 64, 5])
async def test_a_malformed_hash_is_refused(sha: object) -> None:
    """64 lower-case hex digits or nothing."""
    async with emulated() as client:
        recording = await client.upload()
        answer = await client.post(f"/recordings/{recording}/upload-complete", {"content_sha256": sha})
        assert answer.status_code == 400


@pytest.mark.parametrize(
    ("profile", "options", "status"), [("d1", {}, 200), ("d1", {"repeat_of_d1": 400}, 400), ("d2", {}, 400)]
)
async def test_a_repeat_in_the_older_generations(profile: str, options: dict[str, Any], status: int) -> None:
    """D1 leaves it undefined, D2 says 400; neither answers with a digest."""
    async with emulated(profile, **options) as client:
        recording = await client.upload()
        first = await client.complete(recording)
        assert "content_sha256" not in first.json()
        assert [first.status_code, (await client.complete(recording)).status_code] == [200, status]


async def test_sizes_may_come_as_strings() -> None:
    """Seen live in E: a byte count as a decimal string."""
    async with emulated(verification_polls=0) as client:
        recording = await client.upload()
        assert (await client.complete(recording)).json()["file_size_bytes"] == str(len(AUDIO))


async def test_nothing_can_be_read_back_before_completion() -> None:
    """A download URL is refused while the recording is pending."""
    async with emulated() as client:
        recording = await client.upload()
        assert (await client.get(f"/recordings/{recording}/download-url")).status_code == 400


async def test_a_download_url_expires_too() -> None:
    """The emulator's clock ends it."""
    clock = Clock()
    async with emulated(clock=clock, verification_polls=0) as client:
        recording = await client.upload()
        await client.complete(recording)
        link = (await client.get(f"/recordings/{recording}/download-url")).json()["download_url"]
        clock.advance(3601)
        assert (await client.http.get(link)).status_code == 403


async def test_d2_reads_back_by_medium() -> None:
    """An unknown medium is a 404."""
    async with emulated("d2") as client:
        recording = await client.create()
        ticket = await client.upload_url(recording)
        await client.put(ticket["upload_url"])
        await client.complete(recording, None)
        path = f"/recordings/{recording}/download-url"
        assert (await client.post(path, {"media_id": ticket["media_id"]})).status_code == 200
        assert (await client.post(path, {"media_id": "med_none"})).status_code == 404


async def test_the_relay_marks_a_recording_uploaded() -> None:
    """Ciphertext goes to the relay; no completion follows."""
    async with emulated() as client:
        recording = await client.create()
        answer = await client.http.post(
            f"{client.cloud.api_base}/recordings/{recording}/upload-relay",
            content=b"ciphertext",
            headers={
                "Authorization": f"Bearer {client.cloud.api_key}",
                "Content-Type": "application/octet-stream",
            },
        )
        assert answer.json()["status"] == "uploaded"
        path = client.cloud.object_path(recording)
        assert path is not None
        assert path.read_bytes() == b"ciphertext"
