"""Lets BlueZ pair recorders that demand encryption, without a question to anybody ("Just Works").

The kernel asks BlueZ whether such a pairing is wanted, and BlueZ asks an agent. A hub has none: bluetoothctl and
desktops bring theirs along. Without one every such pairing is refused, also the one that BlueZ itself begins when a
recorder answers "insufficient encryption".
"""

from collections.abc import Callable
from typing import Final

import structlog
from dbus_fast import Message, MessageFlag, MessageType
from dbus_fast.aio import MessageBus

from bota_gateway.radio.bluez import SERVICE

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

AGENT: Final = "org.bluez.Agent1"
PATH: Final = "/dev/bota/gateway/agent"
_MANAGER: Final = "org.bluez.AgentManager1"
_CAPABILITY: Final = "NoInputNoOutput"


class PairingAgent:
    """Agrees to pairings with recorders that a link of ours is held to or made to, and to no other.

    Args:
        is_held: Whether such a link exists, by address.
    """

    def __init__(self, is_held: Callable[[str], bool]) -> None:
        self._is_held = is_held

    def register(self, bus: MessageBus) -> None:
        """Make this the agent of all pairings, as long as bus and bluetoothd live. BlueZ's answer is not waited for."""
        asks = (("RegisterAgent", "os", [PATH, _CAPABILITY]), ("RequestDefaultAgent", "o", [PATH]))
        for member, signature, body in asks:
            self._sent = bus.send(  # kept, because a future that nobody holds may be dropped
                Message(
                    SERVICE,
                    "/org/bluez",
                    _MANAGER,
                    member,
                    signature=signature,
                    body=body,
                    flags=MessageFlag.NO_REPLY_EXPECTED,
                )
            )

    def answer(self, message: Message) -> Message | None:
        """Answer what BlueZ asks an agent; None for what is no such question."""
        if message.message_type is not MessageType.METHOD_CALL or message.interface != AGENT:
            return None
        if message.member in {"Release", "Cancel"}:
            return Message.new_method_return(message)
        if message.member == "RequestAuthorization" and self._is_held(_address(str(message.body[0]))):
            return Message.new_method_return(message)
        log.debug("pairing_refused", asked=message.member, device=str(message.body[0]))
        return Message.new_error(message, "org.bluez.Error.Rejected", "not a recorder that is being visited")


def _address(device_path: str) -> str:
    return device_path.rpartition("/dev_")[2].replace("_", ":")
