"""What is asked of BlueZ beside bleak: what it manages, power, devices to drop. Each call has a bus of its own.

bleak's own connection is not borrowed: it is private, and gone whenever bleak finds that the bus has died.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bleak.backends.bluezdbus import manager as bleaks_manager
from bleak.exc import BleakDBusError, BleakError
from dbus_fast import BusType, Message, MessageType, Variant, unpack_variants
from dbus_fast.aio import MessageBus

from bota_gateway.radio.bounded import bounded
from bota_gateway.radio.const import BLUEZ_CALL_S

SERVICE: Final = "org.bluez"
ADAPTER: Final = "org.bluez.Adapter1"
DEVICE: Final = "org.bluez.Device1"
OBJECT_MANAGER: Final = "org.freedesktop.DBus.ObjectManager"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"

Objects = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Path to interface to property to value."""


def adapter_path(hci: str) -> str:
    """Where BlueZ has the adapter that it calls ``hci`` now."""
    return f"/org/bluez/{hci}"


async def managed_objects() -> Objects:
    """Everything that BlueZ has. Raises as all calls here do; see `call`."""
    reply = await call("/", OBJECT_MANAGER, "GetManagedObjects")
    return {path: unpack_variants(interfaces) for path, interfaces in reply.body[0].items()}


async def set_powered(hci: str, *, on: bool) -> None:
    """Switch an adapter on or off. Raises as `call` does."""
    await call(adapter_path(hci), PROPERTIES, "Set", "ssv", (ADAPTER, "Powered", Variant("b", on)))


async def remove_device(device_path: str) -> None:
    """Have BlueZ forget a device with all that it knows of it; a connection to it would be ended. Raises as `call`."""
    await call(device_path.rsplit("/", 1)[0], ADAPTER, "RemoveDevice", "o", (device_path,))


async def disconnect(device_path: str) -> None:
    """End a connection, also one that is only being made, by whomever. Raises as `call` does."""
    await call(device_path, DEVICE, "Disconnect")


async def call(path: str, interface: str, member: str, signature: str = "", body: Sequence[Any] = ()) -> Message:
    """One call, answered within `BLUEZ_CALL_S`.

    Raises:
        BleakDBusError: BlueZ, or the bus, answers with an error.
        TimeoutError: no answer.
        OSError: the bus can't be reached; EOFError, AuthError and BleakError likewise.
    """
    message = Message(SERVICE, path, interface, member, signature=signature, body=list(body))
    reply = await bounded(_over_a_bus_of_its_own(message), limit=BLUEZ_CALL_S)
    if reply is None:
        raise BleakError("the system bus gave no answer")
    if reply.message_type is MessageType.ERROR:
        raise BleakDBusError(str(reply.error_name), reply.body)
    return reply


async def _over_a_bus_of_its_own(message: Message) -> Message | None:
    bus = MessageBus(bus_type=BusType.SYSTEM)
    try:
        await bus.connect()
        return await bus.call(message)
    finally:
        bus.disconnect()


def forget_what_bleak_believes() -> None:
    """Have bleak drop all it remembers of BlueZ, and tell its clients that they are disconnected.

    A bluetoothd that is killed takes no leave, and bleak goes on believing in its devices and links. It does drop them
    when its connection to the bus ends, and makes a new one at its next call; so that connection is ended.
    """
    manager = bleaks_manager._global_instances.get(asyncio.get_running_loop())  # noqa: SLF001 - pinned by a test
    if manager is not None and manager._bus is not None:  # noqa: SLF001 - likewise
        manager._bus.disconnect()  # noqa: SLF001 - likewise
