"""The emulated bucket and OpenStack Swift answer the same requests alike: our idea of S3 is not ours alone."""

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
import pytest

from bota_gateway.sim.cloud import EmulatedCloud
from support.emulated_cloud import AUDIO
from support.swift import Swift

OGG = {"Content-Type": "audio/ogg"}


@dataclass(frozen=True)
class Request:
    """A request made with a presigned PUT, spoilt in one way."""

    name: str
    status: int
    code: str = ""
    signed_before_s: float = 0
    expires_s: int = 600
    method: str = "PUT"
    headers: Mapping[str, str] = field(default_factory=lambda: OGG)
    spoil: Callable[[str], str] = str
    twice: bool = False


REQUESTS = [
    Request("as signed", 200),
    Request("twice", 200, twice=True),
    Request("expired", 403, "AccessDenied", signed_before_s=700),
    Request("for more than a week", 400, "AuthorizationQueryParametersError", expires_s=604_801),
    Request("signature altered", 403, "SignatureDoesNotMatch", spoil=lambda url: url[:-4] + "beef"),
    Request("expiry stretched", 403, "SignatureDoesNotMatch", spoil=lambda url: url.replace("=600&", "=6000&")),
    Request("another object", 403, "SignatureDoesNotMatch", spoil=lambda url: url.replace("/audio", "/video")),
    Request("query added", 403, "SignatureDoesNotMatch", spoil=lambda url: f"{url}&x-id=PutObject"),
    Request("other content type", 403, "SignatureDoesNotMatch", headers={"Content-Type": "audio/wav"}),
    Request("no content type", 403, "SignatureDoesNotMatch", headers={}),
    Request("as a GET", 403, "SignatureDoesNotMatch", method="GET"),
    Request("metadata nobody signed", 403, "AccessDenied", headers=OGG | {"x-amz-meta-serial": "BP1"}),
    Request(
        "right MD5",
        200,
        headers=OGG | {"Content-MD5": base64.b64encode(hashlib.md5(AUDIO, usedforsecurity=False).digest()).decode()},
    ),
    Request(
        "wrong MD5",
        400,
        "BadDigest",
        headers=OGG | {"Content-MD5": base64.b64encode(hashlib.md5(b"", usedforsecurity=False).digest()).decode()},
    ),
    Request("no MD5 at all", 400, "InvalidDigest", headers=OGG | {"Content-MD5": "nonsense"}),
    Request("only if new, twice", 412, "PreconditionFailed", headers=OGG | {"If-None-Match": "*"}, twice=True),
]


def said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.text.partition("<Code>")[2].partition("</Code>")[0]


async def send(request: Request, url: str) -> tuple[int, str]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        body = AUDIO if request.method == "PUT" else None
        answer = await http.request(request.method, request.spoil(url), content=body, headers=dict(request.headers))
        if request.twice:
            answer = await http.request(request.method, url, content=body, headers=dict(request.headers))
    return said(answer)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.name)
async def test_both_answer_alike(swift: Swift, request_: Request) -> None:
    """Status and error code are the same, and what AWS documents."""
    key = f"proj/{hashlib.sha256(request_.name.encode()).hexdigest()[:12]}/audio"
    signed_at = time.time() - request_.signed_before_s
    theirs = await send(request_, swift.presign("PUT", key, headers=OGG, at=signed_at, expires_s=request_.expires_s))
    async with EmulatedCloud(now=lambda: signed_at) as cloud:
        url = cloud.urls.issue("PUT", f"{cloud.bucket_url}/{key}", headers=OGG, expires_s=request_.expires_s)
        signed_at += request_.signed_before_s
        ours = await send(request_, url)
    assert ours == theirs == (request_.status, request_.code)
