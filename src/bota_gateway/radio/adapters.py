"""The hub's Bluetooth adapters, as BlueZ knows them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from bleak.backends.client import BaseBleakClient
from bleak.backends.scanner import BaseBleakScanner
from dbus_fast import BusType, Message, MessageType, unpack_variants
from dbus_fast.aio import MessageBus

from bota_gateway.config import RadioSettings
from bota_gateway.errors import AdapterError
from bota_gateway.radio.bounded import bounded
from bota_gateway.radio.classify import BACKEND_FAILURES, PERMISSION_ADVICE, describe
from bota_gateway.radio.const import SCAN_START_S

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_ADAPTER_INTERFACE: Final = "org.bluez.Adapter1"
_ACCESS_DENIED: Final = "org.freedesktop.DBus.Error.AccessDenied"
_NO_BUS_REMEDY: Final = "Check with: systemctl status dbus bluetooth; is the gateway's user allowed to talk to BlueZ?"
_NO_DAEMON_REMEDY: Final = "Start it: sudo systemctl enable --now bluetooth. Missing? sudo apt install bluez."
_NO_ADAPTER_REMEDY: Final = "Plug one in, or correct radio.adapters; bluetoothctl list shows what BlueZ has."


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter, and what bleak needs to use it."""

    name: str
    """``hciN`` on BlueZ; any unique name with other backends."""
    address: str | None = None
    """Its own address, where known: ``hciN`` may change when it is unplugged, this does not."""
    scanner_backend: type[BaseBleakScanner] | None = None
    """None for bleak's own on this platform."""
    client_backend: type[BaseBleakClient] | None = None
    """None for bleak's own on this platform."""

    @property
    def label(self) -> str:
        """For people: its name, and its address where known, because ``hciN`` may be another one tomorrow."""
        return f"{self.name} ({self.address})" if self.address else self.name

    @property
    def on_bluez(self) -> bool:
        """Whether BlueZ drives it, so that BlueZ can be asked about it."""
        return self.scanner_backend is None and self.client_backend is None


@dataclass(frozen=True, slots=True)
class KnownAdapter:
    """An adapter as BlueZ describes it."""

    name: str
    address: str
    powered: bool
    central: bool
    """Whether it can connect to recorders at all."""


async def discover_adapters(settings: RadioSettings, *, quietly: bool = False) -> list[Adapter]:
    """The adapters to use: those named in ``settings.adapters``, else all that can.

    One that is powered off is among them; its scanner waits until it is on. One that is named but not there is
    reported and left out. ``quietly``: who looks every few minutes need not be told the same each time.

    Raises:
        AdapterError: BlueZ can't be asked, or there is none to use.
    """
    chosen = choose(await ask_bluez(), settings.adapters, quietly=quietly)
    for adapter in chosen:
        if not adapter.powered and not quietly:
            log.warning("adapter_off", adapter=adapter.name, address=adapter.address, advice="bluetoothctl power on")
    return [Adapter(adapter.name, adapter.address) for adapter in chosen]


async def find_again(adapter: Adapter, was: str | None) -> str | None:
    """The ``hciN`` that the adapter has now: it may be another one after it was unplugged. None when it is not there.

    Never raises: when BlueZ can't be asked, the last answer, ``was``, stands.
    """
    if adapter.address is None or not adapter.on_bluez:
        return was
    try:
        known = await ask_bluez()
    except AdapterError:
        return was
    now = next((each.name for each in known if each.address == adapter.address), None)
    if now is None and was is not None:
        log.warning("adapter_lost", adapter=was, address=adapter.address)
    elif now is not None and was is None:
        log.info("adapter_back", adapter=now, address=adapter.address)
    elif now != was:
        log.info("adapter_renamed", adapter=adapter.name, address=adapter.address, was=was, now=now)
    return now


def choose(known: Iterable[KnownAdapter], wanted: Sequence[str], *, quietly: bool = False) -> list[KnownAdapter]:
    """Those of ``known`` that ``wanted`` names, by address or ``hciN``, in that order; all usable ones if it is empty.

    Raises:
        AdapterError: none is left.
    """
    usable = sorted((adapter for adapter in known if adapter.central), key=lambda each: each.name)
    if wanted:
        by_name = {key: adapter for adapter in usable for key in (adapter.name.lower(), adapter.address.lower())}
        for name in wanted:
            if name.lower() not in by_name and not quietly:
                log.warning("adapter_missing", adapter=name, there=[adapter.name for adapter in usable])
        usable = list(dict.fromkeys(by_name[name.lower()] for name in wanted if name.lower() in by_name))
    if not usable:
        named = f" named {', '.join(wanted)}" if wanted else ""
        raise AdapterError(f"BlueZ has no Bluetooth LE adapter{named}.", remedy=_NO_ADAPTER_REMEDY)
    return usable


def read_adapters(objects: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[KnownAdapter]:
    """The adapters among BlueZ's managed objects (path to interface to properties, variants unpacked)."""
    return [
        KnownAdapter(
            name=path.rsplit("/", 1)[-1],
            address=str(properties.get("Address", "")),
            powered=bool(properties.get("Powered", False)),
            central="central" in properties.get("Roles", ["central"]),  # BlueZ before 5.55 does not say
        )
        for path, interfaces in objects.items()
        if (properties := interfaces.get(_ADAPTER_INTERFACE)) is not None
    ]


async def ask_bluez() -> list[KnownAdapter]:
    """Every adapter that BlueZ has, of use or not; none is no error here.

    Raises:
        AdapterError: ``radio_no_bus``, ``radio_no_bluez``, or ``radio_not_allowed`` where D-Bus keeps this user out.
    """
    try:
        reply = await bounded(_managed_objects(), limit=SCAN_START_S)
    except TimeoutError:
        raise AdapterError("BlueZ does not answer.", code="radio_no_bluez", remedy=_NO_DAEMON_REMEDY) from None
    except BACKEND_FAILURES as error:
        reason = describe(error)
        raise AdapterError(
            f"The system bus can't be reached: {reason}.", code="radio_no_bus", remedy=_NO_BUS_REMEDY
        ) from error
    if reply is not None and reply.error_name == _ACCESS_DENIED:
        raise AdapterError(
            "D-Bus does not let this user talk to BlueZ.", code="radio_not_allowed", remedy=PERMISSION_ADVICE
        )
    if reply is None or reply.message_type is not MessageType.METHOD_RETURN:
        said = f" ({reply.error_name})" if reply else ""
        raise AdapterError(f"BlueZ is not running, or refuses{said}.", code="radio_no_bluez", remedy=_NO_DAEMON_REMEDY)
    return read_adapters({path: unpack_variants(interfaces) for path, interfaces in reply.body[0].items()})


async def _managed_objects() -> Message | None:
    bus = MessageBus(bus_type=BusType.SYSTEM)
    try:
        await bus.connect()
        return await bus.call(
            Message(
                destination="org.bluez",
                path="/",
                interface="org.freedesktop.DBus.ObjectManager",
                member="GetManagedObjects",
            )
        )
    finally:
        bus.disconnect()
