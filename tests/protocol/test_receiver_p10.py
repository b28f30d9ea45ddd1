import hashlib

import pytest

from bota_gateway.protocol import packets
from support.transfers import completed, data_packets, digest, eof, failed, failure_of, receiver

KEY = bytes(range(32))
SALT = b"salt"
START = packets.encode_e2e_start(KEY, SALT)
CHUNKS = [bytes([number]) * (17 + number) for number in range(5)]
SENT = [packets.encode_encrypted_data(seq, chunk) for seq, chunk in enumerate(CHUNKS)]
END = packets.encode_encrypted_eof(len(CHUNKS))
BODY = KEY + SALT + b"".join((len(chunk) - 16).to_bytes(2, "big") + chunk for chunk in CHUNKS)


def test_the_relay_body_is_assembled() -> None:
    """Key, salt, then every chunk behind its plaintext length, big-endian."""
    it = receiver()
    it.receive([START, *SENT, END], 1.0)
    it.tick(it.deadline)
    outcome = completed(it)
    assert it.take_audio() == BODY
    assert (outcome.profile, outcome.length, outcome.crc32) == ("p10", len(BODY), None)
    assert outcome.sha256 == hashlib.sha256(BODY).hexdigest()


def test_the_profile_is_known_from_the_first_packet() -> None:
    """The caller may abort at once where there is no relay."""
    it = receiver()
    it.receive([START], 1.0)
    assert it.profile == "p10"
    assert it.abort().value == b"\x12\x00\x00"


def test_the_recorders_digest_is_kept_but_not_compared() -> None:
    """It is of a plaintext that the gateway can't read."""
    it = receiver()
    it.receive([START, *SENT, END, digest(b"plaintext")], 1.0)
    assert completed(it).sha_matches is None
    assert completed(it).device_sha256 == hashlib.sha256(b"plaintext").hexdigest()


@pytest.mark.parametrize("end", [b"\x82\x05\x00", b"\x82\x00\x00", packets.encode_encrypted_eof(4)])
def test_the_end_may_be_short_and_its_sequence_behind(end: bytes) -> None:
    """Its four unused bytes may be missing; a sequence that is not ahead says nothing."""
    it = receiver()
    it.receive([START, *SENT, end, digest(b"")], 1.0)
    assert completed(it).length == len(BODY)


def test_a_repeated_start_is_ignored() -> None:
    """The first key and salt stay."""
    it = receiver()
    it.receive([START, START, SENT[0], packets.encode_e2e_start(bytes(32), bytes(4)), *SENT[1:], END, digest(b"")], 1.0)
    assert completed(it).length == len(BODY)
    assert it.take_audio() == BODY


def test_a_lost_chunk_is_a_gap() -> None:
    """Frames are positional: one lost makes all later ones undecryptable."""
    assert failure_of([START, SENT[0], SENT[2]]).code == "transfer_gap"


def test_a_repeated_chunk_is_dropped() -> None:
    """A chunk that came before does not shift the others."""
    it = receiver()
    it.receive([START, SENT[0], SENT[0], *SENT[1:], END, digest(b"")], 1.0)
    assert it.duplicates == 1
    assert it.take_audio() == BODY


def test_lost_last_chunks_are_seen_at_the_end() -> None:
    """No checksum covers them, but the end packet counts the chunks that were sent."""
    it = receiver()
    it.receive([START, *SENT[:-1], END], 1.0)
    assert failed(it).code == "transfer_gap"
    assert it.gaps == 1


@pytest.mark.parametrize(
    "sent",
    [
        [SENT[0]],
        [END],
        [START, *data_packets(b"abc")],
        [START, eof(b"")],
        [*data_packets(b"abc"), START],
        [*data_packets(b"abc"), SENT[0]],
        [*data_packets(b"abc"), END],
    ],
    ids=[
        "chunk first",
        "end first",
        "data in p10",
        "plain end",
        "start in plain",
        "chunk in plain",
        "p10 end in plain",
    ],
)
def test_mixed_kinds_are_a_failure(sent: list[bytes]) -> None:
    """Exactly one start opens an encrypted transfer, and nothing plain is in it."""
    assert failure_of(sent).code == "transfer_packet_invalid"


@pytest.mark.parametrize(
    "chunk",
    [
        packets.encode_encrypted_data(0, bytes(16)),
        packets.encode_encrypted_data(0, bytes(20), declared_len=21),
        b"\x81\x00\x00",
    ],
    ids=["tag only", "cut", "header only"],
)
def test_a_cut_chunk_is_a_failure(chunk: bytes) -> None:
    """No checksum would tell, so length and declared length must fit."""
    assert failure_of([START, chunk]).code == "transfer_packet_invalid"


def test_an_encrypted_transfer_without_chunks_is_empty() -> None:
    """Only key and salt came: no audio."""
    it = receiver()
    it.receive([START, packets.encode_encrypted_eof(0), digest(b"")], 1.0)
    assert completed(it).empty
