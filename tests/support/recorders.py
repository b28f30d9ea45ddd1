"""Simulated recorders for tests: recordings, and a hub's side made of plain bleak."""

import asyncio
import random
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bleak import BleakClient, BleakScanner
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import BaseBleakScanner
from bumble.device import Device

from bota_gateway.protocol import uuids
from bota_gateway.protocol.control import Opcode, Write, confirm_command, list_command, result_write, start_command
from bota_gateway.protocol.packets import Data, DeviceError, Eof, Packet, PacketType, decode_packet
from bota_gateway.radio.bumble_backend import backends
from bota_gateway.sim.options import StoredRecording
from bota_gateway.sim.virtual_radio import VirtualRadio


def recording(size: int, *, seed: int = 1, **options: bool) -> StoredRecording:
    """A recording of ``size`` random bytes; the same for the same seed."""
    rng = random.Random(seed)
    return StoredRecording(
        file_id=rng.randbytes(4).hex(),
        started_at=1_760_000_000 + seed * 600,
        duration_s=max(1, size // 4000),
        data=rng.randbytes(size),
        **options,
    )


_LAST = (PacketType.EOF, PacketType.SHA256, PacketType.ENCRYPTED_EOF, PacketType.ERROR)


class Hub:
    """An adapter with bleak on top, and no gateway."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.scanner_class: type[BaseBleakScanner]
        self.client_class: type[BaseBleakClient]
        self.scanner_class, self.client_class = backends(device)

    @classmethod
    async def on(cls, radio: VirtualRadio, name: str = "hci0", *, max_links: int | None = None) -> "Hub":
        """Adds an adapter to the radio."""
        return cls(await radio.adapter(name, max_links=max_links))

    async def find(self, address: str, timeout: float = 5.0) -> BLEDevice:
        """Scans until the address advertises."""
        found = await BleakScanner.find_device_by_address(address, timeout, backend=self.scanner_class)
        assert found is not None, f"{address} does not advertise"
        return found

    def client(
        self,
        device: BLEDevice | str,
        *,
        timeout: float = 10.0,
        on_disconnect: Callable[[BleakClient], None] | None = None,
    ) -> BleakClient:
        """A client that is not connected yet."""
        return BleakClient(device, on_disconnect, timeout=timeout, backend=self.client_class)

    @asynccontextmanager
    async def visit(self, address: str) -> AsyncIterator["Visit"]:
        """Connects, subscribes to list, transfer and transfer status, and yields what to do with it."""
        visit = Visit(self.client(await self.find(address)))
        async with visit.client:
            await visit.subscribe()
            yield visit


class Visit:
    """One connection to a recorder: commands out, notifications in."""

    def __init__(self, client: BleakClient) -> None:
        self.client = client
        self.heard: dict[str, list[bytes]] = {}
        self._news = asyncio.Event()

    async def subscribe(self) -> None:
        """Subscribes to everything a visit needs."""
        for uuid in (uuids.RECORDING_LIST, uuids.RECORDING_TRANSFER, uuids.TRANSFER_STATUS, uuids.DEVICE_STATUS):
            if self.client.services.get_characteristic(uuid) is not None:
                await self.client.start_notify(uuid, self.hear)

    def hear(self, characteristic: BleakGATTCharacteristic, value: bytearray) -> None:
        """Takes one notification."""
        self.heard.setdefault(characteristic.uuid, []).append(bytes(value))
        self._news.set()

    async def write(self, write: Write) -> None:
        """Writes with response."""
        await self.client.write_gatt_char(write.characteristic, write.value, response=True)

    async def until(self, enough: Callable[[], bool]) -> None:
        """Waits until ``enough()``, asked again after every notification."""
        while not enough():
            self._news.clear()
            await self._news.wait()

    @property
    def listed(self) -> list[bytes]:
        """Notifications of the list so far."""
        return self.heard.setdefault(uuids.RECORDING_LIST, [])

    @property
    def transferred(self) -> list[bytes]:
        """Notifications of the transfer so far."""
        return self.heard.setdefault(uuids.RECORDING_TRANSFER, [])

    async def list(self, quiet_s: float = 1.0) -> list[bytes]:
        """Asks for the list and returns all notifications until it has been quiet for so long."""
        self.listed.clear()
        await self.write(list_command())
        await self.quiet(quiet_s)
        return list(self.listed)

    async def quiet(self, seconds: float) -> None:
        """Waits until nothing has been heard for so long."""
        while True:
            self._news.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                return

    async def start(self, stored: StoredRecording) -> None:
        """Starts a transfer, forgetting the one before."""
        self.transferred.clear()
        await self.write(start_command(stored.recording_id))

    def ended(self) -> bool:
        """Whether the transfer's last packets are there."""
        return bool(self.transferred) and self.transferred[-1][0] in _LAST

    async def pull(self, stored: StoredRecording) -> "Pulled":
        """Starts a transfer and returns what came until its EOF or error, and one more second."""
        await self.start(stored)
        await self.until(self.ended)
        await self.quiet(1.0)
        return Pulled(list(self.transferred))

    async def ack(self, *, characteristic: str = uuids.TRANSFER_CONTROL, seq: int = 0) -> None:
        """Acknowledges the transfer."""
        await self.write(result_write(Opcode.ACK, characteristic=characteristic, seq=seq))

    async def nack(self) -> None:
        """Asks for all of it again."""
        await self.write(result_write(Opcode.NACK))

    async def abort(self) -> None:
        """Leaves it."""
        await self.write(result_write(Opcode.ABORT))

    async def confirm(self, stored: StoredRecording) -> None:
        """Gives permission to delete."""
        await self.write(confirm_command(stored.recording_id))


class Pulled:
    """What one transfer brought."""

    def __init__(self, raw: list[bytes]) -> None:
        self.raw = raw

    @property
    def packets(self) -> list[Packet]:
        """Decoded."""
        return [decode_packet(one) for one in self.raw]

    @property
    def data(self) -> bytes:
        """Payloads of the DATA packets, as they came."""
        return b"".join(one.payload for one in self.packets if isinstance(one, Data))

    @property
    def sequences(self) -> list[int]:
        """Sequence numbers of the DATA packets, as they came."""
        return [one.seq for one in self.packets if isinstance(one, Data)]

    @property
    def eof(self) -> Eof | None:
        """The end packet, if one came."""
        return next((one for one in self.packets if isinstance(one, Eof)), None)

    @property
    def error(self) -> int | None:
        """Code of the error packet, if one came."""
        return next((one.code for one in self.packets if isinstance(one, DeviceError)), None)

    @property
    def crc_matches(self) -> bool:
        """Whether the end packet has the CRC-32 of the payloads."""
        return self.eof is not None and self.eof.crc32 == zlib.crc32(self.data)
