"""Each fault does what it says, to a hub of plain bleak, and is noted."""

import asyncio
import math

import pytest
from bleak.exc import BleakError, BleakGATTProtocolError

from bota_gateway.protocol import uuids
from bota_gateway.protocol.packets import Data, decode_packet
from bota_gateway.sim.faults import Fault, FaultKind, Faults, Firing
from bota_gateway.sim.options import RecorderOptions
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from support.recorders import Hub, Pulled, recording

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
STORED = recording(10_000)
PAYLOAD = 100
"""Makes a hundred packets of it."""


async def place(*faults: Fault) -> tuple[Hub, SimRecorder]:
    """A hub, and a recorder with one recording of a hundred packets that is not started yet."""
    radio = VirtualRadio()
    options = RecorderOptions(payload_bytes=PAYLOAD)
    recorder = SimRecorder(radio, serial=SERIAL, recordings=[STORED], options=options, faults=Faults(*faults))
    return await Hub.on(radio), recorder


async def pull_twice(*faults: Fault) -> tuple[Pulled, Pulled, SimRecorder]:
    """Two transfers of the recording on one link, with an ABORT between them."""
    hub, recorder = await place(*faults)
    async with recorder, hub.visit(recorder.address) as visit:
        first = await visit.pull(STORED)
        await visit.abort()
        second = await visit.pull(STORED)
    return first, second, recorder


EXPECTED_SEQUENCES = {
    FaultKind.DROP: [*range(40), *range(41, 100)],
    FaultKind.DUPLICATE: [*range(41), 40, *range(41, 100)],
    FaultKind.REORDER: [*range(40), 41, 40, *range(42, 100)],
    FaultKind.TRUNCATE: list(range(100)),
    FaultKind.WRONG_LENGTH: list(range(100)),
    FaultKind.BIT_FLIP: list(range(100)),
}


@pytest.mark.parametrize("kind", list(EXPECTED_SEQUENCES))
async def test_one_packet_is_hit_once(kind: FaultKind) -> None:
    """The fault hits packet 40 of the first transfer only; sequences, payload and CRC tell."""
    first, second, recorder = await pull_twice(Fault(kind, at=40))
    assert first.sequences == EXPECTED_SEQUENCES[kind]
    assert first.crc_matches is (kind is FaultKind.WRONG_LENGTH)
    assert second.data == STORED.data
    assert second.crc_matches
    assert recorder.faults.fired == [Firing(kind, STORED.file_id, 40)]


async def test_what_the_payload_faults_change() -> None:
    """Truncation halves a payload, a wrong length tells one byte more, a flip changes one bit."""
    for kind, change in (
        (FaultKind.TRUNCATE, (PAYLOAD // 2, PAYLOAD)),
        (FaultKind.WRONG_LENGTH, (PAYLOAD, PAYLOAD + 1)),
        (FaultKind.BIT_FLIP, (PAYLOAD, PAYLOAD)),
    ):
        first, _, _ = await pull_twice(Fault(kind, at=40))
        packet = first.packets[40]
        assert isinstance(packet, Data)
        assert (len(packet.payload), packet.declared_len) == change
        right = STORED.data[40 * PAYLOAD : 41 * PAYLOAD]
        flipped = int.from_bytes(packet.payload, "big") ^ int.from_bytes(right, "big")
        assert (flipped.bit_count() == 1) is (kind is FaultKind.BIT_FLIP)


@pytest.mark.parametrize(("kind", "length"), [(FaultKind.RUNT, 2), (FaultKind.UNKNOWN_TYPE, 4)])
async def test_rubbish_packets_come_before_the_packet(kind: FaultKind, length: int) -> None:
    """A packet too short, or of no known type, is put before packet 40."""
    hub, recorder = await place(Fault(kind, at=40))
    async with recorder, hub.visit(recorder.address) as visit:
        raw = (await visit.pull(STORED)).raw
    assert len(raw[40]) == length
    decoded = decode_packet(raw[41])
    assert isinstance(decoded, Data)
    assert decoded.seq == 40


async def test_several_faults_can_hit_one_transfer() -> None:
    """Faults at different packets, and two at one, all happen."""
    first, _, _ = await pull_twice(
        Fault(FaultKind.DROP, at=3), Fault(FaultKind.DUPLICATE, at=7), Fault(FaultKind.DUPLICATE, at=7)
    )
    assert first.sequences == [0, 1, 2, 4, 5, 6, 7, 7, 7, 7, *range(8, 100)]


async def test_a_share_of_packets_can_be_hit() -> None:
    """A rate hits about that share, in each transfer other packets, until its number of times is used up."""
    first, second, recorder = await pull_twice(Fault(FaultKind.DROP, rate=0.2, times=30))
    lost = 200 - len(first.sequences) - len(second.sequences)
    assert lost == len(recorder.faults.fired) <= 30
    assert 8 <= 100 - len(first.sequences) <= 30


async def test_a_fault_of_another_recording_stays_away() -> None:
    """A fault meant for one recording leaves others alone."""
    first, _, recorder = await pull_twice(Fault(FaultKind.DROP, recording="00000000", at=1))
    assert first.crc_matches
    assert recorder.faults.fired == []


async def test_a_stall_lasts_as_long_as_stated() -> None:
    """Nothing comes for the stated time, then everything."""
    hub, recorder = await place(Fault(FaultKind.STALL, at=40, seconds=30))
    loop = asyncio.get_running_loop()
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.start(STORED)
        await visit.quiet(5)
        quiet_at = loop.time()
        assert len(visit.transferred) == 40
        await visit.until(visit.ended)
        assert loop.time() - quiet_at == pytest.approx(25, abs=0.1)
        assert Pulled(visit.transferred).crc_matches


async def test_a_stall_may_last_for_ever() -> None:
    """An endless stall ends with the link."""
    hub, recorder = await place(Fault(FaultKind.STALL, at=40, seconds=math.inf))
    async with recorder:
        async with hub.visit(recorder.address) as visit:
            await visit.start(STORED)
            await visit.quiet(10_000)
            assert len(visit.transferred) == 40
        async with hub.visit(recorder.address) as visit:
            assert (await visit.pull(STORED)).crc_matches


async def test_a_disconnect_comes_after_exactly_so_many_packets() -> None:
    """The link ends before packet 40, when the 40 before it have arrived."""
    hub, recorder = await place(Fault(FaultKind.DISCONNECT, at=40))
    async with recorder:
        async with hub.visit(recorder.address) as visit:
            await visit.start(STORED)
            await visit.quiet(1)
            assert not visit.client.is_connected
            assert [decode_packet(value) for value in visit.transferred] == Pulled(visit.transferred).packets
            assert Pulled(visit.transferred).sequences == list(range(40))
        await recorder.wait_until(lambda: recorder.advertising)
        assert recorder.recordings == [STORED]


async def test_an_error_ends_the_transfer() -> None:
    """The error packet with its code comes in place of packet 40 and nothing after it; START works again at once."""
    hub, recorder = await place(Fault(FaultKind.ERROR, at=40, code=0x14))
    async with recorder, hub.visit(recorder.address) as visit:
        pulled = await visit.pull(STORED)
        assert pulled.sequences == list(range(40))
        assert pulled.error == 0x14
        assert pulled.eof is None
        assert (await visit.pull(STORED)).crc_matches


async def test_a_crc_can_be_wrong() -> None:
    """All data is right, the CRC is not, once."""
    first, second, _ = await pull_twice(Fault(FaultKind.WRONG_CRC))
    assert first.data == STORED.data
    assert not first.crc_matches
    assert second.crc_matches


async def test_data_can_go_on_for_ever() -> None:
    """Without an end, data goes on in sequence until the transfer is aborted."""
    hub, recorder = await place(Fault(FaultKind.ENDLESS))
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.start(STORED)
        await visit.until(lambda: len(visit.transferred) > 1_000)
        assert Pulled(visit.transferred[:1_000]).sequences == list(range(1_000))
        await visit.abort()
        await visit.quiet(1)
        assert (await visit.pull(STORED)).crc_matches


async def test_endless_data_lets_others_live_when_nobody_listens() -> None:
    """Unsubscribed, an endless sender lets time pass, and is heard again after a new subscription."""
    hub, recorder = await place(Fault(FaultKind.ENDLESS))
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.start(STORED)
        await visit.until(lambda: len(visit.transferred) > 1_000)
        await visit.client.stop_notify(uuids.RECORDING_TRANSFER)
        await asyncio.sleep(5)
        heard = len(visit.transferred)
        await visit.client.start_notify(uuids.RECORDING_TRANSFER, visit.hear)
        await visit.until(lambda: len(visit.transferred) > heard)
        await visit.abort()


@pytest.mark.parametrize(("kind", "packets"), [(FaultKind.NO_DATA, 0), (FaultKind.NO_EOF, 100)])
async def test_a_recorder_can_fall_silent(kind: FaultKind, packets: int) -> None:
    """Nothing comes after START, or nothing after the data, and the transfer stays open."""
    hub, recorder = await place(Fault(kind))
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.start(STORED)
        await visit.quiet(60)
        assert len(visit.transferred) == packets
        await visit.abort()
        assert (await visit.pull(STORED)).crc_matches


async def test_the_link_can_end_between_eof_and_ack() -> None:
    """EOF and digest arrive, then the link is gone, and nothing was acknowledged."""
    hub, recorder = await place(Fault(FaultKind.DISCONNECT_AFTER_EOF))
    async with recorder, hub.visit(recorder.address) as visit:
        pulled = await visit.pull(STORED)
        assert pulled.crc_matches
        assert pulled.raw[-1][0] == 4
        assert not visit.client.is_connected
    assert recorder.acknowledged == []


async def test_the_link_can_end_between_ack_and_confirm() -> None:
    """The ACK is answered, then the link is gone."""
    hub, recorder = await place(Fault(FaultKind.DISCONNECT_AFTER_ACK))
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.pull(STORED)
        await visit.ack()
        await visit.quiet(1)
        assert not visit.client.is_connected
    assert recorder.acknowledged == [STORED.file_id]


async def test_the_answer_to_an_ack_can_be_lost() -> None:
    """The ACK counts, but the hub sees its write fail."""
    hub, recorder = await place(Fault(FaultKind.LOSE_ACK_ANSWER))
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.pull(STORED)
        with pytest.raises(BleakError):
            await visit.ack()
    assert recorder.acknowledged == [STORED.file_id]


@pytest.mark.parametrize(
    ("kind", "fails", "deleted"),
    [
        (FaultKind.LOSE_CONFIRM, True, False),
        (FaultKind.LOSE_CONFIRM_ANSWER, True, True),
        (FaultKind.IGNORE_CONFIRM, False, False),
    ],
)
async def test_a_confirm_can_fail_in_three_ways(kind: FaultKind, fails: bool, deleted: bool) -> None:
    """A CONFIRM is lost, counts without an answer, or is answered without counting; the next one works."""
    hub, recorder = await place(Fault(kind))
    async with recorder:
        async with hub.visit(recorder.address) as visit:
            if fails:
                with pytest.raises(BleakError):
                    await visit.confirm(STORED)
            else:
                await visit.confirm(STORED)
        assert (recorder.recordings == []) is deleted
        async with hub.visit(recorder.address) as visit:
            await visit.confirm(STORED)
        assert recorder.recordings == []


async def test_lists_can_be_bad() -> None:
    """A list stays away, repeats each entry, or is rubbish, each once."""
    hub, recorder = await place(
        Fault(FaultKind.LIST_SILENT), Fault(FaultKind.LIST_DUPLICATES), Fault(FaultKind.LIST_RUBBISH)
    )
    async with recorder, hub.visit(recorder.address) as visit:
        assert await visit.list() == []
        (rubbish,) = await visit.list()
        (doubled,) = await visit.list()
        (good,) = await visit.list()
    entry = good[1:]
    assert len(rubbish) == 18
    assert doubled == b"\x02" + entry + entry
    assert good[0] == 1


@pytest.mark.parametrize(
    ("kind", "uuid"),
    [(FaultKind.STATUS_UNREADABLE, uuids.DEVICE_STATUS), (FaultKind.SERIAL_UNREADABLE, uuids.SERIAL_NUMBER)],
)
async def test_values_can_be_unreadable(kind: FaultKind, uuid: str) -> None:
    """A read is refused the stated number of times, then works."""
    hub, recorder = await place(Fault(kind, times=2))
    async with recorder, hub.client(await hub.find(recorder.address)) as client:
        for _ in range(2):
            with pytest.raises(BleakGATTProtocolError):
                await client.read_gatt_char(uuid)
        assert await client.read_gatt_char(uuid)


async def test_a_serial_can_be_empty() -> None:
    """The serial reads as nothing, once."""
    hub, recorder = await place(Fault(FaultKind.SERIAL_EMPTY))
    async with recorder, hub.client(await hub.find(recorder.address)) as client:
        assert await client.read_gatt_char(uuids.SERIAL_NUMBER) == b""
        assert await client.read_gatt_char(uuids.SERIAL_NUMBER) == SERIAL.encode()


async def test_gatt_can_stall_after_the_connect() -> None:
    """The first request gets its answer late; later ones follow it in order."""
    hub, recorder = await place(Fault(FaultKind.GATT_STALL, seconds=5))
    loop = asyncio.get_running_loop()
    async with recorder:
        device = await hub.find(recorder.address)
        began = loop.time()
        async with hub.client(device) as client:
            assert loop.time() - began == pytest.approx(5, abs=0.2)
            assert client.mtu_size == 247
            assert await client.read_gatt_char(uuids.SERIAL_NUMBER) == SERIAL.encode()


async def test_the_same_seed_hits_the_same_places() -> None:
    """Two runs with one seed lose the same packets, another seed loses others."""

    async def lost(seed: int) -> list[int]:
        radio = VirtualRadio()
        faults = Faults(Fault(FaultKind.DROP, rate=0.1, times=None), seed=seed)
        hub = await Hub.on(radio)
        options = RecorderOptions(payload_bytes=PAYLOAD)
        recorder = SimRecorder(radio, serial=SERIAL, recordings=[STORED], options=options, faults=faults)
        async with recorder, hub.visit(recorder.address) as visit:
            return (await visit.pull(STORED)).sequences

    assert await lost(1) == await lost(1) != await lost(2)
