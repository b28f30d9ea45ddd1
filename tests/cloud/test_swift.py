"""The product's presigned PUT, judged by OpenStack Swift: an S3 that none of us wrote."""

import hashlib
import random
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from bota_gateway.cloud.answers import UploadTicket
from bota_gateway.cloud.clock import ServerClock
from bota_gateway.cloud.s3 import ObjectStore, PutKind, PutOutcome
from bota_gateway.cloud.transport import make_client, system_trust
from support.swift import Swift

OGG = {"Content-Type": "audio/ogg"}
SIXTEEN_MIB = 16 << 20
PIECE = 1 << 20


@pytest.fixture
def audio() -> bytes:
    return b"OggS" + random.Random(7).randbytes(300_000)


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """An object of this test's own, with characters that a client could spoil by encoding them anew."""
    return f"proj/{request.node.name}/audio file~1+2.ogg"


def in_pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


async def put(
    swift: Swift,
    key: str,
    body: bytes,
    *,
    url: str | None = None,
    signed_at: float | None = None,
    sent_headers: dict[str, str] | None = None,
) -> PutOutcome:
    """What the product makes of a PUT. Its clock stands at the signing time, so that it sends what it is given."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in in_pieces(body):
            yield piece

    at = time.time() if signed_at is None else signed_at
    ticket = UploadTicket(url or swift.presign("PUT", key, headers=OGG, at=at), sent_headers or OGG, None)
    store = ObjectStore(make_client(system_trust(), connections=1), (swift.host,), ServerClock(lambda: at))
    try:
        return await store.put(ticket, pieces(), len(body))
    finally:
        await store.aclose()


async def test_what_is_put_is_what_is_stored(swift: Swift, key: str, audio: bytes) -> None:
    """Bit for bit, with the content type it was signed for."""
    assert (await put(swift, key, audio)).kind is PutKind.STORED
    stored = swift.get(key)
    assert stored.content == audio
    assert stored.headers["Content-Type"] == "audio/ogg"


async def test_sixteen_mebibytes_are_streamed(swift: Swift, key: str) -> None:
    """A body of many pieces arrives whole; no chunked encoding was needed, or Swift would have been told no length."""
    body = random.Random(16).randbytes(SIXTEEN_MIB)
    assert (await put(swift, key, body)).kind is PutKind.STORED
    assert hashlib.sha256(swift.get(key).content).digest() == hashlib.sha256(body).digest()


async def test_putting_again_replaces_the_object(swift: Swift, key: str, audio: bytes) -> None:
    """A repeat after a lost answer is harmless."""
    await put(swift, key, b"earlier")
    assert (await put(swift, key, audio)).kind is PutKind.STORED
    assert swift.get(key).content == audio


async def test_an_expired_url_asks_for_a_new_one(swift: Swift, key: str, audio: bytes) -> None:
    """Swift's refusal of an expired URL is told from every other 403."""
    outcome = await put(swift, key, audio, signed_at=time.time() - 3600)
    assert (outcome.kind, outcome.code) == (PutKind.EXPIRED, "cloud_url_expired")
    assert swift.get(key).status_code == 404


async def test_a_tampered_signature_is_refused(swift: Swift, key: str, audio: bytes) -> None:
    """One hex digit off: a new URL may be tried once, and nothing is stored."""
    url = swift.presign("PUT", key, headers=OGG)
    tampered = url[:-1] + ("0" if url[-1] != "0" else "1")
    outcome = await put(swift, key, audio, url=tampered)
    assert (outcome.kind, outcome.code) == (PutKind.RENEW, "s3_signature_refused")
    assert swift.get(key).status_code == 404


async def test_a_wrong_content_type_is_refused(swift: Swift, key: str, audio: bytes) -> None:
    """The content type is part of the signature."""
    outcome = await put(swift, key, audio, sent_headers={"Content-Type": "audio/wav"})
    assert (outcome.kind, outcome.code) == (PutKind.RENEW, "s3_signature_refused")
    assert swift.get(key).status_code == 404


async def test_a_large_body_on_an_expired_url_is_never_taken_for_stored(swift: Swift, key: str) -> None:
    """Swift answers before the body is through. Whether the answer is read or lost, a new URL comes next."""
    outcome = await put(swift, key, bytes(SIXTEEN_MIB), signed_at=time.time() - 3600)
    assert outcome.kind in {PutKind.EXPIRED, PutKind.UNKNOWN}
    assert swift.get(key).status_code == 404


async def test_a_missing_bucket_is_for_a_human(swift: Swift, key: str, audio: bytes) -> None:
    """Nothing the hub could repeat would help."""
    url = swift.presign("PUT", key, headers=OGG, bucket="elsewhere")
    outcome = await put(swift, key, audio, url=url)
    assert (outcome.kind, outcome.code) == (PutKind.REFUSED, "s3_no_bucket")


async def test_a_body_that_fails_halfway_stores_nothing(swift: Swift, key: str) -> None:
    """When the spool can't be read on, the error is raised and S3 is left with nothing."""

    async def failing() -> AsyncIterator[bytes]:
        yield bytes(PIECE)
        raise OSError("the card is gone")

    ticket = UploadTicket(swift.presign("PUT", key, headers=OGG), OGG, None)
    store = ObjectStore(make_client(system_trust(), connections=1), (swift.host,), ServerClock(time.time))
    with pytest.raises(OSError, match="the card is gone"):
        await store.put(ticket, failing(), SIXTEEN_MIB)
    await store.aclose()
    assert swift.get(key).status_code == 404
