"""Lets BlueZ pair recorders that demand encryption, without a question to anybody ("Just Works").

The kernel asks BlueZ whether such a pairing is wanted, and BlueZ asks an agent. A hub has none: bluetoothctl and
desktops bring theirs along. Without one every such pairing is refused, also the one that BlueZ itself begins when a
recorder answers "insufficient encryption"; it begins it before any client hears of that answer, so that the agent has
to be there beforehand.
"""

from collections.abc import Callable
from typing import Final

import structlog
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

from bota_gateway.radio.bluez import SERVICE

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

AGENT: Final = "org.bluez.Agent1"
PATH: Final = "/dev/bota/gateway/agent"
_MANAGER: Final = "org.bluez.AgentManager1"
_CAPABILITY: Final = "NoInputNoOutput"


class PairingAgent:
    """Agrees to pairings with recorders that a link of ours is held to or made to, and to no other.

    It never tells or compares digits: what asks for them is no recorder.

    Args:
        agree: Whether such a link exists, by address.
    """

    def __init__(self, agree: Callable[[str], bool]) -> None:
        self._agree = agree
        self._registering: Message | None = None

    def register(self, bus: MessageBus) -> None:
        """Offer this agent, for as long as bus and bluetoothd live. BlueZ's answer is not waited for.

        BlueZ asks it wherever nobody else's agent was there before (since 5.51, src/agent.c). RequestDefaultAgent would
        also take the pairings of other programs away, and their questions whether a known device may use a service.
        """
        self._registering = Message(
            SERVICE, "/org/bluez", _MANAGER, "RegisterAgent", signature="os", body=[PATH, _CAPABILITY]
        )
        self._sent = bus.send(self._registering)  # kept, because a future that nobody holds may be dropped

    def answer(self, message: Message) -> Message | None:
        """Answer what BlueZ asks an agent; None for what is no such question."""
        if message.message_type is MessageType.ERROR:
            self._note_failure(message)
        if message.message_type is not MessageType.METHOD_CALL or message.interface != AGENT:
            return None
        if message.member in {"Release", "Cancel"}:
            return Message.new_method_return(message)
        adapter, _, address = str(next(iter(message.body), "")).removeprefix("/org/bluez/").partition("/dev_")
        address = address.replace("_", ":")
        if message.member == "RequestAuthorization" and self._agree(address):
            log.info("pairing", address=address, adapter=adapter)
            return Message.new_method_return(message)
        log.debug("pairing_refused", address=address, adapter=adapter, asked=message.member)
        return Message.new_error(message, "org.bluez.Error.Rejected", "not a recorder that is being visited")

    def _note_failure(self, message: Message) -> None:
        if self._registering is not None and message.reply_serial == self._registering.serial:
            reason = message.body[0] if message.body else message.error_name
            log.warning("pairing_agent_refused", reason=str(reason))
