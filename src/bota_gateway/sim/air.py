"""What lies between two virtual controllers: one link, its pace, its range and its end.

bumble's own virtual link hands every packet over at once and never ends by itself. Here data takes the time that a
rate in bytes per second gives it, the sender's host is told of a sent packet only when it was sent (so it feels
back-pressure), and two stations that no longer hear each other lose the link after its supervision time-out.
All time is the event loop's, so that a test may run on virtual time.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bumble import controller as bumble_controller
from bumble import hci, ll

if TYPE_CHECKING:
    from bota_gateway.sim.controller import VirtualController

PACING_GRAIN_S = 0.010
"""A paced link sends in bursts this far apart: about a connection interval (7.5 to 30 ms), so few timers."""

BURST_S = 4 * PACING_GRAIN_S
"""How late a timer may fire without costing throughput."""

_L2CAP_HEADER = 4
_ATT_CID = b"\x04\x00"
_ATT_NOTIFICATION = 0x1B


class Loss(Protocol):
    """Decides the fate of one notification: True loses it. Called once for each, in order."""

    def __call__(self) -> bool:
        """Returns True to lose this notification."""


@dataclass(eq=False)
class LinkEnd(bumble_controller.Connection):
    """One side of a link, as its controller holds it."""

    controller: "VirtualController"
    air: "AirLink" = field(init=False)
    queue: deque[tuple[bytes | ll.ControlPdu, int]] = field(default_factory=deque)
    """Waits for the air: a whole L2CAP PDU with its number of HCI packets, or a control PDU with 0."""
    closed: bool = False
    terminating: bool = False
    _fragments: int = 0
    _credit: float = 0.0
    _idle: bool = True
    """Nothing waited when the last turn ended."""
    _credited_at: float = 0.0
    _timer: asyncio.Handle | None = None
    _sending: bool = False

    @property
    def other(self) -> "LinkEnd":
        """The far side."""
        return self.air.peripheral if self.air.central is self else self.air.central

    # -- from this side's host ----------------------------------------------------------------------------------------

    def on_hci_acl_data_packet(self, packet: hci.HCI_AclDataPacket) -> None:
        """Takes one HCI packet from the host; the host hears of its completion when it has been sent."""
        self._fragments += 1
        self.assembler.feed_packet(packet)

    def on_acl_pdu(self, pdu: bytes) -> None:
        """A whole L2CAP PDU is there: it waits for its turn."""
        self.queue.append((pdu, self._fragments))
        self._fragments = 0
        self.wake()

    def send_ll_control_pdu(self, packet: ll.ControlPdu) -> None:
        """Sends one control PDU, in order with the data."""
        self.queue.append((packet, 0))
        self.wake()

    # -- the air ------------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Sends soon, unless that is under way already or nothing would arrive."""
        if self._timer is None and not self._sending and not self.closed and self.queue:
            self._timer = asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        """Sends what the rate allows now, reports it as completed, and sets the time for the rest."""
        self._timer = None
        air = self.air
        if not air.heard or self.closed:
            return
        self._sending = True
        try:
            completed = self._send_burst(air)
        finally:
            self._sending = False
        if completed and not self.closed:
            self.controller.report_completed(self.handle, completed)
        self._idle = not self.queue
        if self.queue and not self.closed:
            loop = asyncio.get_running_loop()
            wait = max(PACING_GRAIN_S, -self._credit / air.bytes_per_s) if air.bytes_per_s else 0.0
            self._timer = loop.call_later(wait, self._send) if wait else loop.call_soon(self._send)

    def _send_burst(self, air: "AirLink") -> int:
        rate = air.bytes_per_s
        if rate:
            now = asyncio.get_running_loop().time()
            grown = self._credit + (now - self._credited_at) * rate
            # Air that was not used is gone: only while data waits may a late turn make up for lost time.
            self._credit = min(grown, 1.0 if self._idle else max(1.0, rate * BURST_S))
            self._credited_at = now
        self._idle = False
        completed = 0
        # What the host adds meanwhile waits for the next turn, lest an unpaced link keep the loop for itself.
        for _ in range(len(self.queue)):
            if self.closed or (rate and self._credit <= 0):
                break
            item, packets = self.queue.popleft()
            completed += packets
            if isinstance(item, bytes):
                if rate:
                    self._credit -= len(item)
                self.other.receive(item)
            else:
                far = self.other
                far.controller.on_ll_control_pdu(far.peer_address, item)
        return completed

    def receive(self, pdu: bytes) -> None:
        """Hands a PDU that came over the air to this side's host."""
        air = self.air
        if self.closed:
            return
        if (
            air.loss is not None
            and len(pdu) > _L2CAP_HEADER
            and pdu[_L2CAP_HEADER] == _ATT_NOTIFICATION
            and pdu[2:4] == _ATT_CID
            and air.loss()
        ):
            return
        try:
            self.controller.deliver(self.handle, pdu)
        except Exception as error:  # noqa: BLE001 - a fault in one receiver must not stop the air for the others
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a packet's receiver failed", "exception": error}
            )

    def close(self) -> None:
        """Ends this side without telling anyone."""
        self.closed = True
        self.queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class AirLink:
    """One link: two ends, a pace, and a supervision time-out that runs while they do not hear each other."""

    def __init__(self, central: LinkEnd, peripheral: LinkEnd, *, supervision_timeout_s: float) -> None:
        self.central = central
        self.peripheral = peripheral
        self.supervision_timeout_s = supervision_timeout_s
        self.bytes_per_s: float | None = None
        """Pace of each direction, in bytes of L2CAP PDUs a second; None sends as fast as the process can."""
        self.loss: Loss | None = None
        self.heard = True
        self._abandoned = False
        self._timer: asyncio.TimerHandle | None = None
        central.air = peripheral.air = self

    @property
    def stations(self) -> tuple["VirtualController", "VirtualController"]:
        """The two controllers, central first."""
        return self.central.controller, self.peripheral.controller

    def set_heard(self, heard: bool) -> None:
        """Tells whether the ends hear each other now."""
        self.heard = heard and not self._abandoned
        if self.heard:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self.central.wake()
            self.peripheral.wake()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.supervision_timeout_s, self._time_out)

    def terminate(self, end: LinkEnd, reason: int) -> None:
        """One end's host asked for the end; unheard, the link lasts until its supervision time-out all the same."""
        if not self.heard:
            end.terminating = True
            return
        self._end(end, hci.HCI_ErrorCode.CONNECTION_TERMINATED_BY_LOCAL_HOST_ERROR)
        self._end(end.other, reason)
        self._forget()

    def abandon(self, end: LinkEnd) -> None:
        """One end is gone without a word (power off, reset): the other one notices by its supervision time-out."""
        end.close()
        end.controller.forget(end)
        self._abandoned = True
        self.set_heard(False)

    def _time_out(self) -> None:
        for end in (self.central, self.peripheral):
            reason = (
                hci.HCI_ErrorCode.CONNECTION_TERMINATED_BY_LOCAL_HOST_ERROR
                if end.terminating
                else hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR
            )
            self._end(end, reason)
        self._forget()

    def _end(self, end: LinkEnd, reason: int) -> None:
        if not end.closed:
            end.close()
            end.controller.forget(end)
            end.controller.report_disconnected(end.handle, reason)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.central.controller.radio.forget(self)
