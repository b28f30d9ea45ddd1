"""What a simulated recorder's program does: its recordings, the commands it takes, and its GATT table.

It knows nothing of advertising and connecting; `recorder` puts it on a radio.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bota_gateway.protocol import packets, uuids
from bota_gateway.protocol.control import RESULTS, Command, Opcode, decode_command
from bota_gateway.protocol.errors import DecodeError
from bota_gateway.protocol.errors_on_wire import BUSY, NEEDS_V2, RECORDING_NOT_FOUND
from bota_gateway.protocol.storage_info import StorageInfo, encode_storage_info
from bota_gateway.protocol.time_sync import decode_time_sync
from bota_gateway.protocol.transfer_status import encode_trigger_answer
from bota_gateway.sim.condition import Clock, Condition, status_value
from bota_gateway.sim.faults import FaultKind, Faults
from bota_gateway.sim.gatt import UNLIKELY_ERROR, Cell, RefusedError, kept_cells
from bota_gateway.sim.listing import list_notifications
from bota_gateway.sim.options import DuringTransfer, Group, RecorderOptions, ResultsOn, StoredRecording
from bota_gateway.sim.peer import Peer
from bota_gateway.sim.seen import ResultSeen, Seen
from bota_gateway.sim.transfer import Transfer

INVALID_STATE = 0x02
"""Error code for a START while another transfer is open (docs/protocol.md, "Error codes")."""

GRANT_BYTES = (171, 179)
"""Lengths by which a grant is told from a command on the same characteristic; each uses the nonce up."""

NONCE_BYTES = 16


class Firmware:
    """The program of one recorder.

    Args:
        serial: What it says it is.
        recordings: What it holds at first.
        options: How it behaves.
        faults: How it misbehaves.
        spawn: Runs work that outlives the call.
        changed: Called whenever something worth waiting for happened.
    """

    def __init__(
        self,
        serial: str,
        recordings: list[StoredRecording],
        options: RecorderOptions,
        faults: Faults,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        changed: Callable[[], None],
    ) -> None:
        self.serial = serial
        self.recordings = {recording.file_id: recording for recording in recordings}
        self.options = options
        self.faults = faults
        self.condition = Condition(modem_info=dict(options.modem_info))
        self.clock = Clock(options.clock)
        self.seen = Seen()
        self.peer: Peer | None = None
        self.handles: dict[str, int] = {}
        """Attribute handles by characteristic, once there is a GATT server."""
        self.values: dict[str, bytes] = {uuids.PAIRING_STATE: b"\x02", uuids.DEVICE_PUBLIC_KEY: bytes(64)}
        """Of the characteristics that only keep what is written."""
        self.transfer: Transfer | None = None
        """Open until a result, an abort or the end of the link."""
        self._sending: asyncio.Task[None] | None = None
        self._started_at: float | None = None
        self._spawn = spawn
        self._changed = changed

    def started(self) -> None:
        """Power is on."""
        self._started_at = asyncio.get_running_loop().time()
        if self.clock.unix is not None:
            self.clock.set(self.clock.unix, 0)
            self.clock.last_sync = 0

    def connected(self, peer: Peer) -> None:
        """A central has come; the session nonce is new for each."""
        self.peer = peer
        self.seen.connections += 1
        self._renew_nonce()
        self._changed()

    def disconnected(self) -> None:
        """The central is gone, and with it an open transfer."""
        self._close_transfer()
        self.peer = None
        self.seen.disconnections += 1
        self._changed()

    def notify(self, characteristic: str, value: bytes) -> bool:
        """Notifies the central, if there is one, it has subscribed, and this recorder has the characteristic."""
        handle = self.handles.get(characteristic)
        return self.peer is not None and handle is not None and self.peer.notify(handle, value)

    # -- the table ----------------------------------------------------------------------------------------------------

    def table(self) -> list[tuple[str, list[Cell]]]:
        """Every characteristic of the recorder, by service."""
        text = self.options
        table = [
            (
                uuids.DEVICE_INFORMATION_SERVICE,
                [
                    Cell(uuids.SERIAL_NUMBER, self._read_serial),
                    Cell(uuids.FIRMWARE_REVISION, text.firmware.encode),
                    Cell(uuids.HARDWARE_REVISION, text.hardware.encode, group=Group.HARDWARE_REVISION),
                    Cell(uuids.MODEL_NUMBER, text.model.encode, group=Group.MODEL_NUMBER),
                    Cell(uuids.MANUFACTURER_NAME, b"Bota".__bytes__, group=Group.MANUFACTURER_NAME),
                ],
            ),
            (uuids.BATTERY_SERVICE, [Cell(uuids.BATTERY_LEVEL, self._read_battery, notify=True, group=Group.BATTERY)]),
            (
                uuids.CONTROL_SERVICE,
                [
                    Cell(uuids.DEVICE_STATUS, self._read_status, notify=True),
                    self._kept(uuids.RECORDING_CONTROL, Group.RECORDING_CONTROL),
                    Cell(uuids.RECORDING_STATUS, bytes(18).__bytes__, notify=True, group=Group.RECORDING_CONTROL),
                    Cell(uuids.TIME_SYNC, write=self._write_time, group=Group.TIME_SYNC),
                    Cell(uuids.DEVICE_COMMAND, write=self._write_command, group=Group.DEVICE_COMMAND),
                ],
            ),
            (uuids.STORAGE_SERVICE, self._storage_cells()),
            (uuids.IDENTITY_SERVICE, [Cell(uuids.IDENTITY_SERIAL, self._read_serial, group=Group.IDENTITY)]),
        ]
        return table + kept_cells(self.values)

    def _storage_cells(self) -> list[Cell]:
        cells = [
            Cell(uuids.STORAGE_INFO, self._read_storage, group=Group.STORAGE_INFO),
            Cell(uuids.RECORDING_LIST, notify=True),
            Cell(uuids.RECORDING_TRANSFER, write=self._write_transfer, notify=True, without_response=True),
            Cell(uuids.TRANSFER_CONTROL, write=self._write_control),
            Cell(uuids.TRANSFER_STATUS, notify=True, group=Group.TRANSFER_STATUS),
        ]
        if self.options.capability is not None:
            cells.append(Cell(uuids.CAPABILITIES_V2, self._read_capability))
            cells += [self._kept(uuid) for uuid in (uuids.SIGNED_BLOB_V2, uuids.CONTROL_V2)]
            cells += [Cell(uuid, notify=True) for uuid in (uuids.TRANSFER_V2, uuids.STATUS_V2, uuids.LIST_V2)]
        return cells

    def _kept(self, uuid: str, group: Group | None = None) -> Cell:
        def write(value: bytes) -> None:
            self.values[uuid] = value

        return Cell(uuid, write=write, group=group)

    # -- reads --------------------------------------------------------------------------------------------------------

    def _read_serial(self) -> bytes:
        if self.faults.take(FaultKind.SERIAL_UNREADABLE):
            raise RefusedError(UNLIKELY_ERROR)
        if self.faults.take(FaultKind.SERIAL_EMPTY):
            return b""
        return self.serial.encode() + bytes(self.options.serial_padding)

    def _read_battery(self) -> bytes:
        return bytes((self.condition.battery_percent,))

    def _read_status(self) -> bytes:
        if self.faults.take(FaultKind.STATUS_UNREADABLE):
            raise RefusedError(UNLIKELY_ERROR)
        return self.status()

    def status(self) -> bytes:
        """The device status as it would be read now."""
        return status_value(
            self.condition,
            length=self.options.status_length,
            pending=len(self.recordings),
            last_sync=self.clock.last_sync,
            used_mb=-(-self._used_bytes() // 1_000_000),
            total_mb=self.options.storage_total_mb,
        )

    def _read_storage(self) -> bytes:
        held = len(self.recordings)
        used = -(-self._used_bytes() // 1024)
        return encode_storage_info(StorageInfo(self.options.storage_total_mb * 1000, used, held, held))

    def _used_bytes(self) -> int:
        return sum(len(recording.data) for recording in self.recordings.values())

    def _read_capability(self) -> bytes:
        if self.faults.take(FaultKind.CAPABILITY_UNREADABLE):
            raise RefusedError(UNLIKELY_ERROR)
        value = self.options.capability or b""
        age = asyncio.get_running_loop().time() - (self._started_at or 0.0)
        initialising = age < self.options.capability_ready_after_s
        return value[:4] + bytes(4) + value[8:] if initialising else value

    # -- writes -------------------------------------------------------------------------------------------------------

    def _write_time(self, value: bytes) -> None:
        try:
            sync = decode_time_sync(value)
        except DecodeError as error:
            raise RefusedError(UNLIKELY_ERROR) from error
        self.clock.set(sync.unix_ms / 1000, sync.offset_minutes)
        self.seen.time_syncs += 1
        self._changed()

    def _write_command(self, value: bytes) -> None:
        self.values[uuids.DEVICE_COMMAND] = value
        if len(value) in GRANT_BYTES:
            self._renew_nonce()

    def _renew_nonce(self) -> None:
        self.values[uuids.SESSION_NONCE] = self.faults.random.randbytes(NONCE_BYTES)

    async def _write_control(self, value: bytes) -> None:
        try:
            command = decode_command(value)
        except DecodeError:
            self.seen.rubbish.append(value)
            return
        match command.opcode:
            case Opcode.LIST:
                self._list()
            case Opcode.START:
                self._start(command.recording_id or b"")
            case Opcode.CONFIRM:
                await self._confirm(command.recording_id or b"")
            case Opcode.TRIGGER_UPLOAD if self.options.trigger_answer is not None:
                self.notify(uuids.TRANSFER_STATUS, encode_trigger_answer(self.options.trigger_answer))
            case _ if command.opcode in RESULTS:
                await self._result(command, uuids.TRANSFER_CONTROL)
        self._changed()

    async def _write_transfer(self, value: bytes) -> None:
        try:
            command = decode_command(value)
        except DecodeError:
            self.seen.rubbish.append(value)
            return
        if command.opcode in RESULTS:
            await self._result(command, uuids.RECORDING_TRANSFER)
        self._changed()

    # -- list ---------------------------------------------------------------------------------------------------------

    def _list(self) -> None:
        self.seen.lists += 1
        if self.transfer is not None and self.options.list_during_transfer is DuringTransfer.IGNORE:
            return
        if self.transfer is not None and self.options.list_during_transfer is DuringTransfer.ABORT:
            self._close_transfer()
            self.notify(uuids.RECORDING_TRANSFER, packets.encode_error(0, INVALID_STATE))
        if self.peer is None or self.faults.take(FaultKind.LIST_SILENT):
            return
        if self.faults.take(FaultKind.LIST_RUBBISH):
            self.notify(uuids.RECORDING_LIST, b"\x01" + self.faults.random.randbytes(17))
            return
        entries = [recording.entry for recording in self.recordings.values()]
        if entries and self.faults.take(FaultKind.LIST_DUPLICATES):
            entries = [entry for entry in entries for _ in range(2)]
        options = self.options
        for value in list_notifications(entries, options.list_form, options.empty_list, self.peer.largest_value):
            self.notify(uuids.RECORDING_LIST, value)

    # -- transfer -----------------------------------------------------------------------------------------------------

    def _start(self, recording_id: bytes) -> None:
        self.seen.starts.append(recording_id[:4].hex())
        refusal = self._refusal(recording_id)
        if refusal is not None:
            self.notify(uuids.RECORDING_TRANSFER, packets.encode_error(0, refusal))
        else:
            self._begin(self.recordings[recording_id[:4].hex()])

    def _refusal(self, recording_id: bytes) -> int | None:
        if self.condition.sync_active:
            return BUSY
        recording = self._held(recording_id)
        if recording is None:
            return RECORDING_NOT_FOUND
        if recording.needs_v2:
            return NEEDS_V2
        return INVALID_STATE if self.transfer is not None else None

    def _held(self, recording_id: bytes) -> StoredRecording | None:
        recording = self.recordings.get(recording_id[:4].hex())
        return recording if recording is not None and recording.recording_id == recording_id else None

    def _begin(self, recording: StoredRecording) -> None:
        if self.peer is None:
            return
        handle = self.handles[uuids.RECORDING_TRANSFER]
        self.transfer = Transfer(recording, self.peer, handle, self.options, self.faults)
        self.seen.transfers.append(self.transfer)
        self._sending = self._spawn(self._send(self.transfer))

    async def _send(self, transfer: Transfer) -> None:
        await transfer.run()
        if transfer.failed and self.transfer is transfer:
            self.transfer = None
        self._changed()

    def _close_transfer(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
        self.transfer = None

    async def _result(self, command: Command, characteristic: str) -> None:
        counts = self.options.results_on is ResultsOn.BOTH or characteristic == {
            ResultsOn.TRANSFER_CONTROL: uuids.TRANSFER_CONTROL,
            ResultsOn.RECORDING_TRANSFER: uuids.RECORDING_TRANSFER,
        }.get(self.options.results_on)
        transfer = self.transfer if counts else None
        file_id = transfer.recording.file_id if transfer else None
        self.seen.results.append(ResultSeen(command.opcode, command.seq or 0, characteristic, file_id))
        if transfer is None:
            return
        if command.opcode is Opcode.ACK:
            # A digest that comes late comes all the same: the sending goes on by itself.
            self.transfer = None
            await self._acknowledged(transfer.recording.file_id)
            return
        self._close_transfer()
        if command.opcode is Opcode.NACK and self.options.restart_after_nack:
            self._begin(transfer.recording)

    async def _acknowledged(self, file_id: str) -> None:
        self.seen.acknowledged.append(file_id)
        if self.peer is None:
            return
        if self.faults.take(FaultKind.LOSE_ACK_ANSWER, recording=file_id):
            await self.peer.disconnect()
        elif self.faults.take(FaultKind.DISCONNECT_AFTER_ACK, recording=file_id):
            _ = self._spawn(self._disconnect_when_drained(self.peer))

    @staticmethod
    async def _disconnect_when_drained(peer: Peer) -> None:
        await asyncio.sleep(0)  # the answer to the write is queued when its handler has returned
        await peer.drained()
        await peer.disconnect()

    # -- confirm ------------------------------------------------------------------------------------------------------

    async def _confirm(self, recording_id: bytes) -> None:
        file_id = recording_id[:4].hex()
        self.seen.confirms.append(file_id)
        recording, peer = self._held(recording_id), self.peer
        if recording is None or peer is None:
            return
        if self.faults.take(FaultKind.LOSE_CONFIRM, recording=file_id):
            await peer.disconnect()
            return
        if self.faults.take(FaultKind.IGNORE_CONFIRM, recording=file_id):
            return
        self.seen.confirmed.append(file_id)
        if self.options.deletion_delay_s:
            _ = self._spawn(self._delete_later(recording))
        else:
            self._delete(recording)
        if self.faults.take(FaultKind.LOSE_CONFIRM_ANSWER, recording=file_id):
            await peer.disconnect()

    async def _delete_later(self, recording: StoredRecording) -> None:
        await asyncio.sleep(self.options.deletion_delay_s)
        self._delete(recording)

    def _delete(self, recording: StoredRecording) -> None:
        if self.recordings.get(recording.file_id) is recording:
            del self.recordings[recording.file_id]
        self._changed()
