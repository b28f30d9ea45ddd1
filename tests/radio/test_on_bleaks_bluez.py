"""The room on bleak's own BlueZ backend and a real bus; only bluetoothd is ours."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dbus_fast import Variant

from bota_gateway.config import RadioSettings
from bota_gateway.errors import AdapterError, ConnectError, ConnectKind
from bota_gateway.radio import Adapter, Radio, Sighting, discover_adapters
from bota_gateway.radio.classify import RULES
from support.fake_bluez import ADAPTER, DEVICE, FakeBlueZ, needs_dbus, system_bus

pytestmark = [needs_dbus, pytest.mark.timeout(60)]

ONE = "C0:FF:EE:00:00:01"
TWO = "C0:FF:EE:00:00:02"


@pytest.fixture
async def bluez(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeBlueZ]:
    async with system_bus(tmp_path, monkeypatch) as address, FakeBlueZ(address) as daemon:
        daemon.add_adapter()
        yield daemon


@asynccontextmanager
async def radio_at_work() -> AsyncIterator[Radio]:
    radio = Radio(await discover_adapters(RadioSettings()), RadioSettings(), lambda: 0.0)
    task = asyncio.create_task(radio.run())
    try:
        yield radio
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(bluez: FakeBlueZ, member: str, times: int = 1) -> None:
    """Wait until bluetoothd was asked for ``member`` so often."""
    while bluez.asked.count(member) < times:  # noqa: ASYNC110 - another process's doing: there is no event to wait for
        await asyncio.sleep(0.005)


async def sight(radio: Radio, bluez: FakeBlueZ, address: str = ONE) -> Sighting:
    await until(bluez, "StartDiscovery")
    bluez.advertise(address)
    while address not in radio.sightings:
        await radio.wait_for_change(radio.revision)
    return radio.sightings[address]


async def hold(radio: Radio, sighting: Sighting) -> None:
    async with radio.connect(sighting):
        pass


async def test_adapters_are_found(bluez: FakeBlueZ) -> None:
    """All there are, by name; one by address."""
    bluez.add_adapter("hci1", address="00:1A:7D:00:00:02", powered=False)
    assert await discover_adapters(RadioSettings()) == [
        Adapter("hci0", "DC:A6:32:00:00:01"),
        Adapter("hci1", "00:1A:7D:00:00:02"),
    ]
    named = RadioSettings(adapters=("00:1a:7d:00:00:02",))
    assert [adapter.name for adapter in await discover_adapters(named)] == ["hci1"]


async def test_a_bus_without_bluetoothd_gets_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator is told to start it."""
    async with system_bus(tmp_path, monkeypatch):
        with pytest.raises(AdapterError, match="not running") as caught:
            await discover_adapters(RadioSettings())
    assert "systemctl enable --now bluetooth" in caught.value.next_step


async def test_a_recorder_is_sighted_connected_and_let_go(bluez: FakeBlueZ) -> None:
    """Discovery runs, stops for the connect, and runs again; the recorder is disconnected at the end."""
    async with radio_at_work() as radio:
        sighting = await sight(radio, bluez)
        assert (sighting.address, sighting.name, sighting.rssi) == (ONE, "Bota Pin", -60)
        async with radio.connect(sighting) as link:
            assert bluez.objects[sighting.device.details["path"]][DEVICE]["Connected"].value
            assert link.mtu == 23
            assert not radio.sightings, "changes of its properties are no advertisement"
        asked = [each for each in bluez.asked if each in {"StartDiscovery", "StopDiscovery", "Connect", "Disconnect"}]
        assert asked[:3] == ["StartDiscovery", "StopDiscovery", "Connect"]
        assert "Disconnect" in asked
        await until(bluez, "StartDiscovery", 2)


async def test_a_signal_of_before_a_link_is_not_taken_for_one_after_it(
    bluez: FakeBlueZ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another program's discovery keeps the strength alive, bleak hands it on with what ends the link."""
    monkeypatch.setattr("bota_gateway.radio.sightings.STALE_S", 3600.0)  # so that no slow machine is too late for it
    async with radio_at_work() as radio:
        sighting = await sight(radio, bluez)
        path = sighting.device.details["path"]
        async with radio.connect(sighting) as link:
            await until(bluez, "StartDiscovery", 2)
        asked = asyncio.create_task(radio.heard_again(link.adapter, link.address))
        bluez.change(path, DEVICE, ServicesResolved=Variant("b", False))
        while ONE not in radio.sightings:
            await radio.wait_for_change(radio.revision)
        assert radio.sightings[ONE].rssi == sighting.rssi, "it is that of before the link"
        assert not asked.done()
        asked.cancel()


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (("org.bluez.Error.Failed", "le-connection-concurrent-connection-limit"), ConnectKind.NO_SLOTS),
        (("org.bluez.Error.Failed", "le-connection-adapter-not-powered"), ConnectKind.ADAPTER_DOWN),
        (("org.bluez.Error.InProgress", "In Progress"), ConnectKind.BUSY),
        (("org.bluez.Error.AuthenticationFailed", "Authentication Failed"), ConnectKind.AUTHENTICATION),
        (("org.freedesktop.DBus.Error.UnknownObject", "no such object"), ConnectKind.GONE),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else str(value),
)
async def test_a_refused_connect_is_classified_and_taken_back(
    bluez: FakeBlueZ, refusal: tuple[str, str], kind: ConnectKind
) -> None:
    """Bleak's exceptions as they really come; the attempt is cancelled at BlueZ and scanning goes on."""
    async with radio_at_work() as radio:
        sighting = await sight(radio, bluez)
        bluez.refusals["Connect"] = refusal
        with pytest.raises(ConnectError) as caught:
            await hold(radio, sighting)
        assert (caught.value.kind, caught.value.next_step) == (kind, RULES[kind].advice)
        assert bluez.asked.index("Connect") < bluez.asked.index("Disconnect")
        await until(bluez, "StartDiscovery", 2)


async def test_a_cancelled_connect_is_taken_back(bluez: FakeBlueZ) -> None:
    """BlueZ would otherwise answer the next try with InProgress, for minutes."""
    bluez.refusals["Connect"] = None
    async with radio_at_work() as radio:
        sighting = await sight(radio, bluez)
        task = asyncio.create_task(hold(radio, sighting))
        await until(bluez, "Connect")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "Disconnect" in bluez.asked
        del bluez.refusals["Connect"]
        await hold(radio, sighting)


async def test_a_disconnect_by_the_other_side_is_noticed(bluez: FakeBlueZ) -> None:
    """BlueZ's property change sets ``lost``."""
    async with radio_at_work() as radio:
        sighting = await sight(radio, bluez)
        async with radio.connect(sighting) as link:
            bluez.change(sighting.device.details["path"], DEVICE, Connected=Variant("b", False))
            await link.lost.wait()


async def test_leaving_is_possible_when_bluetoothd_has_died(bluez: FakeBlueZ) -> None:
    """No callback comes, and disconnecting fails: the link is closed all the same, and nothing is raised."""
    async with radio_at_work() as radio:
        sighting = await sight(radio, bluez)
        async with radio.connect(sighting) as link:
            bluez.die()
        assert link.lost.is_set()


async def test_links_of_an_earlier_life_are_ended(bluez: FakeBlueZ) -> None:
    """A killed gateway's link is in BlueZ still; it is taken over and ended before scanning begins."""
    path = bluez.advertise(ONE, connected=True)
    bluez.change(
        path, DEVICE, UUIDs=Variant("as", ["b07a0002-0000-1000-8000-00805f9b34fb"]), ServicesResolved=Variant("b", True)
    )
    bluez.objects[f"{path}/service0001"] = {
        "org.bluez.GattService1": {
            "Device": Variant("o", path),
            "UUID": Variant("s", "b07a0002-0000-1000-8000-00805f9b34fb"),
            "Primary": Variant("b", True),
        }
    }
    async with radio_at_work():
        await until(bluez, "StartDiscovery")
        assert not bluez.objects[path][DEVICE]["Connected"].value
        assert bluez.asked.index("Disconnect") < bluez.asked.index("StartDiscovery")
        assert "Connect" not in bluez.asked


async def test_an_adapter_that_is_switched_on_is_used(bluez: FakeBlueZ) -> None:
    """NotReady is waited out."""
    bluez.refusals["StartDiscovery"] = ("org.bluez.Error.NotReady", "Resource Not Ready")
    bluez.change("/org/bluez/hci0", ADAPTER, Powered=Variant("b", False))
    async with radio_at_work() as radio:
        await until(bluez, "StartDiscovery")
        del bluez.refusals["StartDiscovery"]
        bluez.change("/org/bluez/hci0", ADAPTER, Powered=Variant("b", True))
        await until(bluez, "StartDiscovery", 2)
        assert (await sight(radio, bluez)).address == ONE


async def test_an_adapter_that_comes_back_under_another_name_is_used(bluez: FakeBlueZ) -> None:
    """Unplugged and plugged in again, it is another hciN; its address finds it."""
    async with radio_at_work() as radio:
        await sight(radio, bluez)
        bluez.remove_adapter()
        async with radio.scanners["hci0"].paused():
            pass
        while radio.scanners["hci0"].counters.failures == 0:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.005)
        bluez.add_adapter("hci1")
        starts = bluez.asked.count("StartDiscovery")
        await until(bluez, "StartDiscovery", starts + 1)
        bluez.advertise(TWO, hci="hci1")
        while TWO not in radio.sightings:
            await radio.wait_for_change(radio.revision)
        async with radio.connect(radio.sightings[TWO]):
            assert bluez.objects["/org/bluez/hci1/dev_C0_FF_EE_00_00_02"][DEVICE]["Connected"].value
