"""Follows on the system bus whether bluetoothd lives, and which adapters come and go.

bleak tells none of it: when bluetoothd is killed nothing is called back at all, and its scanner just hears nothing.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import structlog
from bleak.exc import BleakError
from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus

from bota_gateway.radio import bluez
from bota_gateway.radio.agent import PairingAgent
from bota_gateway.radio.bounded import bounded
from bota_gateway.radio.classify import BACKEND_FAILURES, describe
from bota_gateway.radio.const import BLUEZ_CALL_S, BUS_RETRY

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BUS: Final = "org.freedesktop.DBus"
_RULES: Final = (
    f"type='signal',sender='{_BUS}',interface='{_BUS}',member='NameOwnerChanged',arg0='{bluez.SERVICE}'",
    f"type='signal',sender='{bluez.SERVICE}',interface='{bluez.OBJECT_MANAGER}',path='/'",
    f"type='signal',sender='{bluez.SERVICE}',interface='{bluez.PROPERTIES}',arg0='{bluez.ADAPTER}'",
)


class News(StrEnum):
    """What has happened."""

    LOST = "lost"
    """bluetoothd, or the bus to it, is gone; with it every link and scan."""
    BACK = "back"
    """bluetoothd is there: for the first time, or again."""
    ADAPTERS = "adapters"
    """An adapter came, went, or was switched on or off."""


class BlueZWatch:
    """Calls ``tell`` with each piece of news, in order.

    With it comes the reason in words for `News.LOST`, and the adapter's ``hciN`` for `News.ADAPTERS`. Its connection to
    the bus also serves ``agent``, which has to be there as long as bluetoothd is.
    """

    def __init__(self, tell: Callable[[News, str], None], agent: PairingAgent) -> None:
        self._tell = tell
        self._agent = agent
        self._bus: MessageBus
        self._lives = False

    async def run(self) -> None:
        """Watch until cancelled; a bus that is gone is waited for."""
        failures = 0
        while True:
            reason = "the system bus ended the connection"
            bus = MessageBus(bus_type=BusType.SYSTEM)
            try:
                await bounded(self._begin(bus), limit=BLUEZ_CALL_S)
                failures = 0
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # dbus-fast leaves it so
            except BACKEND_FAILURES as error:
                reason = f"the system bus can't be reached: {describe(error)}"
            finally:
                bus.disconnect()
            self._note(lives=False, reason=reason)
            wait = BUS_RETRY.step(failures)
            failures += 1
            log.debug("system_bus_lost", reason=reason, retry_in_s=wait)
            await asyncio.sleep(wait)

    async def _begin(self, bus: MessageBus) -> None:
        await bus.connect()
        self._bus = bus
        bus.add_message_handler(self._on_message)
        bus.add_message_handler(self._agent.answer)
        for rule in _RULES:
            await _ask(bus, "AddMatch", rule)
        reply = await _ask(bus, "NameHasOwner", bluez.SERVICE)
        self._note(lives=bool(reply.body[0]), reason="bluetoothd is not running")

    def _on_message(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "NameOwnerChanged" and message.body[0] == bluez.SERVICE:
            _, old, new = message.body
            if old:
                self._note(lives=False, reason="bluetoothd ended")
            if new:
                self._note(lives=True, reason="")
        elif message.member in {"InterfacesAdded", "InterfacesRemoved"} and bluez.ADAPTER in message.body[1]:
            self._tell(News.ADAPTERS, message.body[0].rsplit("/", 1)[-1])
        elif message.member == "PropertiesChanged" and "Powered" in message.body[1]:
            self._tell(News.ADAPTERS, str(message.path).rsplit("/", 1)[-1])

    def _note(self, *, lives: bool, reason: str) -> None:
        if lives != self._lives:
            self._lives = lives
            if lives:
                self._agent.register(self._bus)
            self._tell(News.BACK if lives else News.LOST, reason)


async def _ask(bus: MessageBus, member: str, argument: str) -> Message:
    reply = await bus.call(Message(_BUS, "/org/freedesktop/DBus", _BUS, member, signature="s", body=[argument]))
    if reply.message_type is MessageType.ERROR:
        raise BleakError(f"the system bus refuses {member}")
    return reply
