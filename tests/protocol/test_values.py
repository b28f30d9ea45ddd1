"""Every value survives being written and read, and nothing but ``DecodeError`` comes out of rubbish."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bota_gateway.protocol import (
    advertising,
    capabilities,
    control,
    device_status,
    diagnostics,
    fault_detail,
    packets,
    provisioning,
    recording_list,
    recording_status,
    settings,
    storage_info,
    time_sync,
    transfer_status,
    uuids,
)
from bota_gateway.protocol.decode import KINDS, decode
from bota_gateway.protocol.errors import DecodeError
from bota_gateway.protocol.receiver import BatchReceiver, ReceiverOptions

U8, U16, U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
IDS = st.binary(min_size=16, max_size=16)
WORDS = st.text("abcdefXYZ019._- ", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(seq=U16, payload=st.binary(max_size=501), declared=st.none() | U16)
def test_data_packets_round_trip(seq: int, payload: bytes, declared: int | None) -> None:
    """Sequence, declared length and payload come back, plain or encrypted."""
    length = len(payload) if declared is None else declared
    plain = packets.encode_data(seq, payload, declared_len=declared)
    assert packets.decode_packet(plain) == packets.Data(seq, length, payload)
    encrypted = packets.encode_encrypted_data(seq, payload, declared_len=declared)
    assert packets.decode_packet(encrypted) == packets.EncryptedData(seq, length, payload)


@given(seq=U16, number=U32, code=st.none() | U8)
def test_packets_without_payload_round_trip(seq: int, number: int, code: int | None) -> None:
    """End, pause and error come back, in their short forms too."""
    assert packets.decode_packet(packets.encode_eof(seq, number)) == packets.Eof(seq, number)
    assert packets.decode_packet(packets.encode_paused(seq, number)) == packets.Paused(seq, number)
    assert packets.decode_packet(packets.encode_paused(seq)) == packets.Paused(seq, None)
    assert packets.decode_packet(packets.encode_encrypted_eof(seq)) == packets.EncryptedEof(seq)
    expected = packets.DeviceError(seq, 0xFF if code is None else code)
    assert packets.decode_packet(packets.encode_error(seq, code)) == expected


@given(key=st.binary(min_size=32, max_size=32), salt=st.binary(min_size=4, max_size=4), whose=st.none() | IDS)
def test_packets_without_sequence_round_trip(key: bytes, salt: bytes, whose: bytes | None) -> None:
    """In digest and encryption start, the bytes after the type are no sequence number."""
    assert packets.decode_packet(packets.encode_sha256(key, whose)) == packets.Sha256(key, whose)
    assert packets.decode_packet(packets.encode_e2e_start(key, salt)) == packets.E2eStart(key, salt)


@pytest.mark.parametrize(("seq", "on_the_wire"), [(0x10000, 0), (0x1FFFF, 0xFFFF)])
def test_the_encoder_rolls_the_counter_over(seq: int, on_the_wire: int) -> None:
    """A simulated recorder may count without end, as the wire's counter wraps."""
    assert packets.decode_packet(packets.encode_data(seq, b"")) == packets.Data(on_the_wire, 0, b"")


@given(recording_id=IDS, seq=U16)
def test_commands_round_trip(recording_id: bytes, seq: int) -> None:
    """What the hub writes, a recorder reads, on the characteristic that it expects."""
    writes = {
        control.list_command(): control.Command(control.Opcode.LIST),
        control.trigger_upload(): control.Command(control.Opcode.TRIGGER_UPLOAD),
        control.start_command(recording_id): control.Command(control.Opcode.START, recording_id=recording_id),
        control.confirm_command(recording_id): control.Command(control.Opcode.CONFIRM, recording_id=recording_id),
    }
    writes |= {control.result_write(it, seq=seq): control.Command(it, seq=seq) for it in control.RESULTS}
    for write, command in writes.items():
        assert write.characteristic == uuids.TRANSFER_CONTROL
        assert control.decode_command(write.value) == command


def test_commands_have_the_documented_bytes() -> None:
    """The opcodes, in full."""
    recording_id = recording_list.recording_id("a1b2c3d4")
    assert control.list_command().value.hex() == "01"
    assert control.start_command(recording_id).value.hex() == "02a1b2c3d4" + "00" * 12
    assert control.trigger_upload().value.hex() == "03"
    assert control.confirm_command(recording_id).value.hex() == "07a1b2c3d4" + "00" * 12
    assert control.result_write(control.Opcode.ACK).value.hex() == "100000"
    assert control.result_write(control.Opcode.NACK, seq=0x1234).value.hex() == "113412"
    assert control.result_write(control.Opcode.ABORT).value.hex() == "120000"
    assert control.recording_control(control.RecordingOpcode.STOP) == control.Write(uuids.RECORDING_CONTROL, b"\x11")


@pytest.mark.parametrize("command", [control.start_command, control.confirm_command])
def test_an_id_of_another_length_is_never_sent(command: Callable[[bytes], control.Write]) -> None:
    """A wrong id in CONFIRM could delete another recording."""
    with pytest.raises(ValueError, match="16 bytes"):
        command(b"\xa1\xb2\xc3\xd4")


@given(unix_ms=st.integers(0, 2**32 * 1000 - 1), offset=st.integers(-840, 840))
def test_time_sync_round_trips(unix_ms: int, offset: int) -> None:
    """Milliseconds and the zone come back."""
    value = time_sync.time_sync_write(unix_ms, offset).value
    assert time_sync.decode_time_sync(value) == time_sync.TimeSync(unix_ms, offset)


def test_time_sync_fits_the_published_example() -> None:
    """1725000000321 ms, seven hours west of UTC."""
    write = time_sync.time_sync_write(1_725_000_000_321, -420)
    assert write == control.Write("b07a0002-0004-1000-8000-00805f9b34fb", bytes.fromhex("4069D16641015CFE"))


ENTRIES = st.builds(recording_list.ListEntry, st.binary(min_size=4, max_size=4).map(bytes.hex), U8, U32, U16, U16)


@given(entry=ENTRIES)
def test_list_entries_round_trip(entry: recording_list.ListEntry) -> None:
    """All fields come back, and the flags byte stays out of the recording's id."""
    assert recording_list.decode_entry(recording_list.encode_entry(entry)) == entry
    assert entry.recording_id == bytes.fromhex(entry.file_id) + bytes(12)
    assert recording_list.recording_uuid(entry.file_id) == f"{entry.file_id}-0000-0000-0000-000000000000"


def test_list_entries_saturate() -> None:
    """A recording longer than its fields hold is listed as 65,535."""
    entry = recording_list.ListEntry("00000001", 0, 0, 70_000, 80_000)
    decoded = recording_list.decode_entry(recording_list.encode_entry(entry))
    assert (decoded.duration_s, decoded.size_kib) == (65_535, 65_535)


STATUS = st.builds(
    device_status.DeviceStatus,
    battery_percent=U8,
    lte_status=U8,
    state=U8,
    pending_recordings=U8,
    last_time_sync=U32,
    flags=U8,
    storage_total_mb=U16,
    storage_used_mb=U16,
    lte_csq=st.none() | st.integers(0, 31),
)
MODEM_TEXTS = st.dictionaries(
    st.sampled_from(sorted(key.lower() for key in device_status.MODEM_KEYS - {"MV"})), WORDS, min_size=1
)


@given(status=STATUS)
def test_the_short_status_round_trips(status: device_status.DeviceStatus) -> None:
    """Fourteen bytes hold everything but the later fields."""
    value = device_status.encode_device_status(status)
    assert len(value) == 14
    assert device_status.decode_device_status(value) == status


@given(fixed=STATUS, wifi=U8, millivolts=st.none() | st.integers(1, 0xFFFF), modem=st.none() | MODEM_TEXTS)
def test_the_long_status_round_trips(
    fixed: device_status.DeviceStatus, wifi: int, millivolts: int | None, modem: dict[str, str] | None
) -> None:
    """WiFi, millivolts and modem text come back where they are present."""
    values = {name: getattr(fixed, name) for name in device_status.DeviceStatus.__slots__}
    values |= {"wifi_radio": wifi, "battery_mv": millivolts, "modem_info": modem}
    status = device_status.DeviceStatus(**values)
    assert device_status.decode_device_status(device_status.encode_device_status(status)) == status


@pytest.mark.parametrize("length", [14, 15, 16, 17, 30])
def test_every_documented_length_of_status_is_read(length: int) -> None:
    """Later fields are absent in shorter values; half a millivolt field counts as none."""
    value = bytes(14) + bytes([3, 0x10, 0x0E]) + b"IMEI=1234\0\nMV=0"
    status = device_status.decode_device_status(value[:length])
    assert status.wifi_radio == (3 if length >= 15 else None)
    assert status.battery_mv == (3600 if length >= 17 else None)
    assert status.modem_info == ({"imei": "1234"} if length > 17 else None)


def test_status_says_what_a_visit_depends_on() -> None:
    """Charging, recording now, and an upload of its own."""
    status = device_status.decode_device_status(bytes([50, 0, 1, 2, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 99]))
    assert (status.charging, status.recording_now, status.sync_active, status.lte_csq) == (True, True, True, None)


@given(info=st.builds(storage_info.StorageInfo, U32, U32, U16, U16))
def test_storage_info_round_trips(info: storage_info.StorageInfo) -> None:
    """All four figures come back, from 16 bytes or the first 12."""
    value = storage_info.encode_storage_info(info)
    assert len(value) == 16
    assert storage_info.decode_storage_info(value) == storage_info.decode_storage_info(value[:12]) == info


@given(
    status=st.builds(recording_status.RecordingSnapshot, st.booleans(), U8, IDS.filter(any) | st.none())
    | st.builds(recording_status.RecordingResult, st.booleans(), U8)
    | st.builds(recording_status.ShortRecordingStatus, st.booleans())
)
def test_recording_status_round_trips(status: recording_status.RecordingStatus) -> None:
    """Each of the three shapes is told by its length."""
    assert recording_status.decode_recording_status(recording_status.encode_recording_status(status)) == status


def test_a_snapshot_is_not_read_as_a_result() -> None:
    """Byte 5 of a snapshot belongs to an id, whatever error code it looks like."""
    value = bytes([1, 0]) + bytes([0, 0, 0, 4] * 4)
    assert isinstance(recording_status.decode_recording_status(value), recording_status.RecordingSnapshot)


IDLE = st.just(-1) | st.integers(0, 254).map(lambda tens: tens * 10)
SETTINGS = st.builds(
    settings.DeviceSettings,
    version=st.just(2),
    wifi=st.booleans(),
    cellular=st.booleans(),
    preference=st.lists(st.integers(1, 255), max_size=3).map(tuple),
    cell_idle_s=IDLE,
    wifi_idle_s=IDLE,
    streaming=st.booleans(),
    flush_s=st.integers(0, 128),
    hb_wifi=st.booleans(),
    hb_cellular=st.booleans(),
)


@given(it=SETTINGS)
def test_settings_round_trip(it: settings.DeviceSettings) -> None:
    """Twelve bytes of version 2 hold all settings."""
    value = settings.encode_settings(it)
    assert len(value) == 12
    assert settings.decode_settings(value) == it


@pytest.mark.parametrize(("seconds", "read_back"), [(1, 10), (9, 10), (10, 10), (19, 10), (2540, 2540)])
def test_idle_times_are_kept_in_tens_of_seconds(seconds: int, read_back: int) -> None:
    """Anything above zero is at least one step, so that it does not become "at once"."""
    decoded = settings.decode_settings(settings.encode_settings(settings.DeviceSettings(wifi_idle_s=seconds)))
    assert isinstance(decoded, settings.DeviceSettings)
    assert decoded.wifi_idle_s == read_back


@pytest.mark.parametrize("seconds", [-2, 2541])
def test_an_idle_time_out_of_range_is_refused(seconds: int) -> None:
    """It has no byte on the wire."""
    with pytest.raises(ValueError, match="2540"):
        settings.encode_settings(settings.DeviceSettings(cell_idle_s=seconds))


@given(
    document=st.builds(
        capabilities.Capabilities, st.just(1), st.just(2), st.integers(1, 0x3FF), *[st.integers(580, 0xFFFF)] * 6
    )
)
def test_capabilities_round_trip(document: capabilities.Capabilities) -> None:
    """All limits come back."""
    assert capabilities.decode_capabilities(capabilities.encode_capabilities(document)) == document


CAPABILITIES = bytes.fromhex("010218007F030000000400 04E4012C00010000002C000000".replace(" ", ""))


@pytest.mark.parametrize(
    ("offset", "byte"),
    [(0, 2), (1, 3), (2, 23), (5, 0x04), (9, 0x01), (11, 0x02), (16, 0), (22, 1)],
    ids=["version", "profile", "length", "flags", "signed blob", "manifest", "checkpoint", "reserved"],
)
def test_capabilities_out_of_the_contract_are_malformed(offset: int, byte: int) -> None:
    """A malformed document is an error, so that nothing falls back to version 1."""
    value = bytearray(CAPABILITIES)
    value[offset] = byte
    with pytest.raises(DecodeError, match="capability document"):
        capabilities.decode_capabilities(bytes(value))


def test_capabilities_without_flags_are_not_ready() -> None:
    """A recorder that is starting says so; its limits may not be there yet."""
    assert not capabilities.decode_capabilities(bytes.fromhex("01021800") + bytes(20)).ready


@given(mac=st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":")), extra=st.binary(max_size=18))
def test_the_current_advertisement_round_trips(mac: str, extra: bytes) -> None:
    """Raw, and as a platform splits it into company id and the rest."""
    payload = advertising.encode_advertising(mac, extra)
    expected = advertising.CurrentAdvertisement(mac, extra)
    assert advertising.decode_advertising(payload) == expected
    assert advertising.decode_manufacturer_data({0x004C: b"\x02\x15", uuids.MANUFACTURER_ID: payload[2:]}) == expected


@given(fields=st.tuples(st.sampled_from([1, 2, 3]), U8, U8, U8))
def test_the_legacy_advertisement_is_put_together_again(fields: tuple[int, int, int, int]) -> None:
    """A platform takes its first two bytes for a company id."""
    payload = advertising.encode_legacy_advertising(*fields)
    company, rest = int.from_bytes(payload[:2], "little"), payload[2:]
    device_type, major, minor, pairing = fields
    model = {1: "pin", 2: "pin_4g", 3: "note"}[device_type]
    told = advertising.decode_manufacturer_data({company: rest})
    assert isinstance(told, advertising.LegacyAdvertisement)
    assert (told.device_type, told.model, told.firmware) == (device_type, model, f"{major}.{minor}.0")
    assert told.pairing_state == pairing


@pytest.mark.parametrize(
    ("name", "manufacturer", "services", "candidate"),
    [
        (None, {uuids.MANUFACTURER_ID: bytes(6)}, set(), True),
        (None, {}, {uuids.STORAGE_SERVICE}, True),
        ("Bota Pin", {}, set(), True),
        ("Bota_notepin_1", {}, set(), True),
        ("bota", {}, set(), False),
        ("My Bota", {0x004C: b"\x10\x05"}, {uuids.BATTERY_SERVICE}, False),
        (None, {}, set(), False),
    ],
)
def test_candidates_are_told_from_the_rest(
    name: str | None, manufacturer: dict[int, bytes], services: set[str], candidate: bool
) -> None:
    """Company id, service or name: one is enough, and nothing else is."""
    answer = advertising.is_candidate(name=name, manufacturer_data=manufacturer, service_uuids=services)
    assert answer is candidate


@pytest.mark.parametrize(("value", "state"), [(b"", 0), (b"\x02", 2), (b"\x03x", 3), (b"\x09", 0)])
def test_an_unknown_pairing_state_is_unpaired(value: bytes, state: int) -> None:
    """So is an empty one."""
    assert provisioning.decode_pairing_state(value) == state


@given(code=st.integers(1, 255), deleted=U16)
def test_provisioning_results_round_trip(code: int, deleted: int) -> None:
    """Only a successful reset carries a count."""
    for result in (provisioning.ProvisioningResult(code), provisioning.ProvisioningResult(0, deleted)):
        assert provisioning.decode_provisioning_result(provisioning.encode_provisioning_result(result)) == result


def test_a_trigger_is_answered() -> None:
    """Zero accepts."""
    assert transfer_status.decode_transfer_status(transfer_status.encode_trigger_answer(0)).accepted
    assert not transfer_status.decode_transfer_status(transfer_status.encode_trigger_answer(2)).accepted


DECODERS: list[Callable[[bytes], Any]] = [
    packets.decode_packet,
    control.decode_command,
    time_sync.decode_time_sync,
    recording_list.decode_entry,
    recording_list.decode_list_notification,
    provisioning.decode_pairing_state,
    fault_detail.decode_fault_detail,
    *(lambda value, kind=kind: decode(kind, [value]) for kind in KINDS),
]


@given(value=st.binary(max_size=200), head=st.integers(0, 255))
@example(value=b"", head=0)
def test_rubbish_never_does_worse_than_decode_error(value: bytes, head: int) -> None:
    """Every decoder answers any bytes with a value or with ``DecodeError``."""
    for decoder in DECODERS:
        for rubbish in (value, bytes([head]) + value):
            with contextlib.suppress(DecodeError):
                decoder(rubbish)


PACKET_HEADS = st.sampled_from([1, 2, 3, 4, 5, 0x10, 0x81, 0x82, 0x90, 0x91, 0x92, 0x95, 0xFF])
LOOKALIKES = st.builds(
    lambda head, rest: bytes([head]) + rest, PACKET_HEADS, st.binary(max_size=8) | st.binary(min_size=30, max_size=60)
)


@given(notifications=st.lists(LOOKALIKES | st.binary(max_size=40), max_size=12))
def test_rubbish_streams_never_do_worse_than_decode_error(notifications: list[bytes]) -> None:
    """Streams of plausible beginnings are read or refused."""
    for kind in ("transfer", "recording-list", "device-logs", "diagnostics"):
        with contextlib.suppress(DecodeError):
            decode(kind, notifications)


@given(notifications=st.lists(LOOKALIKES | st.binary(max_size=40), max_size=12), results=st.booleans())
def test_the_receiver_takes_any_rubbish(notifications: list[bytes], results: bool) -> None:
    """It never raises, never gives out bytes after a failure, and always comes to an end."""
    receiver = BatchReceiver(bytes(16), ReceiverOptions(), encrypted_at_rest=False)
    receiver.started(0.0)
    receiver.receive(notifications, 1.0)
    failed = receiver.outcome is not None and not receiver.ended
    audio = receiver.take_audio()
    assert len(audio) == (0 if failed else receiver.received_bytes)
    receiver.tick(receiver.deadline)
    assert receiver.outcome is not None


def test_faults_are_acknowledged_by_id() -> None:
    """The id goes back little-endian."""
    write = diagnostics.acknowledge_fault("0000000000000102")
    assert write == control.Write(uuids.LOG_CONTROL, b"\x11\x02\x01" + bytes(6))
