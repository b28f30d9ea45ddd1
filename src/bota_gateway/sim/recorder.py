"""A simulated recorder on a radio: it advertises, takes one central at a time, and runs a `Firmware`.

Its rules are those of docs/protocol.md, "Simulated recorder". Everything it does can be watched: ``seen`` has counters
and lists, and `SimRecorder.wait_until` waits for any of it without polling.

    faults = Faults(Fault(FaultKind.DROP, at=100))
    async with SimRecorder(radio, serial="PIN0000001", recordings=[...], faults=faults) as recorder:
        await recorder.wait_until(lambda: not recorder.recordings)
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from bumble import att, hci
from bumble.core import AdvertisingData, BaseBumbleError
from bumble.device import Connection, Device
from bumble.gatt import Characteristic

from bota_gateway.protocol import advertising, uuids
from bota_gateway.sim.condition import Clock, Condition
from bota_gateway.sim.faults import FaultKind, Faults
from bota_gateway.sim.firmware import Firmware
from bota_gateway.sim.gatt import build, protect
from bota_gateway.sim.options import Advertises, RecorderOptions, StoredRecording
from bota_gateway.sim.peer import Peer
from bota_gateway.sim.seen import Seen
from bota_gateway.sim.transfer import stall
from bota_gateway.sim.virtual_radio import VirtualRadio, address_from

_DISCOVERABLE = bytes((0x06,))
"""AD flags: general discoverable, no classic Bluetooth."""

_LEGACY_PIN = 1
"""Type of a Pin in the legacy manufacturer data."""

_PAIRED = 2


class SimRecorder:
    """One recorder.

    Args:
        radio: The virtual radio it is on; None for a recorder that `start` puts on a device of another radio.
        serial: Its serial, and its name as a station of the radio.
        recordings: What it holds at first.
        options: How it behaves.
        faults: How it misbehaves; more can be added while it runs.
    """

    def __init__(
        self,
        radio: VirtualRadio | None = None,
        *,
        serial: str,
        recordings: Iterable[StoredRecording] = (),
        options: RecorderOptions | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.radio = radio
        self.serial = serial
        self.options = options or RecorderOptions()
        self.faults = faults or Faults()
        self.firmware = Firmware(
            serial,
            list(recordings),
            self.options,
            self.faults,
            spawn=self._spawn,
            changed=self._note_change,
        )
        self.address = self.options.address or address_from(serial)
        self._device: Device | None = None
        self._answer: Callable[[att.Bearer, att.ATT_PDU], None]
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._change = asyncio.Event()
        self.requests = 0
        """ATT requests of the present or last connection."""
        self._held: list[tuple[att.Bearer, att.ATT_PDU]] | None = None
        """Requests that wait for the end of a stall; None while there is none."""
        self._stall: asyncio.Task[None] | None = None
        self._is_mute = False
        """The link is about to end, and no answer goes out any more."""

    # -- watching -----------------------------------------------------------------------------------------------------

    @property
    def recordings(self) -> list[StoredRecording]:
        """What it still holds, oldest first as added."""
        return list(self.firmware.recordings.values())

    @property
    def seen(self) -> Seen:
        """What has happened so far."""
        return self.firmware.seen

    @property
    def acknowledged(self) -> list[str]:
        """File ids of transfers that ended by ACK."""
        return self.firmware.seen.acknowledged

    @property
    def confirmed(self) -> list[str]:
        """File ids that it was allowed to delete."""
        return self.firmware.seen.confirmed

    @property
    def condition(self) -> Condition:
        """Battery, radios and the like; to be set at will."""
        return self.firmware.condition

    @property
    def clock(self) -> Clock:
        """Its clock."""
        return self.firmware.clock

    @property
    def connected(self) -> bool:
        """Whether a central holds it."""
        return self.firmware.peer is not None

    @property
    def advertising(self) -> bool:
        """Whether centrals can see it."""
        return self._device is not None and bool(self._device.is_advertising)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits until ``condition()`` holds; it is asked again after everything that happens to this recorder."""
        while not condition():
            self._change.clear()
            await self._change.wait()

    def _note_change(self) -> None:
        self._change.set()

    # -- doing --------------------------------------------------------------------------------------------------------

    def add(self, *recordings: StoredRecording) -> None:
        """Puts more recordings on it, as if they had just been made."""
        self.firmware.recordings.update((recording.file_id, recording) for recording in recordings)
        self._note_change()

    def notify_status(self) -> bool:
        """Notifies the central of its status; False when none has subscribed."""
        return self.firmware.notify(uuids.DEVICE_STATUS, self.firmware.status())

    async def disconnect(self) -> None:
        """Ends the link from its side, if there is one."""
        if self.firmware.peer is not None:
            await self.firmware.peer.disconnect()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self, device: Device | None = None) -> None:
        """Powers it on and lets it advertise.

        Args:
            device: A bumble device of another radio, powered on, to run on; None for its own radio.
        """
        if device is None:
            if self.radio is None:
                raise ValueError("A recorder needs a radio or a device")
            device = await self.radio.station(self.serial, address=self.address, device_name=self.options.name)
        self._device = device
        self._serve(device)
        self.firmware.started()
        device.on(Device.EVENT_CONNECTION, self._on_connection)
        await self._advertise(device)

    async def stop(self) -> None:
        """Ends the link, if there is one, and powers it off. What it holds stays; it may be started again.

        Raises:
            ExceptionGroup: Something inside the simulation failed meanwhile.
        """
        device = self._device
        if device is not None:
            with suppress(BaseBumbleError):
                await device.stop_advertising()
            await self.disconnect()
        await self.power_off()

    async def power_off(self) -> None:
        """Powers it off without a word; its central notices by supervision time-out."""
        device, self._device = self._device, None
        if device is not None:
            device.remove_listener(Device.EVENT_CONNECTION, self._on_connection)
        if self.radio is not None:
            self.radio.remove(self.serial)
        if self.firmware.peer is not None:
            self._end_connection()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failures:
            failures, self._failures = self._failures, []
            raise BaseExceptionGroup(f"The simulated recorder {self.serial} failed", failures)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    # -- advertising --------------------------------------------------------------------------------------------------

    async def _advertise(self, device: Device) -> None:
        interval_ms = self.options.advertising_interval_s * 1000
        await device.start_advertising(
            own_address_type=hci.OwnAddressType.RANDOM,
            advertising_data=self._advertisement(),
            scan_response_data=self._scan_response(),
            advertising_interval_min=interval_ms,
            advertising_interval_max=interval_ms,
        )
        self._note_change()

    async def _advertise_again(self, device: Device) -> None:
        if self.options.advertise_again_after_s:
            await asyncio.sleep(self.options.advertise_again_after_s)
        await self._advertise(device)

    def _advertisement(self) -> bytes:
        name = self.options.name.encode()
        return bytes(
            AdvertisingData(
                [(AdvertisingData.Type.FLAGS, _DISCOVERABLE), (AdvertisingData.Type.COMPLETE_LOCAL_NAME, name)]
            )
        )

    def _scan_response(self) -> bytes:
        payload = self._manufacturer_data()
        if payload is None:
            return b""
        return bytes(AdvertisingData([(AdvertisingData.Type.MANUFACTURER_SPECIFIC_DATA, payload)]))

    def _manufacturer_data(self) -> bytes | None:
        match self.options.advertises:
            case Advertises.CURRENT:
                return advertising.encode_advertising(self.address)
            case Advertises.LEGACY:
                major, minor = (int(part) for part in self.options.firmware.split(".")[:2])
                return advertising.encode_legacy_advertising(_LEGACY_PIN, major, minor, _PAIRED)
            case Advertises.NAME_ONLY:
                return None

    # -- connection ---------------------------------------------------------------------------------------------------

    def _serve(self, device: Device) -> None:
        services, characteristics = build(
            self.firmware.table(), self.options.absent, encrypted=self.options.requires_encryption
        )
        device.add_services(services)
        protect(device.gatt_server.attributes)
        device.gatt_server.max_mtu = self.options.att_mtu
        self.firmware.handles = {uuid: one.handle for uuid, one in characteristics.items()}
        for characteristic in characteristics.values():
            characteristic.on(Characteristic.EVENT_SUBSCRIPTION, self._subscriber(characteristic.handle))
        self._answer = device.gatt_server.on_gatt_pdu
        # bumble has no hook before its GATT server; an attribute of this one server is the least invasive.
        device.gatt_server.on_gatt_pdu = self._on_request  # type: ignore[assignment, method-assign]  # see above
        send = device.gatt_server.send_gatt_pdu

        def send_unless_mute(bearer: att.Bearer, pdu: bytes) -> None:
            if not self._is_mute:
                send(bearer, pdu)

        device.gatt_server.send_gatt_pdu = send_unless_mute  # type: ignore[method-assign]  # see above

    def _subscriber(self, handle: int) -> Callable[[object, bool, bool], None]:
        def on_subscription(_bearer: object, notify: bool, _indicate: bool) -> None:
            if (peer := self.firmware.peer) is not None:
                (peer.subscribed.add if notify else peer.subscribed.discard)(handle)
                self._note_change()

        return on_subscription

    def _on_connection(self, connection: Connection) -> None:
        self.requests = 0
        self._is_mute = False
        self.firmware.connected(Peer(connection, cuts=self.options.cuts_notifications))
        connection.once(Connection.EVENT_DISCONNECTION, self._on_disconnection)

    def _on_disconnection(self, _reason: int) -> None:
        device = self._device
        if device is None or self.firmware.peer is None:
            return
        self._end_connection()
        _ = self._spawn(self._advertise_again(device))

    def _end_connection(self) -> None:
        if self.firmware.peer is not None:
            self.firmware.peer.close()
        if self._stall is not None:
            self._stall.cancel()
        self._stall = self._held = None
        self.firmware.disconnected()

    def _on_request(self, bearer: att.Bearer, pdu: att.ATT_PDU) -> None:
        """Answers a request, unless a stall holds it back; all that come meanwhile are answered after it."""
        if self._held is not None:
            self._held.append((bearer, pdu))
            return
        at = self.requests
        self.requests += 1
        if self._cut_off(bearer, pdu, at):
            return
        fault = self.faults.take(FaultKind.GATT_STALL, at=at)
        if fault is None:
            self._answer(bearer, pdu)
        else:
            self._held = [(bearer, pdu)]
            self._stall = self._spawn(self._answer_later(fault.seconds))

    def _cut_off(self, bearer: att.Bearer, pdu: att.ATT_PDU, at: int) -> bool:
        """Ends the link at a request, if that is to happen: before or after it is acted on."""
        lost = self.faults.take(FaultKind.LOSE_GATT_ANSWER, at=at) is not None
        if not lost and self.faults.take(FaultKind.GATT_DISCONNECT, at=at) is None:
            return False
        self._held = []  # nothing is answered any more
        self._is_mute = True
        if lost:
            self._answer(bearer, pdu)
        _ = self._spawn(self.disconnect())
        return True

    async def _answer_later(self, seconds: float) -> None:
        await stall(seconds)
        held, self._held = self._held or [], None
        for bearer, pdu in held:
            self._answer(bearer, pdu)
