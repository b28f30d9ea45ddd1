"""bleak's own front over our backend, against simulated recorders."""

import asyncio
from collections.abc import Callable

import pytest
from bleak import BleakClient, BleakScanner
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakCharacteristicNotFoundError,
    BleakDeviceNotFoundError,
    BleakError,
    BleakGATTProtocolError,
)

from bota_gateway.protocol import uuids
from bota_gateway.protocol.device_status import decode_device_status
from bota_gateway.protocol.uuids import MANUFACTURER_ID
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.options import Advertises, RecorderOptions
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from support.recorders import Hub, Visit, recording

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
SUPERVISION_TIMEOUT_S = 0.72
"""What bumble asks for when it connects."""


# -- scanning ---------------------------------------------------------------------------------------------------------


async def test_name_and_manufacturer_data_are_merged() -> None:
    """The name of the advertisement and the manufacturer data of the scan response come together, with the RSSI."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    radio.set_rssi(SERIAL, "hci0", -71)
    async with SimRecorder(radio, serial=SERIAL) as recorder:
        found = await BleakScanner.discover(1.0, return_adv=True, backend=hub.scanner_class)
    device, advertisement = found[recorder.address]
    assert device.name == advertisement.local_name == "Bota Pin"
    assert advertisement.manufacturer_data == {MANUFACTURER_ID: bytes.fromhex(recorder.address.replace(":", ""))}
    assert advertisement.rssi == -71


async def test_a_passive_scan_hears_no_scan_response() -> None:
    """Without scan requests there is the name only."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with (
        SimRecorder(radio, serial=SERIAL) as recorder,
        BleakScanner(scanning_mode="passive", backend=hub.scanner_class) as scanner,
    ):
        await asyncio.sleep(1)
        (advertisement,) = [data for _, data in scanner.discovered_devices_and_advertisement_data.values()]
    assert recorder.address in scanner.discovered_devices_and_advertisement_data
    assert advertisement.local_name == "Bota Pin"
    assert advertisement.manufacturer_data == {}


async def test_legacy_manufacturer_data_is_split_as_bluez_does() -> None:
    """Data without company id loses its first two bytes to one."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    options = RecorderOptions(advertises=Advertises.LEGACY, firmware="1.4.0")
    async with SimRecorder(radio, serial=SERIAL, options=options) as recorder:
        found = await BleakScanner.discover(1.0, return_adv=True, backend=hub.scanner_class)
    assert found[recorder.address][1].manufacturer_data == {0x0101: bytes((4, 2))}


async def test_a_name_alone_is_enough_to_be_seen() -> None:
    """An advertiser with an empty scan response is reported."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL, options=RecorderOptions(advertises=Advertises.NAME_ONLY)) as recorder:
        found = await BleakScanner.discover(1.0, return_adv=True, backend=hub.scanner_class)
    assert found[recorder.address][1].manufacturer_data == {}


async def test_two_scanners_share_an_adapter() -> None:
    """The end of one scanner does not end the other's scan."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL) as recorder, BleakScanner(backend=hub.scanner_class) as first:
        async with BleakScanner(backend=hub.scanner_class):
            await asyncio.sleep(0.5)
        radio.set_rssi(SERIAL, "hci0", -90)
        await asyncio.sleep(0.5)
        assert first.discovered_devices_and_advertisement_data[recorder.address][1].rssi == -90
    assert not hub.device.is_scanning


async def test_starting_twice_is_refused() -> None:
    """A running scanner can't be started."""
    hub = await Hub.on(VirtualRadio())
    async with BleakScanner(backend=hub.scanner_class) as scanner:
        with pytest.raises(BleakError, match="already running"):
            await scanner.start()


async def test_an_adapter_without_power_says_so() -> None:
    """Scanning and connecting on an adapter that is off raise bleak's own error for that."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL) as recorder:
        device = await hub.find(recorder.address)
        await hub.device.power_off()
        with pytest.raises(BleakBluetoothNotAvailableError):
            await BleakScanner(backend=hub.scanner_class).start()
        with pytest.raises(BleakBluetoothNotAvailableError):
            await hub.client(device).connect()


# -- connecting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mtu", [23, 185, 247, 509])
async def test_the_mtu_is_negotiated(mtu: int) -> None:
    """A client ends up with the MTU that the recorder grants, and with its services."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with (
        SimRecorder(radio, serial=SERIAL, options=RecorderOptions(att_mtu=mtu)) as recorder,
        hub.client(await hub.find(recorder.address)) as client,
    ):
        assert client.mtu_size == mtu
        transfer = client.services.get_characteristic(uuids.RECORDING_TRANSFER)
        assert transfer is not None
        assert transfer.max_write_without_response_size == mtu - 3
        assert set(transfer.properties) == {"write", "write-without-response", "notify"}
        assert [descriptor.handle for descriptor in transfer.descriptors] == [transfer.handle + 1]


async def test_an_address_is_looked_for_before_connecting() -> None:
    """A client made from an address alone scans for it first."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL) as recorder, hub.client(recorder.address) as client:
        assert client.is_connected
        assert client.name == "Bota Pin"


async def test_an_address_nobody_has_is_not_found() -> None:
    """A client made from an address that does not advertise raises bleak's not-found error."""
    hub = await Hub.on(VirtualRadio())
    with pytest.raises(BleakDeviceNotFoundError):
        await hub.client("C0:00:00:00:00:01", timeout=2).connect()


async def test_a_connect_to_a_recorder_gone_times_out() -> None:
    """Connecting ends by its time-out, leaves nothing pending, and works when the recorder is back."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    loop = asyncio.get_running_loop()
    async with SimRecorder(radio, serial=SERIAL) as recorder:
        device = await hub.find(recorder.address)
        radio.set_silent(SERIAL, True)
        began = loop.time()
        with pytest.raises(TimeoutError):
            await hub.client(device, timeout=7).connect()
        assert loop.time() - began == pytest.approx(7, abs=0.5)
        radio.set_silent(SERIAL, False)
        await asyncio.sleep(1)
        assert not recorder.connected
        async with hub.client(device) as client:
            assert client.is_connected


async def test_a_cancelled_connect_leaves_nothing_behind() -> None:
    """Who gives up connecting is not connected later."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL) as recorder:
        device = await hub.find(recorder.address)
        radio.set_silent(SERIAL, True)
        connecting = asyncio.create_task(hub.client(device).connect())
        await asyncio.sleep(1)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        radio.set_silent(SERIAL, False)
        await asyncio.sleep(1)
        assert recorder.seen.connections == 0


async def test_discovery_that_stalls_ends_by_the_time_out() -> None:
    """A recorder that answers nothing after the connect is let go at the time-out."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    faults = Faults(Fault(FaultKind.GATT_STALL, seconds=100))
    async with SimRecorder(radio, serial=SERIAL, faults=faults) as recorder:
        with pytest.raises(TimeoutError):
            await hub.client(await hub.find(recorder.address), timeout=5).connect()
        await recorder.wait_until(lambda: recorder.advertising)
        assert not recorder.connected
        assert radio.link_count == 0


async def test_connects_at_once_are_queued() -> None:
    """Several connects on one adapter happen one after the other, and all succeed."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    recorders = [SimRecorder(radio, serial=f"PIN000000{i}") for i in range(5)]
    for recorder in recorders:
        await recorder.start()
    clients = [hub.client(await hub.find(recorder.address)) for recorder in recorders]
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.connect())
    assert all(recorder.connected for recorder in recorders)
    assert radio.link_count == 5
    radio.close()


async def test_an_adapter_without_free_links_refuses() -> None:
    """A connect beyond the adapter's limit is an error at once."""
    radio = VirtualRadio()
    hub = await Hub.on(radio, max_links=1)
    async with SimRecorder(radio, serial=SERIAL) as one, SimRecorder(radio, serial="PIN0000002") as two:
        second = await hub.find(two.address)
        async with hub.client(await hub.find(one.address)):
            with pytest.raises(BleakError, match="CONNECTION_LIMIT"):
                await hub.client(second).connect()


async def test_connecting_twice_is_refused() -> None:
    """A connected client can't be connected."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL) as recorder, hub.client(await hub.find(recorder.address)) as client:
        with pytest.raises(BleakError, match="already connected"):
            await client.connect()


# -- the end of a link ------------------------------------------------------------------------------------------------


async def test_both_kinds_of_disconnect_are_told() -> None:
    """The callback comes once for a disconnect from either side, and services are gone afterwards."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    told: list[BleakClient] = []
    async with SimRecorder(radio, serial=SERIAL) as recorder:
        device = await hub.find(recorder.address)
        async with hub.client(device, on_disconnect=told.append) as mine:
            pass
        async with hub.client(device, on_disconnect=told.append) as theirs:
            await recorder.disconnect()
            assert not theirs.is_connected
            with pytest.raises(BleakError):
                _ = theirs.services
    assert told == [mine, theirs]


async def test_range_loss_is_told_after_the_supervision_time_out() -> None:
    """A recorder that falls silent is disconnected after the supervision time-out, on both sides, not before."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    loop = asyncio.get_running_loop()
    lost = asyncio.Event()
    async with SimRecorder(radio, serial=SERIAL) as recorder:
        client = hub.client(await hub.find(recorder.address), on_disconnect=lambda _: lost.set())
        await client.connect()
        radio.set_rssi(SERIAL, "hci0", None)
        silent_since = loop.time()
        await lost.wait()
        assert loop.time() - silent_since == pytest.approx(SUPERVISION_TIMEOUT_S)
        await recorder.wait_until(lambda: not recorder.connected)


@pytest.mark.parametrize("queued", [1, 2])
async def test_requests_under_way_end_with_the_link(queued: int) -> None:
    """A request that waits for its answer, and one that waits for its turn, fail when the link ends."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL) as recorder:
        client = hub.client(await hub.find(recorder.address))
        await client.connect()
        radio.set_silent(SERIAL, True)
        reads = [asyncio.create_task(client.read_gatt_char(uuids.SERIAL_NUMBER)) for _ in range(queued)]
        outcomes = await asyncio.gather(*reads, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [BleakError] * queued


# -- reads and writes -------------------------------------------------------------------------------------------------


async def test_a_value_longer_than_the_mtu_is_read_whole() -> None:
    """A long read gathers what does not fit one answer."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    options = RecorderOptions(att_mtu=23, status_length=18, modem_info={"imei": "3" * 15, "op": "Some Operator"})
    async with (
        SimRecorder(radio, serial=SERIAL, options=options) as recorder,
        hub.client(await hub.find(recorder.address)) as client,
    ):
        status = decode_device_status(bytes(await client.read_gatt_char(uuids.DEVICE_STATUS)))
    assert status.modem_info == {"imei": "3" * 15, "op": "Some Operator"}


async def test_a_value_longer_than_the_mtu_is_written_whole() -> None:
    """A long write arrives in one piece."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL, options=RecorderOptions(att_mtu=23)) as recorder:
        async with hub.client(await hub.find(recorder.address)) as client:
            await client.write_gatt_char(uuids.DEVICE_COMMAND, bytes(range(171)), response=True)
            with pytest.raises(BleakGATTProtocolError):
                await client.write_gatt_char(uuids.RECORDING_TRANSFER, bytes(171), response=False)
        assert recorder.firmware.values[uuids.DEVICE_COMMAND] == bytes(range(171))


async def test_a_refusal_carries_its_code() -> None:
    """What the recorder refuses raises bleak's protocol error with the ATT code."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    faults = Faults(Fault(FaultKind.STATUS_UNREADABLE))
    async with (
        SimRecorder(radio, serial=SERIAL, faults=faults) as recorder,
        hub.client(await hub.find(recorder.address)) as client,
    ):
        with pytest.raises(BleakGATTProtocolError) as refused:
            await client.read_gatt_char(uuids.DEVICE_STATUS)
        assert refused.value.code == 0x0E
        with pytest.raises(BleakGATTProtocolError) as refused:
            await client.read_gatt_char(uuids.TRANSFER_CONTROL)
        assert refused.value.code == 0x02
        with pytest.raises(BleakGATTProtocolError) as refused:
            await client.write_gatt_char(uuids.SERIAL_NUMBER, b"x", response=True)
        assert refused.value.code == 0x03
        with pytest.raises(BleakCharacteristicNotFoundError):
            await client.read_gatt_char(uuids.CAPABILITIES_V2)


async def test_an_abandoned_read_is_not_taken_for_the_next() -> None:
    """The late answer to a request whose caller gave up does not become the answer to another request."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL) as recorder, hub.client(await hub.find(recorder.address)) as client:
        recorder.faults.add(Fault(FaultKind.GATT_STALL, at=recorder.requests, seconds=5))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await client.read_gatt_char(uuids.SERIAL_NUMBER)
        assert await client.read_gatt_char(uuids.FIRMWARE_REVISION) == b"1.0.18"


async def test_without_a_link_everything_is_refused() -> None:
    """A client that is not connected raises on each operation, and may be disconnected again."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL) as recorder:
        client = hub.client(await hub.find(recorder.address))
        await client.connect()
        characteristic = client.services.get_characteristic(uuids.SERIAL_NUMBER)
        assert characteristic is not None
        await client.disconnect()
        await client.disconnect()
        with pytest.raises(BleakError):
            await client.read_gatt_char(characteristic)
        with pytest.raises(BleakError):
            await client.start_notify(characteristic, lambda _c, _d: None)


# -- notifications ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mtu", [23, 247, 509])
async def test_a_megabyte_arrives_intact(mtu: int) -> None:
    """A million bytes in notifications come whole and in order, whatever their size."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    stored = recording(1_000_000)
    options = RecorderOptions(att_mtu=mtu)
    async with (
        SimRecorder(radio, serial=SERIAL, recordings=[stored], options=options) as recorder,
        hub.visit(recorder.address) as visit,
    ):
        pulled = await visit.pull(stored)
    assert pulled.data == stored.data
    assert pulled.crc_matches
    assert pulled.sequences == [index & 0xFFFF for index in range(len(pulled.sequences))]


async def test_stopped_notifications_stay_away() -> None:
    """After stop_notify nothing comes; after another start_notify it comes again."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL) as recorder, hub.visit(recorder.address) as visit:
        assert recorder.notify_status()
        await visit.client.stop_notify(uuids.DEVICE_STATUS)
        assert not recorder.notify_status()
        await visit.client.start_notify(uuids.DEVICE_STATUS, visit.hear)
        assert recorder.notify_status()
        await visit.quiet(1)
        assert len(visit.heard[uuids.DEVICE_STATUS]) == 2


async def test_subscribing_where_it_makes_no_sense_is_refused() -> None:
    """A second subscription, and one to a characteristic that can't notify, are errors."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    async with SimRecorder(radio, serial=SERIAL) as recorder, hub.visit(recorder.address) as visit:
        with pytest.raises(BleakError, match="already started"):
            await visit.client.start_notify(uuids.RECORDING_LIST, visit.hear)
        with pytest.raises(BleakGATTProtocolError):
            await visit.client.start_notify(uuids.SERIAL_NUMBER, visit.hear)


async def test_a_callback_that_fails_stops_no_other_packet() -> None:
    """An exception in one notification's callback is reported and loses only that call."""
    radio = VirtualRadio()
    hub = await Hub.on(radio)
    stored = recording(5_000)
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
    async with (
        SimRecorder(radio, serial=SERIAL, recordings=[stored]) as recorder,
        hub.client(await hub.find(recorder.address)) as client,
    ):
        visit = Visit(client)
        await client.start_notify(uuids.RECORDING_TRANSFER, _failing_once(visit))
        pulled = await visit.pull(stored)
    assert reported == ["a packet's receiver failed"]
    assert pulled.sequences[0] == 1
    assert pulled.eof is not None


def _failing_once(visit: Visit) -> Callable[[BleakGATTCharacteristic, bytearray], None]:
    failures = iter([True])

    def callback(characteristic: BleakGATTCharacteristic, value: bytearray) -> None:
        if next(failures, False):
            raise ZeroDivisionError
        visit.hear(characteristic, value)

    return callback
