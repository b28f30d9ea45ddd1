import io
import json
import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from bota_gateway.config import LogSettings
from bota_gateway.status import journal, logs
from bota_gateway.status.catalogue import BY_NAME

RESERVED = {"MESSAGE", "PRIORITY", "MESSAGE_ID", "ERRNO", "UNIT", "USER_UNIT", "INVOCATION_ID", "DOCUMENTATION", "TID"}
"""Names with a meaning of their own (systemd.journal-fields(7)), beside those with a prefix."""
RESERVED_PREFIXES = ("_", "CODE_", "SYSLOG_", "OBJECT_", "COREDUMP_")
KEY = "sk_live_51Habcdefghijk"


class Journald:
    """The journal's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(5)

    def next(self) -> dict[str, str]:
        """The next entry, read as journald reads it."""
        data, fields = self._socket.recv(1 << 20), {}
        while data:
            line, _, data = data.partition(b"\n")
            name, is_text, value = line.partition(b"=")
            if not is_text:
                (size,) = struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + size], data[8 + size + 1 :]
            fields[name.decode()] = value.decode()
        return fields

    def empty(self) -> int:
        """Take everything that has come; how many entries that was."""
        self._socket.setblocking(False)
        count = 0
        try:
            while self._socket.recv(1 << 20):
                count += 1
        except BlockingIOError:
            self._socket.settimeout(5)
        return count

    def close(self) -> None:
        """Be gone."""
        self._socket.close()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    listening = Journald(tmp_path / "journal")
    yield listening
    listening.close()


@pytest.fixture
def behind(tmp_path: Path, journald: Journald, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.TextIOWrapper]:
    """A stream that systemd says the journal reads."""
    before = structlog.get_config()
    root = logging.getLogger()
    handlers = list(root.handlers)
    monkeypatch.setattr(journal.JournalLogger.__init__, "__defaults__", (str(journald.path),))
    with (tmp_path / "stderr").open("w") as stream:
        stat = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{stat.st_dev}:{stat.st_ino}")
        yield stream
    structlog.configure(**before)
    root.handlers = handlers


def test_a_line_keeps_its_level_and_its_fields(behind: io.TextIOWrapper, journald: Journald, tmp_path: Path) -> None:
    """Under systemd each line is one journal entry, to be found by level, recorder and recording."""
    logs.configure(LogSettings(), behind)
    with structlog.contextvars.bound_contextvars(recorder="PIN0000001", recording="a1b2c3d4"):
        structlog.get_logger().warning("made_up_event", size_bytes=3, parts=["a", "b"])
    told = journald.next()
    assert told.pop("MESSAGE") == "PIN0000001/a1b2c3d4: made up event  size_bytes=3 parts=['a', 'b']"
    assert json.loads(told.pop("PARTS")) == ["a", "b"]
    assert told == {
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "bota-gateway",
        "EVENT": "made_up_event",
        "RECORDER": "PIN0000001",
        "RECORDING": "a1b2c3d4",
        "SIZE_BYTES": "3",
    }
    assert (tmp_path / "stderr").read_text() == ""


def test_each_level_has_its_priority(behind: io.TextIOWrapper, journald: Journald) -> None:
    """``journalctl -p warning`` shows warnings and errors."""
    logs.configure(LogSettings(level="debug"), behind)
    log = structlog.get_logger()
    told = []
    for say in (log.debug, log.info, log.warning, log.error):
        say("made_up_event")
        told.append(journald.next()["PRIORITY"])
    assert told == ["7", "6", "4", "3"]


def test_a_traceback_is_part_of_the_message(behind: io.TextIOWrapper, journald: Journald) -> None:
    """What a defect leaves is read where the line is read; it holds no key."""
    logs.configure(LogSettings(), behind)
    try:
        int(f"with {KEY}")
    except ValueError:
        structlog.get_logger().exception("made_up_event", said=f"x {KEY}")
    told = journald.next()
    assert told["MESSAGE"].startswith("made up event")
    assert "\nTraceback (most recent call last):\n" in told["MESSAGE"]
    assert "ValueError: " in told["MESSAGE"]
    assert KEY not in str(told)
    assert "EXC_INFO" not in told


def test_what_a_recorder_sends_forges_no_entry(behind: io.TextIOWrapper, journald: Journald) -> None:
    """A line break in a name starts no field of its own, and moves no cursor in the message."""
    logs.configure(LogSettings(), behind)
    structlog.get_logger().info("made_up_event", name="x\nPRIORITY=0\x1b[2J")
    told = journald.next()
    assert told["PRIORITY"] == "6"
    assert told["NAME"] == "x\nPRIORITY=0\x1b[2J"
    assert "\x1b" not in told["MESSAGE"]
    assert "\n" not in told["MESSAGE"]


def test_a_field_of_any_length_fits(behind: io.TextIOWrapper, journald: Journald) -> None:
    """A value that no datagram holds is cut, not lost."""
    logs.configure(LogSettings(), behind)
    structlog.get_logger().info("made_up_event", said="€" * 1_000_000)
    told = journald.next()
    assert len(told["SAID"].encode()) == pytest.approx(journal.LONGEST_VALUE, abs=3)


def test_a_journal_that_does_not_listen_holds_nobody_up(behind: io.TextIOWrapper, journald: Journald) -> None:
    """Its socket takes so many entries; those beyond are left out, and counted in the next that arrives."""
    logs.configure(LogSettings(), behind)
    for _ in range(5000):
        structlog.get_logger().info("made_up_event")
    taken = journald.empty()
    assert 0 < taken < 5000
    structlog.get_logger().info("made_up_event")
    assert journald.next()["DROPPED_BEFORE"] == str(5000 - taken)


def test_a_stream_of_somebody_else_gets_json(behind: io.TextIOWrapper, tmp_path: Path) -> None:
    """A service whose output goes to a file inherits the variable, not the journal."""
    with (tmp_path / "file").open("w") as other:
        logs.configure(LogSettings(), other)
        structlog.get_logger().info("made_up_event")
    assert json.loads((tmp_path / "file").read_text())["event"] == "made_up_event"


def test_no_field_has_a_meaning_of_its_own_in_the_journal() -> None:
    """A field of an event that the journal understands otherwise would change what the line is."""
    names = {field.upper() for event in BY_NAME.values() for field in event.fields}
    assert not names & RESERVED
    assert not [name for name in names if name.startswith(RESERVED_PREFIXES)]
    assert all(name.replace("_", "A").isalnum() and len(name) <= 64 for name in names)
