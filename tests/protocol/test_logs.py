from hypothesis import given
from hypothesis import strategies as st

from bota_gateway.protocol.control import Write
from bota_gateway.protocol.logs import LONGEST_LINE, LogAssembler, LogLine, encode_log_packet, start_log, stop_log
from bota_gateway.protocol.uuids import LOG_CONTROL


def lines(*notifications: bytes) -> list[str]:
    """The text of all lines that come out."""
    assembler = LogAssembler()
    return [line.text for notification in notifications for line in assembler.add(notification)]


@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))), size=st.integers(1, 20))
def test_lines_come_out_as_they_went_in(texts: list[str], size: int) -> None:
    """However they are cut, even in the middle of a character."""
    stream = "".join(f"{text}\r\n" for text in texts).encode()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert lines(*(encode_log_packet(seq, piece) for seq, piece in enumerate(pieces))) == texts


def test_a_wrap_is_no_gap() -> None:
    """The counter has 16 bits."""
    assert lines(encode_log_packet(0xFFFF, b"one "), encode_log_packet(0x10000, b"line\n")) == ["one line"]


def test_dropped_bytes_cut_the_line() -> None:
    """The recorder says that it lost something, without a gap in its numbers."""
    assert lines(encode_log_packet(0, b"lost"), encode_log_packet(1, b"tail\nnext\n", dropped=True)) == ["tail", "next"]


def test_less_than_a_header_is_ignored() -> None:
    """It leaves the numbering alone."""
    assert lines(encode_log_packet(0, b"one "), b"\x09\x09", encode_log_packet(1, b"line\n")) == ["one line"]


def test_a_line_without_end_is_bounded() -> None:
    """It is given out before it fills memory."""
    assembler = LogAssembler()
    given_out = [line for seq in range(300) for line in assembler.add(encode_log_packet(seq, b"x" * 200))]
    assert given_out
    assert all(len(line.text) <= LONGEST_LINE + 200 for line in given_out)


def test_a_line_is_backlog_when_its_end_is() -> None:
    """What was written before the stream was asked for is marked."""
    assert LogAssembler().add(encode_log_packet(5, b"before\n", backlog=True)) == [LogLine("before", backlog=True)]


def test_the_stream_is_started_and_stopped() -> None:
    """One byte each."""
    assert (start_log(), stop_log()) == (Write(LOG_CONTROL, b"\x01"), Write(LOG_CONTROL, b"\x00"))
