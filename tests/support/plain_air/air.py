"""An air without controllers: links are a few timers, and what passes over them are ATT requests and notifications.

The virtual radio carries real HCI, L2CAP and ATT bytes between real hosts, which is most of what a run on it costs.
Here a recorder's firmware and the gateway's own use of bleak's classes are the same, and nothing lies between them but
time, range, pace and loss. For the thousands of runs in which what happens matters, and not how it is packed.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final

from bumble import att

if TYPE_CHECKING:
    from support.plain_air.bleak_classes import PlainClient, PlainScanner
    from support.plain_air.recorder import PlainRecorder

REQUEST_S: Final = 0.015
"""Time that an ATT request takes to its server: about half a connection interval."""

BURST_S: Final = 0.25
"""What a link carries within this is handed over at once: few timers."""

LEAST_S: Final = 0.01
"""A connection interval, about: nothing arrives sooner."""

SUPERVISION_S: Final = 2.0
"""Time without hearing each other after which both ends take the link for lost."""

CONNECTS_AFTER_S: Final = 0.3
"""From the wish to connect to a recorder that advertises, to the link."""

ADVERTISING_JITTER_S: Final = 0.010
"""Up to so much joins each advertising interval, as the standard wants."""

RSSI: Final = -60

ANSWER_BYTES: Final = 16
"""Of an answer, about."""

NOTIFICATION_HEADER: Final = 7
"""Bytes that L2CAP and ATT add to a notification's value."""


class PlainAir:
    """The air that all share.

    Args:
        bytes_per_s: Pace of every link from recorder to hub.
        seed: Of the advertising delays.
    """

    def __init__(self, *, bytes_per_s: float, seed: int = 0) -> None:
        self.bytes_per_s = bytes_per_s
        self.random = Random(seed)
        self._adapters: dict[str, PlainAdapter] = {}
        self._recorders: list[PlainRecorder] = []
        self._links: list[PlainLink] = []
        self._silent: set[str] = set()
        self._loss: dict[str, Callable[[], bool]] = {}
        self._pace: dict[str, float] = {}
        self._news = asyncio.Event()

    # -- who is there --------------------------------------------------------------------------------------------------

    def adapter(self, name: str) -> "PlainAdapter":
        """Add a hub's adapter."""
        added = self._adapters[name] = PlainAdapter(self, name)
        return added

    def remove(self, name: str) -> None:
        """An adapter is gone without a word; recorders notice by their supervision time-out."""
        adapter = self._adapters.pop(name, None)
        if adapter is None:
            return
        adapter.gone = True
        for link in list(self._links):
            if link.client.adapter is adapter:
                link.abandon()

    def put_on(self, recorder: "PlainRecorder") -> None:
        """A recorder is switched on."""
        self._recorders.append(recorder)

    def take_off(self, recorder: "PlainRecorder") -> None:
        """A recorder is switched off without a word."""
        self._recorders.remove(recorder)
        for link in list(self._links):
            if link.recorder is recorder:
                link.abandon()

    # -- what lies between ---------------------------------------------------------------------------------------------

    def set_silent(self, serial: str, *, silent: bool) -> None:
        """Take a recorder out of range, or back."""
        (self._silent.add if silent else self._silent.discard)(serial)
        for link in list(self._links):
            link.set_heard(self.hears(link.recorder))
        self.changed()

    def set_loss(self, serial: str, loss: Callable[[], bool] | None) -> None:
        """Lose notifications of a recorder for which ``loss`` says so; None loses none."""
        if loss is None:
            self._loss.pop(serial, None)
        else:
            self._loss[serial] = loss

    def set_pace(self, bytes_per_s: float, serial: str) -> None:
        """Set the pace of a recorder's links."""
        self._pace[serial] = bytes_per_s

    def pace(self, serial: str) -> float:
        """Bytes a second of a recorder's links."""
        return self._pace.get(serial, self.bytes_per_s)

    def loses(self, serial: str) -> bool:
        """Whether this notification is lost."""
        loss = self._loss.get(serial)
        return loss is not None and loss()

    def hears(self, recorder: "PlainRecorder") -> bool:
        """Whether a recorder is switched on and in range."""
        return recorder in self._recorders and recorder.serial not in self._silent

    # -- meeting -------------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Somebody can be met who could not be before."""
        self._news.set()
        self._news = asyncio.Event()

    def advertise(self, recorder: "PlainRecorder") -> None:
        """One advertising event: all who scan hear it."""
        if self.hears(recorder):
            for adapter in list(self._adapters.values()):
                for scanner in list(adapter.scanners):
                    scanner.hear(recorder)

    async def meet(self, client: "PlainClient") -> "PlainLink":
        """The link to the recorder with that address, as soon as it advertises; waits without end."""
        while True:
            if self._advertiser(client.address) is not None:
                await asyncio.sleep(CONNECTS_AFTER_S)
                recorder = self._advertiser(client.address)
                if recorder is not None and not client.adapter.gone:
                    link = PlainLink(self, recorder, client)
                    self._links.append(link)
                    recorder.come(link)
                    return link
            await self._news.wait()

    def _advertiser(self, address: str) -> "PlainRecorder | None":
        return next(
            (one for one in self._recorders if one.address == address and one.advertising and self.hears(one)), None
        )

    def forget(self, link: "PlainLink") -> None:
        """A link is over at both ends."""
        self._links.remove(link)


class PlainAdapter:
    """What the scanners and clients of one hub's adapter share."""

    def __init__(self, air: PlainAir, name: str) -> None:
        self.air = air
        self.name = name
        self.gone = False
        self.scanners: list[PlainScanner] = []
        self.connecting = asyncio.Lock()


class PlainLink:
    """One link; it carries one request at a time, and notifications and answers in order."""

    def __init__(self, air: PlainAir, recorder: "PlainRecorder", client: "PlainClient") -> None:
        self.air = air
        self.recorder = recorder
        self.client = client
        self.att_mtu = min(client.MTU, recorder.options.att_mtu)
        self.heard = True
        self.over = False
        self._abandoned = False
        self.ended = asyncio.Event()
        """Set when both ends know that it is over."""
        self.flow = asyncio.Event()
        self._asked: deque[tuple[att.ATT_PDU, asyncio.Future[Any]]] = deque()
        """Requests in order; the first is under way."""
        self._on_its_way = False
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._burst_timer: asyncio.TimerHandle | None = None
        self._lost_timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Packets on their way to the hub."""
        return len(self._waiting)

    # -- to the recorder -----------------------------------------------------------------------------------------------

    def ask(self, pdu: att.ATT_PDU) -> "asyncio.Future[bytes | Exception | None]":
        """Send a request; gives its answer, an error that it was answered with, or None when the link has ended."""
        answer: asyncio.Future[bytes | Exception | None] = asyncio.get_running_loop().create_future()
        if self.over:
            answer.set_result(None)
            return answer
        self._asked.append((pdu, answer))
        if len(self._asked) == 1:
            self._send_request()
        return answer

    def _send_request(self) -> None:
        self._on_its_way = True
        asyncio.get_running_loop().call_later(REQUEST_S, self._arrive)

    def _arrive(self) -> None:
        if self._on_its_way and self.heard and not self.over:
            self._on_its_way = False
            self.recorder.hear(self, self._asked[0][0])

    def answer(self, value: bytes | Exception) -> None:
        """The recorder answers the request that is under way."""

        def deliver() -> None:
            _, answer = self._asked.popleft()
            if not answer.done():
                answer.set_result(value)
            if self._asked:
                self._send_request()

        self.send(ANSWER_BYTES, deliver)

    # -- to the hub ----------------------------------------------------------------------------------------------------

    def notify(self, handle: int, value: bytes) -> None:
        """Send a notification."""

        def deliver() -> None:
            if not self.air.loses(self.recorder.serial):
                self.client.heard(handle, value)

        self.send(NOTIFICATION_HEADER + len(value), deliver)

    def send(self, size: int, deliver: Callable[[], None]) -> None:
        """Send something towards the hub, behind what waits already."""
        if self.over:
            return
        self._waiting.append((size, deliver))
        self._wake(LEAST_S)

    def _wake(self, after_s: float) -> None:
        if self._burst_timer is None and self.heard and self._waiting and not self.over:
            self._burst_timer = asyncio.get_running_loop().call_later(after_s, self._burst)

    def _burst(self) -> None:
        self._burst_timer = None
        if not self.heard:
            return
        pace, carried = self.air.pace(self.recorder.serial), 0
        while self._waiting and carried < pace * BURST_S and not self.over:
            size, deliver = self._waiting.popleft()
            carried += size
            deliver()
        self.flow.set()
        self._wake(max(LEAST_S, carried / pace))

    # -- range and end -------------------------------------------------------------------------------------------------

    def set_heard(self, heard: bool) -> None:
        """Whether the ends hear each other now."""
        heard = heard and not self._abandoned
        if self.over or heard == self.heard:
            return
        self.heard = heard
        if heard and self._lost_timer is not None:
            self._lost_timer.cancel()
            self._lost_timer = None
        if heard:
            self._wake(LEAST_S)
            if self._on_its_way:
                self._send_request()
        else:
            self._lost_timer = asyncio.get_running_loop().call_later(SUPERVISION_S, self.end)

    def abandon(self) -> None:
        """One end is gone without a word: the other notices later."""
        self._abandoned = True
        self.set_heard(False)

    def end(self) -> None:
        """Over at both ends."""
        if self.over:
            return
        self.over = True
        for timer in (self._burst_timer, self._lost_timer):
            if timer is not None:
                timer.cancel()
        self._waiting.clear()
        self.flow.set()
        self.air.forget(self)
        self.recorder.leave(self)
        asked, self._asked = self._asked, deque()
        for _, answer in asked:
            if not answer.done():
                answer.set_result(None)
        self.client.lost(self)
        self.ended.set()

    async def leave(self) -> None:
        """One end asks for its end; unheard, it lasts until its supervision time-out all the same."""
        if self.heard:
            self.end()
        await self.ended.wait()
