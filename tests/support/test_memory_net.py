"""The network of memory carries HTTP as sockets do, and ends as they end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpcore
import httpx
import pytest
from aiohttp import web

from support.memory_net import HIGH_WATER, MemoryBackend, MemoryNetwork

pytestmark = pytest.mark.virtual_time


@asynccontextmanager
async def connected(app: web.Application) -> AsyncIterator[tuple[httpx.AsyncClient, MemoryBackend]]:
    """A client whose only way leads to this application, on port 40001."""
    network = MemoryNetwork()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    assert runner.server is not None
    network.listen(runner.server)
    backend = MemoryBackend(network)
    transport = httpx.AsyncHTTPTransport(verify=False)
    transport._pool = httpcore.AsyncConnectionPool(network_backend=backend)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:40001", timeout=5) as client:
        yield client, backend
    await runner.cleanup()


def serving(handler: object) -> web.Application:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]  # a handler of whatever kind
    return app


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def test_large_bodies_pass_both_ways_over_kept_connections() -> None:
    """Bodies beyond every buffer arrive whole, one after the other."""
    async with connected(serving(echo)) as (client, backend):
        for number in range(3):
            body = bytes([number]) * (4 * HIGH_WATER + number)
            assert (await client.post("/", content=body)).content == body
        assert len(backend._streams) == 1


async def test_who_does_not_read_makes_the_sender_wait() -> None:
    """A server that stops reading is felt by the client, until its patience ends."""
    stuck = asyncio.Event()

    async def stubborn(_request: web.Request) -> web.Response:
        await stuck.wait()
        return web.Response()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(64 << 10)

    async with connected(serving(stubborn)) as (client, _):
        with pytest.raises(httpx.WriteTimeout):
            await client.post("/", content=endless())
        stuck.set()


async def test_no_answer_in_time() -> None:
    """A silent server is a read time-out."""

    async def silent(_request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with connected(serving(silent)) as (client, _):
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/")


async def test_a_reset_is_a_read_error() -> None:
    """A server that aborts is told from one that ends in order."""

    async def rude(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def hasty(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with connected(serving(rude)) as (client, _):
        with pytest.raises(httpx.ReadError):
            await client.get("/")
    async with connected(serving(hasty)) as (client, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")


async def test_nobody_listens() -> None:
    """A port without a server refuses."""
    async with connected(serving(echo)) as (client, _):
        with pytest.raises(httpx.ConnectError):
            await client.get("http://127.0.0.1:1/")


async def test_a_cut_off_side_reaches_nobody_any_more() -> None:
    """After the cut nothing is sent, what was sent is still acted on, and no answer comes."""
    acted: list[bytes] = []

    async def slow(request: web.Request) -> web.Response:
        acted.append(await request.read())
        await asyncio.sleep(1)
        return web.Response()

    async with connected(serving(slow)) as (client, backend):
        request = asyncio.create_task(client.post("/", content=b"sent"))
        await asyncio.sleep(0.5)
        backend.cut()
        with pytest.raises(httpx.HTTPError):
            await request
        with pytest.raises(httpx.ConnectError):
            await client.post("/", content=b"too late")
    assert acted == [b"sent"]
