import asyncio
from itertools import pairwise

import pytest
from bleak import BleakScanner

from bota_gateway.protocol import uuids
from bota_gateway.sim.options import RecorderOptions
from bota_gateway.sim.peer import HIGH_WATER
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio, address_from
from support.recorders import Hub, recording

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
ATT_AND_L2CAP_HEADERS = 7
SUPERVISION_TIMEOUT_S = 0.72
"""What bumble asks for when it connects."""


@pytest.mark.parametrize(("rate", "mtu"), [(20_000, 247), (60_000, 247), (150_000, 509), (40_000, 23)])
async def test_a_link_keeps_its_pace(rate: int, mtu: int) -> None:
    """A long transfer takes the time that the rate gives it, headers included, to within two per cent."""
    radio = VirtualRadio(bytes_per_s=rate)
    hub = await Hub.on(radio)
    stored = recording(400_000)
    options = RecorderOptions(att_mtu=mtu)
    loop = asyncio.get_running_loop()
    async with (
        SimRecorder(radio, serial=SERIAL, recordings=[stored], options=options) as recorder,
        hub.visit(recorder.address) as visit,
    ):
        began = loop.time()
        await visit.start(stored)
        await visit.until(visit.ended)
        took = loop.time() - began
    sent = sum(len(value) + ATT_AND_L2CAP_HEADERS for value in visit.transferred)
    assert took == pytest.approx(sent / rate, rel=0.02)


async def test_the_sender_feels_back_pressure() -> None:
    """However slow the link, no more than a controller's buffers wait in the sending host."""
    radio = VirtualRadio(bytes_per_s=10_000)
    hub = await Hub.on(radio)
    stored = recording(100_000)
    async with (
        SimRecorder(radio, serial=SERIAL, recordings=[stored]) as recorder,
        hub.visit(recorder.address) as visit,
    ):
        peer = recorder.firmware.peer
        assert peer is not None
        deepest = 0

        def look() -> bool:
            nonlocal deepest
            deepest = max(deepest, peer.waiting)
            return visit.ended()

        await visit.start(stored)
        await visit.until(look)
    assert HIGH_WATER // 2 < deepest <= HIGH_WATER + 2


async def test_the_pace_can_be_changed_under_way() -> None:
    """A link slowed down in mid-transfer goes on at the new pace; of two stations the slower one counts."""
    radio = VirtualRadio(bytes_per_s=100_000)
    hub = await Hub.on(radio)
    stored = recording(200_000)
    loop = asyncio.get_running_loop()
    async with (
        SimRecorder(radio, serial=SERIAL, recordings=[stored]) as recorder,
        hub.visit(recorder.address) as visit,
    ):
        began = loop.time()
        await visit.start(stored)
        await visit.until(lambda: len(visit.transferred) >= 400)
        fast = loop.time() - began
        radio.set_pace(10_000, SERIAL)
        radio.set_pace(50_000, "hci0")
        await visit.until(lambda: len(visit.transferred) >= 800)
        slow = loop.time() - began - fast
    assert slow / fast == pytest.approx(10, rel=0.1)


async def test_both_sides_lose_a_link_out_of_range() -> None:
    """Nothing arrives any more, and both hosts hear of the end after the supervision time-out."""
    radio = VirtualRadio(bytes_per_s=50_000)
    hub = await Hub.on(radio)
    stored = recording(500_000)
    async with SimRecorder(radio, serial=SERIAL, recordings=[stored]) as recorder:
        client = hub.client(await hub.find(recorder.address))
        await client.connect()
        arrived: list[bytes] = []
        await client.start_notify(uuids.RECORDING_TRANSFER, lambda _, value: arrived.append(bytes(value)))
        await client.write_gatt_char(uuids.TRANSFER_CONTROL, b"\x02" + stored.recording_id, response=True)
        await asyncio.sleep(2)
        radio.set_rssi(SERIAL, "hci0", None)
        at_loss = len(arrived)
        await asyncio.sleep(SUPERVISION_TIMEOUT_S - 0.01)
        assert client.is_connected
        assert recorder.connected
        await asyncio.sleep(0.02)
        assert not client.is_connected
        assert not recorder.connected
        assert len(arrived) == at_loss
        assert radio.link_count == 0


async def test_a_short_silence_costs_nothing() -> None:
    """A link that is heard again before its supervision time-out goes on, and every byte arrives."""
    radio = VirtualRadio(bytes_per_s=50_000)
    hub = await Hub.on(radio)
    stored = recording(100_000)
    async with (
        SimRecorder(radio, serial=SERIAL, recordings=[stored]) as recorder,
        hub.visit(recorder.address) as visit,
    ):
        await visit.start(stored)
        for _ in range(3):
            await asyncio.sleep(0.3)
            radio.set_silent(SERIAL, True)
            await asyncio.sleep(0.5)
            radio.set_silent(SERIAL, False)
        await visit.until(visit.ended)
        assert b"".join(value[5:] for value in visit.transferred if value[0] == 1) == stored.data


async def test_a_disconnect_nobody_hears_lasts_until_the_time_out() -> None:
    """A central that disconnects out of range is told so after the supervision time-out, as its peer is."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    loop = asyncio.get_running_loop()
    async with SimRecorder(radio, serial=SERIAL) as recorder:
        client = hub.client(await hub.find(recorder.address))
        await client.connect()
        radio.set_silent("hci0", True)
        silent_since = loop.time()
        await client.disconnect()
        assert loop.time() - silent_since == pytest.approx(SUPERVISION_TIMEOUT_S)
        assert not recorder.connected


async def test_a_recorder_without_battery_is_missed() -> None:
    """A recorder that loses power says nothing; its central notices by the supervision time-out."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    recorder = SimRecorder(radio, serial=SERIAL)
    await recorder.start()
    client = hub.client(await hub.find(recorder.address))
    await client.connect()
    await recorder.power_off()
    assert client.is_connected
    await asyncio.sleep(SUPERVISION_TIMEOUT_S + 0.01)
    assert not client.is_connected
    await recorder.start()
    assert await hub.find(recorder.address)
    await recorder.stop()


async def test_an_adapter_reset_drops_its_links() -> None:
    """After an HCI reset the adapter holds nothing, its recorders advertise again after their time-out."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL) as recorder:
        await hub.client(await hub.find(recorder.address)).connect()
        await hub.device.reset()
        assert recorder.connected
        await recorder.wait_until(lambda: recorder.advertising)
        assert radio.link_count == 0


async def test_an_adapter_powered_off_drops_its_links() -> None:
    """The hub hears of it at once, its recorder by the supervision time-out."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL) as recorder:
        client = hub.client(await hub.find(recorder.address))
        await client.connect()
        await hub.device.power_off()
        assert not client.is_connected
        assert recorder.connected
        await recorder.wait_until(lambda: recorder.advertising)


async def test_only_who_is_in_range_is_seen() -> None:
    """Each adapter sees the recorders that it hears, at their signal strength."""
    radio = VirtualRadio()
    near, far = await Hub.on(radio, "hci0"), await Hub.on(radio, "hci1")
    radio.set_rssi(SERIAL, "hci0", -42)
    radio.set_rssi(SERIAL, "hci1", None)
    async with SimRecorder(radio, serial=SERIAL) as recorder:
        seen = await BleakScanner.discover(1, return_adv=True, backend=near.scanner_class)
        assert seen[recorder.address][1].rssi == -42
        assert await BleakScanner.discover(1, backend=far.scanner_class) == []


async def test_recorders_advertise_at_their_interval() -> None:
    """An advertisement comes every interval, plus up to 10 ms of random delay."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    times: list[float] = []
    loop = asyncio.get_running_loop()
    options = RecorderOptions(advertising_interval_s=0.5)
    scanner = BleakScanner(lambda _device, _data: times.append(loop.time()), backend=hub.scanner_class)
    async with SimRecorder(radio, serial=SERIAL, options=options), scanner:
        await asyncio.sleep(20)
    gaps = [after - before for before, after in pairwise(times)]
    assert len(gaps) >= 38
    assert all(0.5 <= gap <= 0.5101 for gap in gaps)
    assert len(set(gaps)) > 1


async def test_ten_recorders_at_once() -> None:
    """Ten recorders with one name are all seen, connected and emptied at the same time."""
    radio = VirtualRadio(bytes_per_s=40_000)
    hub = await Hub.on(radio)
    recorders = [
        SimRecorder(radio, serial=f"PIN{number:07}", recordings=[recording(50_000, seed=number)])
        for number in range(10)
    ]
    for recorder in recorders:
        await recorder.start()

    async def empty(recorder: SimRecorder) -> None:
        (stored,) = recorder.recordings
        async with hub.visit(recorder.address) as visit:
            assert (await visit.pull(stored)).data == stored.data
            await visit.ack()
            await visit.confirm(stored)

    async with asyncio.TaskGroup() as tasks:
        for recorder in recorders:
            tasks.create_task(empty(recorder))
    assert all(recorder.recordings == [] for recorder in recorders)
    for recorder in recorders:
        await recorder.stop()


async def test_notifications_can_be_lost() -> None:
    """What the loss function says is lost does not arrive; everything else does."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    stored = recording(24_000)
    fates = iter([False, False, True, True] + [False] * 1000)
    async with (
        SimRecorder(radio, serial=SERIAL, recordings=[stored]) as recorder,
        hub.visit(recorder.address) as visit,
    ):
        radio.set_loss(SERIAL, lambda: next(fates))
        pulled = await visit.pull(stored)
        assert pulled.sequences[:4] == [0, 1, 4, 5]
        radio.set_loss(SERIAL, None)
        await visit.abort()
        assert (await visit.pull(stored)).data == stored.data


async def test_the_signal_of_a_link_can_be_read() -> None:
    """HCI tells the RSSI of a link."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    radio.set_rssi(SERIAL, "hci0", -55)
    async with SimRecorder(radio, serial=SERIAL) as recorder, hub.client(await hub.find(recorder.address)):
        (connection,) = hub.device.connections.values()
        assert await hub.device.get_connection_rssi(connection) == -55  # type: ignore[no-untyped-call]  # bumble's


async def test_names_are_unique() -> None:
    """A second station of the same name is refused; a removed one frees its name."""
    radio = VirtualRadio()
    await radio.adapter("hci0")
    with pytest.raises(ValueError, match="hci0"):
        await radio.adapter("hci0")
    radio.remove("hci0")
    await radio.adapter("hci0")


def test_addresses_are_random_static() -> None:
    """An address made from a name is always the same and has its two highest bits set."""
    address = address_from(SERIAL)
    assert address == address_from(SERIAL) != address_from("PIN0000002")
    assert int(address[:2], 16) & 0xC0 == 0xC0
