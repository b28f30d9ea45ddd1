"""A simulated recorder on the plain air: the firmware of the virtual radio's recorders, without a controller."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from bumble import att

from bota_gateway.sim.faults import Faults
from bota_gateway.sim.gatt import Cell, RefusedError
from bota_gateway.sim.options import RecorderOptions
from bota_gateway.sim.peer import HIGH_WATER, Peer
from support.doors import WatchedRecorder
from support.plain_air.air import ADVERTISING_JITTER_S, LEAST_S, PlainAir, PlainLink

HANDLES_EACH = 3
"""Of a characteristic: its declaration, its value, its configuration."""


class PlainPeer(Peer):
    """The hub, as the recorder sees it."""

    def __init__(self, link: PlainLink, *, cuts: bool) -> None:
        self.link = link
        self._cuts = cuts
        self.subscribed: set[int] = set()

    @property
    def largest_value(self) -> int:
        """Bytes that one notification may carry."""
        return self.link.att_mtu - 3

    @property
    def waiting(self) -> int:
        """Packets that the air has not taken."""
        return self.link.waiting

    @property
    def full(self) -> bool:
        """Whether to await `room` before sending more."""
        return self.link.waiting >= HIGH_WATER

    def notify(self, handle: int, value: bytes) -> bool:
        """As that of the virtual radio."""
        room = self.largest_value
        if handle not in self.subscribed or (len(value) > room and not self._cuts):
            return False
        self.link.notify(handle, value[:room])
        return True

    async def room(self) -> None:
        """Waits until the air has taken enough."""
        while self.full:
            self.link.flow.clear()
            await self.link.flow.wait()

    async def drained(self) -> None:
        """Waits until the air has taken everything."""
        while self.link.waiting:
            self.link.flow.clear()
            await self.link.flow.wait()

    async def disconnect(self) -> None:
        """Ends the link."""
        await self.link.leave()

    def close(self) -> None:
        """The link has ended."""


class PlainRecorder(WatchedRecorder):
    """One recorder on a `PlainAir`."""

    def __init__(
        self,
        air: PlainAir,
        *,
        serial: str,
        options: RecorderOptions,
        faults: Faults,
        heard: Callable[[WatchedRecorder, att.ATT_Write_Request], None],
        acted: Callable[[WatchedRecorder], None],
    ) -> None:
        super().__init__(serial=serial, options=options, faults=faults, heard=heard, acted=acted)
        self.air = air
        self.powered = False
        self.cells: dict[int, Cell] = {}
        """By handle of the value."""
        self._offers = False
        self._beacon: asyncio.TimerHandle | None = None
        self._link: PlainLink | None = None
        self._answer: Any = self._carry_out

    @property
    def advertising(self) -> bool:
        """Whether it can be connected to."""
        return self._offers

    # -- life ----------------------------------------------------------------------------------------------------------

    async def start(self, device: object = None) -> None:
        """Power on."""
        del device
        table = [cell for _, cells in self.firmware.table() for cell in cells if cell.group not in self.options.absent]
        self.cells = {HANDLES_EACH * number: cell for number, cell in enumerate(table, start=1)}
        self.firmware.handles = {cell.uuid: handle for handle, cell in self.cells.items()}
        self.powered = True
        self.air.put_on(self)
        self.firmware.started()
        self._offer()

    async def stop(self) -> None:
        """End the link, and power off."""
        await self.disconnect()
        await self.power_off()

    async def power_off(self) -> None:
        """Off without a word."""
        self._offer_no_more()
        if self.powered:
            self.powered = False
            self.air.take_off(self)
        self._link = None
        await super().power_off()

    def _offer(self) -> None:
        self._offers = True
        self._beacon = asyncio.get_running_loop().call_later(LEAST_S, self._advertise_now)
        self.air.changed()

    def _advertise_now(self) -> None:
        self.air.advertise(self)
        pause = self.options.advertising_interval_s + self.air.random.uniform(0.0, ADVERTISING_JITTER_S)
        self._beacon = asyncio.get_running_loop().call_later(pause, self._advertise_now)

    def _offer_no_more(self) -> None:
        self._offers = False
        if self._beacon is not None:
            self._beacon.cancel()

    @property
    def manufacturer_data(self) -> dict[int, bytes]:
        """As it is advertised, by company."""
        payload = self._manufacturer_data()
        return {} if payload is None else {int.from_bytes(payload[:2], "little"): payload[2:]}

    # -- links ---------------------------------------------------------------------------------------------------------

    def come(self, link: PlainLink) -> None:
        """A hub has connected."""
        self._offer_no_more()
        self._link = link
        self.requests = 0
        self._is_mute = False
        self.firmware.connected(PlainPeer(link, cuts=self.options.cuts_notifications))

    def leave(self, link: PlainLink) -> None:
        """The hub is gone."""
        if self._link is link:
            self._link = None
            self._end_connection()
            _ = self._spawn(self._offer_again())

    async def _offer_again(self) -> None:
        await asyncio.sleep(self.options.advertise_again_after_s)
        if self.powered and self._link is None and not self._offers:
            self._offer()

    # -- requests ------------------------------------------------------------------------------------------------------

    def hear(self, link: PlainLink, pdu: att.ATT_PDU) -> None:
        """A request arrives."""
        bearer: Any = link
        self._on_request(bearer, pdu)

    def _carry_out(self, link: PlainLink, pdu: att.ATT_PDU) -> None:
        try:
            done = self._value(pdu)
        except RefusedError as refused:
            self._reply(link, pdu, att.ATT_Error(refused.code))
        else:
            if isinstance(done, bytes):
                self._reply(link, pdu, done)
            else:
                _ = self._spawn(self._finish(link, pdu, done))

    async def _finish(self, link: PlainLink, pdu: att.ATT_PDU, done: Awaitable[None]) -> None:
        try:
            await done
        except RefusedError as refused:
            self._reply(link, pdu, att.ATT_Error(refused.code))
        else:
            self._reply(link, pdu, b"")

    def _reply(self, link: PlainLink, pdu: att.ATT_PDU, value: bytes | Exception) -> None:
        if isinstance(pdu, att.ATT_Write_Request) and isinstance(value, bytes):
            self._acted(self)
        if not self._is_mute:
            link.answer(value)

    def _value(self, pdu: att.ATT_PDU) -> bytes | Awaitable[None]:
        match pdu:
            case att.ATT_Read_Request(attribute_handle=handle):
                read = self._cell(handle).read
                if read is None:
                    raise RefusedError(att.ATT_READ_NOT_PERMITTED_ERROR)
                return bytes(read())
            case att.ATT_Write_Request(attribute_handle=handle, attribute_value=value) if handle in self.cells:
                write = self._cell(handle).write
                if write is None:
                    raise RefusedError(att.ATT_WRITE_NOT_PERMITTED_ERROR)
                return write(value) or b""
            case att.ATT_Write_Request(attribute_handle=handle, attribute_value=value):
                self._subscribe(handle - 1, wanted=bool(int.from_bytes(value, "little")))
                return b""
            case _:
                return b""  # the exchange of MTUs

    def _cell(self, handle: int) -> Cell:
        if self.options.requires_encryption:
            raise RefusedError(att.ATT_INSUFFICIENT_ENCRYPTION_ERROR)
        return self.cells[handle]

    def _subscribe(self, handle: int, *, wanted: bool) -> None:
        if self.firmware.peer is not None:
            (self.firmware.peer.subscribed.add if wanted else self.firmware.peer.subscribed.discard)(handle)
            self._note_change()
