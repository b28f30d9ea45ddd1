"""Misbehaviour on command: which calls are struck, and what each fault looks like from outside."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.sim.cloud import (
    BitRot,
    CloudFaults,
    EditedAnswer,
    ErrorVariant,
    Fault,
    LateCommit,
    LostAfterCommit,
    LostBeforeCommit,
    OversizedBody,
    Redirect,
    ResetMidBody,
    S3Refusal,
    Slow,
    SlowReader,
    Stall,
    Status,
    TruncatedAnswer,
)
from support.emulated_cloud import AUDIO, Client, emulated

CREATE = "POST /recordings"


def struck(faults: CloudFaults, route: str, calls: int) -> list[int]:
    """Numbers, from 1, of the calls that a fault struck."""
    return [number for number in range(1, calls + 1) if faults.take(route, "/path") is not None]


@given(nth=st.integers(1, 20), times=st.one_of(st.none(), st.integers(1, 20)))
def test_nth_and_times_name_the_calls(nth: int, times: int | None) -> None:
    """The nth matching call and the following, as many as were asked for."""
    faults = CloudFaults(0)
    faults.add(CREATE, LostBeforeCommit(), nth=nth, times=times)
    last = 30 if times is None else min(30, nth + times - 1)
    assert struck(faults, CREATE, 30) == list(range(nth, last + 1))


@pytest.mark.parametrize(
    ("pattern", "route", "hit"),
    [
        ("POST /recordings", "POST /recordings", True),
        ("POST /recordings", "POST /recordings/{id}/upload-url", False),
        ("POST /recordings/*", "POST /recordings/{id}/upload-url", True),
        ("* /recordings*", "GET /recordings", True),
        ("PUT s3", "PUT s3", True),
        ("*", "PUT s3", True),
        ("*", "GET /devices", True),
    ],
)
def test_routes_are_matched_with_wildcards(pattern: str, route: str, hit: bool) -> None:
    """A rule's route is a pattern over ``METHOD template``."""
    faults = CloudFaults(0)
    faults.add(pattern, LostBeforeCommit())
    assert (faults.take(route, "/") is not None) is hit


def test_a_rule_may_aim_at_one_recording() -> None:
    """Other paths are neither struck nor counted."""
    faults = CloudFaults(0)
    rule = faults.add("PUT s3", BitRot(), target="rec_A", nth=2)
    paths = ["/b/rec_A/audio", "/b/rec_B/audio", "/b/rec_A/audio", "/b/rec_A/audio"]
    assert [faults.take("PUT s3", path) is not None for path in paths] == [False, False, True, False]
    assert faults.fired(rule) == 1


def test_chance_is_the_seeds() -> None:
    """The same seed strikes the same calls; another seed others; both about as often as told."""

    def run(seed: int) -> list[int]:
        faults = CloudFaults(seed)
        faults.add(CREATE, LostBeforeCommit(), times=None, chance=0.3)
        return struck(faults, CREATE, 1000)

    assert run(5) == run(5) != run(6)
    assert 230 <= len(run(5)) <= 370


def test_the_first_of_two_rules_wins_and_both_count() -> None:
    """``nth`` of a second rule means the same call with or without the first."""
    faults = CloudFaults(0)
    first = faults.add(CREATE, LostBeforeCommit(), times=2)
    second = faults.add(CREATE, Redirect(), nth=3)
    kinds = [fault.kind if (fault := faults.take(CREATE, "/")) else None for _ in range(4)]
    assert kinds == ["lost_before_commit", "lost_before_commit", "redirect", None]
    assert (faults.fired(first), faults.fired(second)) == (2, 1)


def test_clearing_ends_all_misbehaviour() -> None:
    """After clear nothing is struck."""
    faults = CloudFaults(0)
    faults.add("*", LostBeforeCommit(), times=None)
    faults.clear()
    assert struck(faults, CREATE, 3) == []


def test_one_rule_can_be_disarmed() -> None:
    """It strikes no more, says how often it did, and leaves the others armed."""
    faults = CloudFaults(0)
    first, other = (faults.add(CREATE, LostBeforeCommit(), times=None) for _ in range(2))
    assert struck(faults, CREATE, 3) == [1, 2, 3]
    assert faults.disarm(first) == 3
    assert struck(faults, CREATE, 2) == [1, 2]
    assert faults.fired(other) == 2


async def lost(client: Client) -> None:
    with pytest.raises(httpx.TransportError):
        await client.create()


async def test_lost_before_commit_did_nothing() -> None:
    """The connection breaks and no recording exists."""
    async with emulated() as client:
        client.cloud.faults.add(CREATE, LostBeforeCommit())
        await lost(client)
        assert not client.cloud.recordings


async def test_lost_after_commit_did_everything() -> None:
    """The connection breaks in the same way, and the recording exists."""
    async with emulated() as client:
        client.cloud.faults.add(CREATE, LostAfterCommit())
        await lost(client)
        assert len(client.cloud.recordings) == 1


async def test_late_commit_comes_after_the_loss() -> None:
    """Right after the break there is nothing; a moment later there is."""
    async with emulated() as client:
        client.cloud.faults.add(CREATE, LateCommit(delay_s=0.2))
        await lost(client)
        assert not client.cloud.recordings
        async with asyncio.timeout(5):
            while not client.cloud.recordings:
                await client.http.get(f"{client.cloud.control_base}/state")


async def test_a_put_whose_answer_was_lost_is_stored() -> None:
    """S3 has the object although the client saw a broken connection."""
    async with emulated() as client:
        recording = await client.create()
        client.cloud.faults.add("PUT s3", LostAfterCommit())
        with pytest.raises(httpx.TransportError):
            await client.put((await client.upload_url(recording))["upload_url"])
        path = client.cloud.object_path(recording)
        assert path is not None
        assert path.read_bytes() == AUDIO


@pytest.mark.parametrize("after_commit", [False, True])
async def test_a_status_may_come_with_or_without_the_deed(after_commit: bool) -> None:
    """A 500 leaves a client in doubt because both exist."""
    async with emulated() as client:
        client.cloud.faults.add(CREATE, Status(status=500, code="boom", after_commit=after_commit))
        answer = await client.post("/recordings", client.new_recording())
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "boom")
        assert len(client.cloud.recordings) == after_commit


async def test_a_status_has_its_own_envelope() -> None:
    """One rule may speak in another shape than the rest."""
    async with emulated() as client:
        client.cloud.faults.add("GET /devices", Status(status=409, message="no", variant=ErrorVariant.STRING))
        assert (await client.get("/devices")).json() == {"error": "no"}


@pytest.mark.parametrize(
    ("fault", "content_type", "body"),
    [
        (Status(status=502, body="html"), "text/html", b"<html>"),
        (Status(status=502, body="empty"), "application/octet-stream", b""),
        (Status(status=200, body="rubbish"), "application/json", b'{"error": {"code": '),
    ],
)
async def test_bodies_that_are_no_envelope(fault: Status, content_type: str, body: bytes) -> None:
    """What proxies and broken servers say."""
    async with emulated() as client:
        client.cloud.faults.add("GET /devices", fault)
        answer = await client.get("/devices")
        assert (answer.status_code, answer.headers["Content-Type"]) == (fault.status, content_type)
        assert answer.content.startswith(body)


async def test_a_429_can_say_when_to_come_back() -> None:
    """Seconds or a date, as the rule says."""
    async with emulated() as client:
        client.cloud.faults.add("GET /devices", Status(status=429, retry_after="Fri, 15 Jan 2027 08:00:07 GMT"))
        assert (await client.get("/devices")).headers["Retry-After"] == "Fri, 15 Jan 2027 08:00:07 GMT"


async def test_a_slow_answer_is_late_and_right() -> None:
    """The deed is done at once, the answer comes after the delay."""
    async with emulated() as client:
        client.cloud.faults.add(CREATE, Slow(delay_s=0.2))
        began = asyncio.get_running_loop().time()
        await client.create()
        assert asyncio.get_running_loop().time() - began >= 0.2


@pytest.mark.parametrize("after_commit", [False, True])
async def test_a_stall_lasts_until_somebody_gives_up(after_commit: bool) -> None:
    """The client's time-out ends it for the client, the emulator's end for the emulator."""
    async with emulated() as client:
        client.cloud.faults.add(CREATE, Stall(after_commit=after_commit))
        with pytest.raises(httpx.ReadTimeout):
            await client.http.post(
                f"{client.cloud.api_base}/recordings",
                json=client.new_recording(),
                headers={"Authorization": f"Bearer {client.cloud.api_key}"},
                timeout=0.2,
            )
        assert len(client.cloud.recordings) == after_commit


async def test_a_redirect_names_another_place() -> None:
    """At the API and at S3, and nothing is done."""
    async with emulated() as client:
        url = (await client.upload_url(await client.create()))["upload_url"]
        client.cloud.faults.add("*", Redirect(location="http://elsewhere/", status=307), times=2)
        for answer in (await client.put(url), await client.get("/devices")):
            assert (answer.status_code, answer.headers["Location"]) == (307, "http://elsewhere/")
        assert not client.cloud.counters.stored


async def test_an_oversized_body_is_still_json() -> None:
    """Only its size is wrong."""
    async with emulated() as client:
        client.cloud.faults.add("GET /devices", OversizedBody(extra_bytes=3_000_000))
        answer = await client.get("/devices")
        assert len(answer.content) > 3_000_000
        assert answer.json()["data"]


async def test_a_truncated_answer_breaks_off() -> None:
    """The head promises more than comes; the call was carried out."""
    async with emulated() as client:
        client.cloud.faults.add(CREATE, TruncatedAnswer(keep_bytes=20))
        with pytest.raises(httpx.RemoteProtocolError):
            await client.create()
        assert len(client.cloud.recordings) == 1


async def test_an_edited_answer_lacks_what_was_removed() -> None:
    """A verified completion without its hash fields, and with another status."""
    async with emulated(verification_polls=0) as client:
        recording = await client.upload()
        gone = ("content_sha256", "content_sha256_verified_at")
        edited = EditedAnswer(remove=gone, replace={"status": "processing"})
        client.cloud.faults.add("POST /recordings/{id}/upload-complete", edited)
        answer = (await client.complete(recording)).json()
        assert answer["status"] == "processing"
        assert not answer.keys() & set(gone)
        assert client.cloud.recordings[recording].verified_at is not None


async def test_a_refusal_may_be_cut_off() -> None:
    """S3 answers and resets while the body is still coming: the status can be lost to the client."""
    async with emulated() as client:
        recording = await client.create()
        url = (await client.upload_url(recording))["upload_url"]
        client.cloud.faults.add("PUT s3", S3Refusal(refusal="slow_down", close=True))
        with suppress(httpx.TransportError):
            assert (await client.put(url, bytes(32 << 20))).status_code == 503
        assert client.cloud.object_path(recording) is None


EVERY_FAULT: Sequence[Fault] = [
    LostBeforeCommit(),
    LostAfterCommit(),
    Status(status=503),
    Redirect(),
    OversizedBody(extra_bytes=10),
    TruncatedAnswer(),
    EditedAnswer(remove=("id",)),
    S3Refusal(refusal="internal"),
    ResetMidBody(after_bytes=1),
    BitRot(),
    SlowReader(bytes_per_s=10_000_000),
    Slow(delay_s=0.01),
]


@pytest.mark.parametrize("fault", EVERY_FAULT, ids=lambda fault: fault.kind)
@pytest.mark.parametrize("route", [CREATE, "GET /devices", "PUT s3", "POST /recordings/{id}/upload-complete"])
async def test_after_any_fault_anywhere_the_cloud_serves_again(route: str, fault: Fault) -> None:
    """A fault is over when it is over: the whole cycle works afterwards."""
    async with emulated(verification_polls=0) as client:
        client.cloud.faults.add(route, fault)
        for attempt in ("capture-1", "capture-2"):
            try:
                await client.get("/devices")
                recording = await client.upload(attempt)
                await client.complete(recording)
            except (httpx.TransportError, AssertionError, KeyError):
                continue
        client.cloud.faults.clear()
        answer = await client.complete(await client.upload("capture-3"))
        assert answer.status_code == 200
