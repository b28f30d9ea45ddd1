"""The doctor on the gateway itself: a real one, one that says what it is told, and none."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bota_gateway.cli.doctor import gateway
from bota_gateway.cli.doctor.bluetooth import Permission
from bota_gateway.cli.doctor.cloud import S3
from bota_gateway.cli.doctor.gateway import Configuration, Daemon, Recorders
from bota_gateway.cli.doctor.spool import Spool
from bota_gateway.errors import ConfigError, StatusError
from bota_gateway.model import Custody
from bota_gateway.radio import Adapter
from bota_gateway.radio.bumble_backend import backends
from support.doctoring import Patient, answering, patient, problem, recorder
from support.fake_bluez import FakeBlueZ, needs_dbus, system_bus
from support.virtual_time import virtual_time
from support.world import World, speech


@pytest.fixture
def hub(tmp_path: Path) -> Patient:
    return patient(tmp_path)


# -- configuration -----------------------------------------------------------------------------------------------------


async def test_the_configuration(hub: Patient) -> None:
    """Good, or wrong with the words that every command has for it."""
    assert await hub.codes(Configuration) == ["config_good"]
    hub.error = ConfigError("There is no such setting: spol.", code="config_unknown_key")
    (found,) = await hub.look(Configuration)
    assert (found.code, found.verdict) == ("config_bad", "failure")
    assert found.found == "There is no such setting: spol [config_unknown_key]"
    hub.error = ConfigError("It is closed to this user.", code="config_closed", remedy="Use sudo.")
    (found,) = await hub.look(Configuration)
    assert (found.code, found.verdict, found.remedy) == ("config_closed", "not_checked", "Use sudo.")


async def test_what_needs_no_configuration_is_looked_at_without(hub: Patient) -> None:
    """The rest is not checked, rather than judged by settings that nobody made."""
    hub.error = ConfigError("wrong")
    found = {one.code: one for one in await hub.look()}
    assert {one.code for one in found.values() if one.code.endswith("_unconfigured")} == {
        *("disk_unconfigured", "card_unconfigured", "spool_unconfigured", "key_unconfigured", "api_unconfigured"),
        *("scopes_unconfigured", "profile_unconfigured", "s3_unconfigured", "budget_unconfigured"),
    }
    assert {"config_bad", "daemon_none", "clock_kept", "rfkill_free", "le_timing_good"} <= found.keys()


# -- daemon ------------------------------------------------------------------------------------------------------------


async def test_no_gateway(hub: Patient) -> None:
    """A warning: somebody may have stopped it on purpose."""
    (found,) = await hub.look(Daemon)
    assert (found.code, found.verdict) == ("daemon_none", "warning")
    assert str(hub.socket) in found.found


async def test_a_gateway_that_hangs(hub: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure, and no advice to start what runs; its spool is not looked at."""

    def hang(*_: object, **__: object) -> None:
        raise StatusError("It did not answer.", code="status_silent", remedy="Restart it.")

    monkeypatch.setattr("bota_gateway.status.client.ask", hang)
    (found,) = await hub.look(Daemon)
    assert (found.code, found.verdict, found.remedy) == ("daemon_silent", "failure", "Restart it.")
    assert await hub.codes(Spool) == ["spool_closed"]


async def test_a_gateway_that_this_user_may_not_ask(hub: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may well run."""

    def refuse(*_: object, **__: object) -> None:
        raise StatusError("You may not ask.", code="status_forbidden", remedy="Use sudo.")

    monkeypatch.setattr("bota_gateway.status.client.ask", refuse)
    assert await hub.codes(Daemon, Recorders) == ["daemon_forbidden", "recorders_not_asked"]


async def test_what_the_gateway_says_of_itself(hub: Patient) -> None:
    """Each trouble is a line of its own, with the gateway's remedy."""
    async with answering(hub.socket):
        assert await hub.codes(Daemon) == ["daemon_well"]
    async with answering(hub.socket, health="attention", summary="0 linked, 2 parked"):
        (found,) = await hub.look(Daemon)
        assert (found.code, found.verdict, "2 parked" in found.found) == ("daemon_attention", "warning", True)
    pause = {"code": "cloud_unreachable", "message": "no answer", "next_attempt_in_s": 90.0}
    async with answering(hub.socket, health="waiting", pauses=[pause]):
        (found,) = await hub.look(Daemon)
        assert (found.code, found.verdict) == ("daemon_rests", "warning")
        assert found.found == "runs, but no answer [cloud_unreachable]; next try in 90 s"
    async with answering(hub.socket, problems=[problem("radio", "r"), problem("old", "spool_set_aside")]):
        found, aside = await hub.look(Daemon)
        assert (found.code, found.verdict, found.found) == ("daemon_trouble", "failure", "radio: it is so [r]")
        assert (aside.code, aside.verdict, aside.remedy) == ("daemon_set_aside", "warning", "mend it")


# -- recorders ---------------------------------------------------------------------------------------------------------


async def test_recorders_that_were_met(hub: Patient) -> None:
    """Those in order in one line, each of the others in its own."""
    met = [recorder("A"), recorder("B", "unbound"), recorder("C", "stranger"), recorder("D", "unresolved")]
    async with answering(hub.socket, {"recorders": met}):
        found = await hub.look(Recorders)
    assert [one.code for one in found] == ["recorders_known", "recorders_unbound", "recorders_unresolved"]
    assert found[0].found == "1 of the project, 1 of others; last heard 60 s ago"
    assert found[1].found.startswith("B is bound to nobody")
    async with answering(hub.socket):
        assert await hub.codes(Recorders) == ["recorders_none"]
    async with answering(hub.socket, {"recorders": [recorder("A", seen_ago_s=200_000)]}):
        (one,) = await hub.look(Recorders)
    assert (one.code, one.verdict, one.found) == (
        *("recorders_silent", "warning", "none of the project was heard for 2 d 7 h"),
    )


async def test_nobody_listens_unasked_or_beside_a_gateway(hub: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second scanner would take the air from the first."""

    async def scanned(*_: object) -> None:
        raise AssertionError("it scanned")

    monkeypatch.setattr(gateway, "listen", scanned)
    assert await hub.codes(Recorders) == ["recorders_not_asked"]
    hub.scan = True
    async with answering(hub.socket):
        assert await hub.codes(Recorders) == ["recorders_none"]


@virtual_time
async def test_recorders_in_the_air(world: World, hub: Patient) -> None:
    """Asked to, and with no gateway, it listens for itself; and connects to nobody."""
    device = await world.air.adapter("hci0")
    hub.change(adapters=[Adapter("hci0", None, *backends(device))])
    hub.scan = True
    (found,) = await hub.look(Recorders)
    assert (found.code, found.found) == ("recorders_not_heard", "none heard in 20 s")
    pin = await world.recorder("PIN0000001", speech(1))
    (found,) = await hub.look(Recorders)
    assert (found.code, found.verdict) == ("recorders_heard", "ok")
    assert found.found.endswith(" dBm by hci0")
    assert not pin.seen.connections


@needs_dbus
async def test_an_air_that_can_t_be_listened_to(hub: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an adapter there is nothing to listen with, which is told where it belongs."""
    hub.scan = True
    async with system_bus(tmp_path, monkeypatch) as address, FakeBlueZ(address):
        (found,) = await hub.look(Recorders)
    assert (found.code, found.verdict) == ("recorders_cant_scan", "not_checked")


# -- a real gateway ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World.open(tmp_path) as opened:
        yield opened


@virtual_time
async def test_beside_a_real_gateway(world: World, hub: Patient) -> None:
    """It is asked, its spool is left alone, and it goes on working."""
    await world.recorder("PIN0000001", speech(1))
    async with world.gateway() as running:
        await running.all_in(Custody.CONFIRMED)
        hub.sections["status"] = {"socket": running.socket}
        hub.place = running.socket.parent
        found = {one.code: one for one in await hub.look(Daemon, Recorders, Spool, Permission, S3)}
        assert set(found) == {
            *("daemon_well", "recorders_known", "spool_serves", "permission_gateway_may", "s3_allowed"),
        }
        assert {one.verdict for one in found.values()} == {"ok"}
        assert found["recorders_known"].found.startswith("1 of the project, 0 of others")


@virtual_time
async def test_what_a_real_gateway_met(world: World, hub: Patient) -> None:
    """An upload host that is not allowed, by the name that the API gave."""
    await world.recorder("PIN0000001", speech(1))
    async with world.gateway(cloud={"s3_hosts": ("elsewhere.example",)}) as running:
        hub.place = running.socket.parent

        async def refused() -> bool:
            rows = await running.gateway.spool.recordings()
            return any(row.waiting_for == "cloud_host_not_allowed" for row in rows)

        await running.until(refused)
        (found,) = await hub.look(S3)
        assert (found.code, found.verdict) == ("s3_refused", "failure")
        assert "127.0.0.1 is not among cloud.s3_hosts" in found.found
