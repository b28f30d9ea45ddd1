import pytest

from bota_gateway.protocol.diagnostics import FaultCollector, FaultList, decode_faults, encode_faults
from bota_gateway.protocol.errors import DecodeError
from bota_gateway.protocol.fault_detail import DETAIL_BYTES, decode_fault_detail, encode_fault_detail
from support.values import DETAIL, FAULTS

SENT = encode_faults(FAULTS)
"""Event, signature and 13 pieces of detail; then the second event; then the end."""


def test_faults_round_trip() -> None:
    """Events with all parts and with none, in notifications that fit the smallest MTU."""
    assert max(map(len, SENT)) <= 20
    assert decode_faults(SENT) == FAULTS


def test_the_short_end_tells_no_drop_count() -> None:
    """Two forms of the end exist."""
    assert decode_faults([b"\x92\x00"]) == FaultList((), None)
    assert decode_faults([b"\x92\x00\x05\x00\x00\x00"]) == FaultList((), 5)


def test_answers_to_other_commands_are_ignored() -> None:
    """Their layout is unknown."""
    assert decode_faults([b"\x93\x01", b"\x94", *SENT]) == FAULTS


@pytest.mark.parametrize(
    "sent",
    [
        [b""],
        [b"\x77\x00"],
        [SENT[0][:-1]],
        [SENT[0], SENT[0]],
        [SENT[0], SENT[1], SENT[1]],
        [SENT[1], b"\x92\x00"],
        [SENT[0], b"\x92\x02"],
        [SENT[0], b"\x92\x01\x00"],
        [SENT[0], SENT[3]],
        [SENT[0], SENT[2][:4] + b"\xb1\x00" + SENT[2][6:]],
        [SENT[0], SENT[2][:6]],
        [b"\x92\x00", b"\x92\x00"],
    ],
    ids=[
        *("empty", "unknown", "short event", "event twice", "signature twice", "signature of none", "wrong count"),
        *("odd end", "detail out of order", "detail of another size", "empty detail", "two ends"),
    ],
)
def test_any_malformed_notification_discards_the_answer(sent: list[bytes]) -> None:
    """Half an answer would hide faults."""
    with pytest.raises(DecodeError) as caught:
        decode_faults(sent)
    assert caught.value.code == "malformed"


def test_an_answer_without_end_is_incomplete() -> None:
    """More may have been on its way."""
    with pytest.raises(DecodeError) as caught:
        decode_faults(SENT[:-1])
    assert caught.value.code == "incomplete"


def test_a_cut_detail_discards_the_answer() -> None:
    """All 176 bytes, or no answer."""
    with pytest.raises(DecodeError):
        decode_faults([*SENT[:-3], *SENT[-2:]])


def test_the_collector_answers_at_the_end() -> None:
    """It can be fed as notifications come."""
    collector = FaultCollector()
    for notification in SENT[:-1]:
        collector.add(notification)
        assert collector.answer is None
    collector.add(SENT[-1])
    assert collector.answer == FAULTS


@pytest.mark.parametrize(("offset", "byte"), [(0, 2), (17, 7), (18, 9)], ids=["version", "addresses", "breadcrumbs"])
def test_an_impossible_detail_is_malformed(offset: int, byte: int) -> None:
    """Another version, or more than there is room for."""
    value = bytearray(encode_fault_detail(DETAIL))
    assert len(value) == DETAIL_BYTES
    value[offset] = byte
    with pytest.raises(DecodeError, match="version"):
        decode_fault_detail(bytes(value))
