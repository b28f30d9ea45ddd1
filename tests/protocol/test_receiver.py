import hashlib
import math
import zlib
from dataclasses import replace

import pytest

from bota_gateway.protocol import packets, uuids
from bota_gateway.protocol.control import Write, start_command
from bota_gateway.protocol.receiver import BatchReceiver
from support.transfers import (
    OPTIONS,
    RECORDING_ID,
    at_control,
    completed,
    data_packets,
    digest,
    eof,
    failed,
    failure_of,
    receiver,
)

AUDIO = bytes(range(256)) * 3


def test_a_whole_transfer_is_complete_once_the_digest_came() -> None:
    """Data, end and a digest that agrees give the bytes and their checksums at once."""
    it = receiver()
    it.receive([*data_packets(AUDIO), eof(AUDIO), digest(AUDIO)], 1.0)
    outcome = completed(it)
    assert it.take_audio() == AUDIO
    assert (outcome.length, outcome.crc32, outcome.profile) == (len(AUDIO), zlib.crc32(AUDIO), "plain")
    assert outcome.sha256 == outcome.device_sha256 == hashlib.sha256(AUDIO).hexdigest()
    assert outcome.sha_matches is True
    assert not outcome.empty
    assert it.deadline == math.inf


def test_start_asks_for_the_recording() -> None:
    """The first write is START with the recording's id."""
    assert BatchReceiver(RECORDING_ID, OPTIONS, encrypted_at_rest=False).start == start_command(RECORDING_ID)


def test_nothing_is_due_before_the_start() -> None:
    """The first-packet timer runs from the written START, not from construction."""
    it = BatchReceiver(RECORDING_ID, OPTIONS, encrypted_at_rest=False)
    assert it.deadline == math.inf
    it.started(10.0)
    assert it.deadline == 10.0 + OPTIONS.first_packet_s


def test_packets_may_overtake_the_response_to_start() -> None:
    """Packets that come before the write is answered count, and the answer does not set the clock back."""
    it = BatchReceiver(RECORDING_ID, OPTIONS, encrypted_at_rest=False)
    first, *rest = data_packets(AUDIO)
    it.receive([first], 1.0)
    it.started(2.0)
    assert it.deadline == 1.0 + OPTIONS.packet_gap_s
    it.receive([*rest, eof(AUDIO), digest(AUDIO)], 2.0)
    assert completed(it).length == len(AUDIO)


def test_without_a_digest_the_grace_ends_the_wait() -> None:
    """Older firmware sends no digest: after the grace the transfer is complete without it, not before."""
    it = receiver()
    it.receive([*data_packets(AUDIO), eof(AUDIO)], 1.0)
    assert it.outcome is None
    assert it.deadline == pytest.approx(1.0 + OPTIONS.sha_grace_s)
    it.tick(1.1)
    assert it.outcome is None
    it.tick(it.deadline)
    assert completed(it).device_sha256 is None
    assert completed(it).sha_matches is None


def test_a_digest_before_the_end_is_kept() -> None:
    """A digest that comes early ends the wait together with the end packet."""
    it = receiver()
    it.receive([digest(AUDIO), *data_packets(AUDIO), eof(AUDIO)], 1.0)
    assert completed(it).sha_matches is True


def test_a_digest_with_the_recordings_id_is_taken() -> None:
    """The 49-byte form for this recording counts like the short one."""
    it = receiver()
    it.receive([*data_packets(AUDIO), eof(AUDIO), digest(AUDIO, RECORDING_ID)], 1.0)
    assert completed(it).sha_matches is True


def test_a_digest_of_another_recording_is_discarded() -> None:
    """Some firmware sends the digest of another recording: it is counted and the wait goes on."""
    it = receiver()
    it.receive([*data_packets(AUDIO), eof(AUDIO), digest(b"other", bytes(16))], 1.0)
    assert it.outcome is None
    assert it.foreign_digests == 1
    it.tick(it.deadline)
    assert completed(it).device_sha256 is None


def test_an_early_digest_with_id_replaces_one_without() -> None:
    """A digest that says whose it is, is believed more than one that does not."""
    it = receiver()
    it.receive([digest(b"stale"), digest(AUDIO, RECORDING_ID), digest(b"stale"), *data_packets(AUDIO), eof(AUDIO)], 1.0)
    assert completed(it).sha_matches is True


def test_a_digest_that_the_link_cut_counts_as_not_sent() -> None:
    """At MTU 23 a digest does not fit one notification: the checksum decides, as with firmware that sends none."""
    it = receiver()
    it.receive([*data_packets(AUDIO), eof(AUDIO), digest(AUDIO)[:20]], 1.0)
    assert it.outcome is None
    it.tick(it.deadline)
    assert completed(it).device_sha256 is None


def test_a_strict_receiver_refuses_a_digest_that_differs() -> None:
    """The recorder's digest contradicts the bytes: the transfer fails, is answered NACK and tried once more."""
    it = receiver()
    it.receive([*data_packets(AUDIO), eof(AUDIO), digest(b"other")], 1.0)
    assert (failed(it).code, failed(it).retry) == ("transfer_sha_mismatch", "now")
    assert it.refuse() == at_control(b"\x11\x00\x00")
    assert it.take_audio() == b""


@pytest.mark.parametrize("relaxed", ["record", "at_rest"])
def test_a_digest_that_differs_may_only_be_recorded(relaxed: str) -> None:
    """By setting, or for recordings encrypted at rest, both digests are written down and the bytes count."""
    options = replace(OPTIONS, digest="record") if relaxed == "record" else OPTIONS
    it = receiver(options=options, encrypted_at_rest=relaxed == "at_rest")
    it.receive([*data_packets(AUDIO), eof(AUDIO), digest(b"other")], 1.0)
    outcome = completed(it)
    assert outcome.sha_matches is False
    assert outcome.sha256 == hashlib.sha256(AUDIO).hexdigest()
    assert outcome.device_sha256 == hashlib.sha256(b"other").hexdigest()


def test_a_gap_fails_at_once() -> None:
    """A missing packet ends the transfer when the next one comes, with a NACK, not at the checksum."""
    it = receiver()
    sent = data_packets(AUDIO)
    it.receive([sent[0], sent[1], sent[3]], 1.0)
    assert (failed(it).code, failed(it).retry) == ("transfer_gap", "now")
    assert it.gaps == 1
    assert it.refuse() == at_control(b"\x11\x00\x00")


@pytest.mark.parametrize("seq", [1, 32767, 32768, 65535])
def test_a_first_packet_other_than_zero_is_a_gap(seq: int) -> None:
    """Nothing came before it, so it can't be a duplicate, however far the number is off."""
    assert failure_of([packets.encode_data(seq, b"abc")]).code == "transfer_gap"


def test_duplicates_are_dropped_and_counted() -> None:
    """A packet that came before changes nothing."""
    it = receiver()
    sent = data_packets(AUDIO)
    it.receive([sent[0], sent[0], sent[1], sent[0], *sent[2:], sent[-1], eof(AUDIO), sent[-1], digest(AUDIO)], 1.0)
    assert completed(it).length == len(AUDIO)
    assert it.take_audio() == AUDIO
    assert it.duplicates == 4


@pytest.mark.parametrize("size", [15, 1])
def test_the_counter_may_wrap(size: int) -> None:
    """80,000 packets cross the 16-bit counter's end and give the same bytes."""
    audio = hashlib.shake_128(b"wrap").digest(80_000 * size)
    it = receiver()
    sent = data_packets(audio, size)
    assert len(sent) == 80_000
    stored = bytearray()
    for start in range(0, len(sent), 40):
        it.receive(sent[start : start + 40], 1.0)
        stored += it.take_audio()
    it.receive([eof(audio), digest(audio)], 1.0)
    assert stored == audio
    assert (completed(it).crc32, it.received_bytes) == (zlib.crc32(audio), len(audio))


@pytest.mark.parametrize("at", [65_534, 65_535, 65_536, 65_537])
@pytest.mark.parametrize("fault", ["lost", "twice"])
def test_loss_and_repetition_are_told_apart_at_the_wrap(at: int, fault: str) -> None:
    """Around the counter's end a lost packet is a gap, and a repeated one a duplicate."""
    sent = data_packets(bytes(70_000), 1)
    it = receiver()
    it.receive(sent[:at] + (sent[at + 1 :] if fault == "lost" else [sent[at], *sent[at:]]), 1.0)
    if fault == "lost":
        assert failed(it).code == "transfer_gap"
        assert it.received_bytes == at
    else:
        assert (it.outcome, it.duplicates, it.received_bytes) == (None, 1, 70_000)


def test_a_wrong_checksum_fails_with_nack() -> None:
    """The recorder's CRC-32 does not fit the bytes: repeat all of it."""
    it = receiver()
    it.receive([*data_packets(AUDIO), eof(b"other")], 1.0)
    assert (failed(it).code, failed(it).retry) == ("transfer_crc_mismatch", "now")
    assert it.refuse() == at_control(b"\x11\x00\x00")


def test_a_wrong_length_field_is_only_counted() -> None:
    """Implementations take the payload to the packet's end, whatever is declared; the checksum decides."""
    it = receiver()
    it.receive([packets.encode_data(0, b"abc", declared_len=9), packets.encode_data(1, b"d", declared_len=0)], 1.0)
    it.receive([eof(b"abcd"), digest(b"abcd")], 1.0)
    assert completed(it).length == 4
    assert it.length_mismatches == 2


@pytest.mark.parametrize("short", [b"\x01\x00\x00", b"\x01\x00\x00\x05"])
def test_data_without_room_for_a_payload_is_an_empty_piece(short: bytes) -> None:
    """Three or four bytes of DATA take their place in the sequence."""
    it = receiver()
    it.receive([short, packets.encode_data(1, b"abc"), eof(b"abc"), digest(b"abc")], 1.0)
    assert completed(it).length == 3


def test_an_empty_recording_is_complete_and_says_so() -> None:
    """An end packet with the checksum of nothing is valid; the caller decides what to make of it."""
    it = receiver()
    it.receive([eof(b""), digest(b"")], 1.0)
    assert completed(it).empty
    assert completed(it).length == 0
    assert it.acknowledge() == at_control(b"\x10\x00\x00")


def test_an_end_packet_without_its_data_is_no_empty_recording() -> None:
    """If all data was lost, the checksum tells."""
    assert failure_of([eof(AUDIO)]).code == "transfer_crc_mismatch"


@pytest.mark.parametrize(
    ("code", "name", "retry"),
    [
        (0x11, "transfer_device_error_0x11", "later"),
        (0x12, "transfer_device_error_0x12", "now"),
        (0x14, "transfer_device_error_0x14", "never"),
        (0x20, "transfer_busy", "later"),
        (0x22, "transfer_needs_v2", "never"),
        (0x77, "transfer_device_error_0x77", "later"),
        (None, "transfer_device_error_0xff", "later"),
    ],
)
def test_device_errors_are_classified(code: int | None, name: str, retry: str) -> None:
    """Each code has its own name and verdict, and is not answered: the recorder has ended the transfer."""
    it = receiver()
    it.receive([data_packets(AUDIO)[0], packets.encode_error(1, code)], 1.0)
    assert (failed(it).code, failed(it).retry) == (name, retry)
    assert failed(it).device_error == (0xFF if code is None else code)
    assert it.refuse() is None


@pytest.mark.parametrize(
    "packet", [b"", b"\x01", b"\x01\x00", b"\x77\x00\x00", b"\x02\x00\x00\x01", b"\x04" + bytes(40)]
)
def test_what_can_not_be_read_fails_with_abort(packet: bytes) -> None:
    """A packet too short or of unknown type is not guessed at."""
    it = receiver()
    it.receive([packet], 1.0)
    assert failed(it).code == "transfer_packet_invalid"
    assert it.refuse() == at_control(b"\x12\x00\x00")


def test_echoes_of_our_results_are_ignored() -> None:
    """ACK, NACK and ABORT coming back mean nothing."""
    it = receiver()
    it.receive(
        [b"\x10\x00\x00", *data_packets(AUDIO), b"\x11\x00\x00", b"\x12\x00\x00", eof(AUDIO), digest(AUDIO)], 1.0
    )
    assert completed(it).length == len(AUDIO)


def test_data_after_the_end_is_a_failure() -> None:
    """New data after an end packet whose checksum agreed contradicts it."""
    sent = data_packets(AUDIO)
    assert failure_of([*sent, eof(AUDIO), packets.encode_data(len(sent), b"x")]).code == "transfer_packet_invalid"


def test_a_repeated_end_is_ignored() -> None:
    """The end packet may come twice, and does not extend the wait."""
    it = receiver()
    it.receive([*data_packets(AUDIO), eof(AUDIO)], 1.0)
    deadline = it.deadline
    it.receive([eof(AUDIO)], 1.1)
    assert (it.outcome, it.deadline) == (None, deadline)


def test_after_a_failure_packets_are_ignored() -> None:
    """What still arrives of a failed transfer changes neither the outcome nor the counters."""
    it = receiver()
    it.receive([data_packets(AUDIO)[1]], 1.0)
    outcome, count = it.outcome, it.packets
    it.receive([*data_packets(AUDIO), eof(AUDIO), digest(AUDIO)], 2.0)
    it.tick(it.deadline)
    assert (it.outcome, it.packets, it.take_audio()) == (outcome, count, b"")


def test_after_completion_time_changes_nothing() -> None:
    """The deadline is infinite then, and even a tick at infinity leaves the outcome alone."""
    it = receiver()
    it.receive([*data_packets(AUDIO), eof(AUDIO), digest(AUDIO)], 1.0)
    outcome = completed(it)
    it.tick(math.inf)
    it.receive([packets.encode_error(0, 0x14)], 2.0)
    assert it.outcome is outcome


def test_only_a_complete_transfer_is_acknowledged_and_only_a_failed_one_refused() -> None:
    """Writing the wrong result is a mistake of the program, not of the recorder."""
    it = receiver()
    for write in (it.acknowledge, it.refuse):
        with pytest.raises(RuntimeError):
            write()
    it.receive([eof(b""), digest(b"")], 1.0)
    with pytest.raises(RuntimeError):
        it.refuse()


def test_results_follow_the_newer_way_when_set() -> None:
    """The newer SDK writes results to the transfer characteristic, with the end's or the expected sequence."""
    options = replace(OPTIONS, result_characteristic="recording_transfer", result_sequence="eof")
    good = receiver(options=options)
    good.receive([*data_packets(AUDIO), eof(AUDIO, seq=0x0204), digest(AUDIO)], 1.0)
    assert good.acknowledge() == Write(uuids.RECORDING_TRANSFER, b"\x10\x04\x02")
    bad = receiver(options=options)
    bad.receive([*data_packets(AUDIO)[:3], packets.encode_data(9, b"")], 1.0)
    assert bad.refuse() == Write(uuids.RECORDING_TRANSFER, b"\x11\x03\x00")
    assert bad.abort() == Write(uuids.RECORDING_TRANSFER, b"\x12\x03\x00")
    wrong = receiver(options=options)
    wrong.receive([*data_packets(AUDIO), eof(b"", seq=0x0204)], 1.0)
    assert wrong.refuse() == Write(uuids.RECORDING_TRANSFER, b"\x11\x04\x02")
