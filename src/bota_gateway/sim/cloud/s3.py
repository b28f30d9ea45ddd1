"""The bucket's HTTP front: presigned PUT and GET, checked as AWS checks them, streamed to disk."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import structlog
from aiohttp import web

from bota_gateway.model import WallClock
from bota_gateway.sim.cloud import const
from bota_gateway.sim.cloud.counters import Counters
from bota_gateway.sim.cloud.faults import BitRot, CloudFaults, Fault, ResetMidBody, S3Refusal, SlowReader, Status
from bota_gateway.sim.cloud.misbehave import Misbehaviour, reset
from bota_gateway.sim.cloud.objects import IncomingObject, ObjectStore, pieces
from bota_gateway.sim.cloud.options import CloudOptions
from bota_gateway.sim.cloud.presigned import PresignedUrls
from bota_gateway.sim.cloud.s3_errors import S3Error, refusal

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


MD5_BYTES: Final = 16


class _ConnectionResetError(Exception):
    """A fault ended the connection in mid-body."""


class S3Server:
    """Serves one bucket, path-style: ``/bucket/key``."""

    def __init__(
        self,
        objects: ObjectStore,
        urls: PresignedUrls,
        faults: CloudFaults,
        counters: Counters,
        options: CloudOptions,
        now: WallClock,
        stopping: asyncio.Event,
        changed: Callable[[], None],
    ) -> None:
        self._objects = objects
        self._urls = urls
        self._faults = faults
        self._counters = counters
        self._options = options
        self._now = now
        self._requests = 0
        self._changed = changed
        self._misbehaviour = Misbehaviour(self._commanded, stopping)

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application()
        # S3 looks at the head of a request before it says "100 Continue"; aiohttp would say it at once.
        app.router.add_route("*", "/{path:.*}", self._handle, expect_handler=_no_hurry)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        route = f"{request.method} s3"
        self._counters.called(route, self._now())
        fault = self._faults.take(route, request.path)
        response = await self._misbehaviour.answer(fault, request, lambda: self._right_answer(request, fault))
        self._counters.answered(route, response.status)
        log.debug(
            "sim_s3_answered",
            route=route,
            path=request.path,
            status=response.status,
            fault=None if fault is None else fault.kind,
        )
        return response

    async def _right_answer(self, request: web.Request, fault: Fault | None) -> web.Response:
        try:
            if isinstance(fault, S3Refusal):
                raise refusal(fault.refusal)
            return await self._carry_out(request, fault)
        except S3Error as error:
            response = self._refused(error)
            if isinstance(fault, S3Refusal) and fault.close:
                await response.prepare(request)
                await response.write_eof()
                reset(request)
            return response
        except _ConnectionResetError:
            reset(request)
            return web.Response()

    async def _carry_out(self, request: web.Request, fault: Fault | None) -> web.Response:
        key = self._key(request)
        if request.method == "PUT":
            self._counters.puts[_recording_of(key)] += 1
        url = f"http://{request.host}{request.raw_path}"
        self._urls.check(request.method, url, request.headers)
        match request.method:
            case "PUT":
                return await self._put(request, key, fault)
            case "GET" | "HEAD":
                return self._get(key)
            case _:
                raise refusal("method")

    def _key(self, request: web.Request) -> str:
        bucket, _, key = unquote(request.raw_path.partition("?")[0]).removeprefix("/").partition("/")
        if bucket != self._options.bucket:
            raise refusal("no_bucket", BucketName=bucket)
        if not key:
            raise refusal("method")
        return key

    async def _put(self, request: web.Request, key: str, fault: Fault | None) -> web.Response:
        length = self._checked_length(request)
        if request.headers.get("If-None-Match") == "*" and self._objects.get(key) is not None:
            raise refusal("precondition", Condition="If-None-Match")
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        with self._objects.incoming(key, request.headers.get("Content-Type", "binary/octet-stream")) as incoming:
            await self._receive(request, incoming, fault)
            if incoming.size != length:
                raise refusal("incomplete", NumberBytesExpected=str(length), NumberBytesProvided=str(incoming.size))
            _check_digests(request, incoming)
            if isinstance(fault, BitRot) and incoming.size:
                incoming.flip_bit(self._faults.random.randrange(incoming.size * 8))
            stored = await incoming.commit()
        self._changed()
        self._counters.stored[_recording_of(key)] += 1
        return web.Response(status=200, headers={"ETag": stored.etag})

    def _checked_length(self, request: web.Request) -> int:
        length = request.content_length
        if length is None or "Transfer-Encoding" in request.headers:
            raise refusal("no_length")
        if length > self._options.largest_put_bytes:
            raise refusal("too_large", ProposedSize=str(length), MaxSizeAllowed=str(self._options.largest_put_bytes))
        return length

    async def _receive(self, request: web.Request, incoming: IncomingObject, fault: Fault | None) -> None:
        """Streams the body to disk; what a client stops sending ends as IncompleteBody or RequestTimeout."""
        while True:
            try:
                async with asyncio.timeout(const.READ_TIMEOUT_S):
                    piece = await request.content.readany()
            except TimeoutError as error:
                raise refusal("timeout") from error
            except (ConnectionError, web.RequestPayloadError) as error:
                raise refusal("incomplete") from error
            if not piece:
                return
            self._counters.put_bytes += len(piece)
            incoming.write(piece)
            match fault:
                case ResetMidBody(after_bytes=after_bytes) if incoming.size >= after_bytes:
                    raise _ConnectionResetError
                case SlowReader(bytes_per_s=bytes_per_s):
                    await asyncio.sleep(len(piece) / bytes_per_s)

    def _get(self, key: str) -> web.Response:
        stored = self._objects.get(key)
        if stored is None:
            raise refusal("no_key", Key=key)
        return web.Response(
            body=_body(self._objects.path(stored.key)),
            headers={
                "ETag": stored.etag,
                "Content-Type": stored.content_type,
                "Content-Length": str(stored.size),
            },
        )

    def _refused(self, error: S3Error) -> web.Response:
        self._requests += 1
        body = error.xml(request_id=f"SIM{self._requests:013d}")
        return web.Response(status=error.status, body=body, content_type="application/xml")

    def _commanded(self, fault: Status) -> web.Response:
        return self._refused(S3Error(fault.status, fault.code, fault.message))


def _recording_of(key: str) -> str:
    """Keys are ``project/recording/...``: what was put is counted per recording."""
    return key.split("/")[1] if "/" in key else key


async def _no_hurry(request: web.Request) -> None:
    """Leaves "100 Continue" to the handler, which says it once the head of the request is accepted."""


async def _body(path: Path) -> AsyncIterator[bytes]:
    """Stored bytes, read from disk without holding the loop up."""
    source = pieces(path)
    while piece := await asyncio.to_thread(next, source, b""):
        yield piece


def _check_digests(request: web.Request, incoming: IncomingObject) -> None:
    """Digests the client sent along; x-amz-checksum-* was signed, or it would not have come this far."""
    if (md5 := request.headers.get("Content-MD5")) is not None and _md5(md5) != incoming.md5:
        raise refusal("bad_digest")
    sha256 = request.headers.get("x-amz-checksum-sha256")
    if sha256 is not None and sha256 != base64.b64encode(incoming.sha256).decode():
        raise refusal("bad_checksum")


def _md5(header: str) -> bytes:
    try:
        digest = base64.b64decode(header, validate=True)
    except binascii.Error as error:
        raise refusal("invalid_digest") from error
    if len(digest) != MD5_BYTES:
        raise refusal("invalid_digest")
    return digest
