"""Steering and inspecting the emulator from another process, and its memory between lives."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from bota_gateway.sim.cloud import CloudOptions, EmulatedCloud
from support.emulated_cloud import AUDIO, SERIAL, Client, Clock, emulated, sha256


async def control(client: Client, method: str, path: str, body: Any = None) -> httpx.Response:
    return await client.http.request(method, client.cloud.control_base + path, json=body)


async def test_a_rule_is_armed_over_http() -> None:
    """The same words as in Python; the report says when it struck; DELETE ends it."""
    async with emulated() as client:
        rule = {"route": "GET /devices", "fault": {"kind": "status", "status": 503}, "times": 2}
        assert (await control(client, "POST", "/faults", rule)).status_code == 201
        assert (await client.get("/devices")).status_code == 503
        (report,) = (await control(client, "GET", "/faults")).json()
        assert (report["fault"]["kind"], report["matched"], report["fired"]) == ("status", 1, 1)
        assert (await control(client, "DELETE", "/faults")).status_code == 204
        assert (await client.get("/devices")).status_code == 200


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"route": "GET /devices", "fault": {"kind": "gremlin"}},
        {"route": "GET /devices", "fault": {"kind": "status", "status": 700}},
        {"route": "GET /devices", "fault": {"kind": "lost_before_commit"}, "nth": 0},
        {"route": "GET /devices", "fault": {"kind": "lost_before_commit"}, "often": True},
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, Any]) -> None:
    """400 with what is wrong, and nothing is armed."""
    async with emulated() as client:
        answer = await control(client, "POST", "/faults", rule)
        assert answer.status_code == 400
        assert answer.text
        assert (await control(client, "GET", "/faults")).json() == []


async def test_recorders_are_registered_and_bound_over_http() -> None:
    """A process-level test needs no Python object of ours."""
    async with emulated() as client:
        made = (await control(client, "POST", "/devices", {"serial": "BP000042", "end_user": None})).json()
        assert (await client.get(f"/devices/{made['id']}")).json()["status"] == "unbound"
        await control(client, "POST", "/devices/bind", {"serial": "BP000042", "end_user": "eu_someone"})
        assert (await client.get(f"/devices/{made['id']}")).json()["end_user_id"] == "eu_someone"
        await control(client, "POST", "/devices/bind", {"serial": "BP000042", "end_user": None})
        assert (await client.get(f"/devices/{made['id']}")).json()["status"] == "unbound"
        assert (await control(client, "POST", "/devices/bind", {"serial": "nobody"})).status_code == 404


async def test_state_tells_what_is_stored() -> None:
    """Objects with the digest of what is on disk, and recordings that were never completed."""
    async with emulated() as client:
        recording = await client.upload()
        state = (await control(client, "GET", "/state")).json()
        assert [stored["sha256"] for stored in state["objects"]] == [sha256(AUDIO)]
        assert state["orphans"] == [recording]
        assert client.cloud.api_key not in str(state)


async def test_counters_are_told_over_http() -> None:
    """The same figures as in Python."""
    async with emulated() as client:
        recording = await client.upload("capture-5")
        told = (await control(client, "GET", "/counters")).json()
        assert told["creates"] == {"capture-5": 1}
        assert told["puts"] == told["stored"] == {recording: 1}
        assert told["statuses"]["PUT s3 200"] == 1


async def test_steering_is_no_part_of_the_api() -> None:
    """It is neither under /v1 nor counted nor limited."""
    async with emulated(requests_per_minute=1) as client:
        for _ in range(3):
            assert (await control(client, "GET", "/state")).status_code == 200
        assert not client.cloud.counters.calls
        assert (await client.get("/_sim/state")).status_code == 404


async def test_a_restarted_emulator_remembers(tmp_path: Path) -> None:
    """Key, devices, recordings and objects survive; an upload begun before is completed after."""
    async with emulated(directory=tmp_path, seed=1, verification_polls=0) as client:
        key, device = client.cloud.api_key, client.device.id
        recording = await client.upload()
    async with emulated(directory=tmp_path, seed=2, verification_polls=0) as client:
        assert client.cloud.api_key == key
        assert (await client.get(f"/devices/{device}")).json()["serial_number"] == SERIAL
        assert (await client.complete(recording)).json()["content_sha256"] == sha256(AUDIO)


async def test_a_restarted_emulator_makes_new_ids(tmp_path: Path) -> None:
    """One seed for both lives, and still no recording takes another's place."""
    made = set()
    for _ in range(3):
        async with emulated(directory=tmp_path, seed=1) as client:
            made.add(await client.create())
    assert len(made) == 3


async def test_a_key_that_was_chosen_outranks_the_remembered_one(tmp_path: Path) -> None:
    """Both are accepted."""
    async with emulated(directory=tmp_path) as client:
        remembered = client.cloud.api_key
    async with emulated(directory=tmp_path, api_key="sk_test_chosen") as client:
        assert client.cloud.api_key == "sk_test_chosen"
        assert (await client.call("GET", "/devices", key=remembered)).status_code == 200


async def test_state_is_saved_while_it_runs(tmp_path: Path) -> None:
    """A killed emulator has what it answered for: the file is written before the answer goes out."""
    options = CloudOptions(directory=tmp_path)
    async with emulated(directory=tmp_path) as client:
        recording = await client.upload()
        async with EmulatedCloud(options=options, now=Clock()) as other:
            assert recording in other.recordings
            assert other.object_path(recording) is not None


async def test_a_directory_with_foreign_state_is_refused(tmp_path: Path) -> None:
    """Better no emulator than one that overwrites somebody's file."""
    (tmp_path / "state.json").write_text('{"something": "else"}')
    with pytest.raises(ValidationError):
        async with EmulatedCloud(options=CloudOptions(directory=tmp_path)):
            pass
    assert (tmp_path / "state.json").read_text() == '{"something": "else"}'


async def test_ports_can_be_kept(tmp_path: Path) -> None:
    """A restarted emulator answers at its old addresses."""
    async with emulated() as client:
        api_port, s3_port = httpx.URL(client.cloud.api_base).port, int(client.cloud.s3_host.partition(":")[2])
    async with emulated(api_port=api_port, s3_port=s3_port) as client:
        assert httpx.URL(client.cloud.api_base).port == api_port
        assert (await client.put((await client.upload_url(await client.create()))["upload_url"])).status_code == 200
