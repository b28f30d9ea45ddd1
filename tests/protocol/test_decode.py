import hashlib
import zlib

import pytest

from bota_gateway.protocol import diagnostics, packets
from bota_gateway.protocol.decode import KINDS, Answer, decode
from bota_gateway.protocol.errors import DecodeError
from bota_gateway.protocol.logs import encode_log_packet
from support.transfers import RECORDING_ID, data_packets, digest, eof
from support.values import FAULTS

AUDIO = b"some audio, not much of it"


def told(kind: str, *values: str) -> Answer:
    """What ``decode`` makes of hexadecimal values."""
    return decode(kind, [bytes.fromhex(value) for value in values])


def refused(kind: str, *values: str) -> str:
    """The code it refuses them with."""
    with pytest.raises(DecodeError) as caught:
        told(kind, *values)
    assert caught.value.message
    return caught.value.code


def test_the_kinds_are_all_there() -> None:
    """The names are part of the command's contract."""
    assert set(KINDS) == {
        *("advertising", "device-status", "storage-info", "recording-list", "transfer-packet", "transfer"),
        *("transfer-status", "recording-status", "device-settings", "provisioning-result", "device-logs"),
        *("diagnostics", "capabilities-v2"),
    }
    assert refused("nonsense", "00") == "unknown_kind"


def test_a_kind_of_one_value_takes_no_stream() -> None:
    """Two values of a kind that is no stream are a mistake of the caller."""
    assert refused("storage-info", "00" * 12, "00" * 12) == "one_value"


def test_the_current_advertisement() -> None:
    """Company id, address as printed, and what follows."""
    answer = told("advertising", "7ab0c0ffee0123450102")
    assert (answer["company_id"], answer["mac"], answer["extra"]) == (0xB07A, "c0ffee012345", "0102")
    assert told("advertising", "7ab0c0ffee012345")["extra"] is None


@pytest.mark.parametrize(
    ("value", "device_type", "model"),
    [("01010203", 1, "pin"), ("020102030a", 2, "pin_4g"), ("03010203", 3, "note"), ("09010203", 9, "pin")],
)
def test_the_legacy_advertisement(value: str, device_type: int, model: str) -> None:
    """Type, version and pairing state, without a company id."""
    answer = told("advertising", value)
    assert (answer["legacy"], answer["device_type"], answer["model"]) == (True, device_type, model)
    assert (answer["firmware"], answer["pairing_state"]) == ("1.2.0", 3)


@pytest.mark.parametrize("value", ["", "0102", "7ab0c0ffee0123", "4c000215aabbccddee", "4c00120200 01", "4c001005"])
def test_what_is_no_advertisement_of_bota(value: str) -> None:
    """Too short, cut, or somebody else's."""
    assert refused("advertising", value) == "not_bota"


def test_device_status_in_full() -> None:
    """All fields of a long status."""
    fixed = "5a 03 01 02 00f15365 2d 0040 0010 15 03 100e".replace(" ", "")
    answer = told("device-status", fixed + b"IMEI=35\nOP=Tele\nROAM=1\nXX=1\nBAND=\n\0".hex())
    flags = {"charging": True, "low_battery": False, "storage_full": True, "wifi_connected": True}
    assert answer == {
        "battery_percent": 90,
        "lte_status": 3,
        "lte_status_name": "connected",
        "state": 1,
        "state_name": "recording",
        "pending_recordings": 2,
        "last_time_sync": 1_700_000_000,
        "flags_raw": 0x2D,
        "flags": flags | {"lte_connected": False, "sync_active": True},
        "storage_total_mb": 0x4000,
        "storage_used_mb": 0x1000,
        "lte_csq": 21,
        "wifi_radio": 3,
        "wifi_radio_name": "connected",
        "battery_mv": 3600,
        "modem_info": {"imei": "35", "op": "Tele", "roam": "1"},
    }


def test_device_status_of_old_firmware() -> None:
    """Fourteen bytes: what is absent or unknown is null, unknown codes keep their number."""
    answer = told("device-status", "64 09 63 00 00000000 00 0000 0000 63".replace(" ", ""))
    assert (answer["lte_status"], answer["lte_status_name"]) == (9, "unknown")
    assert (answer["state"], answer["state_name"]) == (0x63, "unknown")
    assert [answer[key] for key in ("lte_csq", "wifi_radio", "battery_mv", "modem_info")] == [None] * 4
    assert refused("device-status", "0001") == "too_short"


def test_storage_info() -> None:
    """Four figures, of 12 or 16 bytes."""
    value = "000010000000040005000300"
    expected = {"total_kb": 0x100000, "used_kb": 0x40000, "total_recordings": 5, "pending_sync": 3}
    assert told("storage-info", value) == told("storage-info", value + "00000000") == expected
    assert refused("storage-info", value[:-2]) == "too_short"


ENTRY = "a1b2c3d401000000000000000000000000f153650c000400"
ENTRY_TOLD = {
    "file_id": "a1b2c3d4",
    "uuid": "a1b2c3d4-0000-0000-0000-000000000000",
    "flags": 1,
    "encrypted_at_rest": True,
    "started_at": 1_700_000_000,
    "duration_s": 12,
    "size_kib": 4,
}


def test_recording_list() -> None:
    """With and without count byte, over several notifications, with a cut entry, empty."""
    other = "00000002" + ENTRY[8:]
    assert told("recording-list", ENTRY) == {"count_byte": None, "entries": [ENTRY_TOLD]}
    assert told("recording-list", "01" + ENTRY) == {"count_byte": 1, "entries": [ENTRY_TOLD]}
    assert told("recording-list", "00") == {"count_byte": 0, "entries": []}
    assert told("recording-list", "") == {"count_byte": None, "entries": []}
    answer = told("recording-list", "02" + ENTRY, other + ENTRY, "02" + ENTRY[:-4])
    assert [entry["file_id"] for entry in entries_of(answer)] == ["a1b2c3d4", "00000002"]
    assert (answer["duplicates"], answer["rubbish"]) == (1, 1)


def entries_of(answer: Answer, key: str = "entries") -> list[Answer]:
    """The objects under a key that holds a list of them."""
    entries = answer[key]
    assert isinstance(entries, list)
    return entries


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("0134120300aabbcc", {"type": "data", "seq": 4660, "declared_len": 3, "payload": "aabbcc"}),
        ("010000", {"type": "data", "seq": 0, "declared_len": None, "payload": ""}),
        ("02050026 39f4cb", {"type": "eof", "seq": 5, "crc32": 0xCBF43926}),
        ("030500", {"type": "paused", "seq": 5, "bytes_sent": None}),
        ("03050000010000", {"type": "paused", "seq": 5, "bytes_sent": 256}),
        ("04" + "ab" * 32, {"type": "sha256", "sha256": "ab" * 32, "recording_id": None}),
        ("04" + "ab" * 32 + "cd" * 16, {"type": "sha256", "sha256": "ab" * 32, "recording_id": "cd" * 16}),
        ("05" + "ab" * 32 + "01020304", {"type": "e2e_start", "ephemeral_pk": "ab" * 32, "salt": "01020304"}),
        ("8101001200" + "ab" * 18, {"type": "encrypted_data", "seq": 1, "declared_len": 18, "chunk": "ab" * 18}),
        ("820200", {"type": "encrypted_eof", "seq": 2}),
        ("100000", {"type": "ignore"}),
        ("120000", {"type": "ignore"}),
    ],
)
def test_transfer_packets(value: str, answer: Answer) -> None:
    """Each type, with its keys and no others."""
    assert told("transfer-packet", value) == answer


@pytest.mark.parametrize(
    ("value", "code", "name", "retryable"),
    [
        ("ff050014", 0x14, "storage_key_unavailable", False),
        ("ff050020", 0x20, "upload_busy", True),
        ("ff050022", 0x22, "needs_v2", False),
        ("ff050011", 0x11, "recording_not_found", True),
        ("ff0500", 0xFF, "unknown", True),
        ("ff050077", 0x77, "unknown", True),
    ],
)
def test_error_packets(value: str, code: int, name: str, retryable: bool) -> None:
    """Code, name, and whether waiting can help."""
    answer = told("transfer-packet", value)
    assert (answer["type"], answer["seq"]) == ("error", 5)
    assert (answer["code"], answer["name"], answer["retryable"]) == (code, name, retryable)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "too_short"),
        ("0100", "too_short"),
        ("02000000", "too_short"),
        ("04" + "00" * 31, "too_short"),
        ("770000", "unknown_packet_type"),
    ],
)
def test_transfer_packets_that_are_none(value: str, code: str) -> None:
    """Too short for their type, or of no type."""
    assert refused("transfer-packet", value) == code


def test_a_whole_transfer() -> None:
    """Length, checksums and the recorder's digest, whose recording id need not be given."""
    answer = decode("transfer", [*data_packets(AUDIO, 5), eof(AUDIO), digest(AUDIO, RECORDING_ID)])
    sha256 = hashlib.sha256(AUDIO).hexdigest()
    assert (answer["result"], answer["profile"], answer["length"]) == ("ack", "plain", len(AUDIO))
    assert (answer["crc32"], answer["payload_sha256"], answer["device_sha256"]) == (zlib.crc32(AUDIO), sha256, sha256)
    assert answer["sha_matches"] is True


def test_a_transfer_of_old_firmware_has_no_digest() -> None:
    """Nothing follows the end: that is a good transfer too."""
    answer = decode("transfer", [*data_packets(AUDIO, 5), eof(AUDIO)])
    assert (answer["result"], answer["device_sha256"], answer["sha_matches"]) == ("ack", None, None)


def test_a_digest_that_differs_is_shown_and_not_judged() -> None:
    """Whether the recording is encrypted at rest, where it may differ, is not in the packets."""
    answer = decode("transfer", [*data_packets(AUDIO, 5), eof(AUDIO), digest(b"other")])
    assert (answer["result"], answer["sha_matches"]) == ("ack", False)
    assert answer["device_sha256"] == hashlib.sha256(b"other").hexdigest()


def test_transfers_that_end_badly() -> None:
    """Gap and checksum are answered NACK; an error or an unknown packet ends it; an end may be missing."""
    sent = data_packets(AUDIO, 5)
    for notifications, result, code in (
        ([sent[0], sent[2]], "nack", "transfer_gap"),
        ([*sent, eof(b"")], "nack", "transfer_crc_mismatch"),
        ([*sent, packets.encode_error(0, 0x14)], "error", "transfer_device_error_0x14"),
        ([*sent, b"\x77\0\0"], "error", "transfer_packet_invalid"),
        (sent, "incomplete", None),
        ([], "incomplete", None),
    ):
        answer = decode("transfer", notifications)
        assert (answer["result"], answer.get("code")) == (result, code)


def test_a_p10_transfer_shows_the_relay_body() -> None:
    """Key, salt and chunks as the relay wants them; no checksum exists."""
    key, chunk = bytes(range(36)), b"x" * 20
    sent = [b"\x05" + key, packets.encode_encrypted_data(0, chunk), packets.encode_encrypted_eof(1)]
    answer = decode("transfer", sent)
    assert (answer["result"], answer["profile"], answer["crc32"]) == ("ack", "p10", None)
    assert answer["body"] == (key + b"\x00\x04" + chunk).hex()
    assert decode("transfer", [*sent[:2], eof(b"")])["body"] is None


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("0300", {"kind": "trigger", "accepted": True, "code": 0, "name": None}),
        ("0301", {"kind": "trigger", "accepted": False, "code": 1, "name": "no_network"}),
        ("0302", {"kind": "trigger", "accepted": False, "code": 2, "name": "busy"}),
        ("0303", {"kind": "trigger", "accepted": False, "code": 3, "name": "no_token"}),
        ("0309", {"kind": "trigger", "accepted": False, "code": 9, "name": "unknown"}),
        ("0801", {"kind": "ota_start_result", "accepted": False, "code": 1}),
        ("0900", {"kind": "ota_verify_result", "accepted": True, "code": 0}),
        ("100700", {"kind": "ota_ack", "code": None, "seq": 7}),
        ("7701", {"kind": "unknown", "code": 1, "opcode": 0x77}),
    ],
)
def test_transfer_status(value: str, answer: Answer) -> None:
    """The answer to a trigger, and those of an update."""
    assert told("transfer-status", value) == answer


def test_recording_status() -> None:
    """A snapshot, a result, and the short form."""
    uuid = "a1b2c3d4-0001-0203-0405-060708090a0b"
    snapshot = {"kind": "snapshot", "active": True, "initiated_by": 1, "uuid": uuid}
    assert told("recording-status", "0101" + uuid.replace("-", "")) == snapshot
    assert told("recording-status", "0000" + "00" * 16)["uuid"] is None
    expected = {"kind": "result", "active": False, "code": 4, "success": False, "name": "invalid_grant"}
    assert told("recording-status", "000000000004") == expected
    good = told("recording-status", "010000000000")
    assert (good["active"], good["code"], good["success"], good["name"]) == (True, 0, True, None)
    assert told("recording-status", "000000000001")["name"] == "unknown_error"
    assert told("recording-status", "000000000063")["name"] == "unknown"
    assert told("recording-status", "0100")["kind"] == "short"


@pytest.mark.parametrize("value", ["", "02", "0200" + "00" * 16, "00" * 7, "00" * 17, "00" * 19])
def test_recording_status_that_is_none(value: str) -> None:
    """Empty, of another length, or neither active nor not."""
    assert refused("recording-status", value) == "invalid_response"


def test_device_settings() -> None:
    """Version 2, version 1 with its defaults, and settings that can't be read."""
    assert told("device-settings", "02010200001eff00008200 00") == {
        "supported": True,
        "version": 2,
        "wifi": True,
        "cellular": False,
        "preference": ["ble"],
        "preference_raw": [2],
        "cell_idle_s": 300,
        "wifi_idle_s": -1,
        "streaming": False,
        "flush_s": 0,
        "hb_wifi": False,
        "hb_cellular": True,
    }
    old = told("device-settings", "0103 010302 00 12 01".replace(" ", ""))
    assert (old["preference"], old["cell_idle_s"], old["wifi_idle_s"]) == (["wifi", "cellular", "ble"], 0, 180)
    assert (old["flush_s"], old["hb_wifi"], old["hb_cellular"]) == (60, True, True)
    for value, version in (("02010200", 2), ("03" + "00" * 11, 3), ("", None)):
        answer = told("device-settings", value)
        assert (answer["supported"], answer["version"], answer["wifi"], answer["flush_s"]) == (
            False,
            version,
            True,
            None,
        )


def test_an_implicit_heartbeat_is_on() -> None:
    """Without its top bit the heartbeat byte says nothing."""
    answer = told("device-settings", "0200 000000 0000 00 00 00 0000".replace(" ", ""))
    assert (answer["hb_wifi"], answer["hb_cellular"]) == (True, True)


@pytest.mark.parametrize(
    ("value", "code", "name", "deleted"),
    [
        ("00", 0, "success", None),
        ("000201", 0, "success", 258),
        ("04", 4, "already_paired", None),
        ("05", 5, "unknown", None),
    ],
)
def test_provisioning_result(value: str, code: int, name: str, deleted: int | None) -> None:
    """Code, name, and how many recordings a reset deleted."""
    assert told("provisioning-result", value) == {"code": code, "name": name, "deleted_recordings": deleted}
    assert refused("provisioning-result", "") == "too_short"


def test_device_logs() -> None:
    """Whole lines, with the part before a gap dropped."""
    answer = decode(
        "device-logs",
        [
            encode_log_packet(0, b"old\r\nnew", backlog=True),
            encode_log_packet(1, b"er\nlost"),
            encode_log_packet(3, b"tail\n"),
        ],
    )
    lines = [("old", True), ("newer", False), ("tail", False)]
    assert [(line["text"], line["backlog"]) for line in entries_of(answer, "lines")] == lines
    assert answer["gaps"] == 1


def test_diagnostics() -> None:
    """An event with all its parts, as hexadecimal ids and raw codes with their names beside."""
    answer = decode("diagnostics", diagnostics.encode_faults(FAULTS))
    first, second = entries_of(answer, "events")
    assert first == {
        "event_id": "0102030405060708",
        "event_type": 3,
        "event_type_name": "hard_fault",
        "reason": 4,
        "reason_name": "stack_overflow",
        "uptime_ms": 123_456,
        "signature": "1112131415161718",
        "firmware_build_id": "0123456789ab",
        "subsystem": 1,
        "subsystem_name": "audio",
        "state_before": 2,
        "state_before_name": "recording",
    }
    assert (second["event_type_name"], second["signature"], second["subsystem"]) == ("unknown", None, None)
    assert answer["dropped_count"] == 7


def test_capabilities_as_a_real_recorder_gave_them() -> None:
    """The 24 bytes of one device."""
    answer = told("capabilities-v2", "0102 1800 7F030000 0004 0004 E401 2C00 01000000 2C00 0000")
    limits = ["max_signed_blob", "max_manifest", "max_data_payload", "max_window_packets", "checkpoint_blocks"]
    assert (answer["version"], answer["profile_version"], answer["flags_raw"]) == (1, 2, 0x37F)
    assert [answer[key] for key in [*limits, "max_missing"]] == [1024, 1024, 484, 44, 1, 44]
    assert answer["ready"] is True
    flags = answer["flags"]
    assert isinstance(flags, dict)
    assert [name for name, is_set in flags.items() if not is_set] == ["live_streaming_v2"]
    assert told("capabilities-v2", "01021800" + "00" * 20)["ready"] is False
    assert refused("capabilities-v2", "0102") == "too_short"
    assert refused("capabilities-v2", "00" * 25) == refused("capabilities-v2", "00" * 24) == "malformed"
