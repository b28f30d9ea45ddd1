"""BlueZ as it is installed here, asked by real processes over a real bus."""

import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bota_gateway.errors import AdapterError
from bota_gateway.radio import installed
from bota_gateway.radio.adapters import KnownAdapter, ask_bluez
from support.fake_bluez import FORBIDDEN, FakeBlueZ, needs_dbus, system_bus

pytestmark = pytest.mark.timeout(60)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as another user")
SYSTEM_PYTHON = Path("/usr/bin/python3")
needs_system_python = pytest.mark.skipif(
    SYSTEM_PYTHON.resolve().name != f"python{sys.version_info.major}.{sys.version_info.minor}",
    reason="needs a Python of this version that is open to all users",
)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user may look into: pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix="bota-bus-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def install_bluetoothctl(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    tool = directory / "bluetoothctl"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ('[ "$1" = --version ] && echo "bluetoothctl: 5.66"', (5, 66)),
        ("echo 5.82", (5, 82)),
        ("echo rubbish", None),
        ("exit 1", None),
    ],
)
async def test_the_version_is_what_its_own_tool_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, version: tuple[int, int] | None
) -> None:
    """In each of the forms that versions of it print."""
    install_bluetoothctl(tmp_path, monkeypatch, script)
    assert await installed.bluez_version() == version


async def test_a_tool_that_hangs_or_is_missing_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for ever."""
    monkeypatch.setattr(installed, "PROGRAM_S", 0.01)
    install_bluetoothctl(tmp_path, monkeypatch, "exec sleep 1000")
    assert await installed.bluez_version() is None
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert await installed.bluez_version() is None


@needs_dbus
async def test_one_who_is_kept_out_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that forbids is another trouble than a BlueZ that is not there."""
    async with system_bus(tmp_path, monkeypatch, policy=FORBIDDEN) as address, FakeBlueZ(address):
        with pytest.raises(AdapterError) as caught:
            await ask_bluez()
    assert caught.value.error_code == "radio_not_allowed"
    assert "group bluetooth" in caught.value.next_step


@needs_dbus
async def test_a_bus_without_bluez_is_told_from_no_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedies differ, so the codes do."""
    async with system_bus(tmp_path, monkeypatch):
        with pytest.raises(AdapterError) as caught:
            await ask_bluez()
        assert caught.value.error_code == "radio_no_bluez"
    with pytest.raises(AdapterError) as caught:
        await ask_bluez()
    assert caught.value.error_code == "radio_no_bus"


@needs_dbus
async def test_adapters_are_told_whatever_they_are_good_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None at all is an answer, too."""
    async with system_bus(tmp_path, monkeypatch) as address, FakeBlueZ(address) as bluez:
        assert await ask_bluez() == []
        bluez.add_adapter(powered=False)
        assert await ask_bluez() == [KnownAdapter("hci0", "DC:A6:32:00:00:01", powered=False, central=True)]


@needs_dbus
@needs_root
@needs_system_python
async def test_a_user_of_this_machine_tries_for_himself(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may always ask; whether the service's user may, only a process of that user can find out."""
    nobody = pwd.getpwnam("nobody")
    python = open_directory / "python"  # ours may lie in a home directory that is closed to others
    python.write_text(f'#!/bin/sh\nshift\nPYTHONPATH={":".join(sys.path)} exec {SYSTEM_PYTHON} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    policy = '<policy user="nobody"><deny send_destination="org.bluez"/></policy>'
    async with system_bus(open_directory, monkeypatch, policy=policy) as address, FakeBlueZ(address):
        assert await ask_bluez() == []
        refused = await installed.try_bluez_as(nobody)
        assert refused is not None
        assert refused.error_code == "radio_not_allowed"
    async with system_bus(open_directory, monkeypatch) as address, FakeBlueZ(address):
        assert await installed.try_bluez_as(nobody) is None


async def test_a_process_that_can_t_be_run_is_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as what it is, not taken for an answer of BlueZ."""
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    refused = await installed.try_bluez_as(pwd.getpwuid(os.getuid()))
    assert refused is not None
    assert refused.error_code == installed.NOT_RUN
