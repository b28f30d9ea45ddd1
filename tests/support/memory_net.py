"""A network made of memory: HTTP/1.1 bytes between httpx and aiohttp without a socket.

Both sides are the real ones, from httpcore's connection pool to aiohttp's parser; only the socket between them is a
pair of buffers. So a virtual clock needs no grace for traffic, the order of events is the same in every run, and a
side can be cut off at once, as a killed process is.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import httpcore
from aiohttp import web

from bota_gateway.sim.cloud import EmulatedCloud

Accept = Callable[[], asyncio.Protocol]
FIRST_PORT = 40_001
HIGH_WATER = 256 << 10
"""Bytes under way from a client at which it waits, as a full socket buffer makes it wait."""


class MemoryNetwork:
    """Who listens, by port."""

    def __init__(self) -> None:
        self._accepts: dict[int, Accept] = {}

    def listen(self, accept: Accept, port: int = 0) -> int:
        """Let ``accept`` make a protocol for each connection; gives back the port."""
        chosen = port or FIRST_PORT + len(self._accepts)
        self._accepts[chosen] = accept
        return chosen

    def accept(self, port: int) -> asyncio.Protocol:
        """The server's side of a new connection.

        Raises:
            httpcore.ConnectError: nobody listens.
        """
        if port not in self._accepts:
            raise httpcore.ConnectError(f"[memory] connection refused: port {port}")
        return self._accepts[port]()


class MemoryCloud(EmulatedCloud):
    """The emulated cloud on a network of memory."""

    def __init__(self, network: MemoryNetwork, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._network = network

    async def _listen(self, runner: web.AppRunner, port: int) -> int:
        assert runner.server is not None
        return self._network.listen(runner.server, port)


class MemoryBackend(httpcore.AsyncNetworkBackend):
    """One process's way into the network."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self._streams: set[ClientStream] = set()
        self._cut = False

    def cut(self) -> None:
        """The process dies: its connections end at once, and no more come about."""
        self._cut = True
        for stream in list(self._streams):
            stream.end()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection, at once."""
        del host, timeout, local_address, socket_options
        if self._cut:
            raise httpcore.ConnectError("[memory] this process is dead")
        stream = ClientStream(self._network.accept(port), self._streams.discard)
        self._streams.add(stream)
        return stream


class ClientStream(httpcore.AsyncNetworkStream):
    """The client's end of a connection."""

    def __init__(self, server: asyncio.Protocol, ended: Callable[["ClientStream"], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._ended = ended
        self._arrived = bytearray()
        self._over = False
        self._reset = False
        self._change = asyncio.Event()
        self.transport = ServerTransport(self, server)
        server.connection_made(self.transport)

    # -- for the client ------------------------------------------------------------------------------------------------

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has arrived; empty at the orderly end."""
        await self._until(lambda: bool(self._arrived) or self._over, timeout, httpcore.ReadTimeout)
        if self._reset:
            raise httpcore.ReadError("[memory] connection reset by peer")
        taken = bytes(self._arrived[:max_bytes])
        del self._arrived[:max_bytes]
        return taken

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send; waits while the server does not read."""
        await self._until(lambda: self._over or self.transport.waiting < HIGH_WATER, timeout, httpcore.WriteTimeout)
        if self._over:
            raise httpcore.WriteError("[memory] broken pipe")
        self.transport.receive(bytes(buffer))

    async def aclose(self) -> None:
        """End it from the client's side."""
        self.end()

    def get_extra_info(self, info: str) -> Any:
        """``is_readable`` is how the pool notices that an idle connection was ended."""
        return (bool(self._arrived) or self._over) if info == "is_readable" else None

    def end(self) -> None:
        """As :meth:`aclose`, at once."""
        if not self._over:
            self._over = True
            self._change.set()
            self._loop.call_soon(self.transport.peer_gone)
        self._ended(self)

    async def _until(self, condition: Callable[[], bool], timeout: float | None, late: type[Exception]) -> None:
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._change.clear()
                    await self._change.wait()
        except TimeoutError:
            raise late from None

    # -- for the server ------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes from the server."""
        if not self._over:
            self._arrived += data
            self._change.set()

    def server_ended(self, *, reset: bool) -> None:
        """The server ended the connection."""
        if not self._over:
            self._over = True
            self._reset = reset
        self._change.set()

    def noticed(self) -> None:
        """The server read something."""
        self._change.set()


class ServerTransport(asyncio.Transport):
    """The server's end of a connection, as aiohttp wants it."""

    def __init__(self, client: ClientStream, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._protocol = protocol
        self._pending: list[bytes] = []
        self._paused = False
        self._closing = False

    # -- from the client -----------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Bytes that the server has not read."""
        return sum(map(len, self._pending))

    def receive(self, data: bytes) -> None:
        """Bytes from the client: the server reads them when it is its turn."""
        self._pending.append(data)
        self._loop.call_soon(self._deliver)

    def peer_gone(self) -> None:
        """The client is gone; what it sent before still arrives first."""
        self._paused = False
        self._deliver()
        self._lose()

    def _deliver(self) -> None:
        while self._pending and not self._paused and not self._closing:
            self._protocol.data_received(self._pending.pop(0))
        self._client.noticed()

    def _lose(self) -> None:
        if not self._closing:
            self._closing = True
            self._protocol.connection_lost(None)

    # -- for the server ------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        self._client.feed(bytes(data))

    def is_closing(self) -> bool:
        """Whether it is ended or about to be."""
        return self._closing

    def close(self) -> None:
        """End it in order."""
        self._end(reset=False)

    def abort(self) -> None:
        """End it by a reset."""
        self._end(reset=True)

    def _end(self, *, reset: bool) -> None:
        if not self._closing:
            self._closing = True
            self._client.server_ended(reset=reset)
            self._loop.call_soon(self._protocol.connection_lost, None)

    def pause_reading(self) -> None:
        """Let what comes wait."""
        self._paused = True

    def resume_reading(self) -> None:
        """Read on."""
        self._paused = False
        self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        """Whether it reads."""
        return not self._paused and not self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever buffered on the way to the client."""

    def get_write_buffer_size(self) -> int:
        """As above."""
        return 0

    def can_write_eof(self) -> bool:
        """As with TLS: a half-closed connection is not needed."""
        return False
