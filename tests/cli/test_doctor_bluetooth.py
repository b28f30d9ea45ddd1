"""The doctor on Bluetooth: a real bus, BlueZ's answers, files laid out like the kernel's."""

import os
import pwd
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bota_gateway.cli.doctor import bluetooth
from bota_gateway.cli.doctor.bluetooth import Adapters, Bluetoothd, Permission, Rfkill, Timing
from support.doctoring import Patient, answering, patient, problem
from support.fake_bluez import FORBIDDEN, FakeBlueZ, needs_dbus, system_bus

pytestmark = [needs_dbus, pytest.mark.timeout(60)]

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def hub(tmp_path: Path) -> Patient:
    return patient(tmp_path)


@pytest.fixture
async def bluez(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeBlueZ]:
    async with system_bus(tmp_path, monkeypatch) as address, FakeBlueZ(address) as daemon:
        daemon.add_adapter()
        yield daemon


def install_bluez(version: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = directory / "bluetoothctl"
    tool.write_text(f"#!/bin/sh\necho bluetoothctl: {version}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")


# -- adapters ----------------------------------------------------------------------------------------------------------


async def test_an_adapter_that_is_on(hub: Patient, bluez: FakeBlueZ) -> None:
    """Named with its address: hciN may be another one tomorrow."""
    (found,) = await hub.look(Adapters)
    assert (found.code, found.verdict, found.remedy) == ("adapter_on", "ok", "")
    assert found.found == "hci0 (DC:A6:32:00:00:01) is on"


async def test_each_adapter_is_told(hub: Patient, bluez: FakeBlueZ) -> None:
    """One that is off, and one that is named and not there, each with its remedy."""
    bluez.add_adapter("hci1", address="00:1A:7D:00:00:02", powered=False)
    assert await hub.codes(Adapters) == ["adapter_on", "adapter_off"]
    hub.sections["radio"] = {"adapters": ["HCI1", "hci7", "bumble:usb:0"]}
    found = await hub.look(Adapters)
    assert [one.code for one in found] == ["adapter_missing", "adapter_off"]
    assert "hci7" in found[0].found
    assert all(one.verdict == "failure" and one.remedy for one in found)


async def test_an_adapter_that_can_t_connect(hub: Patient, bluez: FakeBlueZ) -> None:
    """It is passed over beside another one, and a failure alone or by its name."""
    bluez.objects["/org/bluez/hci0"]["org.bluez.Adapter1"]["Roles"].value = ["peripheral"]
    assert await hub.codes(Adapters) == ["adapter_useless"]
    bluez.add_adapter("hci1", address="00:1A:7D:00:00:02")
    assert await hub.codes(Adapters) == ["adapter_on"]
    hub.sections["radio"] = {"adapters": ["hci0"]}
    assert await hub.codes(Adapters) == ["adapter_useless"]


async def test_no_adapter(hub: Patient, bluez: FakeBlueZ) -> None:
    """BlueZ has none; or nobody has one."""
    bluez.objects.clear()
    assert await hub.codes(Adapters) == ["adapter_none"]
    bluez.die()
    assert await hub.codes(Bluetoothd) == ["bluetoothd_down"]
    shutil.rmtree(hub.sys.root / "class")
    assert await hub.codes(Adapters, Bluetoothd) == ["adapter_none", "bluetoothd_without_controller"]


async def test_an_adapter_that_bluez_can_t_tell_of(hub: Patient, bluez: FakeBlueZ) -> None:
    """The kernel knows of it: what is wrong is BlueZ, and one failure is enough."""
    bluez.die()
    (found, down) = await hub.look(Adapters, Bluetoothd)
    assert (found.code, found.verdict) == ("adapter_unknown", "not_checked")
    assert "hci0" in found.found
    assert (down.code, down.verdict) == ("bluetoothd_down", "failure")


async def test_without_bluez_nothing_of_it_is_asked(hub: Patient, bluez: FakeBlueZ) -> None:
    """A hub that drives its controller itself has no use for it."""
    hub.sections["radio"] = {"adapters": ["bumble:tcp-client:127.0.0.1:1"]}
    assert await hub.codes(Adapters, Bluetoothd, Permission) == [
        "adapter_without_bluez",
        "bluetoothd_without_bluez",
        "permission_without_bluez",
    ]
    assert bluez.asked == []


# -- kill switches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("soft", "hard", "code", "verdict"),
    [
        (0, 0, "rfkill_free", "ok"),
        (1, 0, "rfkill_soft", "failure"),
        (0, 1, "rfkill_hard", "failure"),
        (1, 1, "rfkill_hard", "failure"),
    ],
)
async def test_kill_switches(hub: Patient, soft: int, hard: int, code: str, verdict: str) -> None:
    """Software lifts one kind, a finger the other."""
    hub.sys.kill_switch("rfkill0", soft=soft, hard=hard)
    hub.sys.kill_switch("rfkill1", kind="wlan", soft=1)
    (found,) = await hub.look(Rfkill)
    assert (found.code, found.verdict) == (code, verdict)
    assert bool(found.remedy) == (verdict == "failure")


async def test_a_kernel_without_kill_switches(hub: Patient) -> None:
    """Nothing can be blocked, and nothing is said to be fine."""
    shutil.rmtree(hub.sys.root / "class/rfkill")
    assert await hub.codes(Rfkill) == ["rfkill_none"]


# -- bluetoothd --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "notify", "code", "verdict"),
    [
        ("5.82", "descriptor", "bluetoothd_runs", "ok"),
        ("5.66", "auto", "bluetoothd_runs", "ok"),
        ("5.66", "descriptor", "bluetoothd_crashes", "warning"),
        ("5.55", "auto", "bluetoothd_untested", "warning"),
        ("5.50", "auto", "bluetoothd_too_old", "failure"),
        ("nonsense", "descriptor", "bluetoothd_runs", "ok"),
    ],
)
async def test_the_version_of_bluez(
    hub: Patient,
    bluez: FakeBlueZ,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    notify: str,
    code: str,
    verdict: str,
) -> None:
    """Each is judged by what is known of it, together with the setting it matters to."""
    install_bluez(version, hub.place, monkeypatch)
    hub.sections["radio"] = {"notify": notify}
    (found,) = await hub.look(Bluetoothd)
    assert (found.code, found.verdict) == (code, verdict)
    assert ("unknown version" if version == "nonsense" else version) in found.found


async def test_a_bluez_that_keeps_this_user_out(hub: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs, so it is not said to be down; that the user may not ask is told where it belongs."""
    hub.change(service_user=ME)
    async with system_bus(tmp_path, monkeypatch, policy=FORBIDDEN) as address, FakeBlueZ(address):
        found = await hub.look(Bluetoothd, Permission)
    assert [one.code for one in found] == ["bluetoothd_keeps_out", "permission_may_not"]
    assert f"adduser {ME} bluetooth" in found[1].remedy


# -- permission --------------------------------------------------------------------------------------------------------


async def test_the_running_gateway_knows_best(hub: Patient, bluez: FakeBlueZ) -> None:
    """Its radio works, or was kept out; another trouble of it says nothing about permission."""
    async with answering(hub.socket):
        assert await hub.codes(Permission) == ["permission_gateway_may"]
    async with answering(hub.socket, problems=[problem("radio", "radio_not_allowed")]):
        assert await hub.codes(Permission) == ["permission_may_not"]
    hub.change(service_user=ME)
    async with answering(hub.socket, problems=[problem("hci0 (DC:A6:32:00:00:01)", "radio_scan_failed")]):
        assert await hub.codes(Permission) == ["permission_may"]


async def test_a_service_user_that_is_not_there_yet(hub: Patient, bluez: FakeBlueZ) -> None:
    """Before the installation this user is as good."""
    hub.change(service_user="no-such-user")
    (found,) = await hub.look(Permission)
    assert (found.code, ME in found.found) == ("permission_may", True)
    bluez.die()
    assert await hub.codes(Permission) == ["permission_unknown"]


async def test_for_another_user_only_root_can_try(
    hub: Patient, bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is guessed from the policy files."""
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    (found,) = await hub.look(Permission)
    assert (found.code, found.verdict) == ("permission_needs_root", "not_checked")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
async def test_a_try_that_can_t_be_made_is_no_refusal(
    hub: Patient, bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python that the user can't run says nothing about D-Bus."""
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    assert await hub.codes(Permission) == ["permission_untried"]


# -- timing ------------------------------------------------------------------------------------------------------------


def losing(adapter: str, lost: int, *, of: int = 50, reason: str = "radio_link_lost") -> dict[str, object]:
    """Figures of an adapter's transfers."""
    return {"adapter": adapter, "transfers": of, "reason": reason, "reason_times": lost}


async def test_timing_of_every_controller(hub: Patient) -> None:
    """The kernel's own patience is too short where links are lost by it; a long interval makes transfers slow."""
    hub.sys.controller("hci1", supervision=42)
    hub.sys.controller("hci2", longest=400)
    hub.sys.controller("hci3", supervision=42, longest=400)
    async with answering(hub.socket, {"stats": {"adapters": [losing("hci3", 7), losing("hci1", 3)]}}):
        found = await hub.look(Timing)
    assert "7 of 50 transfers" in found[3].found
    assert [one.code for one in found] == [
        *("le_timing_good", "le_timing_hasty", "le_timing_slow", "le_timing_hasty", "le_timing_slow"),
    ]
    assert found[0].found == "hci0: silence 720 ms, interval 30 to 50 ms"
    assert all(one.verdict == "warning" and "main.conf" in one.remedy for one in found[1:])


async def test_a_short_patience_that_costs_nothing_is_no_warning(hub: Patient) -> None:
    """Nearly every hub has the kernel's own: who is always warned does not look any more."""
    hub.sys.controller("hci0", supervision=42)
    assert await hub.codes(Timing) == ["le_timing_good"]  # nobody tells of transfers
    for figures in (losing("hci0", 2), losing("hci0", 7, of=400), losing("hci0", 7, reason="x"), losing("hci1", 7)):
        async with answering(hub.socket, {"stats": {"adapters": [figures]}}):
            assert await hub.codes(Timing) == ["le_timing_good"]
    async with answering(hub.socket, {"stats": {"adapters": [losing("hci0", 9, of=400)]}}):
        assert await hub.codes(Timing) == ["le_timing_hasty"]


async def test_timing_that_is_not_told(hub: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not mounted, closed to all but root, or there is no controller: each is said."""
    shutil.rmtree(hub.sys.root / "kernel")
    assert await hub.codes(Timing) == ["le_timing_untold"]

    def closed(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(bluetooth, "link_defaults", closed)  # these tests may run as root, for whom nothing is closed
    (found,) = await hub.look(Timing)
    assert (found.code, found.remedy) == ("le_timing_needs_root", "sudo bota-gateway doctor")
    shutil.rmtree(hub.sys.root / "class/bluetooth")
    assert await hub.codes(Timing) == ["le_timing_none"]
