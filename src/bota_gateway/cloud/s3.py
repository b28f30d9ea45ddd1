"""The PUT of one recording's bytes to a presigned URL (docs/cloud-api.md, "The PUT")."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qs, urlsplit

import httpx

from bota_gateway.cloud.answers import UploadTicket, parse_retry_after
from bota_gateway.cloud.clock import ServerClock
from bota_gateway.cloud.const import (
    CONNECT_S,
    MAX_S3_ANSWER_BYTES,
    PUT_BASE_S,
    PUT_SLOWEST_BYTES_PER_S,
    STALL_S,
    URL_MARGIN_OF_LIFETIME,
    URL_MARGIN_S,
)
from bota_gateway.cloud.hygiene import Target, UrlRefusedError, checked_target
from bota_gateway.cloud.s3_codes import Why
from bota_gateway.cloud.transport import NEVER_SENT, Answer, exchange, read_capped
from bota_gateway.errors import CloudProtocolError, CloudUnreachableError

_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_EXPIRED_CODES: Final = frozenset({"ExpiredToken", "RequestExpired", "RequestTimeTooSkewed", "TokenRefreshRequired"})
_PERMANENT_CODES: Final = frozenset({"EntityTooLarge", "NoSuchBucket", "InvalidRequest", "MethodNotAllowed"})
_TRANSPORT_CODES: Final = frozenset({"IncompleteBody", "BadDigest", "RequestTimeout", "MissingContentLength"})


class PutKind(StrEnum):
    """What came of a PUT, by what to do next."""

    STORED = "stored"
    """2xx: S3 has exactly these bytes."""
    EXPIRED = "expired"
    """Nothing stored: ask for a new URL."""
    RENEW = "renew"
    """Refused for a reason a new URL may cure; once."""
    REFUSED = "refused"
    """Refused for good: only a human can help."""
    RETRY = "retry"
    """Nothing wrong with the URL: the same one again, later."""
    UNKNOWN = "unknown"
    """The connection ended without an answer. It may hide an early refusal, so the next try takes a new URL."""


@dataclass(frozen=True, slots=True)
class PutOutcome:
    """What came of a PUT."""

    kind: PutKind
    code: str
    """Stable code of the cause; ``s3_stored`` for success."""
    detail: str
    """The cause in words, without the URL."""
    retry_after_s: float | None = None


class ObjectStore:
    """Sends bytes to allowed hosts, with exactly the signed URL and headers, and nothing of ours beside them."""

    def __init__(self, client: httpx.AsyncClient, hosts: tuple[str, ...], clock: ServerClock) -> None:
        self._client = client
        self._hosts = hosts
        self._clock = clock

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def put(self, ticket: UploadTicket, body: AsyncIterator[bytes], size_bytes: int) -> PutOutcome:
        """PUT ``body``, which must be ``size_bytes`` bytes; memory does not grow with them.

        An error that ``body`` raises ends the request before its last byte, so that S3 stores nothing, and is raised.
        """
        try:
            target = checked_target(ticket.url, self._hosts)
        except UrlRefusedError as error:
            return PutOutcome(PutKind.RETRY, Why.HOST_NOT_ALLOWED, str(error))
        lifetime = lifetime_of(ticket)
        if lifetime is not None and self._clock.now() >= lifetime[1]:
            return PutOutcome(PutKind.EXPIRED, Why.URL_EXPIRED, "the upload URL expired before it was used")
        try:
            return _judge(await self._send(target, ticket, body, size_bytes), self._clock.now())
        except CloudUnreachableError as error:
            sent_nothing = error.error_code in NEVER_SENT
            return PutOutcome(PutKind.RETRY if sent_nothing else PutKind.UNKNOWN, error.error_code, error.message)
        except CloudProtocolError as error:
            return PutOutcome(PutKind.UNKNOWN, error.error_code, error.message)

    async def _send(self, target: Target, ticket: UploadTicket, body: AsyncIterator[bytes], size_bytes: int) -> Answer:
        # The length is given, because a body of unknown length would go chunked, which S3 answers with 411. The target
        # is given as bytes, because the client would parse and re-encode the signed query.
        within_s = PUT_BASE_S + size_bytes / PUT_SLOWEST_BYTES_PER_S
        request = self._client.build_request(
            "PUT",
            target.origin,
            content=body,
            headers={**ticket.headers, "Content-Length": str(size_bytes)},
            # The answer may take long after the last write: on a slow uplink megabytes still wait in the kernel.
            timeout=httpx.Timeout(STALL_S, connect=CONNECT_S, read=within_s),
            extensions={"target": target.raw},
        )
        async with exchange(f"PUT to {target.host}", within_s):
            response = await self._client.send(request, stream=True)
            try:
                return await read_capped(response, MAX_S3_ANSWER_BYTES)
            finally:
                await response.aclose()


def lifetime_of(ticket: UploadTicket) -> tuple[float, float] | None:
    """When the URL was signed and when it expires (Unix seconds, server's clock); None if neither says.

    The URL's own ``X-Amz-Date`` and ``X-Amz-Expires`` are what S3 judges by; the answer's field may only shorten it.
    """
    query = parse_qs(urlsplit(ticket.url).query)
    try:
        signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        expires = signed + int(query["X-Amz-Expires"][0])
    except (KeyError, ValueError):
        if ticket.expires_at is None:
            return None
        return ticket.expires_at - 2 * URL_MARGIN_S, ticket.expires_at
    return signed, expires if ticket.expires_at is None else min(expires, ticket.expires_at)


def still_good(ticket: UploadTicket, server_now: float) -> bool:
    """Whether a URL kept from an earlier try is worth another one."""
    lifetime = lifetime_of(ticket)
    if lifetime is None:
        return False
    signed, expires = lifetime
    return server_now < expires - min(URL_MARGIN_S, URL_MARGIN_OF_LIFETIME * (expires - signed))


def _judge(answer: Answer, server_now: float) -> PutOutcome:
    if 200 <= answer.status < 300 and "ETag" not in answer.headers and _is_page(answer):
        return PutOutcome(PutKind.UNKNOWN, "cloud_bad_answer", f"a page answered {answer.status} in the place of S3")
    found = _CODE.search(answer.body)
    name = found.group(1).decode() if found else ""
    detail = f"S3 answered {answer.status} {name}".rstrip()
    kind, code = _classify(answer.status, name, answer.body.lower())
    return PutOutcome(kind, code, detail, parse_retry_after(answer, server_now))


def _classify(status: int, name: str, said: bytes) -> tuple[PutKind, str]:
    if 200 <= status < 300:
        return PutKind.STORED, "s3_stored"
    if name in _EXPIRED_CODES or (status in {400, 403} and b"expired" in said):
        return PutKind.EXPIRED, Why.URL_EXPIRED
    if status == 403 and b"not yet valid" in said:
        return PutKind.UNKNOWN, Why.URL_NOT_YET_VALID  # clocks of the API and S3 differ: time heals it
    if status == 413 or name in _PERMANENT_CODES:
        code = {"EntityTooLarge": Why.TOO_LARGE, "NoSuchBucket": Why.NO_BUCKET}.get(name, Why.REFUSED)
        return PutKind.REFUSED, Why.TOO_LARGE if status == 413 else code
    if name in _TRANSPORT_CODES or status in {408, 411, 429} or status >= 500:
        return PutKind.RETRY, Why.UNAVAILABLE
    code = Why.REDIRECTED if 300 <= status < 400 else Why.REFUSED
    return PutKind.RENEW, Why.SIGNATURE_REFUSED if name == "SignatureDoesNotMatch" else code


def _is_page(answer: Answer) -> bool:
    """Whether a captive portal or a proxy may have answered: S3 tells the ETag of what it stored, a page does not."""
    return answer.headers.get("Content-Type", "").lower().startswith("text/html")
