"""Pins everything undocumented of bleak that the room relies on: an update that changes it fails here, not on a hub."""

import asyncio
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bleak import BleakClient
from bleak.args.bluez import BlueZDiscoveryFilters, BlueZNotifyArgs, BlueZScannerArgs
from bleak.backends.bluezdbus import client as bluez_client
from bleak.backends.bluezdbus import manager as bluez_manager
from bleak.backends.bluezdbus.client import BleakClientBlueZDBus
from bleak.backends.bluezdbus.manager import BlueZManager, get_max_write_without_response_size
from bleak.backends.bluezdbus.scanner import BleakScannerBlueZDBus
from bleak.backends.bluezdbus.version import BlueZFeatures
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.backends.service import BleakGATTService
from bleak.exc import BleakDBusError, BleakDeviceNotFoundError, BleakError
from dbus_fast import Message, MessageType

from bota_gateway.errors import ConnectKind
from bota_gateway.radio.bluez import forget_what_bleak_believes
from bota_gateway.radio.classify import classify, is_link_loss
from bota_gateway.radio.const import CONNECT_S, MTU_DEFAULT, RSSI_UNKNOWN
from support.fake_bluez import FakeBlueZ, system_bus
from support.virtual_time import virtual_time

PATH = "/org/bluez/hci0/dev_C0_FF_EE_00_00_01"
DEVICE_PROPERTIES = {
    "Adapter": "/org/bluez/hci0",
    "Address": "C0:FF:EE:00:00:01",
    "Alias": "Bota Pin",
    "Name": "Bota Pin",
    "Connected": False,
    "ServicesResolved": False,
}

Answer = Callable[[Message], Any]


def said(member: str, error: str | None = None, *body: Any) -> Message:
    """What bluetoothd answers."""
    kind = MessageType.ERROR if error else MessageType.METHOD_RETURN
    return Message(
        message_type=kind, member=member, error_name=error, reply_serial=1, signature="s" * len(body), body=list(body)
    )


class FakeBus:
    """The system bus with a bluetoothd on it that does as it is told; ``calls`` is what it was asked."""

    answers: dict[str, Any]
    calls: list[str]

    def __init__(self, **_kwargs: Any) -> None:
        self.connected = True

    async def connect(self) -> None:
        """As dbus-fast's."""
        self.connected = True

    def disconnect(self) -> None:
        """As dbus-fast's."""
        self.connected = False

    async def wait_for_disconnect(self) -> None:
        """As dbus-fast's."""

    async def call(self, message: Message) -> Message:
        """Answers as told; anything else succeeds."""
        self.calls.append(str(message.member))
        answer = self.answers.get(str(message.member))
        if answer == "never":
            await asyncio.Event().wait()
        return answer if isinstance(answer, Message) else said(str(message.member))


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> type[FakeBus]:
    """Bleak's real BlueZ client over a bus of ours."""

    class Bus(FakeBus):
        answers: dict[str, Any] = {}  # noqa: RUF012 - made anew for each test
        calls: list[str] = []  # noqa: RUF012 - as above

    manager = BlueZManager()
    manager._properties[PATH] = {"org.bluez.Device1": dict(DEVICE_PROPERTIES)}

    async def the_manager() -> BlueZManager:
        return manager

    monkeypatch.setattr(bluez_client, "MessageBus", Bus)
    monkeypatch.setattr(bluez_client, "get_global_bluez_manager", the_manager)
    monkeypatch.setattr(BlueZFeatures, "checked_bluez_version", True)
    monkeypatch.setattr(BlueZFeatures, "supported_version", True)
    return Bus


def client(callback: Callable[[BleakClient], None] | None = None) -> BleakClient:
    device = BLEDevice("C0:FF:EE:00:00:01", "Bota Pin", {"path": PATH, "props": dict(DEVICE_PROPERTIES)})
    return BleakClient(device, callback, timeout=CONNECT_S, bluez={"adapter": "hci0"}, backend=BleakClientBlueZDBus)


def characteristic(properties: dict[str, Any]) -> BleakGATTCharacteristic:
    service = BleakGATTService(None, 1, "180a")
    return BleakGATTCharacteristic(
        (f"{PATH}/service0001/char0002", properties), 2, "2a25", ["notify"], lambda: 20, service
    )


@pytest.mark.parametrize(("use_start_notify", "asked"), [(True, "StartNotify"), (False, "AcquireNotify")])
@virtual_time
async def test_the_notification_mode_is_taken_from_use_start_notify(
    bus: type[FakeBus], *, use_start_notify: bool, asked: str
) -> None:
    """``bluez={"use_start_notify": ...}`` decides between D-Bus signals and a socket."""
    bus.answers["AcquireNotify"] = said("AcquireNotify", "org.bluez.Error.NotPermitted", "Notify acquired")
    backend = client()._backend
    backend._bus = bus()  # type: ignore[attr-defined]  # pinned on purpose
    try:
        await backend.start_notify(
            characteristic({"NotifyAcquired": False}),
            lambda _data: None,
            bluez={"use_start_notify": use_start_notify},
        )
    except BleakDBusError:
        assert not use_start_notify
    assert bus.calls == [asked]


def test_the_options_have_the_names_we_use() -> None:
    """TypedDicts are not checked at run time: a renamed key would be ignored in silence."""
    assert "use_start_notify" in BlueZNotifyArgs.__annotations__
    assert {"adapter", "filters"} <= set(BlueZScannerArgs.__annotations__)
    assert "DuplicateData" in BlueZDiscoveryFilters.__annotations__


def test_duplicate_data_reaches_bluez() -> None:
    """The filter we pass replaces bleak's own choice, which is to report changes only."""
    args: dict[str, Any] = {"bluez": {"adapter": "hci0", "filters": {"DuplicateData": True}}}
    scanner = BleakScannerBlueZDBus(None, None, "active", **args)
    assert scanner._filters["DuplicateData"].value is True
    assert scanner._filters["Transport"].value == "le"


def test_the_mtu_follows_bluez() -> None:
    """Characteristics read BlueZ's MTU property when asked, and 23 where BlueZ is too old to have it."""
    properties: Any = {"MTU": 23}
    assert get_max_write_without_response_size(properties) == 20
    properties["MTU"] = 517
    assert get_max_write_without_response_size(properties) == 514
    assert get_max_write_without_response_size({}) == 20  # type: ignore[typeddict-item]  # as of old BlueZ


def test_the_client_does_not_know_its_mtu() -> None:
    """The reason why characteristics are asked: this is a constant, with a warning."""
    with pytest.warns(UserWarning, match="default MTU"):
        assert client().mtu_size == MTU_DEFAULT


def test_a_call_without_a_signal_has_the_value_we_ignore() -> None:
    """Bleak calls back for every property change; without an RSSI property it passes -127."""
    heard: list[AdvertisementData] = []
    scanner = BleakScannerBlueZDBus(lambda _device, data: heard.append(data), None, "active", bluez={})
    properties: Any = dict(DEVICE_PROPERTIES)
    scanner._handle_advertising_data(PATH, properties)
    assert [data.rssi for data in heard] == [RSSI_UNKNOWN]


def test_bleaks_own_words_for_what_is_missing() -> None:
    """Classified by text, for bleak raises the same class for everything."""
    manager = BlueZManager()
    with pytest.raises(BleakError) as device:
        manager._check_device(PATH)
    with pytest.raises(BleakError) as adapter:
        manager._check_adapter("/org/bluez/hci0")
    assert classify(device.value) is ConnectKind.GONE
    assert classify(adapter.value) is ConnectKind.ADAPTER_DOWN


@virtual_time
async def test_bleaks_own_words_for_a_lost_link() -> None:
    """What its client raises when it is not connected any more."""
    lost = client()
    with pytest.raises(BleakError) as unconnected:
        await lost._backend.read_gatt_char(characteristic({}))
    with pytest.raises(BleakError) as undiscovered:
        _ = lost.services
    assert is_link_loss(unconnected.value)
    assert is_link_loss(undiscovered.value)


def test_bleaks_own_words_for_a_link_lost_during_discovery() -> None:
    """It means "try again", as nothing else does that says so."""
    text = "failed to discover services, device disconnected"
    assert text in inspect.getsource(bluez_manager)
    assert classify(BleakError(text)) is ConnectKind.TRANSIENT
    assert is_link_loss(BleakError(text))


@virtual_time
async def test_a_cancelled_connect_is_taken_back_at_bluez(bus: type[FakeBus]) -> None:
    """Without the Disconnect, BlueZ would go on connecting and answer the next try with InProgress."""
    bus.answers["Connect"] = "never"
    task = asyncio.create_task(client().connect())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bus.calls == ["Connect", "Disconnect"]


@virtual_time
async def test_a_connect_times_out_by_itself_and_is_taken_back(bus: type[FakeBus]) -> None:
    """Bleak's own time-out covers connect and discovery, and tidies up."""
    bus.answers["Connect"] = "never"
    with pytest.raises(TimeoutError):
        await client().connect()
    assert bus.calls == ["Connect", "Disconnect"]
    assert asyncio.get_running_loop().time() == pytest.approx(1000 + CONNECT_S)


@virtual_time
async def test_a_stale_attempt_is_cleared_by_the_failing_one(bus: type[FakeBus]) -> None:
    """InProgress means that an attempt of an earlier life is pending: bleak's clean-up ends it, so a retry works."""
    bus.answers["Connect"] = said("Connect", "org.bluez.Error.InProgress", "In Progress")
    with pytest.raises(BleakDBusError) as caught:
        await client().connect()
    assert classify(caught.value) is ConnectKind.BUSY
    assert bus.calls == ["Connect", "Disconnect"]


@virtual_time
async def test_a_device_that_bluez_removed_is_told_by_class(bus: type[FakeBus]) -> None:
    """BlueZ drops devices soon after a scan; bleak turns the D-Bus error into a class of its own."""
    bus.answers["Connect"] = said("Connect", "org.freedesktop.DBus.Error.UnknownObject", "no such object")
    with pytest.raises(BleakDeviceNotFoundError) as caught:
        await client().connect()
    assert classify(caught.value) is ConnectKind.GONE


@pytest.mark.parametrize("answer", [said("Disconnect", "org.freedesktop.DBus.Error.NoReply", "died"), "never"])
@virtual_time
async def test_a_failed_or_cancelled_disconnect_ends_the_link_for_us(bus: type[FakeBus], answer: object) -> None:
    """With a dead or hung bluetoothd, the client is disconnected all the same and has called back."""
    bus.answers["Disconnect"] = answer
    called: list[BleakClient] = []
    connected = client(called.append)
    backend: Any = connected._backend
    backend._bus = bus()
    backend._is_connected = True
    task = asyncio.create_task(connected.disconnect())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises((BleakDBusError, asyncio.CancelledError)):
        await task
    assert called == [connected]
    assert not connected.is_connected


@virtual_time
async def test_a_disconnect_without_an_end_times_out(bus: type[FakeBus]) -> None:
    """BlueZ answered but never reports the end: bleak waits 10 s, which `DISCONNECT_S` allows."""
    connected = client()
    backend: Any = connected._backend
    backend._bus = bus()
    backend._is_connected = True
    with pytest.raises(TimeoutError):
        await connected.disconnect()
    assert asyncio.get_running_loop().time() == pytest.approx(1010)


async def test_bleak_drops_what_it_believes_when_its_bus_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one manager of a loop has its bus under ``_bus``; without it all is forgotten, and watchers are told."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("needs dbus-daemon")
    async with system_bus(tmp_path, monkeypatch) as address, FakeBlueZ(address) as bluez:
        bluez.add_adapter()
        path = bluez.advertise("C0:FF:EE:00:00:01", connected=True)
        manager = await bluez_manager.get_global_bluez_manager()
        assert manager.is_connected(path)
        told = asyncio.Event()
        manager.add_device_watcher(
            path, lambda connected: None if connected else told.set(), lambda _path, _value: None
        )
        forget_what_bleak_believes()
        await told.wait()
        assert not manager.is_connected(path)
        assert (await bluez_manager.get_global_bluez_manager()).is_connected(path), "asked anew"


def test_forgetting_is_harmless_where_bleak_has_asked_nothing_yet() -> None:
    """A bluetoothd may go before the first scan."""

    async def forget() -> None:
        forget_what_bleak_believes()

    asyncio.run(forget())
