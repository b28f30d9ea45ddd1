"""Carries out the faults that both servers share, around whatever the right answer is."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from bota_gateway.sim.cloud.call import JsonObject
from bota_gateway.sim.cloud.faults import (
    EditedAnswer,
    Fault,
    LateCommit,
    LostAfterCommit,
    LostBeforeCommit,
    OversizedBody,
    Redirect,
    Slow,
    Stall,
    Status,
    TruncatedAnswer,
)

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST, which a client sees as a reset and not as an orderly end."""

GARBLED: Final = {
    "html": ("text/html", b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"),
    "rubbish": ("application/json", b'{"error": {"code": '),
    "empty": ("application/octet-stream", b""),
}
"""Bodies that are no error envelope, with their content type."""

Act = Callable[[], Awaitable[web.Response]]
Refuse = Callable[[Status], web.Response]


def reset(request: web.Request) -> None:
    """Ends the connection with a TCP reset."""
    transport = request.transport
    if transport is None or transport.is_closing():
        return
    peer = transport.get_extra_info("socket")
    if peer is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


class Misbehaviour:
    """Answers a request rightly, or as a fault commands."""

    def __init__(self, refuse: Refuse, stopping: asyncio.Event) -> None:
        self._refuse = refuse
        self._stopping = stopping

    async def answer(self, fault: Fault | None, request: web.Request, act: Act) -> web.StreamResponse:
        """``act`` carries the call out and gives the right answer; faults it does not know are left to it."""
        if isinstance(fault, LateCommit):
            reset(request)
            await asyncio.sleep(fault.delay_s)
            return await act()
        right = await act() if _acts(fault) else web.Response()
        return await self._distorted(fault, request, right)

    async def _distorted(self, fault: Fault | None, request: web.Request, right: web.Response) -> web.StreamResponse:
        answer: web.StreamResponse = right
        match fault:
            case LostBeforeCommit() | LostAfterCommit():
                reset(request)
            case Stall():
                await self._stopping.wait()
                reset(request)
            case Slow(delay_s=delay_s):
                await asyncio.sleep(delay_s)
            case Status():
                answer = self._other_answer(fault)
            case Redirect():
                answer = web.Response(status=fault.status, headers={"Location": fault.location})
            case TruncatedAnswer(keep_bytes=keep_bytes):
                answer = await _truncated(request, right, keep_bytes)
            case OversizedBody(extra_bytes=extra_bytes):
                answer = _changed(right, {"padding": "x" * extra_bytes})
            case EditedAnswer():
                answer = _changed(right, dict(fault.replace), fault.remove)
        return answer

    def _other_answer(self, fault: Status) -> web.Response:
        if fault.body == "error":
            response = self._refuse(fault)
        else:
            content_type, body = GARBLED[fault.body]
            response = web.Response(status=fault.status, body=body, content_type=content_type)
        if fault.retry_after is not None:
            response.headers["Retry-After"] = fault.retry_after
        return response


def _acts(fault: Fault | None) -> bool:
    """Whether the call is carried out although its answer is not the right one."""
    match fault:
        case LostBeforeCommit() | Redirect():
            return False
        case Status(after_commit=after_commit) | Stall(after_commit=after_commit):
            return after_commit
        case _:
            return True


async def _truncated(request: web.Request, right: web.Response, keep_bytes: int) -> web.StreamResponse:
    body = right.body if isinstance(right.body, bytes) else b""
    cut = web.StreamResponse(status=right.status, headers={"Content-Type": right.content_type})
    cut.content_length = max(len(body), keep_bytes + 1)
    await cut.prepare(request)
    await cut.write(body[:keep_bytes])
    # An orderly close keeps what was written readable; the missing bytes are what the client must notice.
    if request.transport is not None:
        request.transport.close()
    return cut


def _changed(right: web.Response, added: JsonObject, removed: tuple[str, ...] = ()) -> web.Response:
    """The same answer with other top-level fields; an answer that is no JSON object stays as it is."""
    if right.content_type != "application/json" or not isinstance(right.body, bytes):
        return right
    body = json.loads(right.body)
    kept = {name: value for name, value in body.items() if name not in removed} | added
    headers = {name: value for name, value in right.headers.items() if name.lower().startswith("x-ratelimit")}
    return web.json_response(kept, status=right.status, headers=headers)
