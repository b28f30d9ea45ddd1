"""The notifications of one characteristic, buffered within bounds."""

import asyncio
from collections import deque

from bota_gateway.errors import LinkLostError
from bota_gateway.pulse import back_within


class NotificationStream:
    """Notifications as they came, for one reader that takes them in batches.

    At radio rates a task, an await or a row for every packet costs more than the packet (docs/design-notes.md,
    "Notifications"). So the callback only appends; the reader takes all there is.
    """

    def __init__(self, address: str, *, max_bytes: int) -> None:
        self._address = address
        self._max_bytes = max_bytes
        self._packets: deque[bytes] = deque()
        self._held = 0
        self._something = asyncio.Event()
        self._lost = False
        self.received = 0
        """Packets that came, dropped ones included."""
        self.received_bytes = 0
        """Their payload bytes, dropped ones included."""
        self.dropped = 0
        """Packets dropped because the buffer was full."""
        self.dropped_bytes = 0
        """Their payload bytes."""

    def push(self, packet: bytes | bytearray) -> None:
        """Take one packet; drop and count it when the buffer is full."""
        size = len(packet)
        self.received += 1
        self.received_bytes += size
        if self._held + size > self._max_bytes:
            self.dropped += 1
            self.dropped_bytes += size
            return
        self._packets.append(bytes(packet))
        self._held += size
        self._something.set()

    def end(self) -> None:
        """The link is lost: what is buffered can still be taken, then `batch` raises."""
        self._lost = True
        self._something.set()

    async def batch(self, timeout: float) -> list[bytes]:
        """Everything buffered, in order; waits at most ``timeout`` seconds for something. Empty when nothing came.

        Raises:
            LinkLostError: the link is lost and the buffer empty.
        """
        back_within(timeout)
        if not self._packets and not self._lost:
            await self._wait(timeout)
        if not self._packets and self._lost:
            raise LinkLostError(f"The link to {self._address} was lost while waiting for notifications.")
        packets = list(self._packets)
        self._packets.clear()
        self._held = 0
        return packets

    async def _wait(self, timeout: float) -> None:
        self._something.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._something.wait()
        except TimeoutError:
            return
