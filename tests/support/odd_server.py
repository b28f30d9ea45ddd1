"""A server on loopback that says exactly what a test wants, byte by byte, and remembers what it was sent."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request as it came over the wire."""

    method: str
    target: str
    """Path and query, unparsed."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass
class OddServer:
    """Answers requests in the order of ``answers``; the last one repeats."""

    port: int = 0
    answers: list[bytes] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    hold: asyncio.Event | None = None
    """While set to an event, answers wait for it."""

    @property
    def host(self) -> str:
        """As host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def base(self) -> str:
        """What a client configures as ``cloud.api_base``."""
        return f"http://{self.host}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.received.append(await _request(reader))
                if self.hold is not None:
                    await self.hold.wait()
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer == RESET:
                    writer.transport.abort()
                    return
                writer.write(answer)
                await writer.drain()
                if b"connection: close" in answer.lower():
                    break
        writer.close()


RESET = b"reset"
"""As an answer: the connection is reset."""


def answer(status: int = 200, body: Any = None, *, raw: bytes | None = None, **headers: str) -> bytes:
    """An answer's bytes; ``body`` as JSON, or ``raw`` as it is. ``Retry_After=`` sets such a header."""
    content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Odd", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


@asynccontextmanager
async def odd_server(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[OddServer]:
    """A running one; ``tls`` makes it speak HTTPS."""
    odd = OddServer(answers=list(answers))
    writers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        writers[task] = writer
        try:
            await odd.serve(reader, writer)
        finally:
            del writers[task]

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    odd.port = server.sockets[0].getsockname()[1]
    try:
        yield odd
    finally:
        server.close()
        if odd.hold is not None:
            odd.hold.set()
        tasks = list(writers)
        for writer in writers.values():
            writer.transport.abort()
        await asyncio.gather(*tasks)


async def _request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body
