"""The central that a simulated recorder is connected to, as the recorder sees it."""

import asyncio
from contextlib import suppress

from bumble import att
from bumble.core import BaseBumbleError
from bumble.device import Connection

HIGH_WATER = 64
"""HCI packets on their way at which sending pauses: a controller's buffers, so the host's own queue stays short."""


class Peer:
    """Sends notifications to one central, no faster than the air takes them.

    Works over the virtual radio and over a real controller alike: both report completed packets.

    Args:
        connection: The link, as the recorder's side has it.
        cuts: What happens to a value too long for the MTU: cut, or not sent.
    """

    def __init__(self, connection: Connection, *, cuts: bool = False) -> None:
        self.connection = connection
        self._cuts = cuts
        self.subscribed: set[int] = set()
        """Handles of the characteristics the central wants to be notified of."""
        queue = connection.data_packet_queue
        if queue is None:
            raise ValueError("The connection has no data queue")
        self._queue = queue
        self._flow = asyncio.Event()
        queue.on("flow", self._flow.set)

    @property
    def largest_value(self) -> int:
        """Bytes that one notification may carry: the ATT MTU less its header."""
        return int(self.connection.att_mtu) - 3

    @property
    def waiting(self) -> int:
        """HCI packets that the controller has not completed yet."""
        return self._queue.pending

    @property
    def full(self) -> bool:
        """Whether to await `room` before sending more."""
        return self._queue.pending >= HIGH_WATER

    def notify(self, handle: int, value: bytes) -> bool:
        """Sends one notification.

        Returns:
            False when nothing was sent: the central has not subscribed, or the MTU does not allow it.
        """
        room = self.largest_value
        if handle not in self.subscribed or (len(value) > room and not self._cuts):
            return False
        header = bytes((att.Opcode.ATT_HANDLE_VALUE_NOTIFICATION,)) + handle.to_bytes(2, "little")
        self.connection.send_l2cap_pdu(att.ATT_CID, header + value[:room])
        return True

    async def room(self) -> None:
        """Waits until the air has taken enough of what was sent."""
        while self.full:
            self._flow.clear()
            await self._flow.wait()

    async def drained(self) -> None:
        """Waits until the air has taken everything."""
        while self._queue.pending:
            self._flow.clear()
            await self._flow.wait()

    async def disconnect(self) -> None:
        """Ends the link; nothing happens when it has ended already."""
        with suppress(BaseBumbleError):
            await self.connection.disconnect()

    def close(self) -> None:
        """The link has ended."""
        self._queue.remove_listener("flow", self._flow.set)
