"""The PUT as it goes over the wire, and what its answers mean."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.cloud import BotaApi, PutKind, UploadTicket
from bota_gateway.cloud.hygiene import UrlRefusedError, checked_target
from bota_gateway.cloud.s3 import still_good
from support.odd_api import HUB_TIME, KEY, api_to
from support.odd_server import RESET, OddServer, answer, odd_server
from support.virtual_time import virtual_time

AWKWARD = "/b/a%2Fb/~c%7e+d%20e!*'();:@&=$,[]?X-Amz-Credential=A%2FB&x=%2f%2F+%20&empty=&flag&sig=a%2Bb/c=='!()*[]|^`{}"


def signed_at(when: float) -> str:
    """A time as a presigned URL has it."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y%m%dT%H%M%SZ")


def ticket(odd: OddServer, target: str = "/k?x=1", **headers: str) -> UploadTicket:
    """For a PUT to the odd server."""
    return UploadTicket(f"http://{odd.host}{target}", headers or {"Content-Type": "audio/ogg"}, None)


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """A body."""
    for part in parts:
        yield part


async def put(api: BotaApi, where: UploadTicket) -> Any:
    """Ten bytes."""
    return await api.put(where, pieces(b"OggS1", b"23456"), 10)


async def test_a_put_is_exactly_what_was_signed() -> None:
    """Length given, body whole, type as told; no credentials, no cookies, no chunks, nothing of Amazon's."""
    async with odd_server(answer(200, Set_Cookie="a=b")) as odd, api_to(odd) as api:
        for _ in range(2):
            outcome = await put(api, ticket(odd))
            assert outcome.kind is PutKind.STORED
    for received in odd.received:
        assert received.method == "PUT"
        assert received.body == b"OggS123456"
        assert received.headers["content-length"] == "10"
        assert received.headers["content-type"] == "audio/ogg"
        assert received.headers["host"] == odd.host
        assert not {"authorization", "cookie", "transfer-encoding", "expect"} & set(received.headers)
        assert not [name for name in received.headers if name.startswith("x-amz")]
        assert KEY not in str(received)


async def test_the_url_is_sent_byte_for_byte() -> None:
    """Path and query reach S3 as they were signed, however odd: any re-encoding would void the signature."""
    async with odd_server(answer(200)) as odd, api_to(odd) as api:
        assert (await put(api, ticket(odd, AWKWARD))).kind is PutKind.STORED
    assert odd.received[0].target == AWKWARD


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=200))
def test_no_target_is_changed(rest: str) -> None:
    """Whatever printable characters follow the host, they are taken as they are, or not at all."""
    try:
        target = checked_target(f"https://b.s3.amazonaws.com/{rest}", ("*.amazonaws.com",))
    except UrlRefusedError:
        return
    assert target.raw == f"/{rest}".encode()


@pytest.mark.parametrize(
    ("url", "hosts", "allowed"),
    [
        ("https://b.s3.amazonaws.com/k", ("*.amazonaws.com",), True),
        ("https://b.s3.amazonaws.com:443/k", ("*.amazonaws.com",), True),
        ("https://B.S3.AmazonAWS.com/k", ("*.amazonaws.com",), True),
        ("https://b.s3.amazonaws.com/k", ("*.AMAZONAWS.com",), True),
        ("https://amazonaws.com/k", ("*.amazonaws.com",), False),
        ("https://evilamazonaws.com/k", ("*.amazonaws.com",), False),
        ("https://b.s3.amazonaws.com.evil.example/k", ("*.amazonaws.com",), False),
        ("https://b.s3.amazonaws.com:8443/k", ("*.amazonaws.com",), False),
        ("https://b.s3.amazonaws.com:8443/k", ("*.amazonaws.com:8443",), True),
        ("https://b.s3.amazonaws.com/k", ("*.amazonaws.com:8443",), False),
        ("https://s3.example/k", ("s3.example",), True),
        ("https://a.s3.example/k", ("s3.example",), False),
        ("https://s3.example:9000/k", ("s3.example:9000", "other"), True),
        ("http://127.0.0.1:9000/k", ("127.0.0.1:9000",), True),
        ("http://[::1]:9000/k", ("[::1]:9000",), True),
        ("http://127.0.0.1:9000/k", ("127.0.0.1",), False),
        ("http://s3.example/k", ("s3.example",), False),
        ("https://user@s3.example/k", ("s3.example",), False),
        ("https://s3.example@evil.example/k", ("s3.example",), False),
        ("https://s3.example\\@evil.example/k", ("s3.example",), False),
        ("https://evil.example#@s3.example/k", ("s3.example",), False),
        ("https://s3.example/k#x", ("s3.example",), False),
        ("https://s3.example/k k", ("s3.example",), False),
        ("https://s3.example/k\r\nHost: evil", ("s3.example",), False),
        ("https://s3.example:x/k", ("s3.example",), False),
        ("https:///k", ("",), False),
        ("file:///etc/passwd", ("",), False),
        ("https://s3.example/" + "k" * 9000, ("s3.example",), False),
        ("", ("*",), False),
    ],
)
def test_only_allowed_hosts_get_audio(url: str, hosts: tuple[str, ...], allowed: bool) -> None:
    """An answer can't send a recording to where the operator did not allow."""
    if allowed:
        assert "/k" not in repr(checked_target(url, hosts))
        return
    with pytest.raises(UrlRefusedError) as caught:
        checked_target(url, hosts)
    assert "/k" not in str(caught.value)


def s3_error(status: int, code: str, message: str = "m") -> bytes:
    """As S3 writes it."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return answer(status, raw=body.encode())


@pytest.mark.parametrize(
    ("says", "kind", "code"),
    [
        (answer(200), PutKind.STORED, "s3_stored"),
        (answer(204), PutKind.STORED, "s3_stored"),
        (s3_error(403, "AccessDenied", "Request has expired"), PutKind.EXPIRED, "cloud_url_expired"),
        (s3_error(400, "ExpiredToken"), PutKind.EXPIRED, "cloud_url_expired"),
        (s3_error(403, "RequestTimeTooSkewed"), PutKind.EXPIRED, "cloud_url_expired"),
        (s3_error(403, "AccessDenied", "Access Denied"), PutKind.RENEW, "s3_refused"),
        (s3_error(403, "SignatureDoesNotMatch"), PutKind.RENEW, "s3_signature_refused"),
        (answer(403), PutKind.RENEW, "s3_refused"),
        (answer(307, Location="https://x/"), PutKind.RENEW, "s3_redirected"),
        (s3_error(400, "EntityTooLarge"), PutKind.REFUSED, "s3_too_large"),
        (answer(413), PutKind.REFUSED, "s3_too_large"),
        (s3_error(404, "NoSuchBucket"), PutKind.REFUSED, "s3_no_bucket"),
        (s3_error(411, "MissingContentLength"), PutKind.RETRY, "s3_unavailable"),
        (s3_error(400, "IncompleteBody"), PutKind.RETRY, "s3_unavailable"),
        (s3_error(400, "BadDigest"), PutKind.RETRY, "s3_unavailable"),
        (s3_error(400, "RequestTimeout"), PutKind.RETRY, "s3_unavailable"),
        (s3_error(503, "SlowDown"), PutKind.RETRY, "s3_unavailable"),
        (s3_error(500, "InternalError"), PutKind.RETRY, "s3_unavailable"),
        (answer(429), PutKind.RETRY, "s3_unavailable"),
        (answer(503, raw=b"<" * 1_000), PutKind.RETRY, "s3_unavailable"),
        (answer(503, raw=b"<" * 100_000), PutKind.UNKNOWN, "cloud_answer_too_large"),
        (RESET, PutKind.UNKNOWN, "cloud_connection_lost"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
            PutKind.UNKNOWN,
            "cloud_connection_lost",
        ),
    ],
)
async def test_every_answer_says_what_to_do_next(says: bytes, kind: PutKind, code: str) -> None:
    """Outcome classes by status and by the code in the error document, which is read up to a size."""
    async with odd_server(says) as odd, api_to(odd) as api:
        outcome = await put(api, ticket(odd, "/k?X-Amz-Signature=secret"))
    assert (outcome.kind, outcome.code) == (kind, code)
    assert "secret" not in repr(outcome)


async def test_s3_says_how_long_to_wait() -> None:
    """Retry-After is passed on as far as it makes sense: a wrong one must not stop a recording for a year."""
    said: dict[str, float | None] = {"7": 7, "soon": None, "31536000": 900}
    async with odd_server(*(answer(503, Retry_After=one) for one in said)) as odd, api_to(odd) as api:
        for seconds in said.values():
            assert (await put(api, ticket(odd))).retry_after_s == seconds


async def test_no_connection_leaves_the_url_good() -> None:
    """Nothing was sent: the same URL may be used again."""
    async with odd_server(answer()) as odd:
        pass
    async with api_to(odd) as api:
        outcome = await put(api, ticket(odd))
    assert (outcome.kind, outcome.code) == (PutKind.RETRY, "cloud_no_connection")


@virtual_time
async def test_a_put_ends_in_time() -> None:
    """A server that takes everything and says nothing is left after the time its size allows."""
    async with odd_server(answer(200)) as odd, api_to(odd) as api:
        odd.hold = asyncio.Event()
        started = asyncio.get_running_loop().time()
        outcome = await put(api, ticket(odd))
        assert (outcome.kind, outcome.code) == (PutKind.UNKNOWN, "cloud_timeout")
        assert asyncio.get_running_loop().time() - started < 200


async def test_an_expired_url_is_not_sent_to() -> None:
    """Judged by what the URL itself says, and by the server's clock rather than the hub's."""
    then = HUB_TIME - 4000
    target = f"/k?X-Amz-Date={signed_at(then)}&X-Amz-Expires=3600"
    date = datetime.fromtimestamp(then + 60, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    device = {"id": "dev_1", "serial_number": "BP1", "status": "unbound"}
    async with odd_server(answer(200, device, Date=date)) as odd, api_to(odd) as api:
        assert (await put(api, ticket(odd, target))).kind is PutKind.EXPIRED
        assert not odd.received
        await api.device("dev_1")
        assert (await put(api, ticket(odd, target))).kind is PutKind.STORED


async def test_a_failing_body_ends_the_request_before_its_end() -> None:
    """What the body raises is raised, and the server never gets the whole."""

    async def failing() -> AsyncIterator[bytes]:
        yield b"OggS1"
        raise OSError("disk")

    async with odd_server(answer(200)) as odd, api_to(odd) as api:
        with pytest.raises(OSError, match="disk"):
            await api.put(ticket(odd), failing(), 10)
        assert not odd.received


@pytest.mark.parametrize(
    ("age", "life", "good"),
    [(0, 3600, True), (3200, 3600, True), (3400, 3600, False), (0, 60, True), (44, 60, True), (46, 60, False)],
)
def test_a_kept_url_is_used_with_a_margin(age: float, life: int, good: bool) -> None:
    """Five minutes before its end, or a quarter of a short life, a URL is not begun with again."""
    url = f"https://s3.example/k?X-Amz-Date={signed_at(HUB_TIME)}&X-Amz-Expires={life}"
    assert still_good(UploadTicket(url, {}, None), HUB_TIME + age) is good


@pytest.mark.parametrize("expires_at", [HUB_TIME + 10, HUB_TIME + 10_000, None])
def test_the_answer_may_only_shorten_what_the_url_says(expires_at: float | None) -> None:
    """The earlier of both ends counts; a URL that says nothing and has no answer's word is not kept."""
    url = f"https://s3.example/k?X-Amz-Date={signed_at(HUB_TIME)}&X-Amz-Expires=3600"
    assert still_good(UploadTicket(url, {}, expires_at), HUB_TIME + 20) is (expires_at != HUB_TIME + 10)
    bare = UploadTicket("https://s3.example/k", {}, expires_at)
    assert still_good(bare, HUB_TIME + 20) is (expires_at == HUB_TIME + 10_000)
