"""``bota-gateway top``: frames that fit, and a real terminal before a real gateway."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from bota_gateway.cli.top_view import Seen, frame
from bota_gateway.model import Custody
from bota_gateway.sim.options import RecorderOptions
from bota_gateway.status import client
from bota_gateway.status.server import StatusServer
from support.nasty import NASTY, spoilt
from support.terminal import ALT_SCREEN, COLOUR, CURSOR, MAIN_SCREEN, on_terminal
from support.world import Running, World, speech

pytestmark = pytest.mark.virtual_time

AT = 1_790_000_000.0


# -- frames ----------------------------------------------------------------------------------------------------


def recorder(number: int, **more: Any) -> dict[str, Any]:
    """One recorder as the gateway tells it."""
    return {
        "serial": f"PIN{number:07}",
        "membership": "bound",
        "rssi": -60,
        "in_range": True,
        "seen_ago_s": 90.0,
        "battery_percent": 80,
        "charging": False,
        "pending": 0,
        "waiting_for": None,
        "waiting_detail": None,
        "next_attempt_in_s": 200.0,
    } | more


def busy(*, links: int = 3, uploads: int = 2, recorders: int = 12, told: int = 100) -> Seen:
    """A hub with its hands full."""
    link = {"address": "C0:FF:EE:00:00:01", "received_bytes": 6_200_000, "expected_bytes": 14_400_000, "for_s": 9.0}
    upload = {"state": "created", "doing": "being sent", "sent_bytes": 3_000_000, "size_bytes": 4_000_000}
    status = {
        "health": "failing",
        "summary": f"{recorders} recorders, {links} receiving, 9 waiting, oldest 22 s, 1 parked, cloud rests",
        "problems": [{"part": "hci1", "message": "It hears nobody.", "code": "radio_deaf", "next_attempt_in_s": 30.0}],
        "held": [],
        "pauses": [{"message": "too many calls", "code": "cloud_rate_limited", "next_attempt_in_s": 12.0}],
        "links": [
            link | {"serial": f"PIN{number:07}", "file_id": "0a0b0c0d", "bytes_per_s": 61_000.0}
            for number in range(links)
        ],
        "uploads": [upload | {"serial": f"PIN{number:07}", "file_id": "0d0c0b0a"} for number in range(uploads)],
        "counts": {"listed": 3, "receiving": 2, "captured": 4, "parked": 1, "confirmed": 40, "forgotten": 12},
        "spool": {"used_bytes": 1 << 30, "quota_bytes": 8 << 30, "disk_free_bytes": 40 << 30},
        "cloud": {
            "budget": [
                {"name": "requests", "per_minute": 80.0, "left_in_minute": 71},
                {"name": "upload_urls", "per_minute": 24.0, "left_in_minute": 22},
            ]
        },
        "radio": {
            "adapters": [
                {
                    "name": f"hci{number}",
                    "address": "DC:A6:32:00:00:01",
                    "there": True,
                    "scanning": number == 0,
                    "heard_ago_s": 0.4,
                    "links": links,
                }
                for number in range(2)
            ]
        },
    }
    happening = {"level": "info", "event": "x", "recorder": "PIN0000001", "recording": "0a0b0c0d", "fields": {}}
    return Seen(
        at=AT,
        status=status,
        recorders=[recorder(number) for number in range(recorders)],
        happenings=[happening | {"at": AT - told + n, "says": f"happening {n} " + "word " * 40} for n in range(told)],
        rates={("PIN0000000", "0d0c0b0a"): 500_000.0},
    )


@pytest.mark.parametrize("silence", [None, "The gateway on /run/bota-gateway/status.sock has stopped. Start it."])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 20), (200, 60), (60, 12), (30, 6), (20, 3), (80, 1)])
def test_a_frame_fits_the_terminal(width: int, height: int, silence: str | None) -> None:
    """Whatever there is to tell, on a phone as on a desk."""
    for seen in (busy(), busy(links=0, uploads=0, recorders=0, told=0), busy(links=20, uploads=20), None):
        shown = Seen(AT) if seen is None else seen
        lines = frame(Seen(shown.at, shown.status, shown.recorders, shown.happenings, {}, silence, AT), width, height)
        assert 1 <= len(lines) <= height
        assert max(line.cell_len for line in lines) <= width
        assert all(line.plain.isprintable() for line in lines)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 20)])
def test_everything_has_its_place_on_a_small_terminal(width: int, height: int) -> None:
    """However busy the hub is, no part of it is crowded out; what there is no room for is counted."""
    text = "\n".join(line.plain for line in frame(busy(links=9, uploads=9, recorders=30), width, height))
    for part in (
        "failing",
        "radio_deaf"[:5],
        "0a0b0c0d",
        "0d0c0b0a",
        "3 listed",
        "71",
        "22",
        "hci0",
        "PIN",
        "q leaves",
    ):
        assert part in text
    assert "happening 99"[:9] in text
    assert re.search(r"… \d+ more", text)
    if width == 80:
        assert "PIN0000000 0a0b0c0d ###-----  43% 6.2 MB of 14.4 MB  61.0 kB/s  ~2" in text
        assert "PIN0000000 0d0c0b0a ######--  75% 3.0 MB of 4.0 MB  500 kB/s" in text
        assert "71 of 80 requests, 22 of 24 upload URLs left this minute; rests" in text
        assert "happening 99" in text


def test_what_needs_a_person_is_told() -> None:
    """Why health asks for somebody, without leaving the screen."""
    held = {"message": "It belongs to nobody.", "code": "recorder_unbound", "count": 2}
    seen = busy()
    text = "\n".join(line.plain for line in frame(Seen(AT, {**(seen.status or {}), "held": [held]}), 120, 40))
    assert "! 2 recordings: It belongs to nobody. [recorder_unbound]" in text


def test_what_is_nearest_to_trouble_comes_first() -> None:
    """Those who wait for something, then empty ones, then those away with recordings; strangers last."""
    order = [
        recorder(5, waiting_for="recorder_unbound", waiting_detail="It is bound to nobody."),
        recorder(4, battery_percent=9),
        recorder(3, in_range=False, pending=7),
        recorder(2, in_range=False),
        recorder(1),
        recorder(0, membership="stranger", waiting_for="recorder_stranger", waiting_detail="Not ours."),
    ]
    seen = busy(links=0)
    shown = Seen(AT, seen.status, order[::-1])
    text = "\n".join(line.plain for line in frame(shown, 120, 40))
    assert re.findall(r"PIN000000(\d) ", text.split("recorders")[-1]) == ["5", "4", "3", "2", "1", "0"]
    assert "recorder_unbound: It is bound to nobody." in text


# -- a real gateway ----------------------------------------------------------------------------------------------


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World.open(tmp_path) as opened:
        yield opened


@pytest.fixture
async def running(world: World) -> AsyncIterator[Running]:
    """A gateway that has brought one recording home and parked one, and has met a recorder with a nasty name."""
    await world.recorder("PIN0000001", speech(1), options=RecorderOptions(name=NASTY))
    await world.recorder("PIN0000002", speech(2), end_user=None)
    async with world.gateway(cloud={"requests_per_minute": 80, "upload_urls_per_minute": 24}) as started:
        await started.all_in(Custody.CONFIRMED, Custody.PARKED, count=2)
        while started.gateway.links:  # noqa: ASYNC110 - nothing tells that a link is over
            await asyncio.sleep(0.1)
        structlog.get_logger().warning("confirm_refused", recorder="PIN0000001", recording="0a0b0c0d", reason=NASTY)
        yield started


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 20)])
async def test_one_frame_can_be_printed(
    running: Running, monkeypatch: pytest.MonkeyPatch, columns: int, lines: int
) -> None:
    """For a picture, or over a pipe: without colour, with nothing that could move a cursor."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    told = await running.ask("top", "--once")
    assert told.code == 0, told.err
    assert len(told.lines) <= lines
    assert max(map(len, told.lines)) <= columns
    assert all(line.isprintable() for line in told.lines)
    assert told.lines[0].startswith("attention: 2 recorders")
    for part in ("PIN0000001", "PIN0000002", "1 parked", "hci0", "19", "64"):
        assert part in told.out


async def test_what_the_cloud_may_be_asked_is_told(running: Running) -> None:
    """How much of each allowance is spent: at least create, upload URL and complete of the one recording."""
    cloud = (await running.ask("status", "--json")).json["cloud"]
    assert cloud["answered"] is True
    requests, urls = cloud["budget"]
    assert (requests["name"], urls["name"]) == ("requests", "upload_urls")
    assert (requests["per_minute"], urls["per_minute"]) == (64, pytest.approx(19.2))
    assert requests["spent_in_minute"] + requests["left_in_minute"] == 64
    assert requests["spent_in_minute"] >= urls["spent_in_minute"]


async def test_no_text_of_an_answer_can_move_the_cursor(running: Running, tmp_path: Path) -> None:
    """Whatever field a recorder's or the cloud's words end up in, they are shown, not obeyed."""

    async def nasty(asked: dict[str, Any]) -> object:
        question = {key: value for key, value in asked.items() if key != "ask"}
        answer: Any = await asyncio.to_thread(client.ask, running.socket, asked["ask"], **question)
        told = spoilt(answer)
        for one in told if asked["ask"] == "happenings" else ():
            one["level"] = "info"
        return told

    server = StatusServer(tmp_path / "nasty.sock", nasty)
    serving = asyncio.create_task(server.run())
    await server.listening.wait()
    async with on_terminal("top", "--socket", tmp_path / "nasty.sock", columns=200) as terminal:
        await terminal.sees("PIN0000002")
        shown = terminal.shown
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert "oof" in shown
    assert not {"\x9b", "\u202e"} & set(shown)
    assert "\x1b[2J" not in shown


@pytest.mark.parametrize("keys", ["q", "\x03"], ids=["q", "ctrl-c"])
async def test_a_person_leaves_and_the_terminal_is_as_before(running: Running, keys: str) -> None:
    """The other screen is left, the cursor is shown, and keys are echoed again."""
    async with on_terminal("top", "--socket", running.socket) as terminal:
        before = terminal.modes
        await terminal.sees("PIN0000002")
        assert terminal.modes != before
        assert len(terminal.frame) <= 24
        assert COLOUR.search(terminal.shown)
        terminal.type(keys)
        assert await terminal.left() == 0
        assert terminal.modes == before
        assert terminal.shown.count(ALT_SCREEN) == terminal.shown.count(MAIN_SCREEN) == 1
        assert terminal.shown.rindex(CURSOR) > terminal.shown.index(MAIN_SCREEN) - len(CURSOR) * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_kill_leaves_the_terminal_as_before(running: Running, number: signal.Signals) -> None:
    """Somebody else may end it; the exit code says how."""
    async with on_terminal("top", "--socket", running.socket) as terminal:
        before = terminal.modes
        await terminal.sees("PIN0000002")
        terminal.process.send_signal(number)
        assert await terminal.left() == 128 + number
        assert terminal.modes == before
        assert MAIN_SCREEN in terminal.shown
        assert "Traceback" not in terminal.shown


async def test_it_can_be_suspended(running: Running) -> None:
    """Ctrl-Z gives the terminal back as it was until fg."""
    async with on_terminal("top", "--socket", running.socket) as terminal:
        before = terminal.modes
        await terminal.sees("PIN0000002")
        terminal.type("\x1a")
        _, status = await asyncio.to_thread(os.waitpid, terminal.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        await terminal.until(lambda: MAIN_SCREEN in terminal.shown)
        assert terminal.modes == before
        terminal.process.send_signal(signal.SIGCONT)
        await terminal.until(lambda: terminal.shown.count(ALT_SCREEN) == 2)
        await terminal.sees("PIN0000002")
        terminal.type("q")
        assert await terminal.left() == 0


async def test_it_follows_the_size_of_the_terminal(running: Running) -> None:
    """A window that is dragged, or a phone that is turned; whatever size its shell remembers."""
    async with on_terminal("top", "--socket", running.socket, COLUMNS="80", LINES="24") as terminal:
        await terminal.sees("left this minute")
        terminal.resize(40, 20)
        await terminal.sees("cloud: ")
        assert max(map(len, terminal.frame)) <= 40
        assert len(terminal.frame) <= 20


async def test_no_color_is_obeyed(running: Running) -> None:
    """The environment may ask for a screen without colour."""
    async with on_terminal("top", "--socket", running.socket, NO_COLOR="1") as terminal:
        await terminal.sees("PIN0000002")
        assert not COLOUR.search(terminal.shown)


async def test_it_goes_on_when_the_gateway_does(world: World) -> None:
    """One that stops or is not there yet is said, with what to do; what it said last stays until it is back."""
    socket = world.settings().status.socket
    async with on_terminal("top", "--socket", socket) as terminal:
        await terminal.sees("no answer: No gateway")
        assert "systemctl start" in " ".join(terminal.frame)
        async with world.gateway():
            await terminal.sees("0 recorders")
        await terminal.sees("no answer: No gateway")
        assert any("spool: " in line for line in terminal.frame)
        async with world.gateway():
            await terminal.sees("0 recorders")
        terminal.type("q")
        assert await terminal.left() == 0


async def test_without_a_terminal_it_says_what_to_use(running: Running) -> None:
    """A live screen into a file is a mistake of usage."""
    told = await running.ask("top")
    assert told.code == 2
    assert "--once" in told.err
