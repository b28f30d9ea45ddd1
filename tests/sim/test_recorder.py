"""The rules of the simulated recorder, seen by a hub of plain bleak."""

import asyncio
import hashlib

import pytest
from bleak.exc import BleakError, BleakGATTProtocolError
from bumble import att
from bumble.gatt import GATT_CLIENT_SUPPORTED_FEATURES_CHARACTERISTIC, GATT_DATABASE_HASH_CHARACTERISTIC

from bota_gateway.protocol import uuids
from bota_gateway.protocol.control import Opcode, list_command, result_write, start_command, trigger_upload
from bota_gateway.protocol.device_status import DeviceState, StatusFlag, decode_device_status
from bota_gateway.protocol.packets import E2eStart, EncryptedData, EncryptedEof, Sha256
from bota_gateway.protocol.storage_info import decode_storage_info
from bota_gateway.protocol.time_sync import time_sync_write
from bota_gateway.sim.options import (
    DuringTransfer,
    EmptyList,
    Group,
    ListForm,
    RecorderOptions,
    ResultsOn,
    Sha,
    StoredRecording,
)
from bota_gateway.sim.recorder import SimRecorder
from bota_gateway.sim.virtual_radio import VirtualRadio
from support.recorders import Hub, recording

pytestmark = pytest.mark.virtual_time

SERIAL = "PIN0000001"
CAPABILITY = bytes.fromhex("010218007f03000000040004e4012c00010000002c000000")
"""What a real unit returned (docs/protocol.md, "Version 2")."""
PAIR = [recording(3_000, seed=1), recording(2_000, seed=2)]


async def place(*recordings: StoredRecording, **options: object) -> tuple[Hub, SimRecorder]:
    """A hub, and a recorder that is not started yet."""
    radio = VirtualRadio()
    chosen = RecorderOptions(**options)  # type: ignore[arg-type]  # each test names real options
    return await Hub.on(radio), SimRecorder(radio, serial=SERIAL, recordings=recordings, options=chosen)


async def test_a_write_to_a_declaration_is_refused_and_changes_nothing() -> None:
    """A hub that remembers the handles of other firmware may write anywhere; the table stays what it is."""
    hub, recorder = await place()
    async with recorder, hub.client(await hub.find(recorder.address)):
        client = next(iter(hub.device.connections.values())).gatt_client
        declaration = recorder.firmware.handles[uuids.DEVICE_STATUS] - 1
        before = await client.read_value(declaration)
        with pytest.raises(att.ATT_Error):
            await client.write_value(declaration, b"\1\0", with_response=True)
        assert await client.read_value(declaration) == before


async def test_hubs_can_see_by_the_database_hash_that_the_table_is_another() -> None:
    """Other firmware tells another hash, the same one the same; by that BlueZ knows that its memory is stale."""
    hashes = []
    for absent in (frozenset(), frozenset({Group.HARDWARE_REVISION}), frozenset()):
        hub, recorder = await place(absent=absent)
        async with recorder, hub.client(await hub.find(recorder.address)):
            client = next(iter(hub.device.connections.values())).gatt_client
            hashes += await client.read_characteristics_by_uuid(GATT_DATABASE_HASH_CHARACTERISTIC, None)
    assert [len(one) for one in hashes] == [16, 16, 16]
    assert hashes[0] == hashes[2] != hashes[1]


async def test_a_hub_may_say_what_it_supports() -> None:
    """Client Supported Features is there to be written: BlueZ does so at every new link."""
    hub, recorder = await place()
    async with recorder, hub.client(await hub.find(recorder.address)):
        client = next(iter(hub.device.connections.values())).gatt_client
        await client.discover_services()
        await client.discover_characteristics([], None)
        features = client.get_characteristics_by_uuid(GATT_CLIENT_SUPPORTED_FEATURES_CHARACTERISTIC)[0]
        await client.write_value(features, b"\5", with_response=True)
        assert await client.read_value(features) == b"\5"


# -- connection -------------------------------------------------------------------------------------------------------


async def test_it_advertises_only_while_nobody_holds_it() -> None:
    """Connected it is invisible; afterwards it advertises again, after the stated pause."""
    hub, recorder = await place(advertise_again_after_s=3.0)
    loop = asyncio.get_running_loop()
    async with recorder:
        device = await hub.find(recorder.address)
        async with hub.client(device):
            assert recorder.connected
            assert not recorder.advertising
            with pytest.raises(AssertionError, match="does not advertise"):
                await hub.find(recorder.address, timeout=2)
        gone_at = loop.time()
        await recorder.wait_until(lambda: recorder.advertising)
        assert loop.time() - gone_at == pytest.approx(3.0)
        assert (recorder.seen.connections, recorder.seen.disconnections) == (1, 1)


async def test_what_it_holds_survives_a_restart() -> None:
    """Recordings and counters outlive stop and start."""
    hub, recorder = await place(*PAIR)
    await recorder.start()
    await recorder.stop()
    async with recorder, hub.visit(recorder.address) as visit:
        assert (await visit.pull(PAIR[0])).data == PAIR[0].data
    assert recorder.seen.connections == 1


async def test_the_nonce_is_new_for_each_connection_and_grant() -> None:
    """Each connection, and each grant written, brings another session nonce of 16 bytes."""
    hub, recorder = await place()
    nonces = set()
    async with recorder:
        for _ in range(2):
            async with hub.client(await hub.find(recorder.address)) as client:
                for value in (b"\x05", bytes(171)):
                    await client.write_gatt_char(uuids.DEVICE_COMMAND, value, response=True)
                    nonces.add(bytes(await client.read_gatt_char(uuids.SESSION_NONCE)))
    assert [len(nonce) for nonce in nonces] == [16] * 4


async def test_every_group_can_be_absent() -> None:
    """Without any optional group, only what a transfer needs is left."""
    hub, recorder = await place(absent=frozenset(Group))
    async with recorder, hub.client(await hub.find(recorder.address)) as client:
        assert {one.uuid for one in client.services.characteristics.values() if one.uuid[4:8] != "2a00"} >= {
            uuids.SERIAL_NUMBER,
            uuids.FIRMWARE_REVISION,
            uuids.DEVICE_STATUS,
            uuids.RECORDING_LIST,
            uuids.RECORDING_TRANSFER,
            uuids.TRANSFER_CONTROL,
        }
        for uuid in (uuids.TIME_SYNC, uuids.STORAGE_INFO, uuids.BATTERY_LEVEL, uuids.IDENTITY_SERIAL):
            assert client.services.get_characteristic(uuid) is None
        assert client.services.get_service(uuids.WIFI_SERVICE) is None


async def test_the_whole_table_is_there_by_default() -> None:
    """Every service of the GATT table is served, and version 2 only when it has a capability document."""
    hub, recorder = await place()
    async with recorder, hub.client(await hub.find(recorder.address)) as client:
        assert {service.uuid for service in client.services} >= uuids.BOTA_SERVICES
        assert client.services.get_characteristic(uuids.CAPABILITIES_V2) is None


async def test_encryption_can_be_required() -> None:
    """With the switch on, nothing is read over a plain link."""
    hub, recorder = await place(requires_encryption=True)
    async with recorder, hub.client(await hub.find(recorder.address)) as client:
        with pytest.raises(BleakGATTProtocolError) as refused:
            await client.read_gatt_char(uuids.SERIAL_NUMBER)
        assert refused.value.code == 0x0F


# -- what it tells ----------------------------------------------------------------------------------------------------


async def test_serials_may_be_padded() -> None:
    """Both places of the serial carry it, with NUL bytes after it if so wanted."""
    hub, recorder = await place(serial_padding=6)
    async with recorder, hub.client(await hub.find(recorder.address)) as client:
        assert await client.read_gatt_char(uuids.SERIAL_NUMBER) == SERIAL.encode() + bytes(6)
        assert await client.read_gatt_char(uuids.IDENTITY_SERIAL) == SERIAL.encode() + bytes(6)


@pytest.mark.parametrize("length", [14, 15, 16, 17, 18])
async def test_status_comes_in_every_length(length: int) -> None:
    """The status has the stated length and the state that was set; more than 17 bytes carry the modem text."""
    hub, recorder = await place(*PAIR, status_length=length, modem_info={"op": "Some Operator"})
    recorder.condition.battery_percent = 12
    recorder.condition.state = DeviceState.RECORDING
    recorder.condition.sync_active = True
    async with recorder, hub.client(await hub.find(recorder.address)) as client:
        value = bytes(await client.read_gatt_char(uuids.DEVICE_STATUS))
    status = decode_device_status(value)
    assert len(value) == length if length < 18 else len(value) > 18
    assert (status.battery_percent, status.pending_recordings, status.recording_now) == (12, 2, True)
    assert status.flags == StatusFlag.SYNC_ACTIVE
    assert status.modem_info == ({"op": "Some Operator"} if length > 17 else None)


async def test_a_time_sync_sets_the_clock() -> None:
    """The clock reads 0 until a time sync, which the status then shows and from which time goes on."""
    hub, recorder = await place()
    async with recorder, hub.visit(recorder.address) as visit:
        assert recorder.clock.now() == 0
        await visit.write(time_sync_write(1_760_000_000_500, 120))
        await asyncio.sleep(10)
        assert recorder.clock.now() == 1_760_000_010
        status = decode_device_status(bytes(await visit.client.read_gatt_char(uuids.DEVICE_STATUS)))
        assert status.last_time_sync == 1_760_000_000
        with pytest.raises(BleakGATTProtocolError):
            await visit.client.write_gatt_char(uuids.TIME_SYNC, b"\x00", response=True)


async def test_storage_info_counts_recordings() -> None:
    """Storage info tells how many recordings are held and what they take."""
    hub, recorder = await place(*PAIR)
    async with recorder, hub.client(await hub.find(recorder.address)) as client:
        info = decode_storage_info(bytes(await client.read_gatt_char(uuids.STORAGE_INFO)))
    assert (info.total_recordings, info.pending_sync, info.used_kb) == (2, 2, 5)


async def test_the_capability_document_may_need_time() -> None:
    """While version 2 initialises its flags read as 0; the rest of the document is there."""
    hub, recorder = await place(capability=CAPABILITY, capability_ready_after_s=5)
    async with recorder, hub.client(await hub.find(recorder.address)) as client:
        early = bytes(await client.read_gatt_char(uuids.CAPABILITIES_V2))
        await asyncio.sleep(5)
        assert early == CAPABILITY[:4] + bytes(4) + CAPABILITY[8:]
        assert await client.read_gatt_char(uuids.CAPABILITIES_V2) == CAPABILITY


@pytest.mark.parametrize(("answer", "heard"), [(0, [b"\x03\x00"]), (2, [b"\x03\x02"]), (None, [])])
async def test_an_upload_trigger_is_answered(answer: int | None, heard: list[bytes]) -> None:
    """The trigger gets the stated code, or silence from old firmware."""
    hub, recorder = await place(trigger_answer=answer)
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.write(trigger_upload())
        await visit.quiet(1)
        assert visit.heard.get(uuids.TRANSFER_STATUS, []) == heard


async def test_an_upload_trigger_without_a_status_characteristic_is_silence() -> None:
    """A recorder that lacks the characteristic for its answer takes the trigger all the same."""
    hub, recorder = await place(absent=frozenset({Group.TRANSFER_STATUS}))
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.write(trigger_upload())
        assert await visit.list()


# -- list -------------------------------------------------------------------------------------------------------------


async def test_it_lists_what_it_holds() -> None:
    """Entries come in order behind their count, and added recordings appear."""
    hub, recorder = await place(PAIR[0])
    async with recorder, hub.visit(recorder.address) as visit:
        recorder.add(PAIR[1])
        (value,) = await visit.list()
    assert value[0] == 2
    assert [value[1:5].hex(), value[25:29].hex()] == [one.file_id for one in PAIR]


@pytest.mark.parametrize(
    ("empty", "heard"), [(EmptyList.ZERO, [b"\0"]), (EmptyList.SILENT, []), (EmptyList.EMPTY_NOTIFICATION, [b""])]
)
async def test_empty_lists_come_in_three_kinds(empty: EmptyList, heard: list[bytes]) -> None:
    """An empty recorder says 0, nothing, or an empty notification."""
    hub, recorder = await place(empty_list=empty)
    async with recorder, hub.visit(recorder.address) as visit:
        assert await visit.list() == heard


async def test_a_long_list_takes_several_notifications() -> None:
    """What does not fit one notification comes in more, however the list is framed."""
    many = [recording(100, seed=seed) for seed in range(30)]
    for form in ListForm:
        hub, recorder = await place(*many, list_form=form)
        async with recorder, hub.visit(recorder.address) as visit:
            values = await visit.list()
        assert len(values) > 1
        assert all(len(value) <= 244 for value in values)


@pytest.mark.parametrize(
    ("behaviour", "listed", "errors"),
    [(DuringTransfer.IGNORE, 0, 0), (DuringTransfer.ANSWER, 1, 0), (DuringTransfer.ABORT, 1, 1)],
)
async def test_a_list_during_a_transfer_does_as_chosen(behaviour: DuringTransfer, listed: int, errors: int) -> None:
    """LIST while a transfer is open is ignored, answered, or ends the transfer with an error."""
    hub, recorder = await place(*PAIR, list_during_transfer=behaviour)
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.pull(PAIR[0])
        assert len(await visit.list()) == listed
        assert sum(value[0] == 0xFF for value in visit.transferred) == errors


# -- transfer ---------------------------------------------------------------------------------------------------------


async def test_a_transfer_stays_open_until_its_result() -> None:
    """Another START is refused while a transfer waits for its result, and accepted after it."""
    hub, recorder = await place(*PAIR)
    async with recorder, hub.visit(recorder.address) as visit:
        assert (await visit.pull(PAIR[0])).crc_matches
        assert (await visit.pull(PAIR[1])).error == 0x02
        await visit.ack()
        assert (await visit.pull(PAIR[1])).crc_matches
    assert recorder.acknowledged == [PAIR[0].file_id]
    assert recorder.seen.starts == [PAIR[0].file_id, PAIR[1].file_id, PAIR[1].file_id]


async def test_a_disconnect_ends_a_transfer() -> None:
    """After a disconnect in mid-transfer the next connection starts afresh."""
    hub, recorder = await place(recording(200_000))
    (stored,) = recorder.recordings
    async with recorder:
        async with hub.visit(recorder.address) as visit:
            await visit.start(stored)
            await visit.until(lambda: len(visit.transferred) > 100)
        async with hub.visit(recorder.address) as visit:
            assert (await visit.pull(stored)).data == stored.data
    assert [transfer.sent_all for transfer in recorder.seen.transfers] == [False, True]


async def test_an_abort_stops_the_packets() -> None:
    """After an ABORT nothing more is sent, and the recording stays."""
    hub, recorder = await place(recording(2_000_000))
    (stored,) = recorder.recordings
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.start(stored)
        await visit.until(lambda: len(visit.transferred) > 100)
        await visit.abort()
        await visit.quiet(1)
        assert not recorder.seen.transfers[0].sent_all
        assert recorder.recordings == [stored]


async def test_unknown_and_owned_recordings_are_refused() -> None:
    """START of an unknown id is error 0x11, of one that wants version 2 0x22, and anything while syncing 0x20."""
    modern = recording(100, seed=3, needs_v2=True)
    hub, recorder = await place(PAIR[0], modern)
    async with recorder, hub.visit(recorder.address) as visit:
        assert (await visit.pull(PAIR[1])).error == 0x11
        assert (await visit.pull(modern)).error == 0x22
        await visit.write(start_command(PAIR[0].recording_id[:15] + b"\x01"))
        await visit.quiet(1)
        assert visit.transferred[-1] == b"\xff\x00\x00\x11"
        recorder.condition.sync_active = True
        assert (await visit.pull(PAIR[0])).error == 0x20


@pytest.mark.parametrize("payload", [15, 100])
async def test_payloads_can_be_small_at_any_mtu(payload: int) -> None:
    """The stated payload size is used although the MTU allows more."""
    hub, recorder = await place(recording(1_000), payload_bytes=payload)
    (stored,) = recorder.recordings
    async with recorder, hub.visit(recorder.address) as visit:
        pulled = await visit.pull(stored)
    assert {len(value) - 5 for value in pulled.raw if value[0] == 1} == {payload, 1_000 % payload or payload}
    assert pulled.data == stored.data


async def test_the_sequence_wraps() -> None:
    """Beyond 65,536 packets the sequence goes on from 0, and EOF carries the last one plus one."""
    hub, recorder = await place(recording(66_000), payload_bytes=1)
    (stored,) = recorder.recordings
    async with recorder, hub.visit(recorder.address) as visit:
        pulled = await visit.pull(stored)
    assert pulled.sequences == [index % 65_536 for index in range(66_000)]
    assert pulled.eof is not None
    assert pulled.eof.seq == 66_000 % 65_536
    assert pulled.data == stored.data


async def test_eof_may_carry_sequence_zero() -> None:
    """With the option EOF's sequence is 0."""
    hub, recorder = await place(*PAIR, eof_sequence_zero=True)
    async with recorder, hub.visit(recorder.address) as visit:
        pulled = await visit.pull(PAIR[0])
    assert pulled.eof is not None
    assert pulled.eof.seq == 0


@pytest.mark.parametrize("sha", list(Sha))
async def test_digests_come_in_every_kind(sha: Sha) -> None:
    """The digest packet comes as chosen: absent, short, with id, another's, wrong, late, or before EOF."""
    hub, recorder = await place(*PAIR, sha=sha, sha_late_s=0.9)
    async with recorder, hub.visit(recorder.address) as visit:
        pulled = await visit.pull(PAIR[0])
    digests = [packet for packet in pulled.packets if isinstance(packet, Sha256)]
    right = hashlib.sha256(PAIR[0].data).digest()
    assert len(digests) == (0 if sha is Sha.NONE else 1)
    for digest in digests:
        assert (digest.sha256 == right) == (sha not in (Sha.WRONG, Sha.OTHER_RECORDING))
        assert (digest.recording_id == PAIR[0].recording_id) == (sha is Sha.WITH_ID)
        assert (digest.recording_id is not None) == (sha in (Sha.WITH_ID, Sha.OTHER_RECORDING))
    assert (pulled.raw[-1][0] == 2) == (sha in (Sha.NONE, Sha.BEFORE_EOF))


async def test_a_late_digest_comes_late() -> None:
    """The late digest comes the stated time after EOF, even when the transfer was acknowledged meanwhile."""
    hub, recorder = await place(*PAIR, sha=Sha.LATE, sha_late_s=0.5)
    loop = asyncio.get_running_loop()
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.start(PAIR[0])
        await visit.until(lambda: bool(visit.transferred) and visit.transferred[-1][0] == 2)
        ended = loop.time()
        await visit.ack()
        await visit.until(lambda: visit.transferred[-1][0] == 4)
        assert loop.time() - ended == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("cuts", [False, True])
async def test_a_digest_does_not_fit_the_smallest_mtu(cuts: bool) -> None:
    """At an MTU of 23 the digest is not sent, or cut if so chosen."""
    hub, recorder = await place(*PAIR, att_mtu=23, cuts_notifications=cuts)
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.start(PAIR[0])
        await visit.until(visit.ended)
        await visit.quiet(1)
    assert [len(value) for value in visit.transferred if value[0] == 4] == ([20] if cuts else [])


async def test_a_slow_card_delays_the_first_packet() -> None:
    """The first packet comes the stated time after START."""
    hub, recorder = await place(*PAIR, start_delay_s=4)
    loop = asyncio.get_running_loop()
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.start(PAIR[0])
        began = loop.time()
        await visit.until(lambda: bool(visit.transferred))
        assert loop.time() - began == pytest.approx(4, abs=0.01)


async def test_encrypted_recordings_come_as_p10() -> None:
    """A P10 recording opens with its key and ends without a checksum."""
    hub, recorder = await place(recording(2_000, p10=True), sha=Sha.NONE)
    (stored,) = recorder.recordings
    async with recorder, hub.visit(recorder.address) as visit:
        packets = (await visit.pull(stored)).packets
    assert isinstance(packets[0], E2eStart)
    assert isinstance(packets[-1], EncryptedEof)
    chunks = [packet.chunk for packet in packets[1:-1] if isinstance(packet, EncryptedData)]
    assert b"".join(chunk[:-16] for chunk in chunks) == stored.data


# -- results and confirm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [uuids.TRANSFER_CONTROL, uuids.RECORDING_TRANSFER])
@pytest.mark.parametrize("counts", list(ResultsOn))
async def test_results_count_where_chosen(counts: ResultsOn, where: str) -> None:
    """A result counts on both characteristics or on one; where it was written, and with which number, is noted."""
    hub, recorder = await place(*PAIR, results_on=counts)
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.pull(PAIR[0])
        await visit.ack(characteristic=where, seq=13)
    counted = counts is ResultsOn.BOTH or (counts is ResultsOn.TRANSFER_CONTROL) == (where == uuids.TRANSFER_CONTROL)
    (result,) = recorder.seen.results
    assert (result.opcode, result.seq, result.characteristic) == (Opcode.ACK, 13, where)
    assert recorder.acknowledged == ([PAIR[0].file_id] if counted else [])


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_nack_may_start_the_transfer_again(restarts: bool) -> None:
    """After a NACK the recorder waits for another START, or begins by itself."""
    hub, recorder = await place(*PAIR, restart_after_nack=restarts)
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.pull(PAIR[0])
        visit.transferred.clear()
        await visit.nack()
        await visit.quiet(1)
        assert visit.ended() is restarts
        if restarts:
            await visit.abort()
        assert (await visit.pull(PAIR[0])).crc_matches
    assert recorder.acknowledged == []


async def test_only_a_confirm_deletes() -> None:
    """An acknowledged recording stays until its CONFIRM, which lowers the number pending; other ids do nothing."""
    hub, recorder = await place(*PAIR)
    async with recorder, hub.visit(recorder.address) as visit:
        await visit.pull(PAIR[0])
        await visit.ack()
        assert recorder.recordings == PAIR
        await visit.confirm(recording(1, seed=9))
        assert recorder.recordings == PAIR
        await visit.confirm(PAIR[0])
        assert recorder.recordings == [PAIR[1]]
        status = decode_device_status(bytes(await visit.client.read_gatt_char(uuids.DEVICE_STATUS)))
        assert status.pending_recordings == 1
    assert recorder.confirmed == [PAIR[0].file_id]
    assert len(recorder.seen.confirms) == 2


async def test_deletion_may_take_time() -> None:
    """With a delay a confirmed recording is still listed, and gone later, whether or not the link lasts."""
    hub, recorder = await place(*PAIR, deletion_delay_s=30)
    async with recorder:
        async with hub.visit(recorder.address) as visit:
            await visit.confirm(PAIR[0])
            assert (await visit.list())[0][0] == 2
        await recorder.wait_until(lambda: recorder.recordings == [PAIR[1]])
        async with hub.visit(recorder.address) as visit:
            assert (await visit.list())[0][0] == 1


async def test_rubbish_is_taken_and_noted() -> None:
    """Writes that are no command change nothing and can be looked at."""
    hub, recorder = await place(*PAIR)
    async with recorder, hub.visit(recorder.address) as visit:
        for rubbish in (b"\x7f", b"\x02\x01"):
            await visit.client.write_gatt_char(uuids.TRANSFER_CONTROL, rubbish, response=True)
        await visit.client.write_gatt_char(uuids.RECORDING_TRANSFER, b"\x66", response=True)
        assert (await visit.pull(PAIR[0])).crc_matches
    assert recorder.seen.rubbish == [b"\x7f", b"\x02\x01", b"\x66"]


async def test_without_subscription_nothing_is_sent() -> None:
    """Notifications nobody subscribed to stay away."""
    hub, recorder = await place(*PAIR)
    async with recorder, hub.client(await hub.find(recorder.address)) as client:
        for write in (list_command(), start_command(PAIR[0].recording_id), result_write(Opcode.ACK)):
            await client.write_gatt_char(write.characteristic, write.value, response=True)
        assert not recorder.notify_status()
    assert recorder.seen.lists == 1


async def test_a_recorder_needs_a_place() -> None:
    """A recorder without a radio and without a device can't start."""
    with pytest.raises(ValueError, match="radio"):
        await SimRecorder(serial=SERIAL).start()


async def test_the_recorder_can_hang_up() -> None:
    """A disconnect from the recorder's side ends the hub's link, and is harmless without one."""
    hub, recorder = await place()
    async with recorder:
        await recorder.disconnect()
        async with hub.client(await hub.find(recorder.address)) as client:
            await recorder.disconnect()
            with pytest.raises(BleakError):
                await client.read_gatt_char(uuids.SERIAL_NUMBER)
