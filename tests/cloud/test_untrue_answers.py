"""Answers that are none of the API's, or not about what was asked, or not what JSON is."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bota_gateway.cloud import PutKind, UploadTicket
from bota_gateway.cloud.answers import parse_device, parse_object, parse_recording
from bota_gateway.cloud.contracts import E
from bota_gateway.cloud.transport import Answer
from bota_gateway.errors import CloudError, CloudProtocolError, CloudRefusedError, CloudUnreachableError
from support.odd_api import DEVICE, RECORDING, api_to
from support.odd_server import OddServer, answer, odd_server

PORTAL = b"<!DOCTYPE html><html><body>Please accept the terms of this hotel</body></html>"
SHA = "ab" * 32

Certify = Callable[[datetime, datetime], ssl.SSLContext]


def said(row: object) -> Any:
    """The object of an answer with this body, as the client reads it."""
    body = row if isinstance(row, bytes) else json.dumps(row).encode()
    return parse_object(Answer(200, {}, body))


# -- who answers -------------------------------------------------------------------------------------------------------


async def test_a_captive_portal_counts_as_no_answer_at_all() -> None:
    """200 with a page: nothing is learned from it, neither the time nor that the cloud is back."""
    page = answer(200, raw=PORTAL, Content_Type="text/html", Date="Mon, 01 Jan 2001 00:00:00 GMT")
    async with odd_server(page) as odd, api_to(odd) as api:
        for _ in range(3):
            with pytest.raises(CloudProtocolError):
                await api.device("dev_1")
        assert not api.clock.known
        assert [pause.code for pause in api.budget.pauses()] == ["cloud_unreachable"]


async def test_a_redirect_counts_as_no_answer_at_all() -> None:
    """Whoever sends a hub elsewhere is a portal or a proxy: calls pause as when nobody answers."""
    async with odd_server(answer(302, Location="https://portal.example/login")) as odd, api_to(odd) as api:
        for _ in range(3):
            with pytest.raises(CloudProtocolError, match="redirected"):
                await api.device("dev_1")
        assert api.budget.pauses()


@pytest.mark.parametrize("status", [400, 404, 409, 422])
@pytest.mark.parametrize(
    ("body", "kind"), [(PORTAL, "text/html; charset=utf-8"), (b"default backend - 404", "text/plain")]
)
async def test_a_refusal_that_decides_is_believed_of_the_api_alone(status: int, body: bytes, kind: str) -> None:
    """What stands in front of the API says 404 to everything while it is replaced: that is no word on a recording."""
    async with odd_server(answer(status, raw=body, Content_Type=kind)) as odd, api_to(odd) as api:
        with pytest.raises(CloudProtocolError) as caught:
            await api.recording("rec_1")
    assert caught.value.error_code == "cloud_bad_answer"
    assert str(status) in caught.value.message


@pytest.mark.parametrize("body", [b"", b'{"error": {"code": "not_found", "message": "m"}}', b'{"error": '])
async def test_the_apis_own_refusal_decides_also_where_it_says_nothing(body: bytes) -> None:
    """Empty, in JSON, or broken JSON: no page, so the status counts."""
    async with odd_server(answer(404, raw=body, Content_Type="application/json")) as odd, api_to(odd) as api:
        with pytest.raises(CloudRefusedError) as caught:
            await api.recording("rec_1")
    assert caught.value.status == 404


async def test_a_page_in_the_place_of_s3_stores_nothing() -> None:
    """200 with a page to a PUT: whether anything is stored is not known, so all of it goes again to a new URL."""

    async def body() -> AsyncIterator[bytes]:
        yield b"OggS"

    async with odd_server(answer(200, raw=PORTAL, Content_Type="text/html")) as odd, api_to(odd) as api:
        outcome = await api.put(UploadTicket(f"http://{odd.host}/key", {}, None), body(), 4)
    assert (outcome.kind, outcome.code) == (PutKind.UNKNOWN, "cloud_bad_answer")


# -- about what --------------------------------------------------------------------------------------------------------


async def test_an_answer_about_another_recording_decides_nothing() -> None:
    """Whatever it says of itself, it is not the recording that was asked for."""
    other = RECORDING | {"id": "rec_other", "status": "uploaded", "content_sha256": SHA}
    async with odd_server(answer(200, other)) as odd, api_to(odd) as api:
        with pytest.raises(CloudProtocolError):
            await api.recording("rec_1")
        with pytest.raises(CloudProtocolError):
            await api.complete("rec_1", contract=E, sha256=SHA)


async def test_an_answer_about_another_device_decides_nothing() -> None:
    """A recorder would be filed under somebody else's device."""
    async with odd_server(answer(200, DEVICE | {"id": "dev_other"})) as odd, api_to(odd) as api:
        with pytest.raises(CloudProtocolError):
            await api.device("dev_1")


# -- what JSON is ------------------------------------------------------------------------------------------------------


def test_an_object_that_says_a_thing_twice_is_no_answer() -> None:
    """Which of two ids counts would depend on the reader."""
    with pytest.raises(CloudProtocolError):
        said(b'{"id": "rec_1", "status": "pending", "id": "rec_2"}')


def test_numbers_that_are_none_count_as_not_said() -> None:
    """NaN, infinities, counts that nothing can hold: read as missing, wherever they stand."""
    row = said(b'{"id": "rec_1", "status": "pending", "duration_seconds": NaN, "file_size_bytes": -Infinity}')
    seen = parse_recording(row)
    assert (seen.duration_s, seen.size_bytes) == (None, None)
    huge = parse_recording(said(RECORDING | {"duration_seconds": 10**400, "file_size_bytes": 10**40}))
    assert (huge.duration_s, huge.size_bytes) == (None, None)
    assert parse_device(said(DEVICE | {"binding_generation": 2**63})).binding_generation is None
    assert parse_device(said(DEVICE | {"binding_generation": True})).binding_generation is None


@pytest.mark.parametrize(
    "change",
    [
        {"status": 7},
        {"status": "uploaded\nERROR all lost"},
        {"status": "x" * 65},
        {"status": "\ud800"},
        {"id": ["rec_1"]},
        {"id": "rec_\ud800"},
    ],
)
def test_a_recording_with_fields_of_other_types_is_no_answer(change: dict[str, Any]) -> None:
    """What ends up in the spool and in logs is a short word, or nothing is believed."""
    with pytest.raises(CloudProtocolError):
        parse_recording(said(RECORDING | change))


@pytest.mark.parametrize("user", ["\ud800", "eu 1", "eu_1\n", "x" * 200, "../eu_1"])
def test_a_device_whose_user_is_no_identifier_is_no_answer(user: str) -> None:
    """It could not be written down, or would say something else wherever it is shown."""
    with pytest.raises(CloudProtocolError):
        parse_device(said(DEVICE | {"end_user_id": user}))


async def test_a_deeply_nested_answer_is_no_answer() -> None:
    """A hundred thousand brackets end in a refusal, not in the end of the process."""
    async with odd_server(answer(200, raw=b'{"id":' + b"[" * 100_000)) as odd, api_to(odd) as api:
        with pytest.raises(CloudProtocolError):
            await api.device("dev_1")


@pytest.mark.parametrize(
    "host",
    ["a..b.amazonaws.com", "x" * 64 + ".amazonaws.com", "ä.amazonaws.com", ".amazonaws.com", "a%41.amazonaws.com"],
)
async def test_an_upload_url_whose_host_is_no_name_is_not_sent_to(host: str) -> None:
    """It ends as any other host that is not allowed, and not as a fault of the resolver."""

    async def body() -> AsyncIterator[bytes]:
        yield b"OggS"

    async with odd_server(answer()) as odd, api_to(odd, s3_hosts=("*.amazonaws.com",)) as api:
        outcome = await api.put(UploadTicket(f"https://{host}/key", {}, None), body(), 4)
    assert (outcome.kind, outcome.code) == (PutKind.RETRY, "cloud_host_not_allowed")


# -- whether there is a connection -------------------------------------------------------------------------------------


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certify:
    """Makes a server's TLS context with a certificate that is trusted here and valid in a given time."""

    def make(begins: datetime, ends: datetime) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        file = tmp_path / "server.pem"
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context

    return make


async def ask(odd: OddServer) -> CloudUnreachableError | None:
    """What a call over TLS ends with; None when it is answered."""
    async with api_to(odd, api_base=f"https://localhost:{odd.port}/v1") as api:
        try:
            await api.device("dev_1")
        except CloudUnreachableError as error:
            return error
        return None


async def test_a_certificate_from_the_future_names_the_clock(certified: Certify) -> None:
    """A hub that believes to be in 1970 takes every certificate for not yet valid: the reason and the remedy say so."""
    now = datetime.now(UTC)
    tls = certified(now + timedelta(days=365), now + timedelta(days=730))
    async with odd_server(answer(200, DEVICE), tls=tls) as odd:
        error = await ask(odd)
    assert error is not None
    assert error.error_code == "cloud_tls_failed"
    assert "certificate is not yet valid" in error.message
    assert "timedatectl" in error.next_step


async def test_a_certificate_that_holds_is_enough(certified: Certify) -> None:
    """The control: the same server with a certificate of these days is answered."""
    now = datetime.now(UTC)
    async with odd_server(answer(200, DEVICE), tls=certified(now - timedelta(days=1), now + timedelta(days=1))) as odd:
        assert await ask(odd) is None


async def test_what_is_no_tls_is_told_as_failed_tls() -> None:
    """A server that speaks something else on that port: nothing was sent to it."""

    async def speak_plainly(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(speak_plainly, "127.0.0.1", 0)
    async with server:
        error = await ask(OddServer(port=server.sockets[0].getsockname()[1]))
    assert error is not None
    assert error.error_code == "cloud_tls_failed"


async def test_a_name_that_can_not_be_resolved_is_no_connection() -> None:
    """DNS failing: nothing was sent, and the words say what could not be found."""
    async with odd_server(answer()) as odd, api_to(odd, api_base="https://api.bota.invalid/v1") as api:
        with pytest.raises(CloudError) as caught:
            await api.device("dev_1")
    assert caught.value.error_code == "cloud_no_connection"
