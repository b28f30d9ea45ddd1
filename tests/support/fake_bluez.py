"""A bluetoothd that says what it is told, on a real bus: bleak's own BlueZ backend runs against it.

It has adapters, devices and characteristics that are read, and shows our idea of BlueZ only: good for single errors,
for the death of bluetoothd, and for how bleak asks. How BlueZ behaves is shown by BlueZ itself (docs/testing.md).
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import pytest
from bleak.backends.bluezdbus.version import BlueZFeatures
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

ADAPTER: Final = "org.bluez.Adapter1"
DEVICE: Final = "org.bluez.Device1"
SERVICE: Final = "org.bluez.GattService1"
CHARACTERISTIC: Final = "org.bluez.GattCharacteristic1"
OBJECTS: Final = "org.freedesktop.DBus.ObjectManager"

needs_dbus = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon")

Properties = dict[str, Variant]


POLICY: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_destination="*"/> <allow receive_sender="*"/>
  </policy>
  {policy}
</busconfig>
"""
FORBIDDEN: Final = '<policy context="mandatory"><deny send_destination="org.bluez"/></policy>'
"""As ``policy``: nobody may talk to BlueZ."""


@asynccontextmanager
async def system_bus(directory: Path, monkeypatch: pytest.MonkeyPatch, *, policy: str = "") -> AsyncIterator[str]:
    """A bus of its own in place of the system's, open to every user but for ``policy``; gives its address."""
    address = f"unix:path={directory / 'bus'}"
    (directory / "bus.conf").write_text(POLICY.format(address=address, policy=policy))
    daemon = await asyncio.create_subprocess_exec(
        *("dbus-daemon", f"--config-file={directory / 'bus.conf'}", "--nofork", "--nopidfile", "--nosyslog"),
        "--print-address",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert daemon.stdout is not None
        await daemon.stdout.readline()
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        # Else bleak would ask a bluetoothctl for the version.
        monkeypatch.setattr(BlueZFeatures, "checked_bluez_version", True)
        monkeypatch.setattr(BlueZFeatures, "supported_version", True)
        yield address
    finally:
        daemon.terminate()
        await daemon.wait()


class FakeBlueZ:
    """``refusals`` maps a member to the error name and text it answers; None answers never."""

    def __init__(self, address: str) -> None:
        self._bus = MessageBus(bus_address=address)
        self.objects: dict[str, dict[str, Properties]] = {}
        self.refusals: dict[str, tuple[str, str] | None] = {}
        self.asked: list[str] = []
        """What was asked, by member; None of it is forgotten."""
        self.calls: list[tuple[str, str, list[Any]]] = []
        """The same with path and arguments."""
        self.agent: tuple[str, str] | None = None
        """Bus name and path of the agent that was registered last."""
        self.keyless: set[str] = set()
        """Paths of devices that have lost the keys of a pairing: the kernel ends their links as soon as they are up."""
        self.discovering: set[str] = set()
        self.values: dict[str, bytes | tuple[str, str]] = {}
        """What reading a characteristic, by path, gives: a value, or an error's name and text."""

    async def __aenter__(self) -> Self:
        await self._bus.connect()
        self._bus.add_message_handler(self._answer)
        await self._bus.request_name("org.bluez")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """Leave the bus without a word, as a crashed bluetoothd does."""
        self._bus.disconnect()

    def add_adapter(self, name: str = "hci0", *, address: str = "DC:A6:32:00:00:01", powered: bool = True) -> None:
        """An adapter, as if it had been plugged in."""
        self._add(
            f"/org/bluez/{name}",
            ADAPTER,
            {
                "Address": Variant("s", address),
                "Powered": Variant("b", powered),
                "Roles": Variant("as", ["central", "peripheral"]),
            },
        )

    def remove_adapter(self, name: str = "hci0") -> None:
        """An adapter and its devices, as if it had been unplugged."""
        self._remove(f"/org/bluez/{name}")

    def _remove(self, top: str) -> None:
        self.discovering.discard(top)
        for path in [path for path in self.objects if f"{path}/".startswith(f"{top}/")][::-1]:
            interfaces = list(self.objects.pop(path))
            self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [path, interfaces])

    def add_characteristic(self, device: str, service: str, uuid: str, value: bytes | tuple[str, str]) -> str:
        """Something to read over a link, as if BlueZ had discovered it; gives its path."""
        at = f"{device}/service0001"
        if at not in self.objects:
            owner = {"Device": Variant("o", device), "UUID": Variant("s", service), "Primary": Variant("b", True)}
            self._add(at, SERVICE, owner)
        path = f"{at}/char{len(self.values) + 2:04x}"
        flags = Variant("as", ["read", "write", "notify"])
        self._add(path, CHARACTERISTIC, {"Service": Variant("o", at), "UUID": Variant("s", uuid), "Flags": flags})
        self.values[path] = value
        return path

    @property
    def devices(self) -> list[str]:
        """Paths of all devices."""
        return [path for path, interfaces in self.objects.items() if DEVICE in interfaces]

    def advertise(
        self,
        address: str,
        *,
        hci: str = "hci0",
        name: str = "Bota Pin",
        rssi: int = -60,
        connected: bool = False,
        also: Properties | None = None,
    ) -> str:
        """A device is heard for the first time, or again; gives its path."""
        path = f"/org/bluez/{hci}/dev_{address.replace(':', '_')}"
        self._add(
            path,
            DEVICE,
            {
                "Adapter": Variant("o", f"/org/bluez/{hci}"),
                "Address": Variant("s", address),
                "Alias": Variant("s", name),
                "Name": Variant("s", name),
                "RSSI": Variant("n", rssi),
                "Connected": Variant("b", connected),
                "Paired": Variant("b", False),
                "ServicesResolved": Variant("b", False),
                "UUIDs": Variant("as", []),
                **(also or {}),
            },
        )
        return path

    async def ask_agent(self, member: str, device: str, *more: tuple[str, object]) -> Message:
        """Ask the agent about a device, as bluetoothd does when the kernel asks it; ``more`` are types and values."""
        assert self.agent is not None
        signature = "o" + "".join(of for of, _ in more)
        body = [device, *(value for _, value in more)]
        question = Message(*self.agent, "org.bluez.Agent1", member, signature=signature, body=body)
        answer = await self._bus.call(question)
        assert answer is not None
        return answer

    def change(self, path: str, interface: str, **properties: Variant) -> None:
        """Properties change."""
        self.objects[path][interface].update(properties)
        self._signal(
            path, "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", [interface, properties, []]
        )

    def _add(self, path: str, interface: str, properties: Properties) -> None:
        self.objects[path] = {interface: properties}
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, self.objects[path]])

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        # Sent in order, with the answers; nobody waits for it.
        self._sent = self._bus.send(Message.new_signal(path, interface, member, signature, body))

    def _answer(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        member, path = str(message.member), str(message.path)
        self.asked.append(member)
        self.calls.append((member, path, message.body))
        if member in self.refusals and self.refusals[member] is None:
            return True
        if refusal := self._refusal(member, path):
            return Message.new_error(message, *refusal)
        if member == "GetManagedObjects":
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [self.objects])
        if member == "ReadValue":
            return Message.new_method_return(message, "ay", [self.values[path]])
        if member == "RegisterAgent":
            self.agent = (str(message.sender), str(message.body[0]))
        self._do(member, path, message.body)
        return Message.new_method_return(message)

    def _refusal(self, member: str, path: str) -> tuple[str, str] | None:
        if member not in {"GetManagedObjects", "RegisterAgent"} and path not in self.objects:
            return "org.freedesktop.DBus.Error.UnknownObject", "no such object"
        if refusal := self.refusals.get(member):
            return refusal
        if member == "StartDiscovery" and not self.objects[path][ADAPTER]["Powered"].value:
            return "org.bluez.Error.NotReady", "Resource Not Ready"
        value = self.values.get(path)
        return value if member == "ReadValue" and isinstance(value, tuple) else None

    def _do(self, member: str, path: str, body: list[Any]) -> None:
        match member:
            case "Set":
                interface, name, value = body
                self.change(path, interface, **{name: value})
            case "RemoveDevice":
                self._remove(body[0])
            case "Pair":
                self.change(path, DEVICE, Paired=Variant("b", True))
            case "StartDiscovery":
                self.discovering.add(path)
            case "StopDiscovery":
                self.discovering.discard(path)
            case "Connect" if path in self.keyless and self.objects[path][DEVICE]["Paired"].value:
                self.change(path, DEVICE, Connected=Variant("b", True))
                self.change(path, DEVICE, Connected=Variant("b", False))
            case "Connect":
                self.change(path, DEVICE, Connected=Variant("b", True), ServicesResolved=Variant("b", True))
            case "Disconnect":
                self.change(path, DEVICE, Connected=Variant("b", False), ServicesResolved=Variant("b", False))
