"""One transfer as a recorder sends it, faults included (docs/protocol.md, "Transfer")."""

import asyncio
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from bota_gateway.protocol import packets
from bota_gateway.sim.faults import Armed, Fault, FaultKind, Faults
from bota_gateway.sim.options import RecorderOptions, Sha, StoredRecording
from bota_gateway.sim.peer import Peer
from bota_gateway.sim.spoil import spoil

UNHEARD_S = 0.01
"""Pause of an endless sender whom nobody listens to: then no radio sets its pace."""


@dataclass(slots=True)
class Transfer:
    """Sends one recording; the recorder keeps it open until a result or the end of the link."""

    recording: StoredRecording
    peer: Peer = field(repr=False)
    handle: int
    """Of the characteristic that notifies."""
    options: RecorderOptions = field(repr=False)
    faults: Faults = field(repr=False)
    bytes_sent: int = 0
    """Payload bytes; what faults add or take counts as it was sent."""
    sent_all: bool = False
    """EOF has been handed to the radio."""
    failed: bool = False
    """An error packet ended it."""

    @property
    def payload_bytes(self) -> int:
        """Payload of each packet but the last."""
        room = self.peer.largest_value - packets.DATA_HEADER
        if self.recording.p10:
            room -= packets.TAG_BYTES
        return max(1, min(room, self.recording.payload_bytes or self.options.payload_bytes or room))

    async def run(self) -> None:
        """Sends everything; returns when the radio has it."""
        if self.options.start_delay_s:
            await asyncio.sleep(self.options.start_delay_s)
        if self._take(FaultKind.NO_DATA):
            return
        count = -(-len(self.recording.data) // self.payload_bytes)
        if self.recording.p10:
            self._send(packets.encode_e2e_start(bytes(range(32)), b"salt"))
        await self._send_data(count)
        if self.failed:
            return
        if self._take(FaultKind.ENDLESS):
            await self._send_for_ever(count)
        if self._take(FaultKind.NO_EOF):
            return
        await self._send_end(count)
        if self._take(FaultKind.DISCONNECT_AFTER_EOF):
            await self._disconnect()

    # -- data ---------------------------------------------------------------------------------------------------------

    async def _send_data(self, count: int) -> None:
        planned = self.faults.plan(self.recording.file_id, count)
        encode, peer, size = self._encoder(), self.peer, self.payload_bytes
        data = memoryview(self.recording.data)
        held: list[bytes] = []
        for index in range(count):
            payload = bytes(data[index * size : (index + 1) * size])
            packet = encode(index, payload)
            if index in planned:
                spoilt, swap = await self._misbehave(index, packet, planned[index])
                if self.failed:
                    return
                if swap:
                    held = spoilt
                    continue
                self._send(*spoilt)
            else:
                self._send(packet)
            self.bytes_sent += len(payload)
            if held:
                self._send(*held)
                held = []
            if peer.full:
                await peer.room()
        self._send(*held)

    async def _send_for_ever(self, count: int) -> None:
        encode, size = self._encoder(), self.payload_bytes
        data = memoryview(self.recording.data)
        index = count
        while True:
            at = (index % max(1, count)) * size
            self._send(encode(index, bytes(data[at : at + size]) or bytes(size)))
            index += 1
            if self.handle not in self.peer.subscribed:
                await asyncio.sleep(UNHEARD_S)
                continue
            # Also yields where the radio takes everything at once, so that an ABORT gets through.
            await (self.peer.room() if self.peer.full else asyncio.sleep(0))

    def _encoder(self) -> Callable[[int, bytes], bytes]:
        if not self.recording.p10:
            return packets.encode_data
        tag = bytes(packets.TAG_BYTES)
        return lambda index, payload: packets.encode_encrypted_data(index, payload + tag)

    def _send(self, *some: bytes) -> None:
        for packet in some:
            self.peer.notify(self.handle, packet)

    # -- faults on one packet -----------------------------------------------------------------------------------------

    def _take(self, kind: FaultKind) -> Fault | None:
        return self.faults.take(kind, recording=self.recording.file_id)

    async def _misbehave(self, index: int, packet: bytes, armed: list[Armed]) -> tuple[list[bytes], bool]:
        """Lets the faults of one packet happen.

        Returns:
            What to send in its place, and whether that changes places with the next packet.
        """
        sending, swap = [packet], False
        for one in armed:
            if not self.faults.fire(one, self.recording.file_id, index):
                continue
            match one.fault.kind:
                case FaultKind.STALL:
                    await stall(one.fault.seconds)
                case FaultKind.PAUSE:
                    self._send(packets.encode_paused(index, self.bytes_sent))
                    await stall(one.fault.seconds)
                case FaultKind.DISCONNECT:
                    await self._disconnect()
                case FaultKind.ERROR:
                    self._send(packets.encode_error(index, one.fault.code))
                    self.failed = True
                case FaultKind.REORDER:
                    swap = True
                case kind:
                    sending = [out for each in sending for out in spoil(kind, each, self.faults.random)]
        return sending, swap

    async def _disconnect(self) -> None:
        await self.peer.drained()
        await self.peer.disconnect()

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _send_end(self, count: int) -> None:
        if self.options.sha is Sha.BEFORE_EOF:
            self._send(self._sha_packet())
        self._send(self._eof_packet(count))
        self.sent_all = True
        if self.options.sha is Sha.LATE:
            await self.peer.drained()
            await asyncio.sleep(self.options.sha_late_s)
        if self.options.sha not in (Sha.NONE, Sha.BEFORE_EOF):
            self._send(self._sha_packet())
        await self.peer.room()

    def _eof_packet(self, count: int) -> bytes:
        seq = 0 if self.options.eof_sequence_zero else count
        if self.recording.p10:
            return packets.encode_encrypted_eof(seq)
        crc = self.recording.crc32
        if self._take(FaultKind.WRONG_CRC):
            crc ^= 1 << self.faults.random.randrange(32)
        return packets.encode_eof(seq, crc)

    def _sha_packet(self) -> bytes:
        digest = bytes.fromhex(self.recording.sha256)
        match self.options.sha:
            case Sha.WITH_ID:
                return packets.encode_sha256(digest, self.recording.recording_id)
            case Sha.OTHER_RECORDING:
                other = hashlib.sha256(b"another recording")
                return packets.encode_sha256(
                    other.digest(), other.digest()[:4].ljust(packets.RECORDING_ID_BYTES, b"\0")
                )
            case Sha.WRONG:
                return packets.encode_sha256(hashlib.sha256(digest).digest())
            case _:
                return packets.encode_sha256(digest)


async def stall(seconds: float) -> None:
    """Does nothing for so long; with ``math.inf`` until cancelled."""
    if math.isinf(seconds):
        await asyncio.get_running_loop().create_future()
    else:
        await asyncio.sleep(seconds)
