"""The doors of a gateway under test: each watches what goes through it, and can be shut at once, as by a SIGKILL.

Nothing of the product is changed for it. HTTP is watched in httpx's transport, GATT in bleak's backend on one side and
the simulated recorder on the other, SQLite by the spool's own probe.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpcore
import httpx
from bleak.args import SizedBuffer
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.scanner import BaseBleakScanner
from bumble import att
from bumble.device import Device

from bota_gateway.radio import Adapter
from bota_gateway.sim.recorder import SimRecorder
from support.effects import Effect, Effects, Moment, route, subscribed, written
from support.memory_net import MemoryBackend

# -- HTTP --------------------------------------------------------------------------------------------------------------


class WatchedTransport(httpx.AsyncBaseTransport):
    """httpx's own transport on a network of memory; every request is an effect."""

    def __init__(self, effects: Effects, backend: MemoryBackend, is_api: Callable[[httpx.URL], bool]) -> None:
        self._effects = effects
        self._is_api = is_api
        self._inner = httpx.AsyncHTTPTransport(verify=False)
        self._inner._pool = httpcore.AsyncConnectionPool(network_backend=backend)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send; the answer's head means that the server has acted."""
        path = request.extensions.get("target", request.url.raw_path).decode("ascii").partition("?")[0]
        effect = self._effects.begin(route(request.method, path, is_api=self._is_api(request.url)))
        effect.reach(Moment.BEFORE)
        assert isinstance(request.stream, httpx.AsyncByteStream)
        request.stream = _WatchedBody(request.stream, effect)
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException:
            effect.reach(Moment.ANSWERED)
            raise
        effect.reach(Moment.ACTED)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _WatchedAnswer(response.stream, effect)
        return response

    async def aclose(self) -> None:
        """Close its connections."""
        await self._inner.aclose()


class _WatchedBody(httpx.AsyncByteStream):
    """A request's body; of one with several pieces it is told when the first has left."""

    def __init__(self, inner: httpx.AsyncByteStream, effect: Effect) -> None:
        self._inner = inner
        self._effect = effect

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = 0
        async for piece in self._inner:
            if pieces == 1:
                self._effect.reach(Moment.UNDER_WAY)
            yield piece
            pieces += 1


class _WatchedAnswer(httpx.AsyncByteStream):
    """An answer's body; when it was read, or given up, the answer has arrived."""

    def __init__(self, inner: httpx.AsyncByteStream, effect: Effect) -> None:
        self._inner = inner
        self._effect = effect

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            yield piece

    async def aclose(self) -> None:
        """Everything that will be read was read."""
        await self._inner.aclose()
        self._effect.reach(Moment.ANSWERED)


# -- GATT --------------------------------------------------------------------------------------------------------------

Classes = tuple[type[BaseBleakScanner], type[BaseBleakClient]]

Pending = dict[str, Effect]
"""The write that is on its way to each recorder, by address: ATT has one at a time."""


def watched_adapter(name: str, classes: Classes, effects: Effects, pending: Pending) -> Adapter:
    """An adapter of these scanner and client classes whose writes are effects."""
    scanner, client = classes

    async def watch(address: str, kind: str, write: Callable[[], Any]) -> None:
        effect = pending[address.upper()] = effects.begin(kind)
        with effect.around():
            await write()

    class WatchedClient(client):  # type: ignore[misc, valid-type]  # a class made at run time
        async def write_gatt_char(
            self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool
        ) -> None:
            write = super().write_gatt_char
            await watch(
                self.address, written(characteristic.uuid, bytes(data)), lambda: write(characteristic, data, response)
            )

        async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
            write = super().write_gatt_descriptor
            kind = subscribed(descriptor.characteristic_uuid, bytes(data))
            await watch(self.address, kind, lambda: write(descriptor, data))

    watched: type[BaseBleakClient] = WatchedClient
    return Adapter(name, None, scanner, watched)


class WatchedRecorder(SimRecorder):
    """A recorder that tells what it hears, and when it has acted on a write."""

    def __init__(
        self,
        *args: Any,
        heard: Callable[["WatchedRecorder", att.ATT_Write_Request], None],
        acted: Callable[["WatchedRecorder"], None],
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._heard = heard
        self._acted = acted

    def _serve(self, device: Device) -> None:
        super()._serve(device)
        answer = device.gatt_server.send_response

        def send_response(bearer: att.Bearer, response: att.ATT_PDU) -> None:
            if isinstance(response, att.ATT_Write_Response):
                self._acted(self)
            answer(bearer, response)

        device.gatt_server.send_response = send_response  # type: ignore[method-assign]  # bumble has no hook there

    def _on_request(self, bearer: att.Bearer, pdu: att.ATT_PDU) -> None:
        if isinstance(pdu, att.ATT_Write_Request):
            self._heard(self, pdu)
        super()._on_request(bearer, pdu)


# -- SQLite ------------------------------------------------------------------------------------------------------------

WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "ALTER", "DROP")


def watch_statements(connection: sqlite3.Connection, effects: Effects, *, begun: int) -> None:
    """Whatever writes outside of the spool's named transactions is an effect of no known kind.

    Args:
        connection: The spool's.
        effects: Told of it.
        begun: How many transactions have begun before.
    """
    opened = begun

    def traced(statement: str) -> None:
        nonlocal opened
        verb = statement.lstrip().upper().split(maxsplit=1)[0] if statement.strip() else ""
        if verb == "BEGIN":
            opened += 1
        elif verb in WRITES and not (connection.in_transaction and opened == effects.transactions):
            effects.begin(f"SQL outside of a step: {verb}")

    connection.set_trace_callback(traced)
