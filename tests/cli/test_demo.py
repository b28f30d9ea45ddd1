"""``bota-gateway demo`` as a visitor runs it."""

import functools
import re
import signal

import pytest
from rich.console import Console

from bota_gateway.cli import demo, demo_world
from bota_gateway.cli.demo_view import Row, View, result_table
from bota_gateway.model import Custody
from bota_gateway.sim.faults import Fault, FaultKind, Faults
from bota_gateway.sim.options import StoredRecording
from bota_gateway.sim.recorder import SimRecorder
from support.commands import run_beside, run_here, run_process
from support.processes import program
from support.terminal import COLOUR, CURSOR, on_terminal

LINE = re.compile(r"(BOTAPIN\d{3})  +([0-9a-f]{8}) .* (rec_\w+|-) +(yes|NO)\s*$")


@pytest.mark.parametrize("recorders", [1, 3, 8])
def test_every_recording_arrives_and_is_deleted(recorders: int) -> None:
    """Exit 0, and a last table with one good row for each of the eight recordings, without colour."""
    told = run_process("demo", "--plain", "--rate", "2000", "--recorders", str(recorders))
    assert told.code == 0, told.out + told.err
    rows = [found.groups() for line in told.lines if (found := LINE.match(line))]
    assert len(rows) == 8
    assert len({serial for serial, *_ in rows}) == recorders
    assert len({cloud_id for _, _, cloud_id, _ in rows}) == 8
    assert {deleted for *_, deleted in rows} == {"yes"}
    assert "≠" not in told.out
    assert "\x1b" not in told.out
    assert told.lines[-1].startswith("All 8 recordings arrived once, bit-identical")
    assert told.err == ""


async def test_it_stays_and_can_be_asked() -> None:
    """Every command that it names works while it runs, and 'tail' has a story to tell."""
    async with program("demo", "--plain", "--rate", "2000", "--recorders", "1", "--keep-running") as demo:
        await demo.line(" top --socket ")
        asked = [line.split()[1:] for line in demo.lines if " --socket " in line]
        assert [words[0] for words in asked] == ["status", "recorders", "recordings", "timeline", "top"]
        socket = asked[0][-1]
        for words in (*asked[:-1], [*asked[-1], "--once"], ["tail", "--no-follow", "--socket", socket]):
            told = await run_beside(*words)
            assert (told.code, told.err) == (0, "")
            assert "BOTAPIN001" in told.out or words[0] == "status"
        assert (
            "gateway_started"
            in (await run_beside("tail", "--no-follow", "--json", "-n", "999", "--socket", socket)).out
        )
        demo.signal(signal.SIGINT)
        assert await demo.end() == 0


@pytest.mark.parametrize("width", [80, 100, 120])
def test_each_recording_has_one_line(width: int) -> None:
    """Neither the live view nor the last table wraps on a terminal of the usual widths, whatever there is to say."""
    row = Row("BOTAPIN001", "89eb2f1e", 622, 1_201_728, "ab" * 32, Custody.RECEIVING, 300_000, 157_000.0)
    row.spool_sha256 = row.bucket_sha256 = row.recorder_sha256
    row.cloud_id = "rec_oOVratScOkqdMUBI9EJ4"
    late = Row("BOTAPIN002", "89eb2f1f", 622, 1_201_728, "ab" * 32, Custody.CAPTURED, waiting="the reason " * 20)
    console = Console(width=width, record=True)
    with View(console, plain=False, picture=True) as view:
        row.deleted = True
        view.show([row, late], "1 of 2 is there")
    console.print(result_table([row, late], width))
    lines = [line.split()[0] for line in console.export_text().splitlines() if line]
    assert lines == ["1", "BOTAPIN001", "BOTAPIN002", "recorder", "BOTAPIN001", "BOTAPIN002"]


async def test_the_environment_may_refuse_colour() -> None:
    """NO_COLOR takes the colours off, and leaves the moving lines."""
    async with on_terminal("demo", "--rate", "2000", "--recorders", "1", NO_COLOR="1") as terminal:
        await terminal.until(lambda: "All 8 recordings arrived" in terminal.shown)
        assert await terminal.left() == 0
    assert CURSOR in terminal.shown
    assert not COLOUR.search(terminal.shown)


def test_the_seed_makes_it_repeatable() -> None:
    """The same seed gives the same recordings, another one others."""
    shares = [demo_world._shares(3, seed) for seed in (1, 1, 2)]
    ids = [[one.file_id for share in each for one in share] for each in shares]
    assert ids[0] == ids[1]
    assert set(ids[0]).isdisjoint(ids[2])


def test_a_recorder_that_deletes_nothing_makes_it_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can fail: exit 1, the row says NO, and the recording is named."""
    stubborn = functools.partial(SimRecorder, faults=Faults(Fault(FaultKind.IGNORE_CONFIRM, times=None)))
    monkeypatch.setattr(demo_world, "SimRecorder", stubborn)
    _only(monkeypatch, b"OggS" + bytes(5000))
    told = run_here("demo", "--plain", "--rate", "2000", "--recorders", "1")
    assert told.code == 1
    (row,) = [found.groups() for line in told.lines if (found := LINE.match(line))]
    assert row[3] == "NO"
    assert "FAILED: BOTAPIN001 00000001" in told.out
    assert "Gave up after" in told.out


def test_bytes_that_change_on_the_way_make_it_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the bucket holds is compared with what the recorder held, not with what somebody says of it."""
    _only(monkeypatch, b"OggS" + bytes(5000))
    honest = demo_world.World.look_at_cloud

    def look(world: demo_world.World, row: Row) -> None:
        honest(world, row)
        row.bucket_sha256 = "0" * 64

    monkeypatch.setattr(demo_world.World, "look_at_cloud", look)
    told = run_here("demo", "--plain", "--rate", "2000", "--recorders", "1")
    assert told.code == 1
    assert "≠ 00000000" in told.out


@pytest.mark.parametrize("wrong", [("--recorders", "0"), ("--recorders", "9"), ("--rate", "0"), ("--rate", "many")])
def test_what_it_can_not_do_is_a_mistake_of_usage(wrong: tuple[str, str]) -> None:
    """Values out of range are refused before anything starts."""
    assert run_here("demo", *wrong).code == 2


def _only(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """One small recording, and little patience."""
    held = StoredRecording("00000001", 1_790_000_000, 1, data)
    monkeypatch.setattr(demo_world, "_shares", lambda _recorders, _seed: [[held]])
    monkeypatch.setattr(demo, "GIVE_UP_S", 10.0)
