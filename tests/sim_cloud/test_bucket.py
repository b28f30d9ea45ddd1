"""The bucket over a real socket."""

import asyncio
import base64
import hashlib
import tracemalloc
from collections.abc import AsyncIterator

import httpx
import pytest

from bota_gateway.sim.cloud import BitRot, ResetMidBody, S3Refusal, SlowReader
from support.emulated_cloud import AUDIO, Client, Clock, emulated


def code_of(answer: httpx.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


async def url_for(client: Client) -> tuple[str, str]:
    recording = await client.create()
    return recording, (await client.upload_url(recording))["upload_url"]


async def test_a_put_is_stored_bit_for_bit() -> None:
    """What was sent is on disk, and the answer has S3's ETag."""
    async with emulated() as client:
        recording, url = await url_for(client)
        answer = await client.put(url)
        path = client.cloud.object_path(recording)
        assert path is not None
        assert path.read_bytes() == AUDIO
        assert answer.headers["ETag"] == f'"{hashlib.md5(AUDIO, usedforsecurity=False).hexdigest()}"'
        assert client.cloud.counters.stored[recording] == 1


async def test_a_second_put_replaces_the_first() -> None:
    """A URL may be used again while it lives; the object is what came last."""
    async with emulated() as client:
        recording, url = await url_for(client)
        await client.put(url, b"first")
        await client.put(url, b"second")
        path = client.cloud.object_path(recording)
        assert path is not None
        assert path.read_bytes() == b"second"


async def test_an_expired_url_is_refused_by_the_emulators_clock() -> None:
    """Turning the clock past the URL's hour is enough to expire it."""
    clock = Clock()
    async with emulated(clock=clock) as client:
        recording, url = await url_for(client)
        clock.advance(3601)
        answer = await client.put(url)
        assert (answer.status_code, code_of(answer)) == (403, "AccessDenied")
        assert "Request has expired" in answer.text
        assert client.cloud.object_path(recording) is None


async def test_answers_carry_the_emulators_time() -> None:
    """Clients that learn the server's clock from Date learn the emulator's."""
    async with emulated() as client:
        _, url = await url_for(client)
        assert (await client.put(url)).headers["Date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
        assert (await client.get("/devices")).headers["Date"] == "Fri, 15 Jan 2027 08:00:00 GMT"


async def test_a_chunked_body_is_refused() -> None:
    """Without Content-Length S3 answers 411, as it does to a generator whose length was not said."""

    async def chunks() -> AsyncIterator[bytes]:
        yield AUDIO

    async with emulated() as client:
        recording, url = await url_for(client)
        answer = await client.http.put(url, content=chunks(), headers={"Content-Type": "audio/ogg"})
        assert (answer.status_code, code_of(answer)) == (411, "MissingContentLength")
        assert client.cloud.object_path(recording) is None


async def test_too_large_a_body_is_refused_before_it_is_read() -> None:
    """The declared length decides."""
    async with emulated(largest_put_bytes=1000) as client:
        _, url = await url_for(client)
        answer = await client.put(url)
        assert (answer.status_code, code_of(answer)) == (400, "EntityTooLarge")
        assert client.cloud.counters.put_bytes == 0


async def test_a_truncated_body_stores_nothing() -> None:
    """A connection that ends in mid-body leaves no object and no temporary file."""
    async with emulated() as client:
        recording, url = await url_for(client)
        target = httpx.URL(url)
        reader, writer = await asyncio.open_connection(target.host, target.port)
        head = (
            f"PUT {target.raw_path.decode()} HTTP/1.1\r\nHost: {client.cloud.s3_host}\r\n"
            f"Content-Type: audio/ogg\r\nContent-Length: {len(AUDIO)}\r\n\r\n"
        )
        writer.write(head.encode() + AUDIO[:100])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await reader.read()
        # The next request is answered after the broken one was dealt with: same loop, first come first served.
        while client.cloud.counters.statuses["PUT s3", 400] == 0:
            await client.get("/devices")
        assert client.cloud.object_path(recording) is None


async def test_a_signed_length_limits_the_body() -> None:
    """With sign_length a body of another length breaks the signature."""
    async with emulated(sign_length=True) as client:
        _, url = await url_for(client)
        assert code_of(await client.put(url, AUDIO + b"more")) == "SignatureDoesNotMatch"
        assert (await client.put(url, AUDIO)).status_code == 200


@pytest.mark.parametrize(
    ("md5", "status", "code"),
    [
        (base64.b64encode(hashlib.md5(AUDIO, usedforsecurity=False).digest()).decode(), 200, ""),
        (base64.b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode(), 400, "BadDigest"),
        ("no base64", 400, "InvalidDigest"),
    ],
)
async def test_content_md5_is_checked(md5: str, status: int, code: str) -> None:
    """It may come unsigned, and then it must be right."""
    async with emulated() as client:
        recording, url = await url_for(client)
        answer = await client.put(url, headers={"Content-Type": "audio/ogg", "Content-MD5": md5})
        assert (answer.status_code, code_of(answer)) == (status, code)
        assert (client.cloud.object_path(recording) is not None) == (status == 200)


async def test_if_none_match_refuses_to_overwrite() -> None:
    """``If-None-Match: *`` stores a new object only."""
    async with emulated() as client:
        _, url = await url_for(client)
        once = {"Content-Type": "audio/ogg", "If-None-Match": "*"}
        assert (await client.put(url, headers=once)).status_code == 200
        assert code_of(await client.put(url, headers=once)) == "PreconditionFailed"


async def test_an_expecting_client_is_told_before_it_sends() -> None:
    """With Expect: 100-continue an expired URL is refused without one byte of body."""
    clock = Clock()
    async with emulated(clock=clock) as client:
        _, url = await url_for(client)
        target = httpx.URL(url)
        clock.advance(3601)
        reader, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(
            f"PUT {target.raw_path.decode()} HTTP/1.1\r\nHost: {client.cloud.s3_host}\r\nExpect: 100-continue\r\n"
            f"Content-Type: audio/ogg\r\nContent-Length: {len(AUDIO)}\r\n\r\n".encode()
        )
        assert await reader.readline() == b"HTTP/1.1 403 Forbidden\r\n"
        writer.close()
        await writer.wait_closed()


async def test_another_bucket_is_unknown() -> None:
    """Only the configured bucket exists."""
    async with emulated() as client:
        _, url = await url_for(client)
        assert code_of(await client.put(url.replace("bota-uploads", "elsewhere"))) == "NoSuchBucket"


async def test_a_large_put_takes_constant_memory() -> None:
    """64 MiB pass through while the process allocates a few pieces at a time."""
    size = 64 << 20
    piece = bytes(1 << 16)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(size // len(piece)):
            yield piece

    async with emulated() as client:
        recording, url = await url_for(client)
        headers = {"Content-Type": "audio/ogg", "Content-Length": str(size)}
        tracemalloc.start()
        try:
            answer = await client.http.put(url, content=body(), headers=headers, timeout=60)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert answer.status_code == 200
        path = client.cloud.object_path(recording)
        assert path is not None
        assert path.stat().st_size == size
        assert peak < 8 << 20


async def test_a_reset_in_mid_body_stores_nothing() -> None:
    """The client sees a broken connection; the object does not exist; a repeat works."""
    async with emulated() as client:
        recording, url = await url_for(client)
        client.cloud.faults.add("PUT s3", ResetMidBody(after_bytes=1000))
        with pytest.raises(httpx.TransportError):
            await client.put(url, bytes(8 << 20))
        assert client.cloud.object_path(recording) is None
        assert (await client.put(url)).status_code == 200


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("expired", 403, "AccessDenied"),
        ("signature", 403, "SignatureDoesNotMatch"),
        ("slow_down", 503, "SlowDown"),
        ("internal", 500, "InternalError"),
        ("expired_token", 400, "ExpiredToken"),
        ("timeout", 400, "RequestTimeout"),
        ("no_bucket", 404, "NoSuchBucket"),
    ],
)
async def test_s3_refuses_on_command(name: str, status: int, code: str) -> None:
    """A refusal comes with AWS's status and code, stores nothing, and is over after its time."""
    async with emulated() as client:
        recording, url = await url_for(client)
        client.cloud.faults.add("PUT s3", S3Refusal.model_validate({"refusal": name}))
        answer = await client.put(url)
        assert (answer.status_code, code_of(answer)) == (status, code)
        assert client.cloud.object_path(recording) is None
        assert (await client.put(url)).status_code == 200


async def test_bit_rot_changes_one_bit_behind_a_good_answer() -> None:
    """S3 says 200 with the right ETag, and what is on disk differs in one bit."""
    async with emulated() as client:
        recording, url = await url_for(client)
        client.cloud.faults.add("PUT s3", BitRot())
        answer = await client.put(url)
        path = client.cloud.object_path(recording)
        assert path is not None
        stored = path.read_bytes()
        flipped = [a ^ b for a, b in zip(stored, AUDIO, strict=True) if a != b]
        assert [byte.bit_count() for byte in flipped] == [1]
        assert answer.headers["ETag"] == f'"{hashlib.md5(AUDIO, usedforsecurity=False).hexdigest()}"'


async def test_a_slow_reader_takes_the_time_it_was_told() -> None:
    """A body of n bytes takes n divided by the pace."""
    async with emulated() as client:
        _, url = await url_for(client)
        client.cloud.faults.add("PUT s3", SlowReader(bytes_per_s=len(AUDIO) * 4))
        began = asyncio.get_running_loop().time()
        assert (await client.put(url)).status_code == 200
        assert asyncio.get_running_loop().time() - began >= 0.25
