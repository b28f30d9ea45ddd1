"""How the radio gets over what happens to BlueZ, on bleak's own backend and a real bus; only bluetoothd is ours."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from bleak.backends.bluezdbus import manager as bluez_manager
from dbus_fast import MessageType, Variant
from structlog.testing import capture_logs

from bota_gateway.backoff import Backoff
from bota_gateway.config import RadioSettings
from bota_gateway.errors import (
    AdapterError,
    ConnectError,
    GattError,
    IdentityError,
    LinkLostError,
    PairingError,
    PairingStalledError,
    SpoolCorruptError,
)
from bota_gateway.protocol.uuids import BOTA_SERVICES, SERIAL_NUMBER
from bota_gateway.radio import Radio, Sighting, Tally, cached, ladder, scanner, station
from bota_gateway.radio import watch as watching
from bota_gateway.spool import Moment, Spool
from bota_gateway.sync import recorder
from bota_gateway.sync.schedule import backoff_after
from support.fake_bluez import ADAPTER, DEVICE, FakeBlueZ, needs_dbus, system_bus
from support.spooling import TurnableClock, failing, settings_for

pytestmark = [needs_dbus, pytest.mark.timeout(60)]

ONE = "C0:FF:EE:00:00:01"
TWO = "C0:FF:EE:00:00:02"
ONBOARD = "DC:A6:32:00:00:01"
DONGLE = "00:1A:7D:00:00:02"
SERVICE = min(BOTA_SERVICES)


@dataclass
class Hub:
    """A radio of all adapters, at work, and what it told."""

    radio: Radio
    tally: Tally
    logs: list[Any] = field(default_factory=list)

    def told(self, event: str) -> list[Any]:
        """What was logged under this name."""
        return [entry for entry in self.logs if entry["event"] == event]

    async def sight(self, bluez: FakeBlueZ, address: str = ONE, **said: Any) -> Sighting:
        """Once the adapter listens, a recorder is heard."""
        hci = said.get("hci", "hci0")
        await until(lambda: f"/org/bluez/{hci}" in bluez.discovering)
        bluez.advertise(address, **said)
        await until(lambda: address in self.radio.sightings)
        return self.radio.sightings[address]


async def until(condition: Callable[[], object]) -> None:
    """Wait for another process's doing, of which no event here tells."""
    while not condition():  # noqa: ASYNC110 - as said
        await asyncio.sleep(0.005)


@asynccontextmanager
async def hub(settings: RadioSettings | None = None, tally: Tally | None = None) -> AsyncIterator[Hub]:
    tally = tally or Tally()
    radio = Radio(None, settings or RadioSettings(), lambda: 0.0, tally)
    with capture_logs() as logs:
        task = asyncio.create_task(radio.run())
        try:
            yield Hub(radio, tally, logs)
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


@pytest.fixture
async def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setattr(watching, "BUS_RETRY", Backoff(0.01, 30.0))
    async with system_bus(tmp_path, monkeypatch) as address:
        yield address


@pytest.fixture
async def bluez(bus: str) -> AsyncIterator[FakeBlueZ]:
    async with FakeBlueZ(bus) as daemon:
        daemon.add_adapter()
        yield daemon


# -- bluetoothd and the bus ------------------------------------------------------------------------


async def test_a_death_of_bluetoothd_ends_links_at_once_and_its_return_resumes(bus: str) -> None:
    """No callback of bleak's tells of it; the radio does, and scans and connects again, in the same process."""
    async with AsyncExitStack() as lives:
        first = await lives.enter_async_context(FakeBlueZ(bus))
        first.add_adapter()
        gateway = await lives.enter_async_context(hub())
        sighting = await gateway.sight(first)
        first.add_characteristic(sighting.device.details["path"], SERVICE, SERIAL_NUMBER, b"SERIAL0001")
        async with gateway.radio.connect(sighting) as link:
            assert await link.read(SERIAL_NUMBER) == b"SERIAL0001"
            first.die()
            await link.lost.wait()
            with pytest.raises(LinkLostError):
                await link.read(SERIAL_NUMBER)
        await until(lambda: gateway.told("bluetooth_lost"))
        assert gateway.told("bluetooth_lost")[0]["links"] == 1
        believed = bluez_manager._global_instances[asyncio.get_running_loop()]
        await until(lambda: not believed.is_connected(sighting.device.details["path"]))
        async with FakeBlueZ(bus) as second:
            second.add_adapter()
            left = second.advertise(ONE, connected=True)
            await gateway.sight(second, TWO)
            await until(
                lambda: not second.objects[left][DEVICE]["Connected"].value
            )  # the kernel had kept it, for nobody
            async with gateway.radio.connect(gateway.radio.sightings[TWO]):
                pass
            assert gateway.told("bluetooth_back")
            assert gateway.tally.counts["", "bluetooth_losses"] == 1
            assert gateway.tally.counts[ONBOARD, "leftovers_ended"] == 1


async def test_a_link_that_comes_to_light_late_is_ended(bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bluetoothd that has just started registers its adapters before it knows of their links; ours are spared."""
    monkeypatch.setattr(station, "LEFTOVERS_AGAIN_S", 0.0)
    monkeypatch.setattr(station, "UNOWNED_CHECK_S", 0.05)
    async with hub() as gateway:
        async with gateway.radio.connect(await gateway.sight(bluez)) as link:
            left = bluez.advertise(TWO, connected=True)
            await until(lambda: not bluez.objects[left][DEVICE]["Connected"].value)
            assert not link.lost.is_set()
        assert gateway.tally.counts[ONBOARD, "leftovers_ended"] == 1


async def test_what_bluez_keeps_for_nobody_is_dropped_by_and_by(
    bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to ask for it; it is counted."""
    monkeypatch.setattr(station, "LEFTOVERS_AGAIN_S", 0.0)
    monkeypatch.setattr(station, "UNOWNED_CHECK_S", 0.05)
    monkeypatch.setattr(cached, "UNOWNED_KEPT_S", 0.2)
    bluez.refusals["Disconnect"] = ("org.bluez.Error.NotConnected", "Not Connected")
    async with hub() as gateway:
        await gateway.sight(bluez)
        await until(lambda: gateway.tally.counts.get((ONBOARD, "devices_removed")))
        assert not bluez.devices


async def test_a_restart_of_the_system_bus_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection to it is gone, bleak's too; with the new one all goes on."""
    monkeypatch.setattr(watching, "BUS_RETRY", Backoff(0.01, 30.0))
    async with AsyncExitStack() as stack:
        before = AsyncExitStack()
        address = await before.enter_async_context(system_bus(tmp_path, monkeypatch))
        first = await before.enter_async_context(FakeBlueZ(address))
        first.add_adapter()
        gateway = await stack.enter_async_context(hub())
        async with gateway.radio.connect(await gateway.sight(first)) as link:
            await before.aclose()
            await link.lost.wait()
        await until(lambda: gateway.told("bluetooth_lost"))
        (tmp_path / "bus").unlink(missing_ok=True)
        await stack.enter_async_context(system_bus(tmp_path, monkeypatch))
        second = await stack.enter_async_context(FakeBlueZ(address))
        second.add_adapter()
        async with gateway.radio.connect(await gateway.sight(second, TWO)):
            pass


# -- adapters that come and go ---------------------------------------------------------------------


async def test_losing_one_adapter_disturbs_no_other(bluez: FakeBlueZ) -> None:
    """A link on the other one lives on, and so does its scan; status names the lost one by its address."""
    bluez.add_adapter("hci1", address=DONGLE)
    async with hub() as gateway:
        await gateway.sight(bluez, TWO, hci="hci1")
        async with gateway.radio.connect(await gateway.sight(bluez)) as link:
            bluez.remove_adapter("hci1")
            await until(lambda: gateway.told("adapter_lost"))
            assert gateway.told("adapter_lost")[0]["address"] == DONGLE
            assert DONGLE in gateway.radio.troubles["hci1"].error.message
            assert not link.lost.is_set()
        states = {state.address: state for state in (one.state() for one in gateway.radio.stations)}
        assert (states[ONBOARD].there, states[DONGLE].there) == (True, False)
        assert gateway.tally.counts[DONGLE, "adapter_losses"] == 1
        assert (ONBOARD, "adapter_losses") not in gateway.tally.counts


async def test_an_adapter_that_comes_back_under_another_name_is_used_at_once(bluez: FakeBlueZ) -> None:
    """Its address tells that it is the same one."""
    bluez.add_adapter("hci1", address=DONGLE)
    async with hub() as gateway:
        await gateway.sight(bluez, TWO, hci="hci1")
        bluez.remove_adapter("hci1")
        await until(lambda: gateway.told("adapter_lost"))
        bluez.add_adapter("hci5", address=DONGLE)
        await gateway.sight(bluez, ONE, hci="hci5")
        assert [(entry["adapter"], entry["address"]) for entry in gateway.told("adapter_back")] == [("hci5", DONGLE)]
        async with gateway.radio.connect(gateway.radio.sightings[ONE]):
            assert bluez.objects["/org/bluez/hci5/dev_C0_FF_EE_00_00_01"][DEVICE]["Connected"].value
        assert not gateway.radio.troubles


async def test_a_stranger_under_a_lost_adapters_name_is_not_mistaken_for_it(bluez: FakeBlueZ) -> None:
    """Where only the first is wanted, the second, which is called hci1 now, is left alone."""
    bluez.add_adapter("hci1", address=DONGLE)
    async with hub(RadioSettings(adapters=(ONBOARD, DONGLE))) as gateway:
        await gateway.sight(bluez, TWO, hci="hci1")
        bluez.remove_adapter("hci1")
        await until(lambda: gateway.told("adapter_lost"))
        bluez.add_adapter("hci1", address="00:00:00:00:00:99")
        asked = bluez.asked.count("GetManagedObjects")
        await until(lambda: bluez.asked.count("GetManagedObjects") > asked)
        assert "/org/bluez/hci1" not in bluez.discovering
        assert "hci1" in gateway.radio.troubles


async def test_an_adapter_that_is_plugged_in_later_is_used(bluez: FakeBlueZ) -> None:
    """Without a word in the settings, every adapter is used."""
    async with hub() as gateway:
        await gateway.sight(bluez)
        bluez.add_adapter("hci1", address=DONGLE)
        await gateway.sight(bluez, TWO, hci="hci1")


async def test_without_any_adapter_the_radio_says_so(bluez: FakeBlueZ) -> None:
    """The daemon starts it again until there is one."""
    bluez.remove_adapter()
    radio = Radio(None, RadioSettings(), lambda: 0.0)
    with pytest.raises(ExceptionGroup) as failed:
        await radio.run()
    assert failed.group_contains(AdapterError)


async def test_an_adapter_that_is_switched_off_and_on_is_noticed_both_times(bluez: FakeBlueZ) -> None:
    """Not a minute and a half later, as by its silence."""
    async with hub() as gateway:
        await gateway.sight(bluez)
        bluez.change("/org/bluez/hci0", ADAPTER, Powered=Variant("b", False))
        await until(lambda: "hci0" in gateway.radio.troubles)
        bluez.change("/org/bluez/hci0", ADAPTER, Powered=Variant("b", True))
        await until(lambda: "hci0" not in gateway.radio.troubles)


# -- the ladder ------------------------------------------------------------------------------------


async def test_an_adapter_is_switched_off_and_on_again(bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this order, counted, and its scanner runs afterwards."""
    monkeypatch.setattr(station, "POWER_OFF_S", 0.0)
    async with hub() as gateway:
        await gateway.sight(bluez)
        (here,) = gateway.radio.stations
        assert here.why_no_power_cycle() is None
        assert await here.power_cycle("hci0")
        assert [body[2].value for member, _, body in bluez.calls if member == "Set"] == [False, True]
        assert gateway.tally.counts[ONBOARD, "power_cycles"] == 1
        await gateway.sight(bluez, TWO)


async def test_an_adapter_with_links_is_never_switched_off(bluez: FakeBlueZ) -> None:
    """Ours, and those of other programs, a keyboard's say; nor one that the settings spare."""
    async with hub() as gateway:
        sighting = await gateway.sight(bluez)
        (here,) = gateway.radio.stations
        async with gateway.radio.connect(sighting):
            assert here.why_no_power_cycle() == "links are in use"
            assert not await here.power_cycle("hci0")
        bluez.advertise("AA:BB:CC:00:00:01", name="Keyboard", connected=True)
        assert not await here.power_cycle("hci0")
        assert gateway.told("power_cycle_spared")
    async with hub(RadioSettings(power_cycle=False)) as gateway:
        await gateway.sight(bluez, TWO)
        (here,) = gateway.radio.stations
        assert here.why_no_power_cycle() == "radio.power_cycle forbids it"
    assert "Set" not in bluez.asked


async def test_a_link_to_a_recorder_that_nobody_here_holds_spares_no_adapter(
    bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not be ended, because the kernel takes no command any more: that is what the switching is for."""
    monkeypatch.setattr(station, "POWER_OFF_S", 0.0)
    async with hub() as gateway:
        await gateway.sight(bluez)
        bluez.refusals["Disconnect"] = ("org.bluez.Error.Failed", "")
        bluez.advertise(TWO, connected=True)
        (here,) = gateway.radio.stations
        assert await here.power_cycle("hci0")


async def test_a_recorder_that_bluez_holds_for_nobody_is_let_go_when_its_silence_is_noticed(
    bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that came to light after the last look keeps it from advertising; the next look may be minutes away."""
    monkeypatch.setattr(station, "LEFTOVERS_AGAIN_S", 3600.0)
    async with hub() as gateway:
        await gateway.sight(bluez)
        left = bluez.advertise(TWO, connected=True)
        (here,) = gateway.radio.stations
        here.restarted()
        here.scanner.retry()
        await until(lambda: not bluez.objects[left][DEVICE]["Connected"].value)


async def test_power_that_could_not_be_given_back_is_owed(bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch) -> None:
    """BlueZ answers Busy for a while: it is tried again until it is on, for nobody else would do it."""
    monkeypatch.setattr(station, "POWER_OFF_S", 0.0)
    monkeypatch.setattr(station, "POWER_ON_RETRY_S", 0.0)
    async with hub() as gateway:
        await gateway.sight(bluez)
        (here,) = gateway.radio.stations
        adapter = bluez.objects["/org/bluez/hci0"][ADAPTER]
        bluez.change = off_only(bluez)  # type: ignore[method-assign]  # this controller is slow to come back
        assert await here.power_cycle("hci0")
        assert not adapter["Powered"].value
        del bluez.refusals["Set"]
        bluez.change = FakeBlueZ.change.__get__(bluez)  # type: ignore[method-assign]  # and now it is back
        here.scanner.retry()
        await until(lambda: adapter["Powered"].value)
        await gateway.sight(bluez, TWO)


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    async with Spool.open(settings_for(tmp_path / "spool"), TurnableClock()) as spool:
        yield spool


async def tally_of(spool: Spool) -> Tally:
    """As the daemon makes it."""
    return Tally(await spool.counters(), spool.keep_counters)


async def owed(spool: Spool) -> int | None:
    """What the next life would read; None for nothing at all."""
    return (await spool.counters()).get((ONBOARD, "power_owed"))


def has_power(bluez: FakeBlueZ) -> bool:
    return bool(bluez.objects["/org/bluez/hci0"][ADAPTER]["Powered"].value)


def switchings(bluez: FakeBlueZ) -> list[bool]:
    """On or off, as was asked of BlueZ."""
    return [body[2].value for member, _, body in bluez.calls if member == "Set"]


async def test_an_adapter_that_a_killed_life_switched_off_is_switched_on(
    bluez: FakeBlueZ, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written down before the adapter goes off, and found at the next start; nobody else would switch it on."""
    monkeypatch.setattr(station, "POWER_OFF_S", 0.0)
    had_power: list[bool] = []
    monkeypatch.setattr(spool._db, "_probe", lambda _step, _moment: had_power.append(has_power(bluez)))
    async with hub(tally=await tally_of(spool)) as gateway:
        await gateway.sight(bluez)
        (here,) = gateway.radio.stations
        assert await here.power_cycle("hci0")
    assert (await owed(spool), set(had_power)) == (0, {True})
    await spool.keep_counters({(ONBOARD, "power_owed"): 1})  # killed between the two
    bluez.change("/org/bluez/hci0", ADAPTER, Powered=Variant("b", False))
    had_power.clear()
    async with hub(tally=await tally_of(spool)) as gateway:
        await until(lambda: has_power(bluez))
        await gateway.sight(bluez, TWO)
        assert gateway.told("power_cycled")
        assert (await owed(spool), set(had_power)) == (0, {True})
        assert (ONBOARD, "power_owed") not in gateway.tally.counts


async def test_an_adapter_that_a_person_switched_off_stays_off(bluez: FakeBlueZ, spool: Spool) -> None:
    """Also where an earlier life owed it power: a person has given it that since, and may take it away."""
    await spool.keep_counters({(ONBOARD, "power_owed"): 1})
    async with hub(tally=await tally_of(spool)) as gateway:
        await gateway.sight(bluez)
        assert await owed(spool) == 0
        bluez.change("/org/bluez/hci0", ADAPTER, Powered=Variant("b", False))
        await until(lambda: len(gateway.told("scan_failed")) > 1)  # it was looked at again after the first
        assert not has_power(bluez)
        assert "Set" not in bluez.asked


@pytest.mark.parametrize("refusal", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE])
async def test_an_adapter_is_not_switched_off_while_the_disk_refuses_to_note_it(
    bluez: FakeBlueZ, spool: Spool, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    """The log says why, links of other adapters live on, and once the disk takes it the ladder does it after all."""
    monkeypatch.setattr(station, "POWER_OFF_S", 0.0)
    bluez.add_adapter("hci1", address=DONGLE)
    async with hub(tally=await tally_of(spool)) as gateway:
        await gateway.sight(bluez)
        async with gateway.radio.connect(await gateway.sight(bluez, TWO, hci="hci1")) as link:
            with failing(spool, code=refusal):
                deafen(bluez, gateway, monkeypatch)
                await until(lambda: link.lost.is_set() or gateway.told("power_cycle_spared"))
                assert not link.lost.is_set()
                spared = gateway.told("power_cycle_spared")[0]
                assert (spared["log_level"], spared["address"]) == ("warning", ONBOARD)
                assert "step count" in spared["reason"]
                assert spared["advice"]
                assert not gateway.told("power_cycling")
                assert switchings(bluez) == []
            await until(lambda: gateway.told("power_cycled"))
            assert switchings(bluez)[:2] == [False, True]
            assert not link.lost.is_set()


def deafen(bluez: FakeBlueZ, gateway: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on BlueZ refuses to scan, and no adapter has patience with that."""
    monkeypatch.setattr(ladder, "PATIENCE", Backoff(0.0, 0.0))
    monkeypatch.setattr(ladder, "POWER_AGAIN", Backoff(0.01, 0.01))
    monkeypatch.setattr(scanner, "SCAN_RETRY", Backoff(0.01, 0.01))
    bluez.refusals["StartDiscovery"] = ("org.bluez.Error.InProgress", "")
    for each in gateway.radio.stations:
        each.scanner.retry()


async def test_power_that_was_given_back_while_the_disk_refuses_to_note_it_is_no_longer_owed(
    bluez: FakeBlueZ, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The radio goes on, whoever takes the power away now is obeyed, and the note is made up for by and by."""
    monkeypatch.setattr(station, "POWER_OFF_S", 0.0)
    async with hub(tally=await tally_of(spool)) as gateway:
        await gateway.sight(bluez)
        (here,) = gateway.radio.stations
        with failing(spool, after=1) as failed:
            assert await here.power_cycle("hci0")
            assert has_power(bluez)
            assert failed
            bluez.change("/org/bluez/hci0", ADAPTER, Powered=Variant("b", False))
            await until(lambda: len(gateway.told("scan_failed")) > 1)
            assert switchings(bluez) == [False, True]
        assert await owed(spool) == 1
        bluez.change("/org/bluez/hci0", ADAPTER, Powered=Variant("b", True))
        await gateway.sight(bluez, TWO)
        assert await owed(spool) == 0


async def test_a_note_of_which_nobody_knows_whether_it_was_made_is_taken_back(
    bluez: FakeBlueZ, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may refuse what it keeps all the same: the next life would give power that a person took away."""
    async with hub(tally=await tally_of(spool)) as gateway:
        await gateway.sight(bluez)
        (here,) = gateway.radio.stations
        with failing(spool, moment=Moment.COMMITTED):
            assert not await here.power_cycle("hci0")
        assert await owed(spool) == 1
        starts = here.scanner.counters.starts
        here.scanner.retry()
        await until(lambda: here.scanner.counters.starts > starts)
        await gateway.sight(bluez, TWO)
        assert await owed(spool) == 0


async def test_a_damaged_spool_is_for_the_daemon_to_deal_with(
    bluez: FakeBlueZ, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its new start helps, so that it must learn of it, also where the radio is the first that finds it."""
    radio = Radio(None, RadioSettings(), lambda: 0.0, await tally_of(spool))
    task = asyncio.create_task(radio.run())
    await until(lambda: "/org/bluez/hci0" in bluez.discovering)
    with failing(spool, code=sqlite3.SQLITE_CORRUPT):
        deafen(bluez, Hub(radio, Tally()), monkeypatch)
        with pytest.raises(ExceptionGroup) as failed:
            await asyncio.wait_for(task, 20)
    assert failed.group_contains(SpoolCorruptError)
    assert "Set" not in bluez.asked


def off_only(bluez: FakeBlueZ) -> Callable[..., None]:
    """A controller that switches off, and then is busy for a while."""
    change = bluez.change

    def changed(path: str, interface: str, **properties: Variant) -> None:
        change(path, interface, **properties)
        bluez.refusals["Set"] = ("org.bluez.Error.Busy", "")

    return changed


# -- what stands in a recorder's way ---------------------------------------------------------------


async def read_serial(gateway: Hub, address: str = ONE) -> bytes:
    async with gateway.radio.connect(gateway.radio.sightings[address]) as link:
        return await link.read(SERIAL_NUMBER)


async def test_stale_services_are_read_anew_once(bluez: FakeBlueZ) -> None:
    """What the firmware update moved answers wrongly; BlueZ is made to forget the recorder, and then all is well."""
    async with hub() as gateway:
        path = (await gateway.sight(bluez)).device.details["path"]
        bluez.add_characteristic(path, SERVICE, SERIAL_NUMBER, ("org.bluez.Error.NotPermitted", "Read not permitted"))
        with pytest.raises(GattError):
            await read_serial(gateway)
        assert path not in bluez.objects
        assert gateway.tally.counts[ONBOARD, "gatt_refreshes"] == 1
        assert ONE not in gateway.radio.sightings, "it must be heard again before it can be connected"
        await gateway.sight(bluez)
        bluez.add_characteristic(path, SERVICE, SERIAL_NUMBER, b"SERIAL0001")
        assert await read_serial(gateway) == b"SERIAL0001"


async def test_a_recorder_that_lacks_something_is_not_forgotten_at_every_visit(bluez: FakeBlueZ) -> None:
    """Reading its services anew was of no use, and will be of none in the next minutes."""
    async with hub() as gateway:
        path = (await gateway.sight(bluez)).device.details["path"]
        for _ in range(2):
            with pytest.raises(GattError, match="no characteristic"):
                await read_serial(gateway)
            await gateway.sight(bluez)
        assert bluez.asked.count("RemoveDevice") == 1
        assert path in bluez.objects


async def test_a_paired_recorder_is_not_forgotten(bluez: FakeBlueZ) -> None:
    """That would end the pairing, which only a person may."""
    async with hub() as gateway:
        await gateway.sight(bluez, also={"Paired": Variant("b", True)})
        with pytest.raises(GattError):
            await read_serial(gateway)
        assert "RemoveDevice" not in bluez.asked
        assert f"bluetoothctl remove {ONE}" in gateway.told("recorder_refresh_spared")[0]["advice"]


async def test_a_connect_that_is_nobodys_is_cleared(bluez: FakeBlueZ) -> None:
    """BlueZ says twice that one is in progress: it is made to forget the recorder, and the next one succeeds."""
    async with hub() as gateway:
        await gateway.sight(bluez)
        bluez.refusals["Connect"] = ("org.bluez.Error.InProgress", "In Progress")
        for _ in range(2):
            assert "RemoveDevice" not in bluez.asked
            with pytest.raises(ConnectError):
                await read_serial(gateway)
        assert "RemoveDevice" in bluez.asked
        del bluez.refusals["Connect"]
        async with gateway.radio.connect(await gateway.sight(bluez)):
            pass


async def test_a_recorder_that_demands_encryption_is_paired_and_remembered(bluez: FakeBlueZ) -> None:
    """BlueZ's "Not paired" leads to Pair, and the read succeeds; the next link needs none."""
    async with hub() as gateway:
        path = (await gateway.sight(bluez)).device.details["path"]
        refused = ("org.bluez.Error.NotPermitted", "Not paired")
        serial = bluez.add_characteristic(path, SERVICE, SERIAL_NUMBER, refused)
        change = bluez.change

        def changed(path: str, interface: str, **properties: Variant) -> None:
            change(path, interface, **properties)
            if "Paired" in properties:
                bluez.values[serial] = b"SERIAL0001"

        bluez.change = changed  # type: ignore[method-assign]  # what the recorder does when it is paired
        assert await read_serial(gateway) == b"SERIAL0001"
        await gateway.sight(bluez, also={"Paired": Variant("b", True)})
        bluez.add_characteristic(path, SERVICE, SERIAL_NUMBER, b"SERIAL0001")
        assert await read_serial(gateway) == b"SERIAL0001"
        assert bluez.asked.count("Pair") == 1
        assert gateway.tally.counts[ONBOARD, "pairings"] == 1


async def test_a_pairing_that_fails_holds_up_no_other_recorder(bluez: FakeBlueZ) -> None:
    """It has its own reason; another recorder is connected while the first one is still being paired."""
    async with hub() as gateway:
        path = (await gateway.sight(bluez)).device.details["path"]
        bluez.add_characteristic(path, SERVICE, SERIAL_NUMBER, ("org.bluez.Error.NotPermitted", "Not paired"))
        await gateway.sight(bluez, TWO)
        bluez.refusals["Pair"] = None
        refused = asyncio.create_task(read_serial(gateway))
        await until(lambda: "Pair" in bluez.asked)
        async with gateway.radio.connect(gateway.radio.sightings[TWO]):
            assert not refused.done()
        bluez.change(path, DEVICE, Connected=Variant("b", False))
        with pytest.raises(PairingError, match="ended the link"):
            await refused
        assert gateway.tally.counts[ONBOARD, "pairings_failed"] == 1


# -- pairing ---------------------------------------------------------------------------------------


async def test_a_recorder_that_is_visited_may_pair_and_nobody_else(bluez: FakeBlueZ) -> None:
    """BlueZ asks an agent before it pairs without questions; a hub has no other agent than the gateway."""
    async with hub() as gateway:
        sighting = await gateway.sight(bluez)
        path = sighting.device.details["path"]
        stranger = bluez.advertise(TWO)
        async with gateway.radio.connect(sighting):
            agreed = await bluez.ask_agent("RequestAuthorization", path)
            refused = [
                await bluez.ask_agent("RequestAuthorization", stranger),
                *[await bluez.ask_agent(question, path) for question in ("RequestPinCode", "RequestPasskey")],
                await bluez.ask_agent("RequestConfirmation", path, ("u", 123456)),
                await bluez.ask_agent("AuthorizeService", stranger, ("s", "0000110a-0000-1000-8000-00805f9b34fb")),
            ]
        refused.append(await bluez.ask_agent("RequestAuthorization", path))
        assert gateway.tally.counts[ONBOARD, "pairings"] == 1
    assert agreed.message_type is MessageType.METHOD_RETURN
    assert [answer.error_name for answer in refused] == ["org.bluez.Error.Rejected"] * 6
    assert [(entry["address"], entry["adapter"]) for entry in gateway.told("pairing")] == [(ONE, "hci0")]
    assert [entry["address"] for entry in gateway.told("pairing_refused")] == [TWO, ONE, ONE, ONE, TWO, ONE]


async def test_a_first_link_that_falls_silent_after_the_pairing_is_no_missing_identity(
    bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BlueZ 5.66 may stall when it begins a pairing by itself: no fault of the recorder, and the next link is fine."""
    monkeypatch.setattr(recorder, "IDENTITY_S", 0.1)
    async with hub() as gateway:
        sighting = await gateway.sight(bluez)
        path = sighting.device.details["path"]
        bluez.add_characteristic(path, SERVICE, SERIAL_NUMBER, b"SERIAL0001")
        bluez.refusals["ReadValue"] = None
        async with gateway.radio.connect(sighting) as link:
            with pytest.raises(IdentityError):
                await recorder.read_serial(link)
            await bluez.ask_agent("RequestAuthorization", path)
            with pytest.raises(PairingStalledError) as stalled:
                await recorder.read_serial(link)
        assert backoff_after(stalled.value, 1, Random(1)) < 10


async def test_other_programs_stay_the_agents_of_their_own_pairings(bluez: FakeBlueZ) -> None:
    """BlueZ asks ours where there is no other; a desktop's, which was there before, is not displaced."""
    async with hub() as gateway:
        await until(lambda: bluez.agent)
        async with gateway.radio.connect(await gateway.sight(bluez)):
            pass
        assert [body[1] for member, _, body in bluez.calls if member == "RegisterAgent"] == ["NoInputNoOutput"]
        assert "RequestDefaultAgent" not in bluez.asked


PAIRED = {"Paired": Variant("b", True)}


async def test_a_recorder_that_has_lost_its_keys_is_paired_anew(bluez: FakeBlueZ) -> None:
    """A reset takes them, and BlueZ would end every link for ever; after the third it is made to forget its own."""
    async with hub() as gateway:
        path = (await gateway.sight(bluez, also=PAIRED)).device.details["path"]
        bluez.keyless.add(path)
        for _ in range(3):
            assert "RemoveDevice" not in bluez.asked
            with pytest.raises(ConnectError, match="device disconnected"):
                await read_serial(gateway)
        assert path not in bluez.objects
        assert "lost the keys" in gateway.told("recorder_refreshed")[0]["reason"]
        async with gateway.radio.connect(await gateway.sight(bluez)):
            pass


async def test_a_pairing_that_a_person_trusts_is_never_given_up(bluez: FakeBlueZ) -> None:
    """Whoever trusts a device has decided about it; the log says how to undo that."""
    async with hub() as gateway:
        path = (await gateway.sight(bluez, also={**PAIRED, "Trusted": Variant("b", True)})).device.details["path"]
        bluez.keyless.add(path)
        for _ in range(4):
            with pytest.raises(ConnectError):
                await read_serial(gateway)
        assert "RemoveDevice" not in bluez.asked
        assert len(gateway.told("recorder_refresh_spared")) == 1


async def test_links_that_end_early_now_and_then_cost_no_pairing(bluez: FakeBlueZ) -> None:
    """Interference does that, too; a link that comes up in between shows that the keys are good."""
    async with hub() as gateway:
        path = (await gateway.sight(bluez, also=PAIRED)).device.details["path"]
        for _ in range(3):
            bluez.keyless.add(path)
            for _ in range(2):
                with pytest.raises(ConnectError):
                    await read_serial(gateway)
            bluez.keyless.clear()
            bluez.add_characteristic(path, SERVICE, SERIAL_NUMBER, b"SERIAL0001")
            assert await read_serial(gateway) == b"SERIAL0001"
            await gateway.sight(bluez, also=PAIRED)
        assert "RemoveDevice" not in bluez.asked


async def test_a_link_that_comes_up_and_answers_nothing_counts_too(bluez: FakeBlueZ) -> None:
    """BlueZ may take the services from its memory before the keys turn out to be useless."""
    async with hub() as gateway:
        path = (await gateway.sight(bluez, also=PAIRED)).device.details["path"]
        for _ in range(3):
            assert "RemoveDevice" not in bluez.asked
            async with gateway.radio.connect(await gateway.sight(bluez, also=PAIRED)) as link:
                bluez.change(path, DEVICE, Connected=Variant("b", False))
                await link.lost.wait()
        assert path not in bluez.objects


async def test_a_new_bluetoothd_learns_of_the_agent(bus: str) -> None:
    """It forgot the agent with everything else."""
    async with AsyncExitStack() as lives:
        first = await lives.enter_async_context(FakeBlueZ(bus))
        first.add_adapter()
        await lives.enter_async_context(hub())
        await until(lambda: first.agent)
        first.die()
        second = await lives.enter_async_context(FakeBlueZ(bus))
        second.add_adapter()
        await until(lambda: second.agent)


async def test_an_agent_that_bluez_turns_down_is_told_of(bluez: FakeBlueZ) -> None:
    """Recorders without encryption are served all the same."""
    bluez.refusals["RegisterAgent"] = ("org.freedesktop.DBus.Error.AccessDenied", "not for you")
    async with hub() as gateway:
        await until(lambda: gateway.told("pairing_agent_refused"))
        assert gateway.told("pairing_agent_refused")[0]["reason"] == "not for you"
        async with gateway.radio.connect(await gateway.sight(bluez)):
            pass
