"""The room whole: real bleak, a real GATT client and server, and a radio made of memory."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from bota_gateway.config import RadioSettings
from bota_gateway.errors import ConnectError, ConnectKind, GattError, LinkLostError
from bota_gateway.protocol import uuids
from bota_gateway.protocol.control import Write, list_command, start_command
from bota_gateway.radio import Adapter, Link, Radio, Sighting
from bota_gateway.radio.bumble_backend import backends
from bota_gateway.radio.const import CONNECT_HARD_S, GATT_S
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.options import Advertises, Group, RecorderOptions, StoredRecording
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from support.virtual_time import virtual_time

SERIAL = "PIN0000001"


def recording(size: int = 20_000) -> StoredRecording:
    return StoredRecording("0a0b0c0d", 1_760_000_000, 60, bytes(range(256)) * (size // 256))


@dataclass
class Place:
    """A hub and its surroundings."""

    air: VirtualRadio
    radio: Radio
    scan: asyncio.Task[None]

    async def sight(self, recorder: SimRecorder, *, complete: bool = True) -> Sighting:
        """Wait until the radio sees the recorder, by default with its scan response."""
        while True:
            revision = self.radio.revision
            seen = self.radio.sightings.get(recorder.address)
            if seen and (seen.advertised_mac or not complete):
                return seen
            await self.radio.wait_for_change(revision)


@asynccontextmanager
async def place(*adapters: str, max_links: int = 3, bytes_per_s: float | None = None) -> AsyncIterator[Place]:
    """A hub at work, with virtual adapters."""
    air = VirtualRadio(bytes_per_s=bytes_per_s)
    ours = []
    for name in adapters or ("hci0",):
        scanner, client = backends(await air.adapter(name))
        ours.append(Adapter(name, scanner_backend=scanner, client_backend=client))
    radio = Radio(ours, RadioSettings(max_links=max_links), lambda: 0.0)
    scan = asyncio.create_task(radio.run())
    try:
        yield Place(air, radio, scan)
    finally:
        scan.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scan
        air.close()


@virtual_time
async def test_a_recorder_is_seen_connected_read_and_let_go() -> None:
    """From the first advertisement to the disconnect, and seen again after it."""
    async with place() as here, SimRecorder(here.air, serial=SERIAL) as recorder:
        sighting = await here.sight(recorder)
        assert sighting.name == "Bota Pin"
        assert sighting.advertised_mac == recorder.address.lower()
        assert sighting.rssi == -60
        async with here.radio.connect(sighting) as link:
            assert recorder.connected
            assert link.mtu == 247
            assert (await link.read(uuids.SERIAL_NUMBER)).rstrip(b"\0").decode() == SERIAL
            assert link.has(uuids.TRANSFER_CONTROL)
            assert not here.radio.sightings
        assert not recorder.connected
        await here.sight(recorder)


@virtual_time
async def test_recorders_of_one_name_are_told_apart_by_address() -> None:
    """All units advertise one name; legacy and name-only ones are candidates, too."""
    async with place() as here, AsyncExitStack() as stack:
        recorders = [
            await stack.enter_async_context(
                SimRecorder(here.air, serial=f"PIN000000{n}", options=RecorderOptions(advertises=advertises))
            )
            for n, advertises in enumerate(Advertises)
        ]
        for recorder in recorders:
            await here.sight(recorder, complete=False)
        await asyncio.sleep(5)
        current, legacy, name_only = (here.radio.sightings[recorder.address] for recorder in recorders)
        assert current.advertised_mac
        assert legacy.legacy
        assert legacy.legacy.firmware == "1.0.0"
        assert (name_only.advertised_mac, name_only.legacy) == (None, None)


@pytest.mark.parametrize("mtu", [23, 247, 509])
@virtual_time
async def test_notifications_arrive_whole_and_in_order(mtu: int) -> None:
    """A paced transfer at each MTU: as many packets as were sent, none dropped."""
    sent = recording()
    options = RecorderOptions(att_mtu=mtu)
    async with (
        place(bytes_per_s=60_000) as here,
        SimRecorder(here.air, serial=SERIAL, recordings=[sent], options=options) as recorder,
        here.radio.connect(await here.sight(recorder)) as link,
        link.notifications(uuids.RECORDING_TRANSFER) as notes,
    ):
        assert link.mtu == mtu
        await ask(link, start_command(sent.recording_id))
        packets: list[bytes] = []
        while batch := await notes.batch(2):
            packets += batch
        data = b"".join(packet[5:] for packet in packets if packet[0] == packets[0][0])
        assert data == bytes(sent.data)
        assert (notes.dropped, notes.received) == (0, len(packets))


@virtual_time
async def test_a_full_buffer_drops_and_counts() -> None:
    """A reader that stays away does not grow the memory."""
    sent = recording()
    async with (
        place() as here,
        SimRecorder(here.air, serial=SERIAL, recordings=[sent]) as recorder,
        here.radio.connect(await here.sight(recorder)) as link,
        link.notifications(uuids.RECORDING_TRANSFER, max_bytes=4096) as notes,
    ):
        await ask(link, start_command(sent.recording_id))
        await asyncio.sleep(5)
        batch = await notes.batch(0)
        assert sum(map(len, batch)) <= 4096
        assert notes.dropped == notes.received - len(batch) > 0


@virtual_time
async def test_walking_out_of_range_ends_every_wait() -> None:
    """Supervision time-out: the reader of notifications and the operation under way both learn of it."""
    async with place() as here, SimRecorder(here.air, serial=SERIAL) as recorder:
        async with here.radio.connect(await here.sight(recorder)) as link:

            async def listen() -> None:
                async with link.notifications(uuids.RECORDING_LIST) as notes:
                    await notes.batch(600)

            listening = asyncio.create_task(listen())
            await asyncio.sleep(1)
            here.air.set_silent(SERIAL, True)
            reading = asyncio.create_task(link.read(uuids.SERIAL_NUMBER, timeout=600))
            results = await asyncio.gather(listening, reading, return_exceptions=True)
            assert [type(result) for result in results] == [LinkLostError] * 2
            assert link.lost.is_set()
        here.air.set_silent(SERIAL, False)
        async with here.radio.connect(await here.sight(recorder)) as link:
            assert await link.read(uuids.SERIAL_NUMBER)


@virtual_time
async def test_a_recorder_that_hangs_up_is_noticed() -> None:
    """Its disconnect ends the wait for notifications at once."""
    async with (
        place() as here,
        SimRecorder(here.air, serial=SERIAL) as recorder,
        here.radio.connect(await here.sight(recorder)) as link,
    ):
        async with link.notifications(uuids.RECORDING_LIST) as notes:
            waiting = asyncio.create_task(notes.batch(600))
            await asyncio.sleep(1)
            await recorder.disconnect()
            with pytest.raises(LinkLostError):
                await waiting
        with pytest.raises(LinkLostError):
            await ask(link, list_command())


@virtual_time
async def test_a_recorder_that_stops_answering_times_out() -> None:
    """As real ones do after a firmware update: the operation ends, and after a new connection all is well."""
    stall = Faults(Fault(FaultKind.STATUS_UNREADABLE))
    async with place() as here, SimRecorder(here.air, serial=SERIAL, faults=stall) as recorder:
        async with here.radio.connect(await here.sight(recorder)) as link:
            with pytest.raises(GattError):
                await link.read(uuids.DEVICE_STATUS)
            recorder.faults.add(Fault(FaultKind.GATT_STALL, at=recorder.requests, seconds=math.inf))
            began = asyncio.get_running_loop().time()
            with pytest.raises(GattError) as caught:
                await link.read(uuids.SERIAL_NUMBER)
            assert caught.value.error_code == "radio_gatt_timeout"
            assert asyncio.get_running_loop().time() - began == pytest.approx(GATT_S)
        async with here.radio.connect(await here.sight(recorder)) as link:
            assert await link.read(uuids.SERIAL_NUMBER)


@virtual_time
async def test_a_discovery_that_stalls_is_given_up_and_leaves_nothing() -> None:
    """Connected but mute: the whole attempt has one limit, and the recorder is let go."""
    mute = Faults(Fault(FaultKind.GATT_STALL, seconds=math.inf))
    async with place() as here, SimRecorder(here.air, serial=SERIAL, faults=mute) as recorder:
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectError) as caught:
            await read_serial(here.radio, await here.sight(recorder))
        assert caught.value.kind is ConnectKind.TIMEOUT
        assert asyncio.get_running_loop().time() - began <= CONNECT_HARD_S + 1
        assert not recorder.connected
        assert await read_serial(here.radio, await here.sight(recorder))


@virtual_time
async def test_connecting_to_one_that_left_times_out_and_the_next_works() -> None:
    """It was seen and is gone; the adapter is free again afterwards."""
    async with (
        place() as here,
        SimRecorder(here.air, serial=SERIAL) as gone,
        SimRecorder(here.air, serial="PIN0000002") as near,
    ):
        sighting, other = await here.sight(gone), await here.sight(near)
        here.air.set_silent(SERIAL, True)
        failing = asyncio.create_task(read_serial(here.radio, sighting))
        await asyncio.sleep(1)
        waiting = asyncio.create_task(read_serial(here.radio, other))
        with pytest.raises(ConnectError) as caught:
            await failing
        assert caught.value.kind is ConnectKind.TIMEOUT
        assert (await waiting).startswith(b"PIN0000002")
        here.air.set_silent(SERIAL, False)
        assert (await read_serial(here.radio, await here.sight(gone))).startswith(SERIAL.encode())


@pytest.mark.parametrize("after", [0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6])
@virtual_time
async def test_a_cancelled_connect_leaves_no_link_and_the_next_works(after: float) -> None:
    """Cancelled anywhere between the queue and the open link, nothing stays connected."""
    async with place() as here, SimRecorder(here.air, serial=SERIAL) as recorder:
        sighting = await here.sight(recorder)

        async def visit() -> None:
            async with here.radio.connect(sighting):
                await asyncio.sleep(600)

        task = asyncio.create_task(visit())
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(1)
        assert not recorder.connected
        assert here.air.link_count == 0
        assert await read_serial(here.radio, await here.sight(recorder))


@virtual_time
async def test_many_recorders_are_visited_within_the_places_there_are() -> None:
    """Ten recorders, three places, one turn to connect: all are read, and never more than three held."""
    async with place(max_links=3) as here, AsyncExitStack() as stack:
        recorders = [
            await stack.enter_async_context(SimRecorder(here.air, serial=f"PIN00001{n:02}")) for n in range(10)
        ]
        sightings = [await here.sight(recorder) for recorder in recorders]
        most = 0

        async def visit(sighting: Sighting) -> bytes:
            nonlocal most
            async with here.radio.connect(sighting) as link:
                await asyncio.sleep(2)
                most = max(most, sum(recorder.connected for recorder in recorders))
                return await link.read(uuids.SERIAL_NUMBER)

        serials = await asyncio.gather(*map(visit, sightings))
        assert [serial.decode() for serial in serials] == [recorder.serial for recorder in recorders]
        assert most == 3


@virtual_time
async def test_each_recorder_is_connected_by_the_adapter_that_hears_it_best() -> None:
    """Two adapters at two ends of a room."""
    async with (
        place("left", "right") as here,
        SimRecorder(here.air, serial="PIN0000001") as one,
        SimRecorder(here.air, serial="PIN0000002") as two,
    ):
        here.air.set_rssi("PIN0000001", "left", -50)
        here.air.set_rssi("PIN0000001", "right", -80)
        here.air.set_rssi("PIN0000002", "left", -80)
        here.air.set_rssi("PIN0000002", "right", -50)
        await asyncio.sleep(5)
        async with (
            here.radio.connect(here.radio.sightings[one.address]) as first,
            here.radio.connect(here.radio.sightings[two.address]) as second,
        ):
            assert (first.adapter, second.adapter) == ("left", "right")


@virtual_time
async def test_what_old_firmware_lacks_is_seen() -> None:
    """Optional characteristics are asked for before they are used."""
    options = RecorderOptions(absent=frozenset({Group.TIME_SYNC}))
    async with (
        place() as here,
        SimRecorder(here.air, serial=SERIAL, options=options) as recorder,
        here.radio.connect(await here.sight(recorder)) as link,
    ):
        assert not link.has(uuids.TIME_SYNC)
        with pytest.raises(GattError):
            await link.write(uuids.TIME_SYNC, bytes(8))


async def ask(link: Link, command: Write) -> None:
    await link.write(command.characteristic, command.value)


async def read_serial(radio: Radio, sighting: Sighting) -> bytes:
    async with radio.connect(sighting) as link:
        return await link.read(uuids.SERIAL_NUMBER)
