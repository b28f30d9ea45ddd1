"""Calls to the API as they go over the wire, and answers as odd as they come."""

import asyncio
import logging
from typing import Any

import pytest

from bota_gateway.cloud import CloudDevice, Completed, Verifying
from bota_gateway.cloud.contracts import D1, D2, E
from bota_gateway.errors import (
    CloudError,
    CloudProtocolError,
    CloudRefusedError,
    CloudUnreachableError,
)
from support.odd_api import DEVICE, KEY, RECORDING, api_to
from support.odd_server import RESET, answer, odd_server
from support.virtual_time import virtual_time

SHA = "ab" * 32


async def test_a_call_carries_the_key_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """Bearer, identity encoding, no cookies even after the server set one; and nothing of it reaches a log."""
    caplog.set_level(logging.DEBUG)
    async with odd_server(answer(200, DEVICE, Set_Cookie="session=1; Path=/")) as odd, api_to(odd) as api:
        assert await api.device("dev_1") == CloudDevice("dev_1", "BP1", True, "eu_1", 3, deleted=False)
        await api.device("dev_1")
        first, second = odd.received
    assert first.target == "/v1/devices/dev_1"
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.headers["accept-encoding"] == "identity"
    assert "cookie" not in second.headers
    assert KEY not in caplog.text
    assert "HTTP Request" not in caplog.text


async def test_environment_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable meant for something else sees neither key nor audio."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with odd_server(answer(200, DEVICE)) as odd, api_to(odd) as api:
        assert (await api.device("dev_1")).id == "dev_1"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "cloud_invalid_request"),
        (401, "cloud_unauthorized"),
        (403, "cloud_forbidden"),
        (404, "cloud_not_found"),
        (409, "cloud_conflict"),
        (413, "cloud_too_large"),
        (418, "cloud_refused"),
        (422, "cloud_invalid_request"),
        (425, "cloud_refused"),
        (429, "cloud_rate_limited"),
        (500, "cloud_server_error"),
        (503, "cloud_server_error"),
    ],
)
@pytest.mark.parametrize(
    ("body", "body_code"),
    [
        ({"error": {"code": "some_code", "message": "text", "details": {"field": "recorded_at"}}}, "some_code"),
        ({"error": {"code": "some_code", "message": "text", "param": "recorded_at", "request_id": "r"}}, "some_code"),
        ({"error": {"type": "some_code", "message": "recorded_at is odd"}}, "some_code"),
        ({"error": "recorded_at is odd"}, None),
        ({"message": "recorded_at is odd"}, None),
    ],
)
async def test_every_shape_of_refusal_is_understood(
    status: int, code: str, body: dict[str, Any], body_code: str | None
) -> None:
    """Status decides the code; the body gives its own code and the field it names, and is not quoted."""
    async with odd_server(answer(status, body)) as odd, api_to(odd) as api:
        with pytest.raises(CloudRefusedError) as caught:
            await api.device("dev_1")
    error = caught.value
    assert (error.status, error.error_code, error.body_code) == (status, code, body_code)
    assert error.fields == {"recorded_at"}
    assert "odd" not in str(error)
    assert error.next_step


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Bad gateway</html>", b"{", b"[]", b"null", b'{"error": null}', b"[" * 100_000, b"\xff\xfe", b'"x"'],
)
@pytest.mark.parametrize("status", [400, 502])
async def test_bodies_that_say_nothing_are_survived(status: int, body: bytes) -> None:
    """Empty, not JSON, no object: the status still counts."""
    async with odd_server(answer(status, raw=body)) as odd, api_to(odd) as api:
        with pytest.raises(CloudRefusedError) as caught:
            await api.device("dev_1")
    assert caught.value.status == status
    assert caught.value.body_code is None


@pytest.mark.parametrize("code", ["sk_live_x" * 20, "a b", "x\n2026 error", {"a": 1}, 7])
async def test_a_hostile_code_is_not_repeated(code: object) -> None:
    """What goes into messages is a short word or nothing."""
    async with odd_server(answer(400, {"error": {"code": code, "message": "m"}})) as odd, api_to(odd) as api:
        with pytest.raises(CloudRefusedError) as caught:
            await api.device("dev_1")
    assert caught.value.body_code is None
    assert str(code) not in caught.value.message


@pytest.mark.parametrize("body", [b"", b"<html>login</html>", b"[]", b"{", b'{"id": 7}', b'{"id": "../x"}', b"{}"])
async def test_a_success_that_is_none_is_a_protocol_error(body: bytes) -> None:
    """200 with anything but the object is no answer."""
    async with odd_server(answer(200, raw=body)) as odd, api_to(odd) as api:
        with pytest.raises(CloudProtocolError):
            await api.device("dev_1")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """Neither the key nor the body goes elsewhere."""
    async with odd_server(answer(200, RECORDING)) as elsewhere:
        async with odd_server(answer(status, Location=f"{elsewhere.base}/recordings")) as odd, api_to(odd) as api:
            with pytest.raises(CloudProtocolError) as caught:
                await api.create({}, idempotency_key="k")
        assert caught.value.error_code == "cloud_redirected"
        assert not elsewhere.received


async def test_an_answer_is_read_up_to_a_size() -> None:
    """A body of 100 MB costs 4 MB."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\nConnection: close\r\n\r\n"
    async with odd_server(head + b" " * 6_000_000) as odd, api_to(odd) as api:
        with pytest.raises(CloudProtocolError) as caught:
            await api.device("dev_1")
    assert caught.value.error_code == "cloud_answer_too_large"


async def test_an_unasked_encoding_is_refused() -> None:
    """A small compressed answer can unpack to any size."""
    async with odd_server(answer(200, raw=b"\x1f\x8b", Content_Encoding="gzip")) as odd, api_to(odd) as api:
        with pytest.raises(CloudProtocolError):
            await api.device("dev_1")


@pytest.mark.parametrize(
    "bad",
    [
        RESET,
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\n{",
        b"SSH-2.0-OpenSSH\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Header\x00: sk_test_x\r\nConnection: close\r\n\r\n",
    ],
)
async def test_a_broken_connection_is_no_answer(bad: bytes) -> None:
    """Reset, cut, not HTTP: the outcome of a write is unknown."""
    async with odd_server(bad) as odd, api_to(odd) as api:
        with pytest.raises(CloudUnreachableError) as caught:
            await api.create({}, idempotency_key="k")
    assert caught.value.error_code == "cloud_connection_lost"


async def test_no_connection_is_told_apart() -> None:
    """Where nothing was sent nothing can have happened."""
    async with odd_server(answer()) as odd:
        pass
    async with api_to(odd) as api:
        with pytest.raises(CloudUnreachableError) as caught:
            await api.create({}, idempotency_key="k")
    assert caught.value.error_code == "cloud_no_connection"


@virtual_time
async def test_a_call_ends_in_time() -> None:
    """A server that says nothing, and one that trickles, end the call alike."""
    async with odd_server(answer(200, DEVICE)) as odd, api_to(odd) as api:
        odd.hold = asyncio.Event()
        with pytest.raises(CloudUnreachableError) as caught:
            await api.device("dev_1")
    assert caught.value.error_code == "cloud_timeout"


async def test_no_error_shows_what_must_not_be_shown() -> None:
    """Neither key, nor body, nor identifier in a path stands in any error's text or cause."""
    seen: list[BaseException] = []
    body = {"error": {"code": "c", "message": f"your key {KEY} and https://s3/x?X-Amz-Signature=abc"}}
    for odd_answer in (answer(400, body), answer(200, raw=b"x" + KEY.encode()), RESET, answer(401, body)):
        async with odd_server(odd_answer) as odd, api_to(odd) as api:
            with pytest.raises(CloudError) as caught:
                await api.complete("rec_private", contract=E, sha256=SHA)
        error: BaseException | None = caught.value
        while error is not None:
            seen.append(error)
            error = error.__cause__
    for error in seen:
        for secret in (KEY, "X-Amz", "rec_private", SHA):
            assert secret not in repr(error) + str(error)


async def test_idle_answers_hide_what_they_hold() -> None:
    """The repr of an upload ticket has neither URL nor headers."""
    url = {"upload_url": "https://b.s3.amazonaws.com/k?X-Amz-Signature=abc", "content_type": "audio/ogg"}
    async with odd_server(answer(200, url)) as odd, api_to(odd) as api:
        ticket = await api.upload_url("rec_1", contract=E, content_type="audio/ogg", size_bytes=5)
    assert "X-Amz" not in repr(ticket)


@pytest.mark.parametrize(
    ("contract", "sent"),
    [
        (D1, {"content_type": "audio/ogg", "file_size_bytes": 5}),
        (D2, {"type": "audio", "content_type": "audio/ogg", "file_size_bytes": 5}),
        (E, {"content_type": "audio/ogg", "file_size_bytes": 5}),
    ],
)
async def test_upload_url_is_asked_as_the_generation_wants(contract: Any, sent: dict[str, Any]) -> None:
    """D2 needs the type of file, the others do not know the field."""
    async with odd_server(answer(200, {"upload_url": "https://b.s3.amazonaws.com/k"})) as odd, api_to(odd) as api:
        await api.upload_url("rec_1", contract=contract, content_type="audio/ogg", size_bytes=5)
    assert odd.received[0].json() == sent
    assert odd.received[0].target == "/v1/recordings/rec_1/upload-url"


@pytest.mark.parametrize(
    ("given", "headers"),
    [
        ({"headers": {"Content-Type": "audio/opus", "x-amz-acl": "private"}}, "as given"),
        ({"headers": {"content-type": "audio/opus"}, "content_type": "audio/wav"}, "as given"),
        ({"content_type": "audio/opus"}, {"Content-Type": "audio/opus"}),
        ({}, {"Content-Type": "audio/ogg"}),
        ({"headers": {}}, {"Content-Type": "audio/ogg"}),
        ({"headers": {"x-amz-acl": "private"}}, {"x-amz-acl": "private", "Content-Type": "audio/ogg"}),
        ({"headers": {"Content-Length": "5", "Host": "x", "content-type": "a/b"}}, {"content-type": "a/b"}),
    ],
)
async def test_headers_of_the_put_come_from_the_answer(given: dict[str, Any], headers: Any) -> None:
    """Its headers if it has any, else its content type, else the one asked for; framing is ours."""
    body = {"upload_url": "https://b.s3.amazonaws.com/k"} | given
    async with odd_server(answer(200, body)) as odd, api_to(odd) as api:
        ticket = await api.upload_url("rec_1", contract=E, content_type="audio/ogg", size_bytes=5)
    assert dict(ticket.headers) == (given["headers"] if headers == "as given" else headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer x"},
        {"cookie": "a=b"},
        {"X": "a\r\nHost: evil"},
        {"X Y": "a"},
        {"X": 7},
        {f"X-{number}": "a" for number in range(40)},
    ],
)
async def test_headers_that_no_put_may_carry_are_refused(headers: dict[str, Any]) -> None:
    """An answer can't make the gateway send credentials, or split a request."""
    async with odd_server(answer(200, {"upload_url": "https://x/k", "headers": headers})) as odd, api_to(odd) as api:
        with pytest.raises(CloudProtocolError):
            await api.upload_url("rec_1", contract=E, content_type="audio/ogg", size_bytes=5)


async def test_completion_is_asked_with_the_digest_alone() -> None:
    """E takes the digest; the older ones take no body at all; 425 is an answer and no error."""
    done = RECORDING | {
        "status": "uploaded",
        "content_sha256": SHA,
        "content_sha256_verified_at": "2026-10-01T00:00:00Z",
    }
    async with odd_server(answer(425, {"error": "not yet"}), answer(200, done)) as odd, api_to(odd) as api:
        assert isinstance(await api.complete("rec_1", contract=E, sha256=SHA), Verifying)
        completed = await api.complete("rec_1", contract=D1, sha256=SHA)
    assert odd.received[0].json() == {"content_sha256": SHA}
    assert odd.received[1].body == b""
    assert isinstance(completed, Completed)
    assert completed.recording.proves(SHA)
    assert not completed.recording.proves("cd" * 32)


@pytest.mark.parametrize("identifier", ["", "a/b", "../x", "a?b", "a%2Fb", "a b", "x" * 200])
async def test_an_identifier_can_t_lead_elsewhere(identifier: str) -> None:
    """What stands in a path is letters, digits, dash and underscore."""
    async with odd_server(answer(200, DEVICE)) as odd, api_to(odd) as api:
        with pytest.raises(CloudProtocolError):
            await api.device(identifier)
    assert not odd.received


async def test_the_server_s_clock_is_learned() -> None:
    """From the Date header, whatever the hub's clock says; an unreadable one changes nothing."""
    async with (
        odd_server(
            answer(200, DEVICE, Date="Thu, 01 Oct 2026 00:00:00 GMT"),
            answer(200, DEVICE, Date="yesterday"),
        ) as odd,
        api_to(odd) as api,
    ):
        assert api.clock.now() == 1_800_000_000.0
        assert not api.clock.known
        await api.device("dev_1")
        assert abs(api.clock.now() - 1_790_812_800) < 5
        assert api.clock.offset_s < -9_000_000
        await api.device("dev_1")
        assert abs(api.clock.now() - 1_790_812_800) < 5
