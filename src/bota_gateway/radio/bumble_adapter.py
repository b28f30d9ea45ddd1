"""Adapters without BlueZ: a controller that bumble drives itself, for tests in several processes and odd machines.

``radio.adapters = ["bumble:tcp-client:127.0.0.1:9100"]`` is the adapter that ``bota-gateway sim recorder`` offers;
``bumble:usb:0`` is a dongle that BlueZ does not hold.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bumble import hci
from bumble.device import Device
from bumble.host import Host
from bumble.transport import open_transport
from bumble.transport.common import TransportInitError, TransportLostError

from bota_gateway.errors import AdapterError
from bota_gateway.radio.adapters import Adapter
from bota_gateway.radio.bounded import uninterrupted
from bota_gateway.radio.bumble_backend import backends

OWN_ADDRESS = "F0:B0:7A:00:00:01"
"""Random static address of such an adapter: not every controller has a public one."""
ANSWER_S = 5.0
"""For one command: most take milliseconds, and a stuck controller holds up whoever gave up on the command so long."""
CHECK = "Check the transport in radio.adapters."


class _Host(Host):
    """Waits for the answer to a command even when its sender gives up: bumble would take it for the next command's."""

    async def _send_command(
        self, command: hci.HCI_SyncCommand[Any] | hci.HCI_AsyncCommand, response_timeout: float | None = None
    ) -> hci.HCI_Command_Complete_Event[Any] | hci.HCI_Command_Status_Event:
        limit = ANSWER_S if response_timeout is None else response_timeout
        return await uninterrupted(super()._send_command(command, limit))


@asynccontextmanager
async def bumble_adapter(name: str, transport_name: str) -> AsyncIterator[Adapter]:
    """The adapter behind a transport in bumble's words, powered on while the block runs.

    Raises:
        AdapterError: nothing answers there; or, out of the block and in a group, it went away.
    """
    try:
        transport = await open_transport(transport_name)
    except (OSError, TransportInitError, ValueError) as error:
        raise AdapterError(f"There is no controller at {name}: {error}.", remedy=CHECK) from error
    async with transport, _while_there(name, transport.source.terminated):
        host = _Host(transport.source, transport.sink)
        device = Device(name, hci.Address(OWN_ADDRESS), host=host)
        try:
            await device.power_on()
        except (TransportLostError, TimeoutError, hci.HCI_Error) as error:
            raise AdapterError(f"What is at {name} does not answer as a controller does.", remedy=CHECK) from error
        scanner, client = backends(device)
        yield Adapter(name, OWN_ADDRESS, scanner, client)


@asynccontextmanager
async def _while_there(name: str, terminated: asyncio.Future[None]) -> AsyncIterator[None]:
    """End the block by an error when the controller goes away: its host would wait for it without a word."""

    async def watch() -> None:
        await asyncio.shield(terminated)
        raise AdapterError(f"The controller at {name} went away.", remedy=CHECK)

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch(), name=f"watch {name}")
        try:
            yield
        finally:
            watching.cancel()
