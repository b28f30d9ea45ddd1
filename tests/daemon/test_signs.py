"""What systemd hears from the real daemon: when it is ready, how it is, and that it lives."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bota_gateway.daemon.signs import RADIO_VERDICT_S
from bota_gateway.model import Custody
from bota_gateway.radio import Radio
from support.world import World, speech

pytestmark = pytest.mark.virtual_time

WATCHDOG_S = 120
"""As in the unit."""


class Systemd:
    """systemd's end of the notification socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """What came since this was asked last."""
        messages = []
        with suppress(BlockingIOError):
            while True:
                messages.append(self._socket.recv(4096).decode())
        return messages

    async def listen(self, seconds: float) -> list[str]:
        """What comes within so many seconds; the socket holds ten messages only."""
        messages = self.heard()
        for _ in range(round(seconds)):
            await asyncio.sleep(1)
            messages += self.heard()
        return messages

    async def hears(self, message: str) -> list[str]:
        """Wait until this message has come; gives back all that came by then."""
        heard: list[str] = []
        async with asyncio.timeout(600):
            while message not in heard:
                await asyncio.sleep(0.1)
                heard += self.heard()
        return heard

    def close(self) -> None:
        """Be gone."""
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    """The gateway below runs as systemd's service."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", str(WATCHDOG_S * 1_000_000))
    manager = Systemd(tmp_path / "notify")
    yield manager
    manager.close()


async def test_ready_is_told_when_spool_and_radio_are_up(
    tmp_path: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that takes its time is told step by step, and the last one is readiness."""
    may_scan = asyncio.Event()
    scan = Radio.run

    async def scan_later(radio: Radio) -> None:
        await may_scan.wait()
        await scan(radio)

    monkeypatch.setattr(Radio, "run", scan_later)
    async with World.open(tmp_path) as world, world.gateway():
        await asyncio.sleep(RADIO_VERDICT_S / 2)
        assert systemd.heard() == [
            "STATUS=opening and checking the spool",
            "STATUS=the spool is open, the radio starts",
        ]
        may_scan.set()
        heard = await systemd.hears("READY=1")
        assert heard[0].startswith("STATUS=0 ")
        assert "in trouble" not in heard[0]
    assert "STOPPING=1" in systemd.heard()


async def test_a_radio_that_says_nothing_does_not_keep_the_rest(
    tmp_path: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readiness has an end to its patience: what is in the spool is uploaded by a gateway that is up."""

    async def hang(_radio: Radio) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Radio, "run", hang)
    async with World.open(tmp_path) as world, world.gateway():
        began = asyncio.get_running_loop().time()
        await systemd.hears("READY=1")
        assert asyncio.get_running_loop().time() - began == pytest.approx(RADIO_VERDICT_S, abs=1)


async def test_a_hub_without_adapter_gets_ready_and_says_what_is_missing(tmp_path: Path, systemd: Systemd) -> None:
    """Restarting it would bring no adapter; its status line names the cause."""
    nowhere = {"adapters": ("bumble:tcp-client:127.0.0.1:1",)}
    async with World.open(tmp_path) as world, world.gateway(adapters=False, radio=nowhere):
        heard = await systemd.hears("READY=1")
        assert "radio in trouble: There is no controller at" in heard[-2]


async def test_the_status_line_follows_a_recording(tmp_path: Path, systemd: Systemd) -> None:
    """It tells how far a transfer is and how the cloud is, and does not call a cloud well that never answered."""
    async with World.open(tmp_path, bytes_per_s=5_000) as world, world.gateway() as running:
        heard = await systemd.hears("READY=1")
        assert heard[-2].endswith("cloud not asked yet")
        await world.recorder("PIN0000001", speech(1, size=200_000))
        lines = [line for line in await systemd.listen(120) if line.startswith("STATUS=")]
        await running.all_in(Custody.CONFIRMED)
        assert len([line for line in lines if "1 receiving " in line and " %" in line]) >= 3
        assert lines[-1].endswith("0 waiting, cloud ok")


async def test_signs_of_life_come_well_before_the_watchdog_bites(tmp_path: Path, systemd: Systemd) -> None:
    """Several a period, so that one that is late kills nobody."""
    async with World.open(tmp_path) as world, world.gateway():
        await systemd.hears("READY=1")
        assert (await systemd.listen(10 * WATCHDOG_S)).count("WATCHDOG=1") >= 30


async def test_a_spool_that_hangs_is_no_sign_of_life(tmp_path: Path, systemd: Systemd) -> None:
    """When a transaction does not end the watchdog is not fed, however well the event loop turns."""
    async with World.open(tmp_path) as world, world.gateway() as running:
        await systemd.hears("READY=1")
        async with running.gateway.spool._db._turn:
            await asyncio.sleep(1)
            systemd.heard()
            assert await systemd.listen(3 * WATCHDOG_S) == []
        await systemd.hears("WATCHDOG=1")


@pytest.mark.parametrize("part", ["radio", "uploader", "registrar", "disk"])
async def test_a_supervisor_that_ended_is_no_sign_of_life(tmp_path: Path, systemd: Systemd, part: str) -> None:
    """A part that nobody would start again stops the feeding, and the log says which."""
    async with World.open(tmp_path) as world, world.gateway() as running:
        await systemd.hears("READY=1")
        (supervisor,) = (task for task in running.gateway._supervisors if task.get_name() == part)
        supervisor.cancel()
        await asyncio.sleep(1)
        systemd.heard()
        assert "WATCHDOG=1" not in await systemd.listen(3 * WATCHDOG_S)
        assert f'"parts": ["{part}"]' in world.log.getvalue()
