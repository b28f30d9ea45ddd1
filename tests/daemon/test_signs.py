"""What systemd hears from the real daemon: when it is ready, how it is, and that it lives."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bota_gateway.daemon.signs import RADIO_VERDICT_S
from bota_gateway.daemon.tidying import TIDY_EVERY_S
from bota_gateway.model import Custody
from bota_gateway.pulse import SLACK_S
from bota_gateway.radio import Link, Radio
from bota_gateway.radio.scanner import Scanner
from bota_gateway.sim.cloud.faults import Status
from bota_gateway.spool import Spool
from bota_gateway.sync import Rounds
from bota_gateway.sync.visit import Visit
from bota_gateway.upload import Registrar
from bota_gateway.upload.putting import Putting
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


async def for_ever(*_: object, **__: object) -> None:
    """A wait that nothing bounds, as a defect may bring it."""
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("of", "step", "part", "within_s"),
    [
        (Scanner, "_listen", "scanner of hci0", 300),
        (Rounds, "_begin_due_visits", "rounds", 60),
        (Visit, "run", "visit to ", 600),
        (Link, "close", "visit to ", 600),
        (Registrar, "_resolve", "registrar", 60),
        (Putting, "run", "uploader 1", 60),
        (Spool, "forget_due", "housekeeping", TIDY_EVERY_S),
        (Spool, "prove_durable", "disk", 60),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_part_that_hangs_is_no_sign_of_life(
    tmp_path: Path,
    systemd: Systemd,
    monkeypatch: pytest.MonkeyPatch,
    of: type,
    step: str,
    part: str,
    within_s: float,
) -> None:
    """However well loop and spool go on, the log names the part, once, and systemd is left to start the gateway."""
    async with World.open(tmp_path) as world, world.gateway(may_hang=True):
        await systemd.hears("READY=1")
        monkeypatch.setattr(of, step, for_ever)
        pin = await world.recorder("PIN0000001", speech(1))
        await asyncio.sleep(30)
        await pin.stop()  # time jumps further where nobody advertises
        await asyncio.sleep(within_s + SLACK_S + 30)
        systemd.heard()
        assert "WATCHDOG=1" not in await systemd.listen(30)
        told = [line for line in world.log.getvalue().splitlines() if '"part_hangs"' in line]
        assert len(told) == 1
        assert part in told[0]


async def test_a_hang_that_ends_is_a_sign_of_life_again(
    tmp_path: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes back before the watchdog bites goes on as if nothing had been."""
    over = asyncio.Event()

    async def hang(*_: object) -> int:
        await over.wait()
        return 0

    monkeypatch.setattr(Spool, "forget_due", hang)
    async with World.open(tmp_path) as world, world.gateway(may_hang=True):
        await systemd.hears("READY=1")
        await asyncio.sleep(TIDY_EVERY_S + SLACK_S + 60)
        over.set()
        systemd.heard()
        await systemd.hears("WATCHDOG=1")


async def test_a_task_that_ends_in_silence_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stray cancellation, from within a library, would end a scanner for good, and nobody would hear of it."""
    scan = Scanner._scan
    strays = [asyncio.CancelledError]

    async def stray(scanner: Scanner) -> None:
        while strays:
            raise strays.pop()
        await scan(scanner)

    monkeypatch.setattr(Scanner, "_scan", stray)
    async with World.open(tmp_path) as world, world.gateway() as running:
        await world.recorder("PIN0000001", speech(1))
        await running.all_in(Custody.CONFIRMED)
        assert "The scanner of hci0 was cancelled by something within it." in world.log.getvalue()


async def test_waits_that_are_long_by_right_are_no_hang(tmp_path: Path, systemd: Systemd) -> None:
    """A cloud that is away for hours, and nobody in range: each wait is as long as it may be."""
    async with World.open(tmp_path) as world, world.gateway() as running:
        await systemd.hears("READY=1")
        world.cloud.faults.add("* /recordings*", Status(status=503), times=None)
        pin = await world.recorder("PIN0000001", speech(1))
        await running.all_in(Custody.CAPTURED)
        await pin.stop()
        await asyncio.sleep(2 * 3600)
        systemd.heard()
        assert "WATCHDOG=1" in await systemd.listen(30)
