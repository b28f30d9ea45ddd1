"""Presigned URLs: issued and checked with botocore's own canonical request, string to sign and signature."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import SIGV4_TIMESTAMP, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bota_gateway.model import WallClock
from bota_gateway.sim.cloud import const
from bota_gateway.sim.cloud.s3_errors import S3Error, refusal

ALGORITHM: Final = "AWS4-HMAC-SHA256"
PARAMETERS: Final = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)


@dataclass(frozen=True, slots=True)
class Signed:
    """What a presigned URL claims in its query."""

    access_key: str
    scope: str
    timestamp: str
    signed_at: float
    expires_s: int
    headers: tuple[str, ...]
    signature: str

    @property
    def expires_at(self) -> float:
        """Unix seconds after which the URL is refused."""
        return self.signed_at + self.expires_s


class PresignedUrls:
    """Issues presigned URLs for one access key and checks requests made with them."""

    def __init__(self, credentials: Credentials, region: str, now: WallClock) -> None:
        self._credentials = credentials
        self._region = region
        self._now = now

    def issue(self, method: str, url: str, *, headers: Mapping[str, str], expires_s: int) -> str:
        """A URL that permits one method on ``url`` with exactly ``headers``, until ``expires_s`` from now."""
        auth = S3SigV4QueryAuth(self._credentials, "s3", self._region, expires=expires_s)
        request = AWSRequest(method=method, url=url, headers=dict(headers))
        request.context["timestamp"] = datetime.fromtimestamp(self._now(), UTC).strftime(SIGV4_TIMESTAMP)
        # The steps of botocore's add_auth, which reads the clock itself; ours is given.
        auth._modify_request_before_signing(request)  # type: ignore[attr-defined]  # noqa: SLF001 - see above; pinned by a test
        signature = _signature(auth, request)
        auth._inject_signature_to_request(request, signature)  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        return str(request.url)

    def check(self, method: str, url: str, headers: Mapping[str, str]) -> Signed:
        """Accepts a request or raises the ``S3Error`` that AWS would answer.

        Args:
            method: of the request.
            url: absolute, with the query exactly as it came over the wire.
            headers: of the request, case-insensitive.
        """
        if "Authorization" in headers:
            raise refusal("two_mechanisms", ArgumentName="Authorization")
        signed = self._claims(url)
        self._check_time(signed)
        _check_headers(signed, headers)
        expected = self._expected_signature(method, url, headers, signed)
        if not hmac.compare_digest(expected.signature, signed.signature):
            raise refusal(
                "signature",
                AWSAccessKeyId=signed.access_key,
                StringToSign=expected.string_to_sign,
                SignatureProvided=signed.signature,
                CanonicalRequest=expected.canonical,
            )
        return signed

    def _claims(self, url: str) -> Signed:
        query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        if not query.keys() & {"X-Amz-Algorithm", "X-Amz-Signature"}:
            raise refusal("anonymous")
        if missing := [name for name in PARAMETERS if name not in query]:
            raise _malformed(f"Query-string authentication version 4 requires the {', '.join(missing)} parameters.")
        if query["X-Amz-Algorithm"] != ALGORITHM:
            raise _malformed(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
        signed = _parse(query)
        if signed.access_key != self._credentials.access_key:
            raise refusal("access_key", AWSAccessKeyId=signed.access_key)
        wanted = f"{signed.timestamp[:8]}/{self._region}/s3/aws4_request"
        if signed.scope != wanted:
            raise _malformed(f"Error parsing the X-Amz-Credential parameter; expecting scope {wanted}")
        return signed

    def _check_time(self, signed: Signed) -> None:
        now = self._now()
        if not 0 <= signed.expires_s <= const.LONGEST_URL_LIFE_S:
            raise _malformed("X-Amz-Expires must be non-negative and less than a week (in seconds) that is 604800")
        if signed.signed_at > now + const.CLOCK_SKEW_S:
            raise refusal("not_yet_valid", ServerTime=_iso(now), **{"X-Amz-Date": signed.timestamp})
        if now > signed.expires_at:
            raise refusal(
                "expired",
                Expires=_iso(signed.expires_at),
                ServerTime=_iso(now),
                **{"X-Amz-Expires": str(signed.expires_s)},
            )

    def _expected_signature(self, method: str, url: str, headers: Mapping[str, str], signed: Signed) -> "_Expected":
        auth = S3SigV4QueryAuth(self._credentials, "s3", self._region, expires=signed.expires_s)
        request = AWSRequest(
            method=method,
            url=_without_signature(url),
            headers={name: headers[name] for name in signed.headers if name in headers},
        )
        request.context["timestamp"] = signed.timestamp
        canonical = auth.canonical_request(request)
        string_to_sign = auth.string_to_sign(request, canonical)
        return _Expected(canonical, string_to_sign, auth.signature(string_to_sign, request))


@dataclass(frozen=True, slots=True)
class _Expected:
    canonical: str
    string_to_sign: str
    signature: str


def _signature(auth: S3SigV4QueryAuth, request: AWSRequest) -> str:
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)


def _check_headers(signed: Signed, headers: Mapping[str, str]) -> None:
    """Refuses x-amz-* headers that nobody signed; a signed header that is absent fails the signature by itself."""
    if "host" not in signed.headers:
        raise _malformed("X-Amz-SignedHeaders must include host")
    unsigned = [name for name in map(str.lower, headers) if name.startswith("x-amz-") and name not in signed.headers]
    if unsigned:
        raise refusal("unsigned_headers", HeadersNotSigned=", ".join(sorted(unsigned)))


def _parse(query: Mapping[str, str]) -> Signed:
    access_key, _, scope = query["X-Amz-Credential"].partition("/")
    try:
        signed_at = datetime.strptime(query["X-Amz-Date"], SIGV4_TIMESTAMP).replace(tzinfo=UTC).timestamp()
        expires_s = int(query["X-Amz-Expires"])
    except ValueError as error:
        raise _malformed("X-Amz-Date must be in the ISO8601 Long Format and X-Amz-Expires a number") from error
    return Signed(
        access_key=access_key,
        scope=scope,
        timestamp=query["X-Amz-Date"],
        signed_at=signed_at,
        expires_s=expires_s,
        headers=tuple(query["X-Amz-SignedHeaders"].split(";")),
        signature=query["X-Amz-Signature"],
    )


def _without_signature(url: str) -> str:
    """The URL as it was before signing; the rest of the query stays as it came, byte for byte."""
    base, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if not pair.startswith("X-Amz-Signature=")]
    return f"{base}?{'&'.join(kept)}"


def _malformed(message: str) -> S3Error:
    return S3Error(400, "AuthorizationQueryParametersError", message)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
