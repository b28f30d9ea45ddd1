from dataclasses import replace

from bota_gateway.protocol import packets
from bota_gateway.protocol.receiver import PAUSED_SILENCE_S, RATE_ALLOWANCE_S
from support.transfers import OPTIONS, at_control, completed, data_packets, digest, eof, failed, failure_of, receiver

AUDIO = bytes(range(256))


def test_silence_before_the_first_packet_ends_it() -> None:
    """Nothing came in time: ABORT, and try later."""
    it = receiver()
    it.tick(OPTIONS.first_packet_s - 0.01)
    assert it.outcome is None
    it.tick(OPTIONS.first_packet_s)
    assert (failed(it).code, failed(it).retry) == ("transfer_silent", "later")
    assert it.refuse() == at_control(b"\x12\x00\x00")


def test_silence_between_packets_ends_it() -> None:
    """The gap timer runs from the last packet."""
    it = receiver()
    it.receive(data_packets(AUDIO)[:2], 3.0)
    assert it.deadline == 3.0 + OPTIONS.packet_gap_s
    it.tick(it.deadline)
    assert failed(it).code == "transfer_silent"


def test_an_echo_does_not_start_the_shorter_timer() -> None:
    """Only content of the recording ends the time for the first packet."""
    it = receiver()
    it.receive([b"\x10\x00\x00"], 0.5)
    assert it.deadline == OPTIONS.first_packet_s


def test_paused_extends_the_silence_until_data_comes() -> None:
    """A recorder still recording may pause for a minute; with the next data the usual timer is back."""
    it = receiver()
    sent = data_packets(AUDIO)
    it.receive([sent[0], packets.encode_paused(0, 15)], 1.0)
    assert it.deadline == min(1.0 + PAUSED_SILENCE_S, RATE_ALLOWANCE_S + 15 / OPTIONS.slowest_bytes_per_s)
    it.receive([sent[1]], 2.0)
    assert it.deadline == 2.0 + OPTIONS.packet_gap_s


def test_a_slow_transfer_is_given_up() -> None:
    """Below the rate floor, after a fair start, the transfer ends although packets keep coming."""
    it = receiver()
    at = 0.0
    for packet in data_packets(bytes(15_000)):
        at += 1.0
        it.receive([packet], at)
        if it.outcome:
            break
    assert (failed(it).code, failed(it).retry) == ("transfer_too_slow", "later")
    assert RATE_ALLOWANCE_S <= at <= RATE_ALLOWANCE_S + 4


def test_duplicates_do_not_keep_a_transfer_alive() -> None:
    """Packets without progress run into the rate floor, by tick as by receive."""
    it = receiver()
    first = data_packets(AUDIO)[0]
    for second in range(200):
        it.receive([first], float(second))
        it.tick(float(second))
    assert failed(it).code == "transfer_too_slow"


def test_chatter_after_the_end_does_not_keep_a_transfer_open() -> None:
    """The wait for the digest is over when it is over, whatever else comes meanwhile."""
    it = receiver()
    it.receive([*data_packets(AUDIO), eof(AUDIO)], 1.0)
    it.receive([b"\x10\x00\x00"], 1.1)
    assert it.outcome is None
    it.receive([data_packets(AUDIO)[0]], 1.0 + OPTIONS.sha_grace_s)
    assert completed(it).length == len(AUDIO)


def test_a_digest_that_comes_just_in_time_counts() -> None:
    """Buffered with other packets, and looked at only when the wait is over."""
    it = receiver()
    it.receive([*data_packets(AUDIO), eof(AUDIO)], 1.0)
    it.receive([b"\x10\x00\x00", digest(AUDIO)], 2.0)
    assert completed(it).sha_matches is True


def test_a_fast_transfer_is_not_called_slow() -> None:
    """The floor is an average over the whole transfer, so an hour at ten times the floor is fine."""
    it = receiver()
    for second, packet in enumerate(data_packets(bytes(3600 * 500), 500)):
        it.receive([packet], second / 10)
        assert it.outcome is None


def test_a_transfer_without_end_is_bounded() -> None:
    """More than the configured size is a fault, before it fills the disk."""
    options = replace(OPTIONS, max_recording_bytes=1000)
    it = receiver(options=options)
    it.receive(data_packets(bytes(1000)), 1.0)
    assert it.outcome is None
    it.receive([packets.encode_data(67, b"x")], 1.0)
    assert (failed(it).code, failed(it).retry) == ("transfer_too_long", "never")


def test_the_end_does_not_save_a_transfer_that_is_too_long() -> None:
    """The bound also holds when the last data and the end come in one batch."""
    options = replace(OPTIONS, max_recording_bytes=1000)
    audio = bytes(1001)
    assert failure_of([*data_packets(audio), eof(audio), digest(audio)], options=options).code == "transfer_too_long"
