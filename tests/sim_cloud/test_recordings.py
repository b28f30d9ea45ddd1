"""Recordings in the three generations: create, get, list, delete."""

from typing import Any

import pytest

from bota_gateway.sim.cloud import Paging
from support.emulated_cloud import Clock, emulated

PROFILES = ["d1", "d2", "e"]


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_created_recording_is_pending(profile: str) -> None:
    """Create answers 201 with an id, and get finds it with its metadata."""
    async with emulated(profile) as client:
        recording = await client.create("capture-9")
        found = (await client.get(f"/recordings/{recording}")).json()
        assert found["status"] == "pending"
        assert found["metadata"] == {"capture_key": "capture-9"}
        assert client.cloud.counters.creates == {"capture-9": 1}


@pytest.mark.parametrize(
    ("profile", "has", "lacks"),
    [
        ("d1", {"started_at", "duration_ms", "file_size_bytes", "uploaded_at"}, {"media", "recorded_at"}),
        ("d2", {"started_at", "duration_ms", "media"}, {"file_size_bytes", "recorded_at"}),
        ("e", {"recorded_at", "duration_seconds", "content_sha256", "content_sha256_verified_at"}, {"started_at"}),
    ],
)
async def test_each_generation_shows_its_fields(profile: str, has: set[str], lacks: set[str]) -> None:
    """A client can tell the generation by the fields of a recording."""
    async with emulated(profile) as client:
        found = (await client.get(f"/recordings/{await client.create()}")).json()
        assert has <= found.keys()
        assert not lacks & found.keys()


async def test_times_are_kept_as_they_were_given() -> None:
    """D1 derives the duration from them."""
    async with emulated("d1") as client:
        times = {"started_at": "2027-01-01T10:00:00Z", "ended_at": "2027-01-01T10:01:30Z"}
        made = (await client.post("/recordings", client.new_recording() | times)).json()
        assert (made["started_at"], made["duration_ms"]) == (times["started_at"], 90_000)


async def test_every_create_makes_a_recording() -> None:
    """Without uuid or idempotency key nothing tells a repeat from a second recording."""
    async with emulated() as client:
        assert await client.create() != await client.create()
        assert client.cloud.counters.creates == {"capture-1": 2}


async def test_uuid_and_generation_make_create_repeatable() -> None:
    """The same pair for the same device is the same recording; another generation is another one."""
    async with emulated() as client:
        body = client.new_recording() | {
            "recording_uuid": "6f1ed002-ab5f-4b6c-9d3a-0123456789ab",
            "recording_generation": 1,
        }
        first, again = [await client.post("/recordings", body) for _ in range(2)]
        other = await client.post("/recordings", body | {"recording_generation": 2})
        assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
        assert first.json()["id"] == again.json()["id"] != other.json()["id"]


@pytest.mark.parametrize(
    ("change", "status", "names"),
    [
        ({"end_user_id": None}, 400, "end_user_id"),
        ({"end_user_id": 7}, 400, "end_user_id"),
        ({"end_user_id": "eu_nobody"}, 404, "end_user_id"),
        ({"device_id": "dev_nobody"}, 404, ""),
        ({"source": "dictaphone"}, 400, "source"),
        ({"upload_method": "pigeon"}, 400, "upload_method"),
        ({"recorded_at": "yesterday"}, 400, "recorded_at"),
        ({"recorded_at": "2027-01-01T10:00:00"}, 400, "recorded_at"),
        ({"metadata": "text"}, 400, "metadata"),
        ({"recording_uuid": "nonsense"}, 400, "recording_uuid"),
        ({"recording_generation": 0}, 400, "recording_generation"),
    ],
)
async def test_a_bad_create_names_the_field(change: dict[str, Any], status: int, names: str) -> None:
    """A refused create says what was wrong and makes nothing."""
    async with emulated() as client:
        answer = await client.post("/recordings", client.new_recording() | change)
        assert answer.status_code == status
        assert answer.json()["error"].get("details", {}).get("field", "") == names
        assert not client.cloud.recordings


async def test_d1_wants_a_device_and_can_do_without_a_user() -> None:
    """A bound device speaks for its user; an unbound one can't."""
    async with emulated("d1") as client:
        assert (await client.post("/recordings", {})).status_code == 400
        made = await client.post("/recordings", {"device_id": client.device.id})
        assert made.json()["end_user_id"] == client.device.end_user_id
        stray = client.cloud.devices.register("BP000002", None)
        refused = await client.post("/recordings", {"device_id": stray.id})
        assert refused.json()["error"]["details"]["field"] == "end_user_id"


async def test_a_strict_server_refuses_fields_it_does_not_know() -> None:
    """Whether the service does is unknown, so a client must live with both."""
    body = {"recorded_at": "2027-01-01T10:00:00Z"}
    async with emulated("d1", unknown_fields="refuse", validation_status=422) as client:
        answer = await client.post("/recordings", client.new_recording() | body)
        assert answer.status_code == 422
        assert answer.json()["error"]["details"]["field"] == "recorded_at"
    async with emulated("d1") as client:
        assert (await client.post("/recordings", client.new_recording() | body)).status_code == 201


async def test_the_list_is_newest_first_and_filtered() -> None:
    """Filters are device, end user and status."""
    clock = Clock()
    async with emulated(clock=clock) as client:
        made = []
        for _ in range(3):
            made.append(await client.create())
            clock.advance(1)
        found = (await client.get(f"/recordings?device_id={client.device.id}&status=pending")).json()
        assert [row["id"] for row in found["data"]] == made[::-1]
        assert (await client.get("/recordings?status=uploaded")).json()["data"] == []
        assert (await client.get("/recordings?end_user_id=eu_other")).json()["data"] == []


async def test_recordings_of_one_instant_are_listed_last_made_first() -> None:
    """Equal times leave the order of making."""
    async with emulated() as client:
        made = [await client.create() for _ in range(3)]
        assert [row["id"] for row in (await client.get("/recordings")).json()["data"]] == made[::-1]


@pytest.mark.parametrize(("profile", "paging"), [("d1", None), ("d2", None), ("e", None), ("e", Paging.OFFSET)])
async def test_a_list_can_be_walked(profile: str, paging: Paging | None) -> None:
    """Following cursor or offset, every recording is seen once."""
    async with emulated(profile, recording_paging=paging) as client:
        made = {await client.create() for _ in range(5)}
        seen: list[str] = []
        query = ""
        while True:
            page = (await client.get(f"/recordings?limit=2{query}")).json()
            seen += [row["id"] for row in page["data"]]
            if not page["has_more"]:
                break
            query = f"&cursor={page['next_cursor']}" if "next_cursor" in page else f"&offset={len(seen)}"
        assert sorted(seen) == sorted(made)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=many", "cursor=forged", "cursor=YXQ6LTU=", "cursor=%F0%9F%90%BB"]
)
async def test_a_senseless_page_is_refused(query: str) -> None:
    """Limits are 1 to 100; a cursor must be one that was given."""
    async with emulated() as client:
        assert (await client.get(f"/recordings?{query}")).status_code == 400


async def test_delete_takes_recording_and_audio() -> None:
    """204, then 404, and the object is gone."""
    async with emulated() as client:
        recording = await client.upload()
        path = client.cloud.object_path(recording)
        assert (await client.call("DELETE", f"/recordings/{recording}")).status_code == 204
        assert (await client.get(f"/recordings/{recording}")).status_code == 404
        assert path is not None
        assert not path.exists()


async def test_another_projects_recording_does_not_exist() -> None:
    """A key sees its own project only."""
    async with emulated() as client:
        client.cloud.add_key("sk_test_other", project="proj_other")
        recording = await client.create()
        assert (await client.call("GET", f"/recordings/{recording}", key="sk_test_other")).status_code == 404
        assert (await client.call("GET", "/recordings", key="sk_test_other")).json()["data"] == []


async def test_the_status_moves_on_after_the_upload() -> None:
    """uploaded, then processing, then completed, by the emulator's clock."""
    clock = Clock()
    async with emulated("d1", clock=clock, processing_after_s=10, completed_after_s=20) as client:
        recording = await client.upload()
        await client.complete(recording)
        seen = []
        for _ in range(3):
            seen.append((await client.get(f"/recordings/{recording}")).json()["status"])
            clock.advance(10)
        assert seen == ["uploaded", "processing", "completed"]


async def test_processing_can_fail() -> None:
    """A failed recording was uploaded all the same."""
    clock = Clock()
    async with emulated(clock=clock, completed_after_s=5, processing_fails=True, verification_polls=0) as client:
        recording = await client.upload()
        await client.complete(recording)
        clock.advance(5)
        found = (await client.get(f"/recordings/{recording}")).json()
        assert found["status"] == "failed"
        assert found["content_sha256_verified_at"] is not None
